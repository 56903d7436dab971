"""How strongly a ControlNet acts: by frame, by place, by layer and over the course of sampling."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import FramewrightError

Residuals = dict[str, list[Tensor | None]]  # of the places "input", "middle", "output", as hosts order them
Layer = str | tuple[str, int]  # "input", "middle", or one block of these


@dataclass(frozen=True, eq=False)
class ControlWeights:
    """What residuals are multiplied by, beside the strength of the ControlNet.

    frames [F]; mask [F, H, W] in 0..1, of any size, or [1, H, W] for every frame; `layers`: those of the
    ControlNet's blocks, which are the UNet's input blocks and its middle; `steps`: (part of sampling 0..1,
    value), straight lines between.
    """

    frames: Tensor | None = None
    mask: Tensor | None = None
    layers: Mapping[Layer, float] = field(default_factory=dict)
    steps: Sequence[tuple[float, float]] = ()

    def settings(self) -> Iterator[Tensor | str]:
        """All that they are made of."""
        yield from (one for one in (self.frames, self.mask) if one is not None)
        yield f"{sorted(self.layers.items(), key=str)} {tuple(self.steps)}"

    def check(self, frames: int) -> None:
        """FramewrightError where they are not for a video of so many frames."""
        for weights in (self.frames, self.mask):
            if weights is not None and len(weights) not in (1, frames):
                raise _for_others(len(weights), str(frames))

    def rows(self, index: Sequence[int]) -> "ControlWeights":
        """Those of these frames alone; FramewrightError where they are for fewer."""
        mask = self.mask if self.mask is None or len(self.mask) == 1 else _picked(self.mask, index)
        return replace(self, frames=None if self.frames is None else _picked(self.frames, index), mask=mask)

    def __call__(self, residuals: Residuals, part: float, conditions: int) -> Residuals:
        """Residuals [conditions · F, C, h, w] after so large a part of sampling.

        FramewrightError where they are of other blocks than the layers, or of another number of frames.
        """
        self._check_layers(max(len(residuals.get(place) or ()) for place in ("input", "output")))
        at, values = zip(*self.steps or [(0.0, 1.0)], strict=True)
        now = float(np.interp(part, at, values))

        def block(place: str, number: int, count: int) -> tuple[str, int]:
            """The input block that a part comes from: for the output in order, for the input last first."""
            if place == "middle":
                return place, number
            return "input", count - 1 - number if place == "input" else number

        return {
            place: [
                self._weighted(one, *block(place, number, len(parts)), now, conditions)
                for number, one in enumerate(parts)
            ]
            for place, parts in residuals.items()
        }

    def _check_layers(self, blocks: int) -> None:
        for layer in self.layers:
            side, number = (layer, 0) if isinstance(layer, str) else layer
            last = {"input": blocks or math.inf, "middle": 1, "output": 0}[side]
            if number >= last:
                raise FramewrightError(
                    f"layer_strength: {side}{'' if isinstance(layer, str) else f' {number}'} came, expected "
                    f"middle, input, or input 0 to {blocks - 1}, which are this ControlNet's blocks"
                )

    def _weighted(
        self, residual: Tensor | None, side: str, number: int, now: float, conditions: int
    ) -> Tensor | None:
        if residual is None:
            return None
        weight = self.layers.get((side, number), self.layers.get(side, 1.0)) * now
        residual = residual * weight
        if self.frames is not None:
            residual = residual * _over(residual, self.frames.view(-1, 1, 1, 1), conditions)
        if self.mask is not None:
            size = residual.shape[-2:]
            mask = F.interpolate(self.mask[:, None].float(), size=size, mode="area")
            residual = residual * (mask.to(residual) if len(mask) == 1 else _over(residual, mask, conditions))
        return residual


def _picked(weights: Tensor, index: Sequence[int]) -> Tensor:
    if max(index) >= len(weights):
        raise _for_others(len(weights), f"{max(index) + 1} or more")
    return weights[list(index)]


def _over(residual: Tensor, weights: Tensor, conditions: int) -> Tensor:
    """Weights of F frames, for all conditions of a batch."""
    if len(residual) != len(weights) * conditions:
        raise _for_others(len(weights), str(len(residual) // conditions))
    return weights.to(residual).repeat(conditions, 1, 1, 1)


def _for_others(frames: int, wanted: str) -> FramewrightError:
    return FramewrightError(
        f"frames: strengths or masks for {frames} frames came, expected one for each frame of the video, "
        f"which has {wanted}"
    )


def part_done(sigma: float, sigma_at: Callable[[float], float]) -> float:
    """How much of sampling, 0..1, is done at a noise level; `sigma_at` falls from part 0 to part 1."""
    low, high = 0.0, 1.0
    for _ in range(20):
        middle = (low + high) / 2
        low, high = (middle, high) if sigma_at(middle) > sigma else (low, middle)
    return (low + high) / 2


def fit_rows(given: int, frames: int, how: str) -> list[int]:
    """Which of the given pictures each frame of a video has, where there are fewer or more of them."""
    if how not in FITS:
        raise FramewrightError(f"fit: {how!r} came, expected one of {', '.join(FITS)}")
    if how == "hold":
        return [min(frame, given - 1) for frame in range(frames)]
    if how == "repeat":
        return [frame % given for frame in range(frames)]
    return [round(place) for place in _spread(given, frames)]


def fit_frames(pictures: Tensor, frames: int, how: str) -> Tensor:
    """Pictures [G, …] to one for each frame, [F, …]; interpolate: blends of the two between which it lies."""
    if how != "interpolate":
        return pictures[fit_rows(len(pictures), frames, how)]
    places = torch.tensor(_spread(len(pictures), frames))
    before = places.floor().long().clamp(max=max(0, len(pictures) - 2))
    after = (before + 1).clamp(max=len(pictures) - 1)
    share = (places - before).view(-1, *[1] * (pictures.ndim - 1)).to(pictures)
    return torch.lerp(pictures[before], pictures[after], share)


def _spread(given: int, frames: int) -> list[float]:
    return np.linspace(0, given - 1, frames).tolist() if frames > 1 else [0.0]


FITS = ("hold", "repeat", "spread", "interpolate")
