"""Foreign key layouts of motion modules brought into AnimateDiff's own."""

import re
from collections.abc import Mapping

from torch import Tensor

PREFIXES = ("base_model.model.", "module.", "motion_module.", "unet.", "model.diffusion_model.")
# diffusers' names of a temporal block's parts, and AnimateDiff's.
_DIFFUSERS = {
    ".attn1.": ".attention_blocks.0.", ".attn2.": ".attention_blocks.1.",
    ".norm1.": ".norms.0.", ".norm2.": ".norms.1.", ".norm3.": ".ff_norm.",
}  # fmt: skip
_BARE = re.compile(r"(\.motion_modules\.\d+\.)(?!temporal_transformer\.)")
_HOTSHOT = re.compile(r"\.temporal_attentions\.(\d+)\.")


def animatediff_keys(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], str]:
    """The tensors under AnimateDiff's keys, and the layout they came in ("" for AnimateDiff's own).

    Layouts: diffusers' MotionAdapter, HotshotXL; any of them behind a prefix of a training wrapper.
    """
    stripped = {strip_prefix(key): value for key, value in tensors.items()}
    if any(_HOTSHOT.search(key) for key in stripped):
        return {_from_hotshot(key): value for key, value in stripped.items()}, "HotshotXL"
    if any(_BARE.search(key) for key in stripped):
        renamed: dict[str, Tensor] = {}
        for key, value in stripped.items():
            renamed |= _from_diffusers(key, value)
        return renamed, "diffusers MotionAdapter"
    return stripped, ""


def strip_prefix(key: str) -> str:
    """A key without what training wrappers put before it."""
    for prefix in PREFIXES:
        key = key.removeprefix(prefix)
    return key


def _from_hotshot(key: str) -> str:
    key = _HOTSHOT.sub(r".motion_modules.\1.temporal_transformer.", key)
    return key.replace(".pos_encoder.positional_encoding", ".pos_encoder.pe")


def _from_diffusers(key: str, value: Tensor) -> dict[str, Tensor]:
    """One table of positions serves both attentions there."""
    key = _BARE.sub(r"\1temporal_transformer.", key)
    if key.endswith(".pos_embed.pe"):
        block = key.removesuffix("pos_embed.pe")
        return {f"{block}attention_blocks.{n}.pos_encoder.pe": value for n in range(2)}
    for theirs, ours in _DIFFUSERS.items():
        key = key.replace(theirs, ours)
    return {key: value}
