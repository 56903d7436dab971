"""ControlNets in the built-in host: a CONTROL_NET, and what it gives once it is in a CONDITIONING."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from ..controls.conditioning import add_control
from ..controls.weights import ControlWeights, Residuals, part_done
from ..temporal.control_net import ControlNet
from .schedules import NoiseSchedule


@dataclass(frozen=True, eq=False)
class EmbeddedControlNet:
    """A CONTROL_NET; `ratio`: pixels of a hint to one of the latents."""

    net: ControlNet
    ratio: int


@dataclass(frozen=True, eq=False)
class AppliedControl:
    """A ControlNet with its hints [F or 1, 3, H, W], for a part of sampling, after others in a chain."""

    control: EmbeddedControlNet
    hints: Tensor
    strength: float
    between: tuple[float, float]
    weights: ControlWeights | None = None
    previous: AppliedControl | None = None

    def rows(self, frames: list[int]) -> AppliedControl:
        """For these frames alone; a single hint is every frame's."""
        return replace(
            self,
            hints=self.hints[[frame % len(self.hints) for frame in frames]],
            weights=self.weights and self.weights.rows(frames),
            previous=self.previous and self.previous.rows(frames),
        )

    def settings(self) -> Iterator[Tensor | str]:
        """What its residuals depend on beside the ControlNet."""
        yield self.hints
        yield f"{self.strength} {self.between}"
        yield from self.weights.settings() if self.weights else ()
        yield from self.previous.settings() if self.previous else ()

    def residuals(
        self,
        x: Tensor,
        times: Tensor,
        context: Tensor,
        sigma: float,
        schedule: NoiseSchedule,
        conditions: int,
    ) -> Residuals | None:
        """Of latents [conditions · F, C, h, w] as the model takes them; None where nothing acts."""
        before = self.previous and self.previous.residuals(x, times, context, sigma, schedule, conditions)
        first, last = (schedule.percent_to_sigma(part) for part in self.between)
        if not last <= sigma <= first:
            return before
        height, width = (side * self.control.ratio for side in x.shape[-2:])
        hints = resized(self.hints, width, height)
        hints = hints.repeat(-(-len(x) // len(hints)), 1, 1, 1)[: len(x)]
        made: Residuals = dict(self.control.net(x, hints.to(x), times, context))
        made = {place: [one * self.strength for one in parts] for place, parts in made.items()}
        if self.weights is not None:
            made = self.weights(made, part_done(sigma, schedule.percent_to_sigma), conditions)
        return _sum(before, made)


def _sum(a: Residuals | None, b: Residuals) -> Residuals:
    if a is None:
        return b
    return {place: [one + two for one, two in zip(a[place], b[place], strict=True)] for place in b}


def resized(pictures: Tensor, width: int, height: int) -> Tensor:
    """Pictures [F, C, H, W] cut to the new shape about their middle, and the nearest pixels of these."""
    across, down = pictures.shape[-1], pictures.shape[-2]
    x = max(0, round((across - down * width / height) / 2))
    y = max(0, round((down - across * height / width) / 2))
    cut = pictures[..., y : down - y, x : across - x]
    return (
        cut
        if cut.shape[-2:] == (height, width)
        else F.interpolate(cut, (height, width), mode="nearest-exact")
    )


def apply_control(
    conds: Sequence[list],
    control: EmbeddedControlNet,
    hints: Tensor,
    strength: float,
    between: tuple[float, float],
    weights: ControlWeights | None = None,
    vae: Any = None,
) -> list[list]:
    """CONDITIONINGs with a ControlNet and its hints [F or 1, H, W, 3]; no ControlNet here asks for a VAE."""
    pictures = hints[..., :3].movedim(-1, 1).float()
    return add_control(
        conds, lambda before: AppliedControl(control, pictures, strength, between, weights, before)
    )
