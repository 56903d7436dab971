"""Temporal layers out of files that hold a whole UNet, under the keys that they have there.

The rest of such a file is its image model's.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ..errors import FramewrightError
from .families import Family
from .inner_layers import HEADS, InnerLayer
from .parts import Parts
from .slots import CROSS, INNER, SELF, Site
from .transformer import Call
from .video_layers import GROUPS, LONGEST, CausalTransformer, LvdmAttention, LvdmBlock, TemporalConvBlock

SECOND_OF_MIDDLE: Site = ("middle", 1)  # ResBlock, see `slots.RES`


@dataclass(frozen=True)
class _Kind:
    """One kind of layer in a family's files.

    `path` matches where a layer is, `own` its keys there; `width` is the one as long as its channels,
    `build` makes it from channels, its tensors by their own keys, and parts.
    """

    path: str
    own: str
    width: str
    build: Callable[[int, Mapping[str, Tensor], Parts], nn.Module]

    def match(self, key: str) -> re.Match[str] | None:
        return re.fullmatch(rf"(?P<path>{self.path})\.{self.own}", key)


def _tuned(channels: int, own: Mapping[str, Tensor], parts: Parts) -> nn.Module:
    if channels % HEADS:
        raise FramewrightError(f"{channels} channels, expected a multiple of {HEADS}")
    low = own.get("conv_temporal.down.weight")
    return InnerLayer(channels, low.shape[0] if low is not None and low.ndim else 0, parts)


def _related(made: Callable[[int, int, int, Parts], nn.Module], table: str) -> Callable[..., nn.Module]:
    """Builds a layer with vectors of distances, as many and as long as the table of that key holds."""

    def build(channels: int, own: Mapping[str, Tensor], parts: Parts) -> nn.Module:
        rows, head = own[table].shape if table in own and own[table].ndim == 2 else (0, 0)
        if rows % 2 == 0 or not head or channels % head or channels % GROUPS:
            raise FramewrightError(
                f"{channels} channels and a table of {rows} distances by {head}, expected channels that are "
                f"a multiple of {GROUPS} and of the table's, and an odd number of distances"
            )
        return made(channels, rows // 2, head, parts)

    return build


def _convolved(channels: int, own: Mapping[str, Tensor], parts: Parts) -> nn.Module:
    if channels % GROUPS:
        raise FramewrightError(f"{channels} channels, expected a multiple of {GROUPS}")
    return TemporalConvBlock(channels, parts)


_TABLE = "relative_position_k.embeddings_table"
_BLOCK = r"(?:(?P<kind>input|output)_blocks\.(?P<number>\d+)|middle_block)"  # in the latent-diffusion layout
_KINDS = {
    "Tune-A-Video": (
        _Kind(r"(?:(?P<group>down|up)_blocks\.(?P<level>\d+)|mid_block)\.attentions\.(?P<place>\d+)"
              r"\.transformer_blocks\.0", r"(?:attn_temp|norm_temp|conv_temporal)\..+", "norm_temp.weight",
              _tuned),
    ),
    "LVDM": (
        _Kind(_BLOCK + r"\.\d\.transformer_blocks\.0", r"(?:attn[12]_tmp|norm[45])\..+", "norm4.weight",
              _related(LvdmBlock, f"attn1_tmp.{_TABLE}")),
    ),
    "LVDM, unconditional": (
        _Kind(_BLOCK + r"\.\d", r"(?:norm_t|qkv_t|proj_out_t|relative_position_[kv])\..+", "norm_t.weight",
              _related(LvdmAttention, _TABLE)),
    ),
    "Make-Your-Video": (
        _Kind(_BLOCK + r"\.(?P<res>\d)\.temopral_conv", r"conv.+", "conv_last.0.weight", _convolved),
        _Kind(_BLOCK + r"\.2", r"(?:norm|proj_in|proj_out|transformer_blocks\.0)\..+", "norm.weight",
              _related(CausalTransformer, f"transformer_blocks.0.attn1.{_TABLE}")),
    ),
}  # fmt: skip
_KINDS["FollowYourPose"] = _KINDS["Tune-A-Video"]
# Parts of keys that no layer of an image model has.
_OURS = ("attn_temp", "conv_temporal", "_tmp.", "qkv_t", "temopral_conv", "relative_position")


class FileLayers(nn.Module):
    """Layers with `calls`, of a site and channels, by path in the file; fulfils `motion.TemporalLayers`."""

    def __init__(
        self, layers: Mapping[str, tuple[Site, int, Any]], length: int | None, position_kind: str
    ) -> None:
        super().__init__()
        self.length, self.position_kind = length, position_kind
        self._calls: dict[tuple[Site, str], Call] = {}
        self.channels: dict[Site, int] = {}
        for path, (site, channels, layer) in layers.items():
            _plant(self, path.split("."), layer)
            self._calls |= {(site, where): call for where, call in layer.calls.items()}
            if site != SECOND_OF_MIDDLE:
                self.channels[site] = channels
        self.places = tuple({where: None for _, where in self._calls})

    @property
    def all_channels(self) -> dict[Site, int]:
        """With the coarsest level, which has no transformer, where layers come with transformers alone."""
        last = max(number for kind, number in self.channels if kind == "input")
        deepest = self.channels.get(("middle", 0))
        if deepest is None or not {INNER, SELF, CROSS}.issuperset(self.places):
            return self.channels
        return {**self.channels, ("input", last + 2): deepest}

    def at(self, site: Site, where: str) -> Call | None:
        return self._calls.get((site, where))

    def check_frames(self, frames: int) -> None:
        if self.length is not None and frames > self.length:
            raise FramewrightError(
                f"frames: {frames} frames came, the temporal layers take {self.length}; add Context Windows "
                "before the sampler to render longer videos"
            )


def _plant(root: nn.Module, path: list[str], layer: nn.Module) -> None:
    """Makes the layer the submodule that the path leads to."""
    *stations, last = path
    for name in stations:
        if not hasattr(root, name):
            root.add_module(name, nn.Module())
        root = root.get_submodule(name)
    root.add_module(last, layer)


def file_layers(
    tensors: Mapping[str, Tensor], family: Family, file: str
) -> tuple[dict[str, Tensor], Callable[[Parts], FileLayers]]:
    """The temporal part of a UNet's tensors, and what makes the layers that they are for.

    Raises where layers sit where they are not looked for, or their sizes do not fit each other.
    """
    held: dict[str, Tensor] = {}
    found: dict[str, tuple[_Kind, re.Match[str]]] = {}
    for key, value in tensors.items():
        for kind in _KINDS[family.name]:
            if match := kind.match(key):
                held[key] = value
                found.setdefault(match["path"], (kind, match))
    left = [key for key in tensors if key not in held and any(part in key for part in _OURS)]
    if left:
        raise FramewrightError(
            f"motion module: {file} has temporal layers in a place where {family.name} has none: {left[0]}"
        )
    sites = _sites([match for _, match in found.values()])
    if not any(kind == "input" for kind, _ in sites):
        raise FramewrightError(f"motion module: {file} has no temporal layers in its input blocks")

    def made(parts: Parts) -> FileLayers:
        layers: dict[str, tuple[Site, int, Any]] = {}
        for (path, (kind, _)), site in zip(found.items(), sites, strict=True):
            start = f"{path}."
            own = {key.removeprefix(start): value for key, value in held.items() if key.startswith(start)}
            if not (channels := own[kind.width].numel() if kind.width in own else 0):
                raise FramewrightError(f"motion module: {file} has in {path} no {kind.width}")
            try:
                layers[path] = site, channels, kind.build(channels, own, parts)
            except FramewrightError as error:
                raise FramewrightError(f"motion module: {file} has in {path} {error}") from error
        reach = max((v.shape[0] // 2 for k, v in held.items() if k.endswith(_TABLE)), default=0)
        known = f"relative, up to {reach} frames apart" if reach else "none"
        return FileLayers(layers, LONGEST if family.name == "Make-Your-Video" else None, known)

    return held, made


def _sites(matches: list[re.Match[str]]) -> list[Site]:
    """The site of each path: in the latent-diffusion layout by its name, in diffusers' by counting."""
    named = [match.groupdict() for match in matches]
    count = 1 + max((int(one["place"]) for one in named if one.get("group") == "down"), default=0)

    def site(one: dict[str, str | None]) -> Site:
        if one.get("kind"):
            return str(one["kind"]), int(one["number"] or 0)
        if one.get("group") == "down":
            return "input", 1 + int(one["level"] or 0) * (count + 1) + int(one["place"] or 0)
        if one.get("group") == "up":
            return "output", int(one["level"] or 0) * (count + 1) + int(one["place"] or 0)
        return SECOND_OF_MIDDLE if int(one.get("res") or 0) > 0 else ("middle", 0)

    return [site(one) for one in named]
