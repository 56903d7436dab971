"""Context windows: a long video denoised as overlapping windows of the length that a model can hold.

MultiDiffusion over frames (Bar-Tal et al. 2023; Lumiere, Bar-Tal et al. 2024, fuses by the uniform mean).
Which frames a window holds is planned in plain integers; the tensors are gathered and fused in a handful of
operations.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import FramewrightError

SCHEDULES = ("standard", "uniform")
FUSES = ("pyramid", "uniform mean")
Window = tuple[int, ...]


def halving(step: int) -> float:
    """The step's place in 0..1 by the van der Corput sequence: 0, 1/2, 1/4, 3/4, …"""
    place, part = 0.0, 0.5
    while step:
        place += part * (step & 1)
        step, part = step >> 1, part / 2
    return place


@dataclass(frozen=True)
class Windows:
    """How frames are cut into windows and put together again.

    standard: the same windows at every step, `length − overlap` apart, the last one moved back to end on the
    last frame. uniform: as far apart, but starting elsewhere at each step, so that no seam stays in one
    place.
    """

    length: int = 16
    overlap: int = 8
    schedule: str = "standard"
    fuse: str = "pyramid"

    def __post_init__(self) -> None:
        if self.length < 1:
            raise FramewrightError(f"length: {self.length} came, expected at least 1 frame")
        if not 0 <= self.overlap < self.length:
            raise FramewrightError(
                f"overlap: {self.overlap} came, expected 0 to {self.length - 1} "
                f"for windows of {self.length} frames"
            )
        for socket, value, known in (("schedule", self.schedule, SCHEDULES), ("fuse", self.fuse, FUSES)):
            if value not in known:
                raise FramewrightError(f"{socket}: {value!r} came, expected one of {', '.join(known)}")

    def plan(self, frames: int, step: int = 0) -> list[Window]:
        """The windows of a step over `frames` frames, each of the same length, in order of time."""
        length = min(self.length, frames)
        apart, last = self.length - self.overlap, frames - length
        offset = round(halving(step) * apart) if self.schedule == "uniform" else 0
        starts = {min(max(0, start), last) for start in range(-offset, last + apart, apart)}
        return [tuple(range(start, start + length)) for start in sorted(starts)]

    def weights(self, length: int) -> list[float]:
        """What each place in a window counts: all the same, or most in the middle."""
        if self.fuse == "uniform mean":
            return [1.0] * length
        return [float(min(i + 1, length - i)) for i in range(length)]

    def denoise(
        self, x: Tensor, step: int, call: Callable[[Tensor, Tensor], Sequence[Tensor]], windows_a_call: int
    ) -> list[Tensor]:
        """Run `call` on windows of x [F, …] and fuse each of the tensors [F, …] that it returns.

        `call(x [W·L, …], frames [W·L])` gets several windows at once, with the frame numbers they hold.
        """
        plan = self.plan(x.shape[0], step)
        length = len(plan[0])
        index = torch.tensor(plan, device=x.device).flatten()
        weight = torch.tensor(self.weights(length) * len(plan), device=x.device)
        chunk = length * max(1, windows_a_call)
        results = [call(x.index_select(0, part), part) for part in index.split(chunk)]
        shape = (-1, *[1] * (x.ndim - 1))
        total = torch.zeros(x.shape[0], device=x.device).index_add_(0, index, weight).view(shape)
        return [
            torch.zeros_like(x).index_add_(0, index, torch.cat(parts) * weight.view(shape).to(x.dtype))
            / total
            for parts in zip(*results, strict=True)
        ]


def nearest_step(sigmas: Tensor | None, sigma: float) -> int:
    """The step whose noise level is nearest; samplers also call between the levels of their schedule."""
    if sigmas is None or len(sigmas) == 0:
        return 0
    return int((sigmas.float().cpu() - sigma).abs().argmin())
