"""Context windows: a long video denoised as overlapping windows of the length that a model can hold.

MultiDiffusion over frames (Bar-Tal et al. 2023; Lumiere, Bar-Tal et al. 2024, fuses by the uniform mean). The
plan is made once for all steps that share it, so that a step gathers and fuses in a handful of operations.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby

import torch
from torch import Tensor

from ..errors import FramewrightError
from .window_plan import Windows

# (x [W·L, …], frames [W·L] that they are, L) to tensors like x
Call = Callable[[Tensor, Tensor, int], Sequence[Tensor]]


@dataclass(frozen=True)
class _Laid:
    """A plan as tensors: the frames of all windows in a row, and what each is of its fused frame."""

    lengths: tuple[tuple[int, int], ...]  # (windows, frames in each), in the order of the row
    index: Tensor  # [N]
    shares: Tensor  # [N]; those of a frame add up to 1


@lru_cache(maxsize=64)
def _lay(plan: Windows, frames: int, step: int, device: torch.device) -> _Laid:
    windows = sorted(plan.plan(frames, step), key=lambda window: -len(window.frames))
    index = torch.tensor([frame for window in windows for frame in window.frames], device=device)
    weights = torch.tensor([weight for window in windows for weight in window.weights], device=device)
    lengths = [(len(list(same)), length) for length, same in groupby(len(w.frames) for w in windows)]
    total = torch.zeros(frames, device=device).index_add_(0, index, weights)
    return _Laid(tuple(lengths), index, weights / total[index])


def denoise(plan: Windows, x: Tensor, step: int, call: Call, windows_a_call: int) -> list[Tensor]:
    """Run `call` on a step's windows of x [F, …] and fuse each of the tensors [F, …] that it returns.

    Several windows of one length go into a call, half as many from where they are too large for the memory;
    raises where one alone is, or where one is not finite.
    """
    laid = _lay(plan, len(x), step, x.device)
    fused, highest, start, many = None, list[Tensor](), 0, max(1, windows_a_call)
    for count, length in laid.lengths:
        end = start + count * length
        while start < end:
            rows = slice(start, min(end, start + many * length))
            frames = laid.index[rows]
            try:
                parts = torch.stack(tuple(call(x.index_select(0, frames), frames, length)))  # [conditions, …]
            except torch.cuda.OutOfMemoryError as error:
                if len(frames) == length:
                    raise FramewrightError(
                        f"context windows: a window of {length} frames is too large for the memory; "
                        f"expected one of fewer frames, or smaller frames ({error})"
                    ) from error
                many = max(1, len(frames) // length // 2)
                continue
            highest.append(torch.linalg.vector_norm(parts, math.inf))
            parts *= laid.shares[rows].view(-1, *[1] * (x.ndim - 1)).to(parts.dtype)
            fused = x.new_zeros(len(parts), *x.shape) if fused is None else fused
            fused.index_add_(1, frames, parts)
            start += len(frames)
    if fused is None:
        raise FramewrightError(f"context windows: {len(x)} frames came, expected at least 1")
    if not math.isfinite(sum(map(float, highest))):
        _refuse(laid, fused)
    return list(fused)


def _refuse(laid: _Laid, fused: Tensor) -> None:
    """Names the first window with a frame that is not finite in any condition."""
    bad, start = ~torch.isfinite(fused.transpose(0, 1).flatten(1)).all(1).cpu(), 0
    for count, length in laid.lengths:
        for frames in laid.index[start : start + count * length].cpu().split(length):
            if len(spoiled := frames[bad[frames]]):
                raise FramewrightError(
                    f"context windows: the model's prediction for the window of frames {int(frames[0])} to "
                    f"{int(frames[-1])} is not finite, first in frame {int(spoiled[0])}"
                )
        start += count * length


@dataclass(frozen=True)
class StepWindows:
    """Plans with the parts (0..1) of sampling between which they hold; later ones go before."""

    ranges: tuple[tuple[Windows, float, float], ...] = ()

    def then(self, plan: Windows, start: float = 0.0, end: float = 1.0) -> "StepWindows":
        return StepWindows((*self.ranges, (plan, start, end)))

    def at(self, sigma: float, frames: int, sigma_at: Callable[[float], float]) -> Windows | None:
        """The plan for a call at this level, None where all `frames` go through the model at once.

        `sigma_at` a part of sampling is the level that it ends at.
        """
        for plan, start, end in reversed(self.ranges):
            highest, lowest = sigma_at(start), sigma_at(end)
            if lowest <= sigma <= highest or math.isclose(sigma, highest, rel_tol=1e-4):
                return plan if frames > plan.length else None
        return None

    def most(self, frames: int, otherwise: int) -> int:
        """The most of so many frames that any call holds; `otherwise` do at levels without windows."""
        held = [plan.length for plan, _, _ in self.ranges]
        everywhere = any((start, end) == (0.0, 1.0) for _, start, end in self.ranges)
        return min(frames, max([*held, *([] if everywhere else [otherwise])]))


def nearest_step(sigmas: Tensor | None, sigma: float) -> int:
    """The step whose noise level is nearest; samplers also call between the levels of their schedule."""
    if sigmas is None or len(sigmas) == 0:
        return 0
    return int((sigmas.float().cpu() - sigma).abs().argmin())
