"""Pose guiders: the published convolutions, and frames that each see their own map."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.controlnets.controlnet import ControlNetConditioningEmbedding
from framewright.bridge.pose_guider import guide_poses
from framewright.bridge.windows import add_windows, run_in_chunks
from framewright.demo.evaluate import Renderer
from framewright.demo.evaluate_control import CFG, Trial
from framewright.embedded.model import EmbeddedModel
from framewright.errors import FramewrightError
from framewright.sampling.window_plan import Windows
from framewright.temporal.condition_encoder import ConditionEncoder
from framewright.temporal.extent import Extent
from framewright.temporal.parts import Parts
from framewright.temporal.pose_guider import load_pose_guider
from framewright.tests.stage import Stage
from safetensors.torch import save_file
from torch import Tensor

FRAMES = 5


def random_weights(model: torch.nn.Module, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        key: 0.2 * torch.randn(value.shape, generator=generator) for key, value in model.state_dict().items()
    }


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A guider for the demo's image model, whose latents are a quarter as large as its pictures."""
    path = tmp_path / "guider.safetensors"
    save_file(random_weights(ConditionEncoder(64, (8, 12, 16), Parts())), path)
    return path


@pytest.mark.parametrize("widths", [(16, 32, 96, 256), (8, 16, 32)])
def test_it_is_the_published_one(widths: tuple[int, ...], tmp_path: Path) -> None:
    theirs = ControlNetConditioningEmbedding(40, block_out_channels=widths)
    theirs.load_state_dict(random_weights(theirs))
    save_file(
        {f"module.{key}": value for key, value in theirs.state_dict().items()},
        tmp_path / "guider.safetensors",
    )
    ours = load_pose_guider(tmp_path / "guider.safetensors", Parts())
    maps = torch.rand(2, 3, 64, 48)
    torch.testing.assert_close(ours(maps), theirs(maps))


class Poses(Stage):
    def __init__(self) -> None:
        super().__init__(FRAMES)
        self.maps = torch.rand(FRAMES, 64, 64, 3, generator=torch.Generator().manual_seed(2))

    def guided(
        self, file: Path, maps: Tensor | None = None, strength: float = 1.0, **more: Any
    ) -> EmbeddedModel:
        maps = self.maps if maps is None else maps
        return guide_poses(self.model, file, maps, Extent(strength), more.get("steps", (0.0, 1.0)))


@pytest.fixture(scope="module")
def stage() -> Poses:
    return Poses()


def test_each_frame_sees_its_own_map_and_the_last_one_stays(stage: Poses, file: Path) -> None:
    whole = stage.sampled(stage.guided(file))
    plain = stage.sampled(stage.model)
    assert float((whole - plain).abs().amax((1, 2, 3)).min()) > 0.1
    other = stage.maps.clone()
    other[2] = 0
    changed = (stage.sampled(stage.guided(file, other)) - whole).abs().amax((1, 2, 3))
    assert changed[2] > 0.01 and float(changed[[0, 1, 3, 4]].max()) < 1e-4
    held = torch.cat([stage.maps[:3], stage.maps[2:3], stage.maps[2:3]])
    few = stage.sampled(stage.guided(file, stage.maps[:3]))
    torch.testing.assert_close(few, stage.sampled(stage.guided(file, held)), atol=1e-4, rtol=0)


def test_a_plan_s_part_of_the_frames_sees_its_own_maps(stage: Poses, file: Path) -> None:
    model = stage.guided(file)
    whole = stage.sampled(model)
    torch.testing.assert_close(stage.part([1, 3], model), whole[[1, 3]], atol=1e-4, rtol=0)


def test_strength_steps_windows_and_chunks(stage: Poses, file: Path) -> None:
    plain, model = stage.sampled(stage.model), stage.guided(file)
    whole = stage.sampled(model)
    assert torch.equal(stage.sampled(stage.guided(file, strength=0.0)), plain)
    assert torch.equal(stage.sampled(stage.guided(file, steps=(1.0, 1.0))), plain)
    half = stage.sampled(stage.guided(file, steps=(0.0, 0.5)))
    assert not torch.allclose(half, plain, atol=1e-2) and not torch.allclose(half, whole, atol=1e-2)
    for parts in (add_windows(model, Windows(3, 1), 0.0, 1.0), run_in_chunks(model, 2)):
        torch.testing.assert_close(stage.sampled(parts), whole, atol=1e-4, rtol=0)


def test_the_demo_s_guider_leads_a_figure() -> None:
    """Mean joint error in pixels of a held-out clip, with it and without."""
    trial = Trial("guider", Renderer(CFG), seed=1, clips=1)
    assert trial.measured(1.0)[0] <= 2.5 < 8 < trial.measured(0.0)[0]


def test_what_does_not_fit_is_one_error(stage: Poses, file: Path, tmp_path: Path) -> None:
    with pytest.raises(
        FramewrightError, match="features of 12×16 with 64 channels came for a model and video of 16×16"
    ):
        stage.sampled(stage.guided(file, stage.maps[:, :, :48]))
    with pytest.raises(FramewrightError, match="image: maps with values that are not finite"):
        stage.guided(file, torch.full((1, 64, 64, 3), math.nan))
    good = random_weights(ConditionEncoder(8, (4, 6), Parts()))
    without = {key: value for key, value in good.items() if key != "conv_in.bias"}
    bad = {
        "none": ({"weight": torch.zeros(3)}, "holds none; expected the weights of conv_in, blocks and"),
        "more": ({**good, "extra": torch.zeros(1)}, "lacks 0 keys.*1 others.*extra"),
        "less": (without, "lacks 1 keys.*conv_in.bias"),
    }
    for name, (tensors, message) in bad.items():
        save_file(tensors, tmp_path / f"{name}.safetensors")
        with pytest.raises(FramewrightError, match=f"pose guider: {name}.safetensors .*{message}"):
            load_pose_guider(tmp_path / f"{name}.safetensors", Parts())
    with pytest.raises(FramewrightError, match="pose guider: no file absent"):
        load_pose_guider(tmp_path / "absent.safetensors", Parts())
