"""How a video longer than a model can hold is made in segments: plain integers.

extension: one segment after another, each given the last frames of the one before (VDM, Ho et al. 2022; LVDM,
He et al. 2022). It drifts, and nothing of it can be made at the same time. hierarchy: first key frames over
the whole video, then what lies between each two, to any depth (NUWA-XL, Yin et al. 2023): with segments of L
frames, n frames become (n − 1)(L − 1) + 1. The segments of a level know nothing of each other, so that they
can be made side by side. whole: all frames at once, for a model with context windows.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from ..errors import FramewrightError

KINDS = ("hierarchy", "extension", "whole")
Frames = tuple[int, ...]


class Segment(NamedTuple):
    """Frames of the video that a model makes together; those of `known` are there already and given to it."""

    frames: Frames
    known: Frames = ()

    @property
    def made(self) -> Frames:
        known = set(self.known)
        return tuple(frame for frame in self.frames if frame not in known)


@dataclass(frozen=True)
class LongPlan:
    """Levels of segments; those of a level need the levels before, and nothing of each other."""

    kind: str
    frames: int
    levels: tuple[tuple[Segment, ...], ...]

    @property
    def segments(self) -> list[Segment]:
        """All of them, in the order in which one worker makes them; a segment's number is its place here."""
        return [segment for level in self.levels for segment in level]

    @property
    def serial_depth(self) -> int:
        """Segments that must be made one after another, however many workers there are."""
        return len(self.levels)

    @property
    def computed(self) -> int:
        """Frames that pass through the model, known ones included."""
        return sum(len(segment.frames) for segment in self.segments)


def long_plan(kind: str, frames: int, length: int, overlap: int = 1) -> LongPlan:
    """The plan of `frames` frames in segments of up to `length`, which share `overlap` in an extension."""
    if kind not in KINDS:
        raise FramewrightError(f"kind: {kind!r} came, expected one of {', '.join(KINDS)}")
    if frames < 1:
        raise FramewrightError(f"frames: {frames} came, expected at least 1")
    if length < (3 if kind == "hierarchy" else 1):
        raise FramewrightError(f"length: {length} came, expected at least {3 if kind == 'hierarchy' else 1}")
    if kind == "extension" and not 0 <= overlap < length:
        raise FramewrightError(
            f"overlap: {overlap} came, expected 0 to {length - 1} for segments of {length} frames"
        )
    if frames <= length or kind == "whole":
        return LongPlan(kind, frames, ((Segment(tuple(range(frames))),),))
    levels = _extended(frames, length, overlap) if kind == "extension" else _filled(frames, length)
    return LongPlan(kind, frames, tuple(levels))


def _extended(frames: int, length: int, overlap: int) -> Iterator[tuple[Segment, ...]]:
    """Every segment is of full length; the last ends with the video."""
    made = 0
    while made < frames:
        start = min(max(0, made - overlap), frames - length)
        yield (Segment(tuple(range(start, start + length)), tuple(range(start, made))),)
        made = start + length


def _filled(frames: int, length: int) -> Iterator[tuple[Segment, ...]]:
    """As few key frames a level as let every later segment be full, or nearly so."""
    depth = 1
    while (length - 1) ** depth < frames - 1:
        depth += 1
    keys: Frames = (0, frames - 1)
    for below in reversed(range(depth)):
        level = [_spread(start, end, (length - 1) ** below) for start, end in pairwise(keys)]
        first = below == depth - 1
        yield tuple(Segment(own, () if first else (own[0], own[-1])) for own in level if len(own) > 2)
        keys = tuple(sorted({frame for own in level for frame in own}))


def _spread(start: int, end: int, reach: int) -> Frames:
    """Frames from `start` to `end`, evenly, at most `reach` apart."""
    gaps = -(-(end - start) // reach)
    return tuple(start + (end - start) * place // gaps for place in range(gaps + 1))
