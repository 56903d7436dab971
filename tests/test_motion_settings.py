"""Where, when and how much a motion module acts, and what motion LoRAs add to it."""

import itertools
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from framewright.errors import FramewrightError
from framewright.sampling.window_plan import Windows
from framewright.temporal.extent import LEVELS
from framewright.temporal.keyed_text import frame_values, layer_values
from framewright.temporal.motion import MotionModel, MotionParams
from framewright.temporal.motion_lora import load_lora
from framewright.temporal.motion_settings import AppliedMotion, MotionSettings, Positions
from framewright.temporal.parts import Parts
from framewright.temporal.patterns import PATTERNS, key_frames
from framewright.temporal.slots import FRAMES, NUMBERS, POSITIONS
from safetensors.torch import load_file, save_file
from torch import Tensor

PARAMS = MotionParams(channels=(32, 64), res_blocks=1, positions=12)
SITE = ("input", 1)


@pytest.fixture(scope="module")
def model() -> MotionModel:
    torch.manual_seed(0)
    made = MotionModel(PARAMS)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return made.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def x() -> Tensor:
    return torch.randn(6, 32, 4, 4, generator=torch.Generator().manual_seed(1))


def run(model: MotionModel, x: Tensor, options: dict | None = None, **settings: object) -> Tensor:
    return AppliedMotion(model, MotionSettings(**settings))(SITE, x, {FRAMES: 6, **(options or {})})


def test_strength_is_of_what_the_layers_add(model: MotionModel, x: Tensor) -> None:
    full = run(model, x)
    assert not torch.allclose(full, x)
    assert torch.equal(run(model, x, strength=0.0), x)
    torch.testing.assert_close(run(model, x, strength=0.5), (x + full) / 2)
    torch.testing.assert_close(run(model, x, strength=0.5, layers={SITE: 0.5}), x + (full - x) / 4)
    assert torch.equal(run(model, x, layers={"input": 0.0}), x)
    assert torch.equal(run(model, x, layers={"input": 0.0, SITE: 1.0}), full)
    assert torch.equal(run(model, x, layers={"output": 0.0, ("input", 3): 0.0}), full)


def test_layers_rest_outside_their_noise_levels(model: MotionModel, x: Tensor) -> None:
    for level, acts in ((2.0, False), (1.0, True), (0.7, True), (0.5, True), (0.1, False)):
        told = {"sigmas": torch.tensor([level]), LEVELS: lambda part: 2 * (1 - part)}
        given = run(model, x, told, steps=(0.5, 0.75))
        assert torch.equal(given, x) != acts


def test_a_part_of_sampling_is_refused_outside_of_sampling(model: MotionModel, x: Tensor) -> None:
    with pytest.raises(FramewrightError, match="end_percent: a part of sampling came where"):
        run(model, x, {"sigmas": torch.tensor([1.0])}, steps=(0.5, 0.75))


def test_frames_and_masks_count_in_the_whole_video(model: MotionModel, x: Tensor) -> None:
    full = run(model, x)
    half = run(model, x, frames=[0.0, 0.5, 1.0])
    assert torch.equal(half[0], x[0])
    torch.testing.assert_close(half[1], (x[1] + full[1]) / 2)
    torch.testing.assert_close(half[2:], full[2:])
    later = run(model, x, {NUMBERS: torch.arange(1, 7)}, frames=[0.0, 0.5, 1.0])
    torch.testing.assert_close(later[0], (x[0] + full[0]) / 2)
    mask = torch.zeros(1, 32, 32)
    mask[:, :, 16:] = 1
    masked = run(model, x, mask=mask)
    assert torch.equal(masked[..., :2], x[..., :2])
    torch.testing.assert_close(masked[..., 2:], full[..., 2:])
    both = run(model, x.repeat(2, 1, 1, 1), {FRAMES: 6, NUMBERS: torch.arange(6)}, mask=mask)
    torch.testing.assert_close(both, masked.repeat(2, 1, 1, 1))  # with and without a prompt
    with pytest.raises(FramewrightError, match="mask: 5 frames came, expected 1 or at least the 6"):
        run(model, x, mask=torch.ones(5, 4, 4))


def test_windows_let_a_module_take_more_frames_than_it_has_positions(model: MotionModel) -> None:
    long = torch.randn(20, 32, 4, 4, generator=torch.Generator().manual_seed(2))
    with pytest.raises(FramewrightError, match="20 frames came, the motion module has positions for 12"):
        run(model, long, {FRAMES: 20})
    given = run(model, long, {FRAMES: 20}, views=Windows(8, 4))
    assert torch.isfinite(given).all() and not torch.allclose(given, long, atol=1e-2)
    disturbed = long.clone()
    disturbed[-1] += 1
    kept = run(model, disturbed, {FRAMES: 20}, views=Windows(8, 4))
    torch.testing.assert_close(kept[:12], given[:12])  # what no window of the last frame holds


def test_windows_of_several_lengths_are_refused(model: MotionModel) -> None:
    windows = Windows(4, 0, "batched")
    with pytest.raises(FramewrightError, match="windows: windows of 2 to 4 frames came for 10"):
        AppliedMotion(model, MotionSettings(views=windows))(
            ("input", 1), torch.randn(10, 32, 4, 4), {FRAMES: 10}
        )


def test_positions_shift_stretch_and_spread(model: MotionModel, x: Tensor) -> None:
    assert torch.equal(run(model, x, positions=Positions()), run(model, x))
    shifted = run(model, x, positions=Positions(shift=3))
    torch.testing.assert_close(shifted, run(model, x, {POSITIONS: torch.arange(3, 9)}))
    assert not torch.allclose(shifted, run(model, x))
    assert Positions(stretch=0.5).rows(torch.arange(4), 12).tolist() == [0, 0.5, 1, 1.5]
    spread = Positions(interpolate=True).rows(torch.arange(23), 12)
    assert spread[-1] == 11 and spread[1] == 0.5
    for length, frames in itertools.product((16, 24, 32, 64), range(17, 200)):
        assert float(Positions(interpolate=True).rows(torch.arange(frames), length).max()) <= length - 1
    long = torch.randn(18, 32, 2, 2)
    assert run(model, long, {FRAMES: 18}, positions=Positions(interpolate=True)).shape == long.shape
    with pytest.raises(
        FramewrightError, match="18 frames .*0 to 17, the motion module has 0 to 11; .*Windows"
    ):
        run(model, long, {FRAMES: 18}, positions=Positions())
    with pytest.raises(FramewrightError, match="18 frames came.*for 12; .*Context Windows.*Motion Positions"):
        run(model, long, {FRAMES: 18})
    for bad in ({"shift": -1.0}, {"stretch": 0.0}, {"shift": float("nan")}):
        with pytest.raises(FramewrightError, match=f"{next(iter(bad))}: "):
            Positions(**bad)


def test_a_paced_module_takes_each_windows_own_distances(model: MotionModel, x: Tensor) -> None:
    layers = AppliedMotion(model, MotionSettings(), paced=True)
    numbers = torch.tensor([[0, 1, 2], [0, 2, 4], [3, 4, 5]])
    clips = torch.cat([x[:3]] * 3)
    together = layers(SITE, torch.cat([clips] * 2), {FRAMES: 3, NUMBERS: numbers.flatten()})
    alone = torch.cat([layers(SITE, x[:3], {FRAMES: 3, NUMBERS: one}) for one in numbers])
    torch.testing.assert_close(together, torch.cat([alone] * 2))
    assert torch.equal(alone[:3], alone[6:]) and not torch.allclose(alone[:3], alone[3:6], atol=1e-4)


def test_a_fraction_of_a_row_is_the_mix_of_two(model: MotionModel) -> None:
    table = model.at(SITE).transformer_blocks[0].attention_blocks[0].pos_encoder
    given = table(torch.zeros(1, 2, 1, 32), torch.tensor([1.25, 2.0]))[:, :, 0]
    torch.testing.assert_close(given[0, 0], 0.75 * table.pe[0, 1] + 0.25 * table.pe[0, 2])
    torch.testing.assert_close(given[0, 1], table.pe[0, 2])


@pytest.mark.parametrize("name", ["windowed temporal", "causal temporal", "windowed causal", "first frame"])
def test_a_pattern_in_the_module_is_a_masked_softmax(name: str, model: MotionModel, x: Tensor) -> None:
    pattern = next(one for title, one in PATTERNS.items() if title.startswith(name))
    reads = torch.zeros(6, 6)
    for i, keys in enumerate(key_frames(pattern, 6)):
        reads[i, list(keys)] = 1

    def by_hand(q: Tensor, k: Tensor, v: Tensor, heads: int, mask: None = None) -> Tensor:
        q, k, v = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (q, k, v))
        scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
        if pattern.renormalise:
            weights = scores.masked_fill(reads == 0, -torch.inf).softmax(-1)
        else:
            weights = scores.softmax(-1) * reads
        return (weights @ v).transpose(1, 2).flatten(2)

    masked = MotionModel(PARAMS, Parts(attention=by_hand))
    masked.load_state_dict(model.state_dict())
    given = run(model, x, pattern=pattern)
    torch.testing.assert_close(given, run(masked, x), atol=1e-5, rtol=1e-4)


def test_text_gives_values_over_frames_and_layers() -> None:
    assert frame_values("", "s") is None
    assert frame_values("0: 0, 4: 1", "s") == [0, 0.25, 0.5, 0.75, 1]
    assert frame_values("2: 0.5", "s") == [0.5] * 3
    assert layer_values("input: 0.5,\n output 3: 0", "s") == {"input": 0.5, ("output", 3): 0.0}
    for bad in ("4", "a: 1", "0: x", "-1: 1", "0: nan", "9999999: 1", "²: 1", "0: 1, 00: 0"):
        with pytest.raises(FramewrightError, match="frames: "):
            frame_values(bad, "frames")
    for bad in ("down: 1", "input x: 1", "output 3", "input: inf", "input 1: 1\ninput  1: 0"):
        with pytest.raises(FramewrightError, match="layers: "):
            layer_values(bad, "layers")


BLOCK = "down_blocks.0.motion_modules.0.temporal_transformer.transformer_blocks.0.attention_blocks.1"
PROJECTIONS = ("to_q", "to_k", "to_v", "to_out")


def animatediff_name(block: str, projection: str, side: str) -> str:
    return f"{block}.processor.{projection}_lora.{side}.weight"


def kohya_name(block: str, projection: str, side: str) -> str:
    name = projection + ("_0" if projection == "to_out" else "")
    return f"lora_unet_{block.replace('.', '_')}_{name}.lora_{side}.weight"


def peft_name(block: str, projection: str, side: str) -> str:
    name = projection + (".0" if projection == "to_out" else "")
    block = block.replace("temporal_transformer.", "").replace("attention_blocks.1", "attn2")
    return f"base_model.model.unet.{block}.{name}.lora_{'A' if side == 'down' else 'B'}.weight"


def motion_director_name(block: str, projection: str, side: str) -> str:
    name = "to_out.processor.0_lora" if projection == "to_out" else f"processor.{projection}_lora"
    return f"{block}.{name}.{side}.weight"


@pytest.mark.parametrize("name", [animatediff_name, kohya_name, peft_name, motion_director_name])
@pytest.mark.parametrize("alpha", [None, 1.0])
def test_a_motion_lora_is_the_rewritten_weights(
    name: object, alpha: float | None, model: MotionModel, x: Tensor, tmp_path: Path
) -> None:
    torch.manual_seed(2)
    pairs = {one: (torch.randn(2, 32) * 0.2, torch.randn(32, 2) * 0.2) for one in PROJECTIONS}
    tensors = {}
    for one, (down, up) in pairs.items():
        tensors |= {name(BLOCK, one, "down"): down, name(BLOCK, one, "up"): up}
        if alpha is not None and name is kohya_name:
            tensors[name(BLOCK, one, "up").replace("lora_up.weight", "alpha")] = torch.tensor(alpha)
    scale = alpha / 2 if alpha is not None and name is kohya_name else 1.0
    save_file(tensors, tmp_path / "pan.safetensors")
    lora = load_lora(tmp_path / "pan.safetensors", Parts())
    lora.check(model, "pan")

    rewritten = MotionModel(PARAMS)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    for one, (down, up) in pairs.items():
        state[f"{BLOCK}.{one}{'.0' if one == 'to_out' else ''}.weight"] += 0.7 * scale * up @ down
    rewritten.load_state_dict(state)
    beside = AppliedMotion(model, MotionSettings(), [lora.bind(model, 0.4), lora.bind(model, 0.3)])
    torch.testing.assert_close(beside(SITE, x, {FRAMES: 6}), run(rewritten, x), atol=1e-5, rtol=1e-4)
    assert not F.mse_loss(run(model, x), run(rewritten, x)) < 1e-6


FEED_FORWARD = BLOCK.replace("attention_blocks.1", "ff")


KOHYA, PEFT = FEED_FORWARD.replace(".", "_"), FEED_FORWARD.replace("temporal_transformer.", "")
FEED_FORWARD_NAMES = {
    "MotionDirector": (f"{FEED_FORWARD}.net.0.processor.proj_lora.", f"{FEED_FORWARD}.net.processor.2_lora."),
    "kohya": (f"lora_unet_{KOHYA}_net_0_proj.lora_", f"lora_unet_{KOHYA}_net_2.lora_"),
    "peft": (f"base_model.model.unet.{PEFT}.net.0.proj.lora_", f"base_model.model.unet.{PEFT}.net.2.lora_"),
}


@pytest.mark.parametrize("names", FEED_FORWARD_NAMES)
def test_a_motion_lora_of_the_feed_forward_too(
    names: str, model: MotionModel, x: Tensor, tmp_path: Path
) -> None:
    torch.manual_seed(2)
    state, tensors = {key: value.clone() for key, value in model.state_dict().items()}, {}
    projections = ("net.0.proj", 32, 256), ("net.2", 128, 32)
    for name, (one, inner, outer) in zip(FEED_FORWARD_NAMES[names], projections, strict=True):
        down, up = torch.randn(2, inner) * 0.2, torch.randn(outer, 2) * 0.2
        state[f"{FEED_FORWARD}.{one}.weight"] += up @ down
        sides = ("A", "B") if names == "peft" else ("down", "up")
        tensors |= {f"{name}{sides[0]}.weight": down, f"{name}{sides[1]}.weight": up}
    save_file(tensors, tmp_path / "pan.safetensors")
    lora = load_lora(tmp_path / "pan.safetensors", Parts())
    lora.check(model, "pan")
    rewritten = MotionModel(PARAMS)
    rewritten.load_state_dict(state)
    beside = AppliedMotion(model, MotionSettings(), [lora.bind(model, 1.0)])(SITE, x, {FRAMES: 6})
    torch.testing.assert_close(beside, run(rewritten, x), atol=1e-5, rtol=1e-4)
    assert not torch.allclose(beside, run(model, x), atol=1e-3)


def test_a_motion_lora_that_does_not_fit_is_one_error(model: MotionModel, tmp_path: Path) -> None:
    path = tmp_path / "zoom.safetensors"

    def saved(**tensors: Tensor) -> Path:
        save_file({animatediff_name(BLOCK, "to_q", side): value for side, value in tensors.items()}, path)
        return path

    with pytest.raises(
        FramewrightError, match=r"zoom.* is for a projection of \[48, 48\].*one of \[32, 32\]"
    ):
        load_lora(saved(down=torch.ones(2, 48), up=torch.ones(48, 2)), Parts()).check(model, "zoom")
    for wrong in ({"down": torch.ones(2, 32)}, {"down": torch.ones(2, 32), "up": torch.ones(32, 3)}):
        with pytest.raises(FramewrightError, match=r"zoom.safetensors has .*expected down \[r, in\], up"):
            load_lora(saved(**wrong), Parts())
    others = {f"{BLOCK}.norms.{number}.weight": torch.ones(2) for number in range(2)}
    save_file(load_file(saved(down=torch.ones(2, 32), up=torch.ones(32, 2))) | others, path)
    with pytest.raises(FramewrightError, match=r"zoom.safetensors holds 2 tensors that .*norms\.0"):
        load_lora(path, Parts())
    save_file({"something": torch.ones(2)}, path)
    with pytest.raises(FramewrightError, match="zoom.safetensors holds 1 tensors .*first: something"):
        load_lora(path, Parts())


def test_a_paced_module_takes_the_distances_of_every_view(model: MotionModel) -> None:
    """Of several clips in a call too, whose windows are laid over each alike."""
    windows, numbers = Windows(4, 2), torch.tensor([[0, 3, 4, 5, 6, 7], [0, 2, 4, 6, 7, 8]])
    x = torch.randn(12, 32, 4, 4, generator=torch.Generator().manual_seed(3))
    layers = AppliedMotion(model, MotionSettings(views=windows), paced=True)
    together = layers(SITE, x, {FRAMES: 6, NUMBERS: numbers.flatten()})
    alone = [
        layers(SITE, clip, {FRAMES: 6, NUMBERS: one}) for clip, one in zip(x.split(6), numbers, strict=True)
    ]
    torch.testing.assert_close(together, torch.cat(alone))
    even = layers(SITE, x[:6], {FRAMES: 6, NUMBERS: torch.arange(6)})
    gap = alone[0] - even
    assert gap[:2].abs().max() > 1e-4, "its first window is paced"
    assert gap[4:].abs().max() < 1e-6, "its last one is as even as any"
