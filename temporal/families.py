"""Whose file this is: the families of temporal weights that artists own, told by their keys alone."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from .slots import Site

Tensors = Mapping[str, Tensor]
KNOWN_CONV = "known_frames.weight"


@dataclass(frozen=True)
class Family:
    """`signature` are the keys it is told by; `instead` is what takes of its files what we do not."""

    name: str
    signature: str
    matches: Callable[[Tensors], bool]
    instead: str = ""


def _has(*parts: str) -> Callable[[Tensors], bool]:
    """Keys with every one of the parts."""
    return lambda tensors: all(any(part in key for key in tensors) for part in parts)


def table_lengths(tensors: Tensors) -> set[int]:
    """The lengths of the position tables [1, L, C] among a file's tensors; 0 for what is no table."""
    tables = [value for key, value in tensors.items() if key.endswith("pos_encoder.pe")]
    return {table.shape[1] if table.ndim == 3 else 0 for table in tables}


def _animatediff(levels: int, mid: bool | None, length: int | None) -> Callable[[Tensors], bool]:
    def matches(tensors: Tensors) -> bool:
        found = [key for key in tensors if ".motion_modules." in key]
        deepest = {key.split(".")[1] for key in found if key.startswith("down_blocks.")}
        lengths = table_lengths(tensors)
        has_mid = any(key.startswith("mid_block.") for key in found)
        return (
            len(deepest) == levels
            and (mid is None or mid == has_mid)
            and (lengths == set() if length is None else lengths == {length})
        )

    return matches


# In this order: a file is of the first family that it matches. Keys are in the AnimateDiff layout already
# where `key_layouts` could bring them there.
NOT_MOTION = (
    Family("motion LoRA", "*_lora.down.weight, lora_A, lora_down", lambda tensors: any(
        part in key for key in tensors for part in ("_lora.down.", ".lora_A.", ".lora_down.", ".lora.down.")
    ), "Load Motion LoRA takes it"),
    Family("CameraCtrl", "processor.qkv_merge", _has("qkv_merge"), "Camera Control takes it"),
    Family("SparseCtrl", "input_hint_block, motion_modules",
           lambda tensors: _has("motion_modules")(tensors) and (
               _has("input_hint_block")(tensors) or _has("controlnet_cond_embedding")(tensors)),
           "Load Sparse ControlNet takes it in its released layout"),
    Family("Stable Video Diffusion", "time_stack, time_mixer.mix_factor", _has("time_stack", "mix_factor"),
           "the core's Image Only Checkpoint Loader takes it"),
    Family("VideoCrafter", "temopral_conv, init_attn", _has("temopral_conv", "init_attn"),
           "no node of this pack takes it"),
)  # fmt: skip
IN_UNETS = (  # layers in files that hold a whole UNet
    Family("FollowYourPose", "attn_temp, conv_temporal", _has("attn_temp", "norm_temp", "conv_temporal"),
           "Load Diffusion Model takes them"),
    Family("Tune-A-Video", "attn_temp, norm_temp", _has("attn_temp", "norm_temp"),
           "Load Diffusion Model takes them"),
    Family("Make-Your-Video", "temopral_conv, relative_position_k",
           _has("temopral_conv", "relative_position_k"), "they are left out"),
    Family("LVDM", "attn1_tmp, relative_position_k", _has("attn1_tmp", "relative_position_k"),
           "they are left out"),
    Family("LVDM, unconditional", "qkv_t", _has("qkv_t"), "they are left out"),
)  # fmt: skip
MOTION = (
    *IN_UNETS,
    Family("PIA", "conv_in.weight beside motion modules",
           lambda tensors: "conv_in.weight" in tensors and _has(".motion_modules.")(tensors)),
    Family("frame-conditioned", "known_frames.weight beside motion modules",
           lambda tensors: KNOWN_CONV in tensors and _has(".motion_modules.")(tensors)),
    Family("AnimateLCM", "motion modules without pos_encoder.pe", _animatediff(4, None, None)),
    Family("AnimateDiff v1", "four levels, 24 positions, no mid block", _animatediff(4, False, 24)),
    Family("AnimateDiff v2 (or AnimateAnyone)", "four levels, 32 positions, mid block",
           _animatediff(4, True, 32)),
    Family("AnimateDiff v3", "four levels, 32 positions, no mid block", _animatediff(4, False, 32)),
    Family("AnimateDiff SDXL", "three levels, 32 positions", _animatediff(3, None, 32)),
    Family("AnimateDiff type", "down_blocks.N.motion_modules.M.temporal_transformer",
           _has(".motion_modules.", ".temporal_transformer.")),
)  # fmt: skip


def family_of(tensors: Tensors) -> Family | None:
    """The family of a file's tensors, its keys in the AnimateDiff layout where they can be."""
    return next((family for family in (*NOT_MOTION, *MOTION) if family.matches(tensors)), None)


def base_of(sites: Mapping[Site, int]) -> str:
    """The base of a model with these sites: a level begins after a block without one, its downsampler."""
    inputs = {number: channels for (kind, number), channels in sites.items() if kind == "input"}
    return base_name(tuple(inputs[number] for number in sorted(inputs) if number - 1 not in inputs))


_BASES = {(320, 640, 1280, 1280): "SD1.5", (320, 640, 1280): "SDXL"}


def base_name(channels: tuple[int, ...]) -> str:
    """The image model with these channels a level, by its name where it has one."""
    listed = ", ".join(map(str, channels))
    name = _BASES.get(channels)
    return f"{name} ({listed} channels)" if name else f"a model with {listed or 'no known'} channels"
