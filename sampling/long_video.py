"""A long video made by its plan: segment after segment, or several at once, each kept once it is done."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from .long_plan import LongPlan, Segment
from .segment_store import SegmentStore


@dataclass(frozen=True)
class Job:
    """Segments to make in one batch, S of the plan's by number, alike in length and in what they are given.

    Side by side are their frames, S·L numbers, their latents [S·L, C, h, w], and which are given [S·L].
    """

    segments: tuple[int, ...]
    frames: tuple[int, ...]
    latents: Tensor
    given: Tensor

    @property
    def length(self) -> int:
        return len(self.frames) // len(self.segments)


# Makes jobs that know nothing of each other, in any order; yields each with its latents [S·L, C, h, w].
Workers = Callable[[Sequence[Job]], Iterable[tuple[Job, Tensor]]]


def make_video(
    plan: LongPlan, latents: Tensor, given: Tensor, store: SegmentStore, workers: Workers, together: int = 1
) -> Tensor:
    """Latents [F, C, h, w] of the video, made in batches of up to `together` segments.

    Frames of `latents` that `given` [F] has as 1 are known to all and stay as they are; the others are what
    the model starts from. Batches that `store` has are not made again.
    """
    latents, given, first = latents.clone(), given.clone(), 0
    for level in plan.levels:
        jobs = []
        for numbers in _batches(level, given, together):
            frames = tuple(frame for number in numbers for frame in level[number].frames)
            job = Job(tuple(first + n for n in numbers), frames, latents[list(frames)], given[list(frames)])
            stored = [(number, store.load(number)) for number in job.segments]
            done = [(number, segment) for number, segment in stored if segment is not None]
            if len(done) < len(stored):
                jobs.append(job)
                continue
            for number, segment in done:
                latents[_to_make(level[number - first], given)] = segment.to(latents)
        for job, made in workers(jobs) if jobs else ():
            for number, part, known in zip(
                job.segments, made.split(job.length), job.given.split(job.length), strict=True
            ):
                store.save(number, part[known == 0])
                latents[_to_make(level[number - first], given)] = part[known == 0].to(latents)
        given[[frame for segment in level for frame in segment.frames]] = 1
        first += len(level)
    return latents


def _to_make(segment: Segment, given: Tensor) -> list[int]:
    return [frame for frame in segment.frames if not given[frame]]


def _batches(level: Sequence[Segment], given: Tensor, together: int) -> Iterator[list[int]]:
    """Segments of a level that are not all given, in batches of those that are alike; by place in the level.

    Which they are does not depend on what is finished, so that a batch taken up again is the same one.
    """
    alike: dict[tuple[float, ...], list[int]] = {}
    for place, segment in enumerate(level):
        if _to_make(segment, given):
            alike.setdefault(tuple(given[list(segment.frames)].tolist()), []).append(place)
    for places in alike.values():
        yield from (places[at : at + together] for at in range(0, len(places), together))


def in_turn(make: Callable[[Job], Tensor]) -> Workers:
    """One job after the other, in this process."""
    return lambda jobs: ((job, make(job)) for job in jobs)
