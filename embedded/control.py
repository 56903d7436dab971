"""ControlNets in the built-in host: a CONTROL_NET, and what it gives once it is in a CONDITIONING."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch.nn.functional as F
from torch import Tensor

from ..controls.conditioning import add_control
from ..controls.weights import ControlWeights, Residuals, part_done
from ..temporal.control_net import ControlNet
from ..temporal.sparse_control import SparseControlNet, rows_shown
from .schedules import NoiseSchedule


class _Hinted(Protocol):
    """A ControlNet with its hints, ready to run beside a model."""

    def rows(self, frames: list[int]) -> _Hinted:
        """For these frames alone."""
        ...

    def settings(self) -> Iterator[Tensor | str]: ...

    def __call__(self, x: Tensor, times: Tensor, context: Tensor, options: dict[str, Any]) -> Residuals:
        """Of latents [conditions · F, C, h, w] as the model takes them."""
        ...


@dataclass(frozen=True, eq=False)
class EmbeddedControlNet:
    """A CONTROL_NET; `ratio`: pixels of a hint to one of the latents."""

    net: ControlNet
    ratio: int

    def hinted(self, pictures: Tensor, at: Sequence[int], vae: Any) -> _ByFrame:
        """With a picture a frame, or one for all; it asks for no VAE."""
        return _ByFrame(self, pictures)


@dataclass(frozen=True, eq=False)
class EmbeddedSparseControl:
    """A CONTROL_NET that is shown some frames of a video."""

    net: SparseControlNet
    sparse = True

    @property
    def sees_latents(self) -> bool:
        return self.net.sees_latents

    def hinted(self, pictures: Tensor, at: Sequence[int], vae: Any) -> _Sparsely:
        return _Sparsely(self.net, pictures, tuple(at), vae)


@dataclass(frozen=True, eq=False)
class _ByFrame:
    control: EmbeddedControlNet
    pictures: Tensor  # [F or 1, 3, H, W]; a single one is every frame's

    def rows(self, frames: list[int]) -> _ByFrame:
        return replace(self, pictures=self.pictures[[frame % len(self.pictures) for frame in frames]])

    def settings(self) -> Iterator[Tensor | str]:
        yield self.pictures

    def __call__(self, x: Tensor, times: Tensor, context: Tensor, options: dict[str, Any]) -> Residuals:
        height, width = (side * self.control.ratio for side in x.shape[-2:])
        conditions = len(options["cond_or_uncond"])
        frames = [frame % len(self.pictures) for frame in range(len(x) // conditions)]
        hints = resized(self.pictures, width, height)[frames * conditions]
        return dict(self.control.net(x, hints.to(x), times, context))


@dataclass(frozen=True, eq=False)
class _Sparsely:
    net: SparseControlNet
    pictures: Tensor  # [G, 3, H, W]
    at: tuple[int, ...]  # which frames of the video they are
    vae: Any
    features: dict[tuple[int, ...], Tensor] = field(default_factory=dict)  # by the size of the latents

    def rows(self, frames: list[int]) -> _Sparsely:
        return self  # it looks for the frames of a call by their numbers

    def settings(self) -> Iterator[Tensor | str]:
        yield self.pictures
        yield str(self.at)

    def __call__(self, x: Tensor, times: Tensor, context: Tensor, options: dict[str, Any]) -> Residuals:
        rows = rows_shown(self.at, len(x), options).to(x.device)
        return dict(self.net(self._seen(x)[rows], times, context, options))

    def _seen(self, x: Tensor) -> Tensor:
        size = tuple(x.shape[-2:])
        if size not in self.features:
            latents = self.net.sees_latents
            ratio = self.vae.spacial_compression_encode() if latents else self.net.ratio
            shown = resized(self.pictures, size[1] * ratio, size[0] * ratio)
            shown = self.vae.encode(shown.movedim(1, -1)) if latents else shown
            self.features[size] = self.net.embed(shown.to(x))
        return self.features[size]


@dataclass(frozen=True, eq=False)
class AppliedControl:
    """A ControlNet with its hints, for a part of sampling, after others in a chain."""

    hinted: _Hinted
    strength: float
    between: tuple[float, float]
    weights: ControlWeights | None = None
    previous: AppliedControl | None = None

    def rows(self, frames: list[int], total: int) -> AppliedControl:
        """For these of `total` frames alone."""
        if self.weights is not None:
            self.weights.check(total)
        return replace(
            self,
            hinted=self.hinted.rows(frames),
            weights=self.weights and self.weights.rows(frames),
            previous=self.previous and self.previous.rows(frames, total),
        )

    def settings(self) -> Iterator[Tensor | str]:
        """What its residuals depend on beside the ControlNet."""
        yield from self.hinted.settings()
        yield f"{self.strength} {self.between}"
        yield from self.weights.settings() if self.weights else ()
        yield from self.previous.settings() if self.previous else ()

    def residuals(
        self, x: Tensor, times: Tensor, context: Tensor, options: dict[str, Any], schedule: NoiseSchedule
    ) -> Residuals | None:
        """Of latents [conditions · F, C, h, w] as the model takes them; None where nothing acts."""
        before = self.previous and self.previous.residuals(x, times, context, options, schedule)
        first, last = (schedule.percent_to_sigma(part) for part in self.between)
        sigma = float(options["sigmas"][0])
        if not last <= sigma <= first:
            return before
        made = self.hinted(x, times, context, options)
        made = {place: [one * self.strength for one in parts] for place, parts in made.items()}
        if self.weights is not None:
            conditions = len(options["cond_or_uncond"])
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
    control: EmbeddedControlNet | EmbeddedSparseControl,
    hints: Tensor,
    strength: float,
    between: tuple[float, float],
    weights: ControlWeights | None = None,
    vae: Any = None,
    at: Sequence[int] = (),
) -> list[list]:
    """CONDITIONINGs with a ControlNet and its hints [F or 1, H, W, 3], or those of the frames `at`."""
    hinted = control.hinted(hints[..., :3].movedim(-1, 1).float(), at, vae)
    return add_control(conds, lambda before: AppliedControl(hinted, strength, between, weights, before))
