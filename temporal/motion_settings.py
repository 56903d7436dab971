"""Where, when and how much a motion module acts: what is set where it is applied, never on the module."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import FramewrightError
from .extent import Extent
from .motion import TemporalLayers
from .patterns import Pattern
from .slots import LAYERS, NUMBERS, POSITIONS, Site, frame_count, frames_in_call
from .transformer import LOW_RANK_PARTS, LowRank, Manner, Merge, Views, planned

# (site, activations [B·F, C, h, w], frames, transformer_options) to what is merged there
Merging = Callable[[Site, Tensor, int, dict[str, Any]], Merge | None]


@dataclass(frozen=True)
class Positions:
    """Which row of its position table a module takes for frame i: (i + shift) · stretch.

    interpolate: where that leads beyond the table, all rows are drawn together until they fit.
    """

    shift: float = 0.0
    stretch: float = 1.0
    interpolate: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.shift) and self.shift >= 0):
            raise FramewrightError(f"shift: {self.shift} came, expected 0 frames or more")
        if not (math.isfinite(self.stretch) and self.stretch > 0):
            raise FramewrightError(f"stretch: {self.stretch} came, expected more than 0")

    def rows(self, places: Tensor, length: int) -> Tensor:
        """Rows of a table of `length` for the frames' places in their clip, [F] or [W, F]."""
        rows = (places + self.shift) * self.stretch
        last = float(rows.max())
        if last <= length - 1:
            return rows
        if self.interpolate:
            return (rows * ((length - 1) / last)).clamp(max=length - 1)  # rounding may lead beyond
        raise FramewrightError(
            f"frames: {places.shape[-1]} frames with shift {self.shift:g} and stretch {self.stretch:g} need "
            f"positions 0 to {last:g}, the motion module has 0 to {length - 1}; turn on interpolate in "
            "Motion Positions, or add Context Windows before the sampler"
        )


@dataclass(frozen=True)
class MotionSettings(Extent):
    """How an applied module differs from the module as it was trained.

    frames: a factor [F] a frame of the video, the last one for all further ones. mask: [F or 1, H, W], 0
    where the image model stays as it is. pattern: which frames a frame reads in the module's attention, all
    where there is none. views: windows in which the module's attention runs, for more frames than it takes.
    """

    frames: Sequence[float] | None = None
    mask: Tensor | None = None
    positions: Positions | None = None
    pattern: Pattern | None = None
    views: Views | None = None

    def weight(self, h: Tensor, numbers: Tensor) -> Tensor | None:
        """A factor [len(numbers), 1, h or 1, w or 1] for the frames of that number, None for 1 everywhere."""
        weight = None
        if self.frames is not None:
            given = torch.tensor(self.frames, dtype=torch.float32)
            weight = given[numbers.clamp(max=len(given) - 1)].view(-1, 1, 1, 1)
        if self.mask is not None:
            count = self.mask.shape[0]
            if count != 1 and int(numbers.max()) >= count:
                raise FramewrightError(
                    f"mask: {count} frames came, expected 1 or at least the {int(numbers.max()) + 1} "
                    "of the video"
                )
            picked = self.mask[:1] if count == 1 else self.mask[numbers]
            shrunk = F.interpolate(picked[:, None].float(), size=h.shape[-2:], mode="area")
            weight = shrunk if weight is None else weight * shrunk
        return weight


class AppliedMotion:
    """A motion model with settings, motion LoRAs and what is merged into it: a layer set of a MODEL."""

    def __init__(
        self,
        model: TemporalLayers,
        settings: MotionSettings,
        low_rank: Sequence[Callable[[Site, str], LowRank]] = (),
        merging: Merging | None = None,
        paced: bool = False,
    ) -> None:
        """`paced`: a frame's place in the table is its number in the video, from the clip's first on."""
        self._model, self._settings, self._low_rank, self._merging = model, settings, low_rank, merging
        self._paced = paced

    def __call__(self, site: Site, h: Tensor, options: dict[str, Any], where: str = LAYERS) -> Tensor:
        layer, strength = self._model.at(site, where), self._settings.at(site, options)
        frames = frame_count(h.shape[0], options)
        if layer is None or frames == 1 or strength == 0:
            return h
        low_rank = [[low(site, part) for low in self._low_rank] for part in LOW_RANK_PARTS]
        views = self._settings.views
        merge = None if self._merging is None else self._merging(site, h, frames, options)
        manner = Manner(self._rows(frames, options), low_rank, self._settings.pattern, views, merge)
        moved = layer(h, frames, manner)
        weight = self._settings.weight(h, frames_in_call(len(h), options))
        if weight is None:
            return moved if strength == 1 else torch.lerp(h, moved, strength)
        weight = (strength * weight).to(h).repeat(h.shape[0] // weight.shape[0], 1, 1, 1)
        return h + weight * (moved - h)

    def _rows(self, frames: int, options: Mapping[str, Any]) -> Tensor | None:
        """Rows of the position table for the frames that attend together, of clips of so many."""
        places, length, views = options.get(POSITIONS), self._model.length, self._settings.views
        held = None if views is None else planned(views, frames)[0]
        together = frames if held is None else held.shape[1]
        if self._paced and (numbers := options.get(NUMBERS)) is not None:
            clips = numbers.cpu().view(-1, frames)
            clips = clips if held is None else clips[:, held].flatten(0, 1)
            places = clips - clips.amin(1, keepdim=True)
            if (
                self._settings.positions is None
                and length is not None
                and (last := int(places.max())) >= length
            ):
                raise FramewrightError(
                    f"frames: a clip of frames up to {last} apart came, the motion module has positions 0 to "
                    f"{length - 1}"
                )
        if self._settings.positions is None:
            self._model.check_frames(together)
            return places
        if length is None:
            raise FramewrightError("positions: layers without any came, expected a motion module with some")
        return self._settings.positions.rows(torch.arange(together) if places is None else places, length)
