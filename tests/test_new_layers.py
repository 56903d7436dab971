"""Untrained temporal layers: nothing changes until they are trained, and a file gives them back."""

from pathlib import Path

import pytest
import torch
from framewright.errors import FramewrightError
from framewright.temporal.checkpoint import load_motion
from framewright.temporal.motion_settings import AppliedMotion, MotionSettings, Positions
from framewright.temporal.new_layers import NewLayerParams, NewLayers
from framewright.temporal.parts import Parts
from framewright.temporal.slots import FRAMES
from framewright.temporal.space_time import MIXES
from safetensors.torch import save_file

SITES = {("input", 1): 32, ("middle", 0): 64, ("output", 0): 64}
KINDS = {
    "conv": {"conv": True, "attention": False},
    "rank": {"rank": 4, "attention": False},
    "attention": {},
    "affine": {"affine": True, "attention": False},
    "all": {"conv": True, "rank": 4, "affine": True, "positions": "relative"},
}


def moved(layers: NewLayers) -> NewLayers:
    """As if trained."""
    torch.manual_seed(0)
    for parameter in layers.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    return layers


@torch.no_grad()
@pytest.mark.parametrize("mixing", MIXES)
@pytest.mark.parametrize("kind", KINDS)
def test_untrained_layers_change_nothing_and_trained_ones_do(kind: str, mixing: str) -> None:
    layers = NewLayers(SITES, NewLayerParams(**KINDS[kind], mixing=mixing, frames=6), Parts())
    x = torch.randn(10, 32, 4, 4)
    applied, options = AppliedMotion(layers, MotionSettings()), {FRAMES: 5}
    assert torch.equal(applied(("input", 1), x, options), x)
    assert torch.equal(applied(("output", 3), x, options), x)
    moved(layers)
    given = applied(("input", 1), x, options)
    assert (given - x).abs().max() > 1e-3
    alone = applied(("input", 1), x[:5], options)
    torch.testing.assert_close(alone, given[:5], atol=1e-5, rtol=1e-5)  # clips do not mix


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_a_file_gives_the_layers_back(kind: str, tmp_path: Path) -> None:
    layers = moved(NewLayers(SITES, NewLayerParams(**KINDS[kind], frames=6), Parts()))
    save_file(layers.state_dict(), tmp_path / "new.safetensors", layers.metadata())
    file = load_motion(tmp_path / "new.safetensors", Parts())
    assert file.family == "temporal layers of this pack" and file.model.channels == SITES
    x = torch.randn(5, 64, 3, 3)
    before, after = (AppliedMotion(one, MotionSettings()) for one in (layers, file.model))
    torch.testing.assert_close(
        after(("middle", 0), x, {FRAMES: 5}), before(("middle", 0), x, {FRAMES: 5}), atol=1e-6, rtol=1e-6
    )


def test_what_does_not_fit_is_one_error(tmp_path: Path) -> None:
    layers = NewLayers(SITES, NewLayerParams(frames=6), Parts())
    with pytest.raises(FramewrightError, match="7 frames came, the temporal layers were built for 6"):
        AppliedMotion(layers, MotionSettings())(("input", 1), torch.zeros(7, 32, 2, 2), {FRAMES: 7})
    with pytest.raises(FramewrightError, match="positions, pattern, windows: layers built by"):
        shifted = MotionSettings(positions=Positions(stretch=0.5))
        AppliedMotion(layers, shifted)(("input", 1), torch.zeros(6, 32, 2, 2), {FRAMES: 6})
    with pytest.raises(FramewrightError, match="a block of 48 channels came"):
        NewLayers({("input", 1): 48}, NewLayerParams(), Parts())
    for bad, told in (
        ({"attention": False}, "none came"),
        ({"rank": -1}, "rank -1"),
        ({"mixing": "x"}, "mixing"),
    ):
        with pytest.raises(FramewrightError, match=told):
            NewLayerParams(**bad)
    state, header = layers.state_dict(), layers.metadata()
    for tensors, metadata, told in (
        (state, {**header, "layers": "{"}, "new.safetensors: its header does not say"),
        (
            state,
            {**header, "layers": '{"sites": [], "depth": 3}'},
            "new.safetensors: its header does not say",
        ),
        (dict(list(state.items())[1:]), header, "new.safetensors lacks 1 keys"),
    ):
        save_file(tensors, tmp_path / "new.safetensors", metadata)
        with pytest.raises(FramewrightError, match=told):
            load_motion(tmp_path / "new.safetensors", Parts())
