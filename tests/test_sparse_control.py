"""Sparse ControlNets: diffusers' numbers, and some frames that lead all others."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import SparseControlNetModel
from framewright.bridge.control import Strengths, control_video, sparse_control
from framewright.bridge.windows import add_windows, run_in_chunks
from framewright.demo import files
from framewright.embedded.control import EmbeddedSparseControl
from framewright.errors import FramewrightError
from framewright.sampling.window_plan import Windows
from framewright.temporal.parts import Parts
from framewright.temporal.sparse_control import (
    SparseControlNet,
    SparseParams,
    load_sparse_control,
    rows_shown,
)
from framewright.tests.diffusers_motion import normed_by_frame, randomised
from framewright.tests.stage import Stage
from safetensors.torch import save_file
from torch import Tensor

FRAMES, AT = 5, [0, 3]
BOTH = {"cond_or_uncond": [0, 1]}
Tensors = dict[str, Tensor]


def theirs(latents: bool) -> SparseControlNetModel:
    """SparseCtrl as diffusers has it, with two levels, a tenth as wide; its release normed frame by frame."""
    torch.manual_seed(0)
    model = SparseControlNetModel(
        block_out_channels=(32, 64), down_block_types=("CrossAttnDownBlockMotion", "DownBlockMotion"),
        cross_attention_dim=16, attention_head_dim=8, use_simplified_condition_embedding=latents,
        conditioning_channels=4 if latents else 3, conditioning_embedding_out_channels=(8, 12, 16, 24),
    )  # fmt: skip
    return randomised(model)


@torch.no_grad()
@pytest.mark.parametrize("latents", [True, False])
def test_it_gives_diffusers_numbers(latents: bool, tmp_path: Path) -> None:
    model, path = theirs(latents), tmp_path / "sparse.safetensors"
    save_file(model.state_dict(), path)
    normed_by_frame(model)
    ours = load_sparse_control(path, Parts())
    assert ours.sees_latents == latents and ours.ratio == (1 if latents else 8)
    shown = torch.rand(2, 4 if latents else 3, 8 * ours.ratio, 12 * ours.ratio)
    every = torch.zeros(2, shown.shape[1], FRAMES, *shown.shape[2:])
    mask = torch.zeros(2, 1, *every.shape[2:])
    every[:, :, AT], mask[:, :, AT] = shown.transpose(0, 1), 1.0
    context = torch.randn(2, 7, 16).repeat_interleave(FRAMES, 0)
    down, middle = model(
        torch.randn(2, 4, FRAMES, 8, 12), 500, context, every, conditioning_mask=mask, return_dict=False
    )
    features = ours.embed(shown)[rows_shown(AT, 2 * FRAMES, BOTH)]
    made = ours(features, torch.full((2 * FRAMES,), 500), context, BOTH)
    for mine, expected in zip(made["output"] + made["middle"], (*down, middle), strict=True):
        assert expected.abs().max() > 0.1
        torch.testing.assert_close(mine, expected, atol=1e-4, rtol=1e-4)


def released(tensors: Tensors) -> Tensors:
    """diffusers' keys as the release had them, behind a training wrapper's prefix and without tables."""
    names = {".attn1.": ".attention_blocks.0.", ".norm1.": ".norms.0.", ".norm3.": ".ff_norm."}
    made = {}
    for key, value in tensors.items():
        if ".motion_modules." in key:
            for name, other in names.items():
                key = key.replace(name, other)
            place, rest = key.split(".motion_modules.")
            number, rest = rest.split(".", 1)
            key = f"{place}.motion_modules.{number}.temporal_transformer.{rest}"
        if "pos_embed" not in key:
            made[f"module.{key}"] = value
    return made


def test_the_release_s_keys_are_read_too(tmp_path: Path) -> None:
    given = theirs(False).state_dict()
    save_file(given, tmp_path / "a.safetensors")
    save_file(released(given), tmp_path / "b.safetensors")
    a, b = (load_sparse_control(tmp_path / f"{name}.safetensors", Parts()).state_dict() for name in "ab")
    assert a.keys() == b.keys() and sum("pos_encoder" in key for key in a) == 4
    for key, value in a.items():
        torch.testing.assert_close(value, b[key])


def without(part: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {key: value for key, value in tensors.items() if part not in key}


BROKEN: dict[str, tuple[Callable[[Tensors], Tensors], str]] = {
    "a plain ControlNet": (without("motion_modules"), "holds none.*which the core's Load ControlNet Model"),
    "a motion module": (without("conv_in"), "holds none; expected controlnet_cond_embedding, conv_in and"),
    "without a bias": (without("down_blocks.1.resnets.0.conv1.bias"), r"lacks 1 keys.*input_blocks\.4"),
    "without a level": (without("down_blocks.0.resnets"), r"resnets in down_blocks \[1\], expected every"),
    "one more": (lambda t: {**t, "extra.weight": torch.zeros(1)}, "lacks 0 keys.*1 others.*extra"),
    "another shape": (lambda t: {**t, "mid_block.resnets.0.norm1.weight": torch.zeros(7)}, r"\[7\].*\[64\]"),
    "another embedding": (
        lambda t: {**t, "controlnet_cond_embedding.weight": torch.zeros(32, 9, 3, 3)}, r"\[32, 9.*\[32, 5"),
    "nothing that it is": (lambda _: {"weight": torch.zeros(2)}, "holds none"),
    "not a number": (lambda t: {**t, "conv_in.bias": torch.full((32,), torch.nan)}, "not finite, in conv_in"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_a_file_that_is_none_is_one_error(case: str, tmp_path: Path) -> None:
    harm, message = BROKEN[case]
    save_file(harm(theirs(True).state_dict()), tmp_path / "broken.safetensors")
    with pytest.raises(FramewrightError, match=f"sparse ControlNet: broken.safetensors .*{message}"):
        load_sparse_control(tmp_path / "broken.safetensors", Parts())


def test_a_file_with_any_tensor_harmed_is_one_error(tmp_path: Path) -> None:
    good = theirs(False).state_dict()
    for number, key in enumerate(list(good)[::5]):
        harmed = (None, torch.tensor(1.0), torch.zeros(3), good[key][..., :-1].contiguous())[number % 4]
        bad = {name: value for name, value in good.items() if name != key}
        save_file(bad if harmed is None else {**bad, key: harmed}, tmp_path / "harmed.safetensors")
        with pytest.raises(FramewrightError, match="harmed.safetensors"):
            load_sparse_control(tmp_path / "harmed.safetensors", Parts())


class Shown(Stage):
    """With a sparse ControlNet of random weights, and pictures for it."""

    def __init__(self) -> None:
        super().__init__(FRAMES)
        torch.manual_seed(4)
        net = randomised(SparseControlNet(files.SPARSE))
        for parameter in (net.controlnet_cond_embedding.weight, *net.motion.parameters()):
            parameter.mul_(4)  # so that frames reach each other
        self.net, self.pictures = EmbeddedSparseControl(net), torch.rand(2, 64, 64, 3)

    def controlled(self, at: list[int] | None = AT, net: Any = None, given: Any = None, **more: Any) -> list:
        pictures, frames = more.pop("pictures", self.pictures), more.pop("frames", FRAMES)
        vae, strengths = more.pop("vae", self.vae), Strengths(more.pop("strength", 1.0), **more)
        net = net or self.net
        return control_video(given or self.prompts, net, pictures, frames, "hold", strengths, vae, at)


@pytest.fixture(scope="module")
def stage() -> Shown:
    return Shown()


@pytest.fixture(scope="module")
def plain(stage: Shown) -> Tensor:
    return stage.under(stage.prompts)


@pytest.fixture(scope="module")
def full(stage: Shown) -> Tensor:
    return stage.under(stage.controlled())


def apart(a: Tensor, b: Tensor) -> list[float]:
    """Of each frame, the most."""
    return (a - b).abs().amax((1, 2, 3)).tolist()


def close(a: Tensor, b: Tensor) -> bool:
    return max(apart(a, b)) < 1e-4


def test_a_picture_reaches_every_frame_through_the_temporal_layers(stage: Shown, full: Tensor) -> None:
    other = stage.pictures.clone()
    other[1] = 0
    assert min(apart(stage.under(stage.controlled(pictures=other)), full)) > 1e-3
    still = SparseControlNet(files.SPARSE)
    still.load_state_dict(stage.net.net.state_dict())
    for site in still.motion.channels:
        still.motion.at(site).proj_out.weight.data.zero_()
        still.motion.at(site).proj_out.bias.data.zero_()
    alone = EmbeddedSparseControl(still.eval())
    pair = (stage.under(stage.controlled(net=alone, pictures=one)) for one in (stage.pictures, other))
    changed = apart(*pair)
    assert changed[3] > 1e-3 and max(changed[:3] + changed[4:]) < 1e-5


def test_what_a_frame_is_shown_matters_and_where(stage: Shown, plain: Tensor, full: Tensor) -> None:
    assert min(apart(full, plain)) > 0.1
    assert not close(stage.under(stage.controlled([0, 4])), full)
    assert close(stage.under(stage.controlled([3, 0], pictures=stage.pictures.flip(0))), full)


def test_without_frames_named_they_lie_from_the_first_to_the_last(stage: Shown) -> None:
    spread = stage.under(stage.controlled(None))
    assert close(spread, stage.under(stage.controlled([0, 4])))
    one = {"pictures": stage.pictures[:1]}
    first = stage.under(stage.controlled(None, frames=0, **one))
    assert close(first, stage.under(stage.controlled([0], **one)))


def test_strengths(stage: Shown, plain: Tensor, full: Tensor) -> None:
    assert stage.controlled(strength=0.0) == stage.prompts
    assert close(stage.under(stage.controlled(between=(0.0, 0.0))), plain)
    one = stage.under(stage.controlled(frames=FRAMES, steps=[(0.5, 1.0)], mask=torch.ones(1, 8, 8)))
    assert close(one, full)
    some = stage.under(control_video(
        stage.prompts, stage.net, stage.pictures, FRAMES, "hold", Strengths(1.0, frames=[1, 0, 1, 0, 0]),
        stage.vae, AT,
    ))  # fmt: skip
    for frame, on in enumerate((1, 0, 1, 0, 0)):
        assert close(some[frame : frame + 1], (full if on else plain)[frame : frame + 1])


def test_windows_chunks_and_parts_of_a_plan_know_the_video_s_frames(stage: Shown, full: Tensor) -> None:
    conds = stage.controlled()
    assert close(stage.under(conds, run_in_chunks(stage.model, 2)), full)
    assert close(stage.under(conds, add_windows(stage.model, Windows(5, 2), 0.0, 1.0)), full)
    # Of windows that share no frame each is a video of its own, with its own pictures.
    apart = stage.under(conds, add_windows(stage.model, Windows(3, 0, "batched"), 0.0, 1.0))
    assert close(stage.part([0, 1, 2], stage.model, conds), apart[:3])
    assert not close(apart, full)


def test_beside_other_control_nets(stage: Shown, full: Tensor) -> None:
    canny = stage.host.demo_control("canny")
    one = stage.controlled(given=stage.controlled(strength=0.4), strength=0.6)
    assert close(stage.under(one), full)
    both = [
        stage.under(stage.controlled(given=stage.controlled(net=canny))),
        stage.under(stage.controlled(net=canny, given=stage.controlled())),
    ]
    assert close(*both) and not close(both[0], full)


def test_other_control_nets_act_at_the_frames_named_alone(stage: Shown, plain: Tensor) -> None:
    canny, every = stage.host.demo_control("canny"), torch.rand(FRAMES, 64, 64, 3)
    led = stage.under(stage.controlled([1, 3], canny, pictures=every[[1, 3]]))
    whole = stage.under(stage.controlled(None, canny, pictures=every))
    for frame, on in enumerate((0, 1, 0, 1, 0)):
        assert close(led[frame : frame + 1], (whole if on else plain)[frame : frame + 1])


@pytest.mark.parametrize(("settings", "message"), [
    ({"at": [0]}, "at_frames: 0 came for 2 pictures, expected as many different frames from 0 to 4"),
    ({"at": [2, 2]}, "at_frames: 2, 2 came for 2 pictures, expected as many different"),
    ({"at": [0, 9]}, "at_frames: 0, 9 came for 2 pictures, .* from 0 to 4"),
    ({"at": None, "frames": 1}, "image: 2 pictures came for a sparse ControlNet with frames 1 and no at"),
    ({"at": None, "frames": 0}, "image: 2 pictures came for a sparse ControlNet with frames 0 and no at"),
    ({"vae": None}, "vae: none came, expected that of the video"),
])  # fmt: skip
def test_what_does_not_fit_is_one_error(settings: dict, message: str, stage: Shown) -> None:
    with pytest.raises(FramewrightError, match=message):
        stage.controlled(**settings)


def test_a_picture_after_the_end_is_an_error_when_it_is_sampled(stage: Shown) -> None:
    with pytest.raises(
        FramewrightError, match="a picture at frame 9 came for a video of 5 frames, expected 0 to 4"
    ):
        stage.under(stage.controlled([0, 9], frames=0))


def test_so_it_is_in_windows_and_parts_of_a_plan(stage: Shown) -> None:
    conds = stage.controlled([0, 5], frames=0)
    for render in (
        lambda: stage.under(conds, add_windows(stage.model, Windows(3, 1), 0.0, 1.0)),
        lambda: stage.under(conds, run_in_chunks(stage.model, 2)),
        lambda: stage.part([0, 1, 2], stage.model, conds),
    ):
        with pytest.raises(FramewrightError, match="at frame 5 came for a video of 5 frames, expected"):
            render()


def test_what_a_net_was_not_made_for_is_one_error() -> None:
    net = SparseControlNet(
        SparseParams(replace(files.SPARSE.unet, attention_levels=(1,)), files.SPARSE.motion)
    )
    features, times = torch.zeros(2, 64, 16, 16), torch.zeros(2)
    with pytest.raises(FramewrightError, match="prompts of 9 channels came, expected 64"):
        net(features, times, torch.zeros(2, 3, 9), {})
    with pytest.raises(FramewrightError, match="17 frames came, the sparse ControlNet has positions for 16"):
        net(features[:1].expand(17, -1, -1, -1), times, torch.zeros(17, 3, 64), {})
    with pytest.raises(FramewrightError, match="pictures of 16 channels came, expected 4: the VAE"):
        net.embed(torch.zeros(1, 16, 16, 16))
    with pytest.raises(FramewrightError, match="at_frames: none came; .* by Apply Control to Video"):
        rows_shown((), 2, {})


def test_a_file_becomes_a_control_net_of_the_host(stage: Shown, tmp_path: Path) -> None:
    save_file(theirs(True).state_dict(), tmp_path / "sparse.safetensors")
    assert sparse_control(tmp_path / "sparse.safetensors").sees_latents
