"""Foreign key layouts of motion modules and ControlNets brought into their released ones."""

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
            renamed |= _from_diffusers(key, value, stripped)
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


def _from_diffusers(key: str, value: Tensor, among: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """One table of positions serves both attentions there, or the only one."""
    attentions = 2 if key.replace("pos_embed.pe", "attn2.to_q.weight") in among else 1
    key = _BARE.sub(r"\1temporal_transformer.", key)
    if key.endswith(".pos_embed.pe"):
        block = key.removesuffix("pos_embed.pe")
        return {f"{block}attention_blocks.{n}.pos_encoder.pe": value for n in range(attentions)}
    for theirs, ours in _DIFFUSERS.items():
        key = key.replace(theirs, ours)
    return {key: value}


# diffusers' names of the parts of a UNet's encoder, and the latent-diffusion ones.
_RESNET = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0", "conv2": "out_layers.3", "conv_shortcut": "skip_connection",
}  # fmt: skip
_ONCE = {
    "conv_in.": "input_blocks.0.0.", "time_embedding.linear_1.": "time_embed.0.",
    "time_embedding.linear_2.": "time_embed.2.", "mid_block.attentions.0.": "middle_block.1.",
    "controlnet_mid_block.": "middle_block_out.0.",
}  # fmt: skip
_DOWN = re.compile(r"down_blocks\.(\d+)\.(resnets|attentions|downsamplers)\.(\d+)\.(.+)")
_MIDDLE = re.compile(r"mid_block\.resnets\.(\d+)\.(.+)")
_ZERO = re.compile(r"controlnet_down_blocks\.(\d+)\.(.+)")


def latent_diffusion_key(key: str, res_blocks: int) -> str:
    """diffusers' key of a ControlNet's encoder in the released layout; any other stays as it is.

    `res_blocks`: how many each level has.
    """
    for theirs, ours in _ONCE.items():
        if key.startswith(theirs):
            return ours + key.removeprefix(theirs)
    if found := _ZERO.fullmatch(key):
        return f"zero_convs.{found[1]}.0.{found[2]}"
    if found := _MIDDLE.fullmatch(key):
        return f"middle_block.{2 * int(found[1])}.{_in_resnet(found[2])}"
    if not (found := _DOWN.fullmatch(key)):
        return key
    level, kind, place, rest = int(found[1]), found[2], int(found[3]), found[4]
    first = 1 + level * (res_blocks + 1)
    if kind == "downsamplers":
        return f"input_blocks.{first + res_blocks}.0.{rest.replace('conv.', 'op.')}"
    layer = f"0.{_in_resnet(rest)}" if kind == "resnets" else f"1.{rest}"
    return f"input_blocks.{first + place}.{layer}"


def _in_resnet(rest: str) -> str:
    name, _, tail = rest.partition(".")
    return f"{_RESNET.get(name, name)}.{tail}"
