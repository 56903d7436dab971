"""The demo's VAE: a decoder over clips gives the same pictures however many frames it takes at once."""

import pytest
import torch
from framewright.demo import files, render
from framewright.demo.judge import warp_error
from framewright.demo.vae import FrameVAE, SmallVAE
from framewright.demo.world import Scene, Subject
from numpy.random import default_rng


def vae(frames_at_once: int) -> FrameVAE:
    return FrameVAE(files.load("vae", SmallVAE()), lambda _: (torch.device("cpu"), frames_at_once))


@pytest.fixture(scope="module")
def clip() -> torch.Tensor:
    scene = Scene.sample(Subject("red", "star", "right", "striped"), default_rng(1))
    return torch.from_numpy(render.frames(scene, 24)).float()


@pytest.mark.parametrize("frames_at_once", [1, 5, 16])
def test_frames_in_parts_are_those_of_the_whole(clip: torch.Tensor, frames_at_once: int) -> None:
    latents = vae(100).encode(clip)
    torch.testing.assert_close(vae(frames_at_once).encode(clip), latents, atol=1e-5, rtol=1e-5)
    whole = vae(100).decode(latents)
    assert whole.shape == clip.shape
    torch.testing.assert_close(vae(frames_at_once).decode(latents), whole, atol=1e-5, rtol=1e-5)


def test_a_picture_alone_passes_no_temporal_layer(clip: torch.Tensor) -> None:
    net = files.load("vae", SmallVAE())
    latents = net.encode(clip[:1].movedim(-1, 1) * 2 - 1)
    alone = net.decode(latents, 1)
    for layer in net.decoder.temporal:
        layer.conv.weight.zero_()
    assert torch.equal(net.decode(latents, 1), alone)


def test_clips_in_one_batch_know_nothing_of_each_other(clip: torch.Tensor) -> None:
    net = files.load("vae", SmallVAE())
    latents = net.encode(clip[:12].movedim(-1, 1) * 2 - 1)
    both = net.decode(latents, 6)
    torch.testing.assert_close(both[6:], net.decode(latents[6:], 6), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(both, net.decode(latents, 12), atol=1e-3)


def test_unsteady_latents_become_a_steady_clip(clip: torch.Tensor) -> None:
    latents = vae(100).encode(clip[:16])
    torch.manual_seed(0)
    unsteady = latents + 0.1 * torch.randn_like(latents)
    together = vae(100).decode(unsteady).numpy()
    net = files.load("vae", SmallVAE())
    one_by_one = (
        ((torch.cat([net.decode(one, 1) for one in unsteady.split(1)]) + 1) / 2).movedim(1, -1).numpy()
    )
    assert warp_error(together) < 0.7 * warp_error(one_by_one)
