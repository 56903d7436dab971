"""ControlNets over frames in the built-in host: what each strength does, in windows, chunks and chains."""

from typing import Any

import pytest
import torch
from framewright.bridge.control import Strengths, control_video
from framewright.bridge.pictures import masks
from framewright.bridge.windows import add_windows, run_in_chunks
from framewright.demo import files
from framewright.errors import FramewrightError
from framewright.sampling.window_plan import Windows
from framewright.temporal.builder import UNetParams
from framewright.temporal.control_net import ControlNet, encoder_weights
from framewright.temporal.unet import SpaceTimeUNet
from framewright.tests.stage import Stage
from torch import Tensor

FRAMES = 6
TINY = UNetParams(
    model_channels=16, channel_mult=(1, 2), num_res_blocks=1, attention_levels=(1,), context_dim=8,
    head_channels=8, norm_groups=4,
)  # fmt: skip


class Scene(Stage):
    """With a map of edges for each frame."""

    def __init__(self) -> None:
        super().__init__(FRAMES, cfg=2.0)
        self.net = self.host.demo_control("canny")
        self.maps = torch.zeros(FRAMES, 64, 64, 3)
        for frame in range(FRAMES):
            self.maps[frame, 20:40, 8 + 4 * frame : 28 + 4 * frame] = 1.0
            self.maps[frame, 22:38, 10 + 4 * frame : 26 + 4 * frame] = 0.0

    def controlled(self, given: Any = None, maps: Any = None, fit: str = "hold", **strengths: Any) -> list:
        settings = Strengths(strengths.pop("strength", 1.0), **strengths)
        maps = self.maps if maps is None else maps
        return control_video(given or self.prompts, self.net, maps, FRAMES, fit, settings)


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene()


@pytest.fixture(scope="module")
def plain(scene: Scene) -> Tensor:
    return scene.under(scene.prompts)


@pytest.fixture(scope="module")
def full(scene: Scene) -> Tensor:
    return scene.under(scene.controlled())


def apart(a: Tensor, b: Tensor) -> float:
    """Of each frame, the least and the most."""
    return float((a - b).abs().max())


def close(a: Tensor, b: Tensor) -> bool:
    return apart(a, b) < 1e-4


def test_a_control_net_adds_nothing_until_it_is_trained_and_then_does() -> None:
    torch.manual_seed(0)
    unet, net = SpaceTimeUNet(TINY), ControlNet(TINY)
    net.load_state_dict(encoder_weights(unet.state_dict(), list(net.state_dict())), strict=False)
    x, context, hint = torch.randn(2, 4, 8, 8), torch.randn(2, 3, 8), torch.rand(2, 3, 32, 32)
    at = torch.full((2,), 300)
    before = unet(x, at, context)
    assert torch.equal(unet(x, at, context, control=net(x, hint, at, context)), before)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
    for _ in range(2):
        unet(x, at, context, control=net(x, hint, at, context)).pow(2).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    after = unet(x, at, context, control=net(x, hint, at, context))
    assert not torch.equal(after, before)
    assert not torch.equal(after, unet(x, at, context, control=net(x, 1 - hint, at, context)))


def test_its_keys_are_the_released_layout_s() -> None:
    keys = set(ControlNet(TINY).state_dict())
    heads = {key.rsplit(".", 1)[0] for key in keys}
    for name in ("time_embed.0", "input_blocks.0.0", "input_hint_block.0", "zero_convs.0.0",
                 "middle_block_out.0", "middle_block.1.transformer_blocks.0.attn1.to_q"):  # fmt: skip
        assert name in heads, name
    begun = encoder_weights(SpaceTimeUNet(TINY).state_dict(), list(keys))
    own = ("input_hint_block", "zero_convs", "middle_block_out")
    assert keys - set(begun) == {key for key in keys if key.startswith(own)}


def test_the_demo_s_four_fit_into_twelve_megabytes() -> None:
    assert sum((files.FOLDER / f"{name}.safetensors").stat().st_size for name in files.CONTROLS) <= 12e6


def test_it_does_something_in_every_frame(plain: Tensor, full: Tensor) -> None:
    assert min(apart(a, b) for a, b in zip(plain, full, strict=True)) > 0.1


def test_without_strength_nothing_changes(scene: Scene, plain: Tensor) -> None:
    assert scene.controlled(strength=0.0) == scene.prompts
    for settings in ({"frames": [0.0]}, {"steps": [(0.0, 0.0)]}, {"layers": {"input": 0.0, "middle": 0.0}},
                     {"mask": torch.zeros(1, 64, 64)}):  # fmt: skip
        assert close(scene.under(scene.controlled(**settings)), plain), settings


def test_all_of_everything_is_full_strength(scene: Scene, full: Tensor) -> None:
    settings = {"frames": [1.0], "steps": [(0.5, 1.0)], "layers": {"input": 1.0}, "mask": torch.ones(1, 8, 8)}
    assert close(scene.under(scene.controlled(**settings)), full)


def test_a_frame_without_strength_is_as_without_control(scene: Scene, plain: Tensor, full: Tensor) -> None:
    made = scene.under(scene.controlled(frames=[1.0, 0.0, 1.0, 0.0, 0.0, 1.0]))
    for frame, on in enumerate((1, 0, 1, 0, 0, 1)):
        assert close(made[frame], (full if on else plain)[frame])


def test_strength_by_frame_is_strength(scene: Scene) -> None:
    assert close(scene.under(scene.controlled(frames=[0.5])), scene.under(scene.controlled(strength=0.5)))


def test_a_mask_keeps_the_rest_nearer_to_what_it_was(scene: Scene, plain: Tensor, full: Tensor) -> None:
    mask = torch.zeros(FRAMES, 64, 64)
    mask[..., 32:] = 1
    made = scene.under(scene.controlled(mask=mask))
    left = (made - plain)[..., :6].abs().mean() / (full - plain)[..., :6].abs().mean()
    right = (made - plain)[..., 10:].abs().mean() / (full - plain)[..., 10:].abs().mean()
    assert left < 0.75 * right


def test_it_holds_for_its_part_of_sampling(scene: Scene, plain: Tensor, full: Tensor) -> None:
    early = scene.under(scene.controlled(between=(0.0, 0.3)))
    assert not close(early, plain) and not close(early, full)
    assert close(scene.under(scene.controlled(between=(0.0, 0.0))), plain)
    with pytest.raises(FramewrightError, match=r"start_percent: 0.7 came, expected at most end_percent, 0.2"):
        scene.controlled(between=(0.7, 0.2))


@pytest.mark.parametrize("count", [4, 8])
def test_maps_of_another_number_than_frames_are_the_same_in_every_condition(scene: Scene, count: int) -> None:
    """As the host has it: too many are cut, too few start over."""
    given = scene.maps[[k % FRAMES for k in range(count)]]
    as_frames = given[[k % count for k in range(FRAMES)]]
    settings = Strengths(1.0)
    other = control_video(scene.prompts, scene.net, given, 0, "hold", settings)
    expected = control_video(scene.prompts, scene.net, as_frames, 0, "hold", settings)
    assert torch.equal(scene.under(other), scene.under(expected))


def test_fewer_maps_are_held_and_one_is_for_all(scene: Scene) -> None:
    held = torch.cat([scene.maps[:2], scene.maps[1:2].expand(4, -1, -1, -1)])
    assert torch.equal(
        scene.under(scene.controlled(maps=scene.maps[:2])), scene.under(scene.controlled(maps=held))
    )
    one = scene.maps[:1]
    assert close(
        scene.under(scene.controlled(maps=one)),
        scene.under(scene.controlled(maps=one.expand(FRAMES, -1, -1, -1))),
    )


@pytest.mark.parametrize("settings", [{}, {"frames": [1.0, 0.2]}, {"mask": torch.rand(FRAMES, 9, 9)}])
def test_windows_and_chunks_give_the_frames_of_all_at_once(scene: Scene, settings: dict) -> None:
    conds = scene.controlled(**settings)
    whole = scene.under(conds)
    windowed = add_windows(scene.model, Windows(4, 2), 0.0, 1.0)
    assert close(scene.under(conds, windowed), whole)
    assert close(scene.under(conds, run_in_chunks(scene.model, 4)), whole)


def test_several_are_added_in_a_chain(scene: Scene, full: Tensor) -> None:
    two = scene.controlled(scene.controlled(strength=0.4), strength=0.6)
    assert close(scene.under(two), full)
    off = scene.controlled(scene.controlled(), frames=[0.0])
    assert close(scene.under(off), full), "the one before goes on"
    assert close(scene.under(scene.controlled(scene.controlled(), between=(0.0, 0.0))), full)


def test_on_the_positive_prompt_alone(scene: Scene, plain: Tensor, full: Tensor) -> None:
    positive, _ = scene.controlled()
    made = scene.under([positive, scene.prompts[1]])
    assert not close(made, plain) and not close(made, full)


def test_maps_of_another_shape_are_cut_about_their_middle(scene: Scene, full: Tensor) -> None:
    wide = torch.cat([torch.ones(FRAMES, 64, 32, 3), scene.maps, torch.ones(FRAMES, 64, 32, 3)], 2)
    assert close(scene.under(scene.controlled(maps=wide)), full)


def test_one_map_with_masks_needs_no_number_of_frames(scene: Scene) -> None:
    mask, one = torch.zeros(FRAMES, 64, 64), scene.maps[:1]
    mask[..., 32:] = 1
    expected = scene.under(scene.controlled(maps=one, mask=mask))
    for given in (mask, masks(mask[0]), mask[:1]):
        made = control_video(scene.prompts, scene.net, one, 0, "hold", Strengths(1.0, mask=given))
        assert close(scene.under(made), expected)
    with pytest.raises(FramewrightError, match="frames: 0 came beside one map and frame_strength"):
        control_video(scene.prompts, scene.net, one, 0, "hold", Strengths(1.0, frames=[1.0, 0.5]))


def test_maps_that_are_not_finite_and_strengths_of_another_length_are_errors(scene: Scene) -> None:
    broken = scene.maps.clone()
    broken[2, 5, 5] = float("nan")
    with pytest.raises(FramewrightError, match="image: maps with values that are not finite"):
        scene.controlled(maps=broken)
    settings = Strengths(1.0, frames=[1.0, 0.5])
    other = control_video(scene.prompts, scene.net, scene.maps, 4, "hold", settings)
    with pytest.raises(FramewrightError, match="strengths or masks for 4 frames.*which has 6"):
        scene.under(other)
    longer = control_video(scene.prompts, scene.net, scene.maps, 8, "hold", settings)
    with pytest.raises(FramewrightError, match="strengths or masks for 8 frames.*which has 6"):
        scene.under(longer, add_windows(scene.model, Windows(4, 2), 0.0, 1.0))


def test_a_mask_comes_in_several_ways() -> None:
    flat = torch.rand(9, 7)
    for given in (flat, flat[None], flat[None, None]):
        assert torch.equal(masks(given), flat[None])
    assert masks(None) is None
    with pytest.raises(FramewrightError, match=r"mask: \[1, 3, 9, 7\] came, expected \[masks, height"):
        masks(flat.expand(1, 3, 9, 7))
