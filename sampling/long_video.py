"""A long video made by its plan: segment after segment, or several at once, each kept once it is done."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from torch import Tensor

from .long_plan import LongPlan
from .segment_store import SegmentStore


@dataclass(frozen=True)
class Job:
    """A segment to make: its number in the plan, its frames, their latents [L, C, h, w], those given [L]."""

    number: int
    frames: tuple[int, ...]
    latents: Tensor
    given: Tensor


# Makes jobs that know nothing of each other, in any order; yields each one's number and latents [L, C, h, w].
Workers = Callable[[Sequence[Job]], Iterable[tuple[int, Tensor]]]


def make_video(
    plan: LongPlan, latents: Tensor, given: Tensor, store: SegmentStore, workers: Workers
) -> Tensor:
    """Latents [F, C, h, w] of the video.

    Frames of `latents` that `given` [F] has as 1 are known to all and stay as they are; the others are what
    the model starts from. Segments that `store` has are not made again.
    """
    latents, given, first = latents.clone(), given.clone(), 0
    for level in plan.levels:
        jobs = []
        for number, (frames, _) in enumerate(level, first):
            to_make = [frame for frame in frames if not given[frame]]
            if to_make and (done := store.load(number)) is not None:
                latents[to_make] = done.to(latents)
            elif to_make:
                jobs.append(Job(number, frames, latents[list(frames)], given[list(frames)]))
        for number, segment in workers(jobs) if jobs else ():
            frames = level[number - first].frames
            rows = [row for row, frame in enumerate(frames) if not given[frame]]
            store.save(number, segment[rows])
            latents[[frames[row] for row in rows]] = segment[rows].to(latents)
        given[[frame for segment in level for frame in segment.frames]] = 1
        first += len(level)
    return latents


def in_turn(make: Callable[[Job], Tensor]) -> Workers:
    """One job after the other, in this process."""
    return lambda jobs: ((job.number, make(job)) for job in jobs)
