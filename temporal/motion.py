"""Motion modules: temporal transformers beside a frozen image model.

After AnimateDiff (Guo et al. 2023), in its key layout.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn

from ..errors import FramewrightError
from .parts import Parts
from .slots import LAYERS, Site
from .transformer import Manner, TemporalTransformer


class TemporalLayers(Protocol):
    """Temporal layers for the sites of a UNet, as they can be applied to a model."""

    channels: dict[Site, int]

    @property
    def places(self) -> tuple[str, ...]:
        """Where at a site the layers are called (see `slots`)."""
        ...

    @property
    def all_channels(self) -> dict[Site, int]:
        """The channels of the image model's sites, as far as the layers tell."""
        ...

    @property
    def length(self) -> int | None:
        """Frames that the layers take at once, None for any number."""
        ...

    @property
    def position_kind(self) -> str:
        """How the layers know a frame's place."""
        ...

    def at(self, site: Site, where: str) -> Callable[[Tensor, int, "Manner"], Tensor] | None:
        """The layer of a site at one of the places, on [B·F, C, h, w] and F frames, or None."""

    def check_frames(self, frames: int) -> None: ...

    def state_dict(self) -> dict[str, Tensor]: ...


@dataclass(frozen=True)
class MotionParams:
    """Shape of a motion model; `channels` are those of the UNet's levels, finest first."""

    channels: tuple[int, ...] = (320, 640, 1280, 1280)
    res_blocks: int = 2
    mid_block: bool = True
    positions: int = 32
    heads: int = 8
    norm_groups: int = 32
    attentions: int = 2  # of each layer
    up_blocks: bool = True


class _Motion(nn.Module):
    def __init__(self, channels: int, params: MotionParams, parts: Parts) -> None:
        super().__init__()
        self.temporal_transformer = TemporalTransformer(
            channels, params.heads, params.positions, params.norm_groups, parts, params.attentions
        )


class _Level(nn.Module):
    def __init__(self, channels: int, count: int, params: MotionParams, parts: Parts) -> None:
        super().__init__()
        self.motion_modules = nn.ModuleList(_Motion(channels, params, parts) for _ in range(count))


class MotionModel(nn.Module):
    """A motion module for every site of a UNet; `motion_settings.AppliedMotion` makes a layer set of it."""

    places = (LAYERS,)

    def __init__(self, params: MotionParams, parts: Parts | None = None) -> None:
        super().__init__()
        parts = parts or Parts()
        self.params, n = params, params.res_blocks
        self.down_blocks = nn.ModuleList(_Level(c, n, params, parts) for c in params.channels)
        up = params.channels[::-1] if params.up_blocks else ()
        self.up_blocks = nn.ModuleList(_Level(c, n + 1, params, parts) for c in up)
        self.mid_block = _Level(params.channels[-1], 1, params, parts) if params.mid_block else None
        self._places = self._site_map()
        # Any: of a submodule the checker knows only that it is one.
        self.channels: dict[Site, int] = {site: self._norm(site).num_channels for site in self._places}

    def _norm(self, site: Site) -> Any:
        return self.get_submodule(f"{self.key(site)}.norm")

    def _site_map(self) -> dict[Site, str]:
        n = self.params.res_blocks
        places = {}
        for level in range(len(self.params.channels)):
            for j in range(n):
                places["input", 1 + level * (n + 1) + j] = f"down_blocks.{level}.motion_modules.{j}"
            for j in range(n + 1 if self.params.up_blocks else 0):
                places["output", level * (n + 1) + j] = f"up_blocks.{level}.motion_modules.{j}"
        if self.mid_block is not None:
            places["middle", 0] = "mid_block.motion_modules.0"
        return places

    @property
    def all_channels(self) -> dict[Site, int]:
        return self.channels

    @property
    def length(self) -> int:
        return self.params.positions

    @property
    def position_kind(self) -> str:
        return "sinusoidal"

    def at(self, site: Site, where: str = LAYERS) -> TemporalTransformer | None:
        """The temporal transformer of a site, or None."""
        layer: Any = self.get_submodule(self.key(site)) if site in self._places else None
        return layer

    def key(self, site: Site) -> str:
        """Where a site's temporal transformer lies among the module's weights."""
        return f"{self._places[site]}.temporal_transformer"

    def check_frames(self, frames: int) -> None:
        if frames > self.params.positions:
            raise FramewrightError(
                f"frames: {frames} frames came, the motion module has positions for {self.params.positions}; "
                "add Context Windows before the sampler to render longer videos, or Motion Positions to "
                f"spread its {self.params.positions} positions over {frames} frames"
            )
