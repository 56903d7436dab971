"""Frame after frame along strokes, in the built-in host, on the demo model."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from framewright.bridge.along_strokes import Sampling, sample_along
from framewright.bridge.flow import COMPLETIONS, completion_of
from framewright.bridge.host import host
from framewright.controls.stroke_flow import by_edges
from framewright.controls.strokes import Drawing, Stroke
from framewright.demo import render
from framewright.demo.judge_control import end_error
from framewright.demo.world import Scene, Subject
from framewright.embedded.core import registry
from framewright.embedded.host import EmbeddedHost
from framewright.embedded.samplers import euler
from framewright.embedded.sampling import prepare_noise
from framewright.embedded.schedules import schedule_sigmas
from framewright.errors import FramewrightError
from torch import Tensor

FRAMES, STEPS = 5, 6
SCENE = Scene(
    Subject("red", "circle", "right", "plain"), x=32, y=32, angle=0, radius=11, phase=0, speed=2,
    tone=0.5, ground_phase=(0, 0),
)  # fmt: skip


class SeededNoise:
    seed = 4

    def generate_noise(self, latent: dict[str, Tensor]) -> Tensor:
        return prepare_noise(latent["samples"], self.seed)


class Cropping:
    """A VAE that takes what it can, as ComfyUI's does."""

    def __init__(self, vae: Any) -> None:
        self._vae = vae

    def encode(self, pixels: Tensor) -> Tensor:
        return self._vae.encode(pixels[:, :64, :64])

    def decode(self, latents: Tensor) -> Tensor:
        return self._vae.decode(latents)


@pytest.fixture(scope="module")
def sampling() -> Sampling:
    built_in = EmbeddedHost()
    registry(built_in)
    model, words, vae = built_in.demo_model()
    positive, negative = ([[words.encode([text]), {}]] for text in ("a red circle on a plain ground", ""))
    return Sampling(
        model, positive, negative, 1.0, built_in.demo_control("next"), vae, SeededNoise(), euler,
        schedule_sigmas("karras", model.schedule, STEPS),
    )  # fmt: skip


@pytest.fixture(scope="module")
def picture() -> Tensor:
    return torch.from_numpy(render.frame(SCENE, 0))[None]


def led(x: float, y: float) -> tuple[np.ndarray, Drawing]:
    """A straight way from the circle's middle to a place."""
    stroke = Stroke.even([(32, 32), (x, y)], 0, FRAMES - 1)
    return np.linspace((32, 32), (x, y), FRAMES), Drawing(64, 64, (stroke,))


@pytest.mark.parametrize("completion", COMPLETIONS)
@pytest.mark.parametrize("end", [(44, 36), (24, 22)])
def test_a_shape_goes_where_its_stroke_leads_whatever_way(
    sampling: Sampling, picture: Tensor, end: tuple[int, int], completion: str
) -> None:
    way, drawing = led(*end)
    video = sample_along(sampling, picture, drawing, FRAMES, completion_of(completion))
    assert video.shape == (FRAMES, 64, 64, 3)
    assert torch.equal(video[:1], picture), "it begins with the picture as it came"
    assert end_error(way, video.numpy()) < 2


def test_each_step_of_each_frame_is_shown(
    sampling: Sampling, picture: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, totals = [], []

    def progress(guider: Any, total: int) -> Callable[[int, Tensor | None], None]:
        totals.append(total)
        return lambda value, _: seen.append(value)

    monkeypatch.setattr(host(), "progress", progress)
    sample_along(sampling, picture, led(44, 36)[1], 3, by_edges)
    assert totals == [2 * STEPS] and seen == list(range(1, 2 * STEPS + 1))


def test_what_cannot_be_sampled_is_one_error(sampling: Sampling, picture: Tensor) -> None:
    _, drawing = led(44, 36)
    with pytest.raises(FramewrightError, match="strokes: none came, expected one or more"):
        sample_along(sampling, picture, Drawing(64, 64), FRAMES, by_edges)
    with pytest.raises(FramewrightError, match="sigmas: 1 noise levels came, expected at least 2"):
        short = Sampling(**{**vars(sampling), "sigmas": sampling.sigmas[:1]})
        sample_along(short, picture, drawing, FRAMES, by_edges)
    with pytest.raises(FramewrightError, match="image: 66×64 came, the model's pictures are 64×64"):
        wide = torch.nn.functional.pad(picture, (0, 0, 1, 1))
        cropping = Sampling(**{**vars(sampling), "vae": Cropping(sampling.vae)})
        sample_along(cropping, wide, drawing, FRAMES, by_edges)


def test_each_frame_is_sampled_under_its_own_prompt(sampling: Sampling, picture: Tensor) -> None:
    (rows, more), (nothing, _) = sampling.positive[0], sampling.negative[0]
    changing = replace(sampling, positive=[[torch.cat([nothing, rows, nothing]), more]])
    of_one, of_each = (
        sample_along(one, picture, led(44, 36)[1], 3, by_edges) for one in (sampling, changing)
    )
    assert torch.equal(of_one[1], of_each[1]) and not torch.allclose(of_one[2], of_each[2], atol=1e-3)
    with pytest.raises(FramewrightError, match="prompts for 3 frames came, expected for 4"):
        sample_along(changing, picture, led(44, 36)[1], 4, by_edges)
