"""Our weights under the keys that others gave them."""

from torch import Tensor

_DIFFUSERS = {
    "temporal_transformer.": "", "attention_blocks.0.pos_encoder.": "pos_embed.",
    "attention_blocks.0.": "attn1.", "attention_blocks.1.": "attn2.",
    "norms.0.": "norm1.", "norms.1.": "norm2.", "ff_norm.": "norm3.",
}  # fmt: skip
_HOTSHOT = {
    "motion_modules": "temporal_attentions", "temporal_transformer.": "",
    "pos_encoder.pe": "pos_encoder.positional_encoding",
}  # fmt: skip


def _renamed(key: str, names: dict[str, str]) -> str:
    for ours, theirs in names.items():
        key = key.replace(ours, theirs)
    return key


def as_diffusers(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """diffusers' MotionAdapter, where one table of positions serves both attentions."""
    kept = {key: value for key, value in tensors.items() if "attention_blocks.1.pos_encoder" not in key}
    return {_renamed(key, _DIFFUSERS): value for key, value in kept.items()}


def as_hotshot(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {_renamed(key, _HOTSHOT): value for key, value in tensors.items()}


def as_released(camera: dict[str, Tensor]) -> dict[str, Tensor]:
    """CameraCtrl's own file: what joins its features with a motion module lies in the module's processors."""
    renamed = {}
    for key, value in camera.items():
        if key.startswith("merges."):
            place, part = key.removeprefix("merges.").replace("|", ".").rsplit(".", 1)
            key = f"{place}.transformer_blocks.0.attention_blocks.0.processor.qkv_merge.{part}"
        renamed[key.removeprefix("encoder.")] = value.clone()
    return renamed
