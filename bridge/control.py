"""What nodes do with ControlNets, in whichever host they run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..controls.weights import ControlWeights, Layer, fit_frames
from ..demo.files import CONTROLS, NEXT
from ..errors import FramewrightError
from .host import host

DEMO_CONTROLS = (*CONTROLS, NEXT)


@dataclass(frozen=True, eq=False)
class Strengths:
    """How strongly a ControlNet acts; `between`: parts of the sampling; what is empty changes nothing."""

    strength: float
    between: tuple[float, float] = (0.0, 1.0)
    frames: Sequence[float] | None = None
    steps: Sequence[tuple[float, float]] = ()
    layers: Mapping[Layer, float] | None = None
    mask: Tensor | None = None  # [H, W] or [M, H, W]

    def weights(self, frames: int, fit: str) -> ControlWeights | None:
        """For a video of so many frames; None where `strength` says it all."""
        if self.frames is None and self.mask is None and not self.steps and not self.layers:
            return None
        each = None if self.frames is None else fit_frames(torch.tensor(self.frames), frames, "hold")
        mask = None if self.mask is None else fit_frames(_stacked(self.mask), frames, fit)
        return ControlWeights(each, mask, self.layers or {}, tuple(self.steps))


def _stacked(mask: Tensor) -> Tensor:
    return mask[None] if mask.ndim == 2 else mask


def control_video(
    conds: Sequence[list],
    control: Any,
    image: Tensor,
    frames: int,
    fit: str,
    strengths: Strengths,
    vae: Any = None,
) -> list[list]:
    """CONDITIONINGs with a ControlNet and one map of IMAGE [G, H, W, 3] a frame; raises where one is odd."""
    if not torch.isfinite(image).all():
        raise FramewrightError("image: maps with values that are not finite came, expected 0 to 1")
    start, end = strengths.between
    if start > end:
        raise FramewrightError(
            f"start_percent: {start} came with end_percent {end}, expected the start before the end"
        )
    if strengths.strength == 0:
        return list(conds)
    # One map for all frames stays one: hosts pass it through the hint encoder once.
    hints = image if len(image) == 1 else fit_frames(image, frames, fit)
    return host().apply_control(
        conds, control, hints, strengths.strength, strengths.between, strengths.weights(frames, fit), vae
    )
