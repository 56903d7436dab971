"""Videos decoded as they are written, and the plots of how they hold out."""

from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch
from framewright.bridge.drift import drift_curves
from framewright.bridge.host import use
from framewright.bridge.video import AT_ONCE, decode_video, empty_video
from framewright.demo import render
from framewright.demo.agreement import agreement, subject_of
from framewright.demo.world import Scene, Subject
from framewright.embedded.host import EmbeddedHost
from framewright.embedded.video import write
from framewright.errors import FramewrightError
from framewright.pictures.drift import drift_plot, sharpness


@pytest.fixture(scope="module")
def vae():  # noqa: ANN201
    use(host := EmbeddedHost())
    return host.demo_model()[2]


def clip(motion: str, frames: int) -> np.ndarray:
    scene = Scene.sample(Subject("red", "square", motion, "plain"), np.random.default_rng(1))
    return render.frames(scene, frames)


def test_frames_decoded_a_few_at_a_time_are_those_decoded_at_once(vae, tmp_path: Path) -> None:  # noqa: ANN001
    latents = vae.encode(torch.from_numpy(clip("right", 2 * AT_ONCE + 5)))
    whole, most = vae.decode(latents), 0
    video = decode_video({"samples": latents}, vae, 8.0)
    torch.testing.assert_close(video.get_components().images, whole, atol=1e-5, rtol=0)
    decode = vae.decode

    def watched(part: torch.Tensor) -> torch.Tensor:
        nonlocal most
        most = max(most, len(part))
        return decode(part)

    vae.decode = watched
    try:
        write(video, tmp_path / "video.mp4", {})
    finally:
        del vae.decode
    assert most <= AT_ONCE + 2 * vae.frames_around < len(latents)
    assert video.get_dimensions() == (64, 64)
    with av.open(str(tmp_path / "video.mp4")) as file:
        frames = [frame.to_ndarray(format="rgb24") / 255 for frame in file.decode(video=0)]
    assert len(frames) == len(latents)
    assert np.abs(np.stack(frames) - whole.numpy()).mean() < 0.02


def test_latents_of_another_kind_are_refused(vae) -> None:  # noqa: ANN001
    with pytest.raises(FramewrightError, match=r"samples: latents of \[1, 4, 2, 8, 8\] came"):
        decode_video({"samples": torch.zeros(1, 4, 2, 8, 8)}, vae, 8.0)


def test_agreement_falls_where_the_clip_stops_doing_what_its_caption_says() -> None:
    subject = subject_of("A red square moving right")
    right, left = clip("right", 64), clip("left", 64)
    assert agreement(right, subject).min() == 1
    turned = agreement(np.concatenate([right, left]), subject)
    assert turned[:48].min() == 1 and turned[80:].max() == pytest.approx(2 / 3)
    with pytest.raises(FramewrightError, match="expected a sentence of the shapes world"):
        subject_of("a cat")


def test_sharpness_falls_with_blur_and_the_plot_shows_it() -> None:
    frames = clip("right", 32)
    frames[16:] = frames[16:].mean((1, 2), keepdims=True)
    assert sharpness(frames)[16:].max() < 1e-6 < sharpness(frames)[:16].min()
    ((name, values, highest),) = drift_curves(frames, "")
    assert name.startswith("sharpness") and values[:16].mean() == pytest.approx(1) and highest == 2
    steady, falling = (drift_plot([(name, one, highest)], "x") for one in (np.ones(32), values))
    assert steady.shape == falling.shape and np.abs(steady - falling).max() > 0.5


def test_latents_of_another_vae_are_refused_before_anything_is_written(vae) -> None:  # noqa: ANN001
    with pytest.raises(FramewrightError, match="samples: latents of 16 channels came, expected 4"):
        decode_video({"samples": torch.zeros(2, 16, 8, 8)}, vae, 8.0)


def test_empty_frames_are_of_image_models() -> None:
    video = SimpleNamespace(latent_dim=3, latent_channels=16, spacial_compression_encode=lambda: 8)
    with pytest.raises(FramewrightError, match="vae: one for whole videos came, expected an image model's"):
        empty_video(video, 64, 64, 16)
