"""Which frames the windows of a long video hold at each step, and what each counts: plain integers.

standard: the same windows at every step, `length − overlap` apart, the last one moved back to end on the
last frame. uniform: as far apart, but starting elsewhere at each step, so that no seam stays in one place;
random: likewise, anywhere. looped: uniform, and going on from the last frame to the first, for videos that
repeat (the schedule of AnimateDiff's command line). batched: one after another without overlap, for models
without temporal layers.
"""

import math
import random
from dataclasses import dataclass
from typing import NamedTuple

from ..errors import FramewrightError

SCHEDULES = ("standard", "uniform", "random", "looped", "batched")
FUSES = ("pyramid", "uniform mean", "overlap linear", "relative", "gaussian")
Frames = tuple[int, ...]
_SPREAD = 6  # standard deviations that a window is long, where weights are Gaussian


class Window(NamedTuple):
    """Frames that a model sees together, and what each counts where windows are fused."""

    frames: Frames
    weights: tuple[float, ...]


def halving(step: int) -> float:
    """The step's place in 0..1 by the van der Corput sequence: 0, 1/2, 1/4, 3/4, …"""
    place, part = 0.0, 0.5
    while step:
        place += part * (step & 1)
        step, part = step >> 1, part / 2
    return place


@dataclass(frozen=True)
class Windows:
    """How frames are cut into windows, and what each place in one counts where they are fused.

    stride: with n over 1, there are also windows of every 2nd, 4th, … 2ⁿ⁻¹-th frame, which see further.
    closed_loop: of looped windows, the video's end is fused with its beginning. keep: frames that every
    window holds beside its own, as a reference; there they do not count.
    """

    length: int = 16
    overlap: int = 8
    schedule: str = "standard"
    fuse: str = "pyramid"
    stride: int = 1
    closed_loop: bool = False
    keep: Frames = ()

    def __post_init__(self) -> None:
        if self.length < 1:
            raise FramewrightError(f"length: {self.length} came, expected at least 1 frame")
        if not 0 <= self.overlap < self.length:
            raise FramewrightError(
                f"overlap: {self.overlap} came, expected 0 to {self.length - 1} "
                f"for windows of {self.length} frames"
            )
        if self.stride < 1:
            raise FramewrightError(f"stride: {self.stride} came, expected at least 1")
        for socket, value, known in (("schedule", self.schedule, SCHEDULES), ("fuse", self.fuse, FUSES)):
            if value not in known:
                raise FramewrightError(f"{socket}: {value!r} came, expected one of {', '.join(known)}")
        if self.keep and (min(self.keep) < 0 or len(set(self.keep)) < len(self.keep)):
            raise FramewrightError(
                f"keep_frames: {list(self.keep)} came, expected different frame numbers from 0"
            )
        if self.overlap >= self._own:
            raise FramewrightError(
                f"keep_frames: {len(self.keep)} frames came for windows of {self.length} that share "
                f"{self.overlap}, expected at most {self.length - self.overlap - 1}"
            )

    @property
    def _own(self) -> int:
        """Frames of a window beside those that all hold."""
        return self.length - len(self.keep)

    @property
    def moves(self) -> bool:
        """Whether a step's windows are others than the last one's."""
        return self.schedule in ("uniform", "random", "looped")

    def plan(self, frames: int, step: int = 0) -> list[Window]:
        """The windows of a step over `frames` frames; raises where a frame to keep is none of them."""
        if frames <= self.length:
            return [Window(tuple(range(frames)), (1.0,) * frames)]
        if self.keep and max(self.keep) >= frames:
            raise FramewrightError(
                f"keep_frames: frame {max(self.keep)} came, expected 0 to {frames - 1} for {frames} frames"
            )
        return [self._window(own, frames) for own in self._cut(frames, step)]

    def _window(self, own: Frames, frames: int) -> Window:
        kept = tuple(frame for frame in self.keep if frame not in own)
        return Window(kept + own, (0.0,) * len(kept) + tuple(self._weights(own, frames)))

    def _cut(self, frames: int, step: int) -> list[Frames]:
        if self.schedule == "batched":
            starts = range(0, frames, self._own)
            return [tuple(range(start, min(start + self._own, frames))) for start in starts]
        strides = [2**n for n in range(min(self.stride, math.ceil(math.log2(frames / self._own)) + 1))]
        cut = self._looped if self.schedule == "looped" else self._straight
        return [window for apart in strides for window in cut(frames, apart, step)]

    def _straight(self, frames: int, apart: int, step: int) -> list[Frames]:
        """Windows of frames `apart` from each other, none of them beyond either end of the video."""
        reach = (self._own - 1) * apart + 1
        shift, last = self._own * apart - self.overlap, frames - reach
        if last < 0:
            return []
        place = {"uniform": halving, "random": lambda step: random.Random(step).random()}.get(self.schedule)
        offset = round(place(step) * shift) if place else 0
        starts = {min(max(0, start), last) for start in range(-offset, last + shift, shift)}
        return [tuple(range(start, start + reach, apart)) for start in sorted(starts)]

    def _looped(self, frames: int, apart: int, step: int) -> list[Frames]:
        turn, end = round(frames * halving(step)), 0 if self.closed_loop else self.overlap
        first = turn + int(halving(step) * apart)
        starts = range(first, turn + frames - end, self._own * apart - self.overlap)
        return [tuple((start + apart * place) % frames for place in range(self._own)) for start in starts]

    def _weights(self, own: Frames, frames: int) -> list[float]:
        """More than 0 for each frame, so that one that a single window holds comes out of it as it is."""
        length, middle = len(own), (len(own) - 1) / 2
        if self.fuse == "uniform mean":
            return [1.0] * length
        if self.fuse == "pyramid":
            return [float(min(i + 1, length - i)) for i in range(length)]
        if self.fuse == "gaussian":
            return [math.exp(-0.5 * ((i - middle) * _SPREAD / length) ** 2) for i in range(length)]
        if self.fuse == "relative":
            return [max(0.01, 1 - abs(i - middle) / (middle + 0.005)) for i in range(length)]
        rise = [max(1e-6, i / max(1, self.overlap - 1)) for i in range(min(self.overlap, length))]
        rise += [1.0] * (length - len(rise))
        looped = self.schedule == "looped"  # has neighbours on both sides, or frames of its own there
        before, after = looped or min(own) > 0, looped or max(own) < frames - 1
        return [
            (rise[i] if before else 1.0) * (rise[length - 1 - i] if after else 1.0) for i in range(length)
        ]
