"""Untrained temporal layers for any UNet, which leave it as it is until they are trained.

One set of layers a site, in this order, each where asked for: a per-frame affine adaptor (MagicVideo, Zhou et
al. 2022), temporal convolutions (VideoLDM, Blattmann et al. 2023; pseudo-3D pairs, Singer et al. 2022), a
convolution of low rank (FollowYourPose, Ma et al. 2023) and temporal attention.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from ..errors import FramewrightError
from .parts import Parts
from .slots import LAYERS, Site
from .space_time import MIXES, TemporalParams, TemporalSite, over_frames
from .transformer import AS_TRAINED, Manner

KIND = "temporal layers"  # in the header of a file of ours
IN_SERIES = tuple(one for one in MIXES if one != "parallel")  # what came before a block is not seen after it
_GROUPS, _HEAD = 32, 64  # of the norm before attention; channels a head, at most


@dataclass(frozen=True)
class NewLayerParams:
    """`rank` of the low-rank convolution, 0 for none; `frames` is the most that any layer takes."""

    conv: bool = False
    rank: int = 0
    attention: bool = True
    positions: str = "sinusoidal"
    affine: bool = False
    mixing: str = "residual"
    frames: int = 32

    def __post_init__(self) -> None:
        self.temporal()
        if not (self.conv or self.rank or self.attention or self.affine):
            raise FramewrightError(
                "layers: none came, expected a conv, a rank, attention or an affine adaptor"
            )
        if self.rank < 0 or self.frames < 1:
            raise FramewrightError(
                f"layers: rank {self.rank} and {self.frames} frames came, expected 0 and 1 or more"
            )

    def temporal(self) -> TemporalParams:
        return TemporalParams(
            "3x1x1" if self.conv else "none", self.attention, self.positions, self.mixing, self.frames
        )


class FrameAffine(nn.Module):
    """A scale and a shift a frame and channel, at first 1 and 0."""

    def __init__(self, channels: int, frames: int, parts: Parts) -> None:
        super().__init__()
        made = {"dtype": parts.dtype, "device": parts.device}
        self.scale = nn.Parameter(torch.ones(frames, channels, **made))
        self.shift = nn.Parameter(torch.zeros(frames, channels, **made))

    def forward(self, x: Tensor, frames: int) -> Tensor:
        scale, shift = (
            t[:frames, :, None, None].to(x).repeat(x.shape[0] // frames, 1, 1, 1)
            for t in (self.scale, self.shift)
        )
        return x * scale + shift


class LowRankConv(nn.Module):
    """Two convolutions over frames through `rank` channels, added; nothing at first."""

    def __init__(self, channels: int, rank: int, parts: Parts) -> None:
        super().__init__()
        self.down = parts.conv1d(channels, rank, 3, bias=False)
        self.up = parts.conv1d(rank, channels, 3, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, x: Tensor, frames: int) -> Tensor:
        return x + over_frames(x, frames, lambda lines: self.up(self.down(lines)))


class NewLayer(nn.Module):
    """The layers of one site, on [B·F, C, h, w]."""

    def __init__(self, channels: int, params: NewLayerParams, parts: Parts) -> None:
        super().__init__()
        heads = max(1, channels // _HEAD)
        self.channels = channels
        self.affine = FrameAffine(channels, params.frames, parts) if params.affine else None
        self.low_rank = LowRankConv(channels, params.rank, parts) if params.rank else None
        self.site = TemporalSite(
            channels, int(params.conv), params.attention, heads, _GROUPS, params.temporal(), parts
        )

    def forward(self, x: Tensor, frames: int, manner: Manner = AS_TRAINED) -> Tensor:
        manner.must_be_as_trained("layers built by Build Temporal Layers")
        if self.affine is not None:
            x = self.affine(x, frames)
        if self.low_rank is not None:
            x = self.low_rank(x, frames)
        x = self.site.convolve(0, x, frames)
        return self.site.attend(x, x, frames)


class NewLayers(nn.Module):
    """Untrained layers for every site of a UNet; fulfils `motion.TemporalLayers`."""

    places = (LAYERS,)

    def __init__(self, sites: Mapping[Site, int], params: NewLayerParams, parts: Parts) -> None:
        super().__init__()
        odd = [channels for channels in sites.values() if channels % _GROUPS]
        if odd:
            raise FramewrightError(
                f"model: a block of {odd[0]} channels came, expected a multiple of {_GROUPS}"
            )
        self.params, self.channels = params, dict(sites)
        self.blocks = nn.ModuleDict({_name(site): NewLayer(sites[site], params, parts) for site in sites})
        self.requires_grad_(False)

    @property
    def all_channels(self) -> dict[Site, int]:
        return self.channels

    @property
    def length(self) -> int:
        return self.params.frames

    @property
    def position_kind(self) -> str:
        return self.params.positions if self.params.attention else "none"

    def at(self, site: Site, where: str = LAYERS) -> NewLayer | None:
        # ModuleDict has no get.
        return self.blocks[_name(site)] if site in self.channels else None  # type: ignore[return-value]

    def check_frames(self, frames: int) -> None:
        if frames > self.params.frames:
            raise FramewrightError(
                f"frames: {frames} frames came, the temporal layers were built for {self.params.frames}; "
                "add Context Windows before the sampler to render longer videos"
            )

    def metadata(self) -> dict[str, str]:
        """What a file's header needs to say for `from_metadata`."""
        sites = [[kind, number, channels] for (kind, number), channels in self.channels.items()]
        return {"framewright": KIND, "layers": json.dumps({"sites": sites, **asdict(self.params)})}

    @staticmethod
    def from_metadata(metadata: Mapping[str, str], parts: Parts) -> "NewLayers":
        """Layers of the shape that a file's header tells; raises where it tells none."""
        try:
            told = json.loads(metadata["layers"])
            sites = {(str(kind), int(number)): int(channels) for kind, number, channels in told.pop("sites")}
            params = NewLayerParams(**told)
        except (KeyError, TypeError, ValueError) as error:
            raise FramewrightError(f"its header does not say what layers it holds: {error}") from error
        return NewLayers(sites, params, parts)


def _name(site: Site) -> str:
    return f"{site[0]}_{site[1]}"
