"""Motion module files of every family, told apart by their keys and read to the same numbers."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from framewright.bridge.host import use
from framewright.bridge.motion import NORMED_ACROSS, open_motion, save_layers
from framewright.embedded import folders
from framewright.embedded.folders import Folders
from framewright.embedded.host import EmbeddedHost
from framewright.errors import FramewrightError
from framewright.temporal.camera import CameraControl, load_camera
from framewright.temporal.checkpoint import MotionFile, load_motion
from framewright.temporal.families import KNOWN_CONV, MOTION, NOT_MOTION, base_name
from framewright.temporal.inner_layers import InnerLayer
from framewright.temporal.motion import MotionModel, MotionParams
from framewright.temporal.parts import Parts
from framewright.temporal.video_layers import CausalTransformer, LvdmAttention, LvdmBlock, TemporalConvBlock
from framewright.tests.foreign_keys import as_diffusers, as_hotshot, as_released
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn

# The levels and blocks of the released modules, a tenth as wide.
SD15 = {"channels": (32, 64, 128, 128), "res_blocks": 2}
SDXL = {"channels": (32, 64, 128), "res_blocks": 2}


def weights(mid: bool, length: int, **shape: object) -> dict[str, Tensor]:
    torch.manual_seed(0)
    model = MotionModel(MotionParams(mid_block=mid, positions=length, **shape))
    return {key: value + 0.01 * torch.randn_like(value) for key, value in model.state_dict().items()}


def without_tables(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: value for key, value in tensors.items() if not key.endswith(".pe")}


def with_input_conv(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {**tensors, "conv_in.weight": torch.ones(32, 9, 3, 3), "conv_in.bias": torch.zeros(32)}


FILES: dict[str, tuple[Callable[[], dict[str, Tensor]], str, int]] = {
    "v1": (lambda: weights(False, 24, **SD15), "AnimateDiff v1", 24),
    "v2": (lambda: weights(True, 32, **SD15), "AnimateDiff v2 (or AnimateAnyone)", 32),
    "v3": (lambda: weights(False, 32, **SD15), "AnimateDiff v3", 32),
    "SDXL": (lambda: weights(False, 32, **SDXL), "AnimateDiff SDXL", 32),
    "HotshotXL": (lambda: as_hotshot(weights(False, 8, **SDXL)), "HotshotXL", 8),
    "AnimateLCM": (lambda: without_tables(weights(True, 32, **SD15)), "AnimateLCM", 64),
    "diffusers": (lambda: as_diffusers(weights(True, 32, **SD15)), "AnimateDiff v2 (or AnimateAnyone)", 32),
    "PIA": (lambda: with_input_conv(weights(True, 32, **SD15)), "PIA", 32),
    "other": (lambda: weights(True, 16, channels=(32, 64), res_blocks=1), "AnimateDiff type", 16),
}  # fmt: skip


def load(tensors: dict[str, Tensor], folder: Path) -> MotionFile:
    save_file(tensors, folder / "file.safetensors")
    return load_motion(folder / "file.safetensors", Parts())


@pytest.mark.parametrize("case", FILES)
def test_a_file_is_of_the_family_that_its_keys_say(case: str, tmp_path: Path) -> None:
    make, family, positions = FILES[case]
    tensors = make()
    for prefix in ("", "module.", "motion_module."):
        loaded = load({prefix + key: value for key, value in tensors.items()}, tmp_path)
        assert (loaded.family, loaded.model.params.positions) == (family, positions)
    lines = "\n".join(loaded.lines())
    assert f"family: {family}" in lines and f"frames at once: {positions}" in lines and "float32" in lines
    assert ("no position table" in lines) == (case == "AnimateLCM")
    assert (loaded.input_conv is not None) == (case == "PIA") == ("input convolution" in lines)


@pytest.mark.parametrize("rename", [as_diffusers, as_hotshot])
def test_a_foreign_layout_gives_the_same_weights(rename: Callable, tmp_path: Path) -> None:
    tensors = weights(False, 24, **SDXL)
    for key, table in tensors.items():  # diffusers has one table for both attentions
        if key.endswith("attention_blocks.1.pos_encoder.pe"):
            tensors[key] = tensors[key.replace("attention_blocks.1", "attention_blocks.0")].clone()
            assert tensors[key].shape == table.shape
    loaded = load(rename(tensors), tmp_path).model.state_dict()
    assert loaded.keys() == tensors.keys()
    assert all(torch.equal(loaded[key], tensors[key]) for key in tensors)


SIGNS = {
    "motion LoRA": "down_blocks.0.motion_modules.0.processor.to_q_lora.down.weight",
    "CameraCtrl": "down_blocks.0.motion_modules.0.processor.qkv_merge.weight",
    "SparseCtrl": "input_hint_block.0.weight|down_blocks.0.motion_modules.0.temporal_transformer.norm.bias",
    "Stable Video Diffusion": "middle_block.1.time_stack.0.to_q.weight|middle_block.1.time_mixer.mix_factor",
    "VideoCrafter": "init_attn.0.norm.weight|input_blocks.1.0.temopral_conv.conv.0.0.weight",
}


@pytest.mark.parametrize("case", [*FILES, "frame-conditioned"])
def test_a_file_that_was_saved_is_what_it_was(case: str, tmp_path: Path) -> None:
    """With its family, and the convolutions that came along."""
    known = weights(True, 16, channels=(32, 64), res_blocks=1) | {KNOWN_CONV: torch.ones(32, 5, 3, 3)}
    use(EmbeddedHost())
    save_file(known if case == "frame-conditioned" else FILES[case][0](), tmp_path / "first.safetensors")
    first = open_motion(tmp_path / "first.safetensors", "first")
    with folders.use(Folders(output=tmp_path)):
        again = open_motion(save_layers(first, "again"), "again")
    assert again.file.family == first.file.family
    kept, found = first.file.tensors(), again.file.tensors()
    assert kept.keys() == found.keys() and all(torch.equal(kept[key], found[key]) for key in kept)
    assert (again.file.input_conv is None) == (case != "PIA")
    assert (again.file.known_conv is None) == (case != "frame-conditioned")


def test_norms_across_frames_are_of_families_that_there_are() -> None:
    assert NORMED_ACROSS.keys() <= {family.name for family in MOTION} | {"HotshotXL"}


@pytest.mark.parametrize("family", NOT_MOTION, ids=lambda family: family.name)
def test_a_file_of_another_kind_is_named_with_what_takes_it(family: object, tmp_path: Path) -> None:
    with pytest.raises(FramewrightError, match=f"file.safetensors is of the family {family.name}: "):
        load({key: torch.zeros(2) for key in SIGNS[family.name].split("|")}, tmp_path)


def test_a_file_of_no_family_says_what_it_holds_and_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(FramewrightError, match=r"vae\.decoder \(2\).*no known family.*temopral_conv"):
        load({"vae.decoder.a": torch.zeros(1), "vae.decoder.b": torch.zeros(1)}, tmp_path)


def test_bases_have_their_names() -> None:
    assert base_name((320, 640, 1280, 1280)).startswith("SD1.5 (320")
    assert base_name((320, 640, 1280)).startswith("SDXL (320")
    assert base_name((64, 96)) == "a model with 64, 96 channels"


def under(path: str, layer: nn.Module) -> dict[str, Tensor]:
    torch.manual_seed(0)
    return {f"{path}.{key}": 0.1 * torch.randn(value.shape) for key, value in layer.state_dict().items()}


def camera() -> dict[str, Tensor]:
    path = "down_blocks.0.motion_modules.0.temporal_transformer"
    control = CameraControl((32, 64), 2, 8, {path: 32}, Parts())
    return as_released(control.state_dict())


# One layer or two of every kind, and what reads them.
BASES: dict[str, tuple[dict[str, Tensor], Callable]] = {
    "AnimateDiff type": (weights(True, 4, channels=(32,), res_blocks=1), load_motion),
    "Tune-A-Video": (
        under("down_blocks.0.attentions.0.transformer_blocks.0", InnerLayer(32, 0, Parts())), load_motion),
    "FollowYourPose": (
        under("down_blocks.0.attentions.0.transformer_blocks.0", InnerLayer(32, 4, Parts())), load_motion),
    "LVDM": (
        under("input_blocks.1.1.transformer_blocks.0", LvdmBlock(32, 3, 8, Parts())), load_motion),
    "LVDM, unconditional": (under("input_blocks.1.1", LvdmAttention(32, 3, 8, Parts())), load_motion),
    "Make-Your-Video": (
        under("input_blocks.1.0.temopral_conv", TemporalConvBlock(32, Parts()))
        | under("input_blocks.1.2", CausalTransformer(32, 3, 8, Parts())), load_motion),
    "CameraCtrl": (camera(), load_camera),
}  # fmt: skip


@pytest.mark.parametrize("family", BASES)
def test_a_whole_file_is_read(family: str, tmp_path: Path) -> None:
    tensors, reader = BASES[family]
    save_file(tensors, tmp_path / "whole.safetensors")
    loaded = reader(tmp_path / "whole.safetensors", Parts())
    assert isinstance(loaded, CameraControl) or loaded.family == family


@settings(max_examples=2800, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    family=st.sampled_from(sorted(BASES)),
    edits=st.lists(
        st.tuples(
            st.sampled_from(["drop", "rename", "reshape", "not finite", "cast", "number"]),
            st.integers(0, 200),
            st.integers(0, 2**31),
        ),
        max_size=4,
    ),
    flips=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=3),
    cut=st.floats(0, 1),
)
def test_a_damaged_file_is_one_error_or_a_sound_module(
    family: str, edits: list, flips: list, cut: float, tmp_path: Path
) -> None:
    """Keys dropped, renamed and reshaped, values spoiled, header bytes flipped, the file cut short."""
    base, reader = BASES[family]
    tensors, keys = dict(base), sorted(base)
    for kind, index, number in edits:
        key = keys[index % len(keys)]
        if key not in tensors:
            continue
        value = tensors.pop(key)
        if kind == "rename":
            tensors[key[: number % len(key)] + "x" + key[number % len(key) :]] = value
        elif kind == "number":
            tensors[key.replace(".0.", f".{number}.", 1)] = value
        elif kind == "reshape":
            tensors[key] = value.flatten()[: max(1, number % value.numel())].clone()
        elif kind == "not finite":
            tensors[key] = torch.full_like(value, float("nan"))
        elif kind == "cast":
            tensors[key] = value.half()
    path = tmp_path / "fuzzed.safetensors"
    save_file(tensors, path)
    content = bytearray(path.read_bytes())
    header = 8 + int.from_bytes(content[:8], "little")
    for place, byte in flips:
        content[int(place * (header - 1))] = byte
    if cut < 0.2:
        content = content[: int(cut * 5 * len(content))]
    path.write_bytes(content)
    try:
        loaded = reader(path, Parts())
    except FramewrightError as error:
        assert "fuzzed.safetensors" in str(error)
        return
    model = loaded if isinstance(loaded, CameraControl) else loaded.model
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())
    if isinstance(loaded, MotionFile):
        assert set(model.channels.values()) == {32}
