"""The few attention calls that a pattern needs, as plain integers, without torch."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

from .patterns import Pattern, key_frames

CPU_KEYS, KEYS = 2**13, 2**18  # tokens that are gathered at once to be read; on a CPU, and elsewhere
_Block = tuple[tuple[int, ...], tuple[int, ...], tuple[int, int] | None]  # queries, keys, band


@dataclass(frozen=True)
class Call:
    """One attention call: groups of query frames, side by side in the batch, and the key frames of each.

    `band` (low, high) is a mask inside a group: the query at position a reads the key at position b where
    low <= b - a <= high. None: every query of a group reads all keys of the group. `reference`: every group
    reads a picture beside its key frames, as large as one.
    """

    queries: tuple[tuple[int, ...], ...]
    keys: tuple[tuple[int, ...], ...]
    band: tuple[int, int] | None = None
    reference: bool = False

    @property
    def group_keys(self) -> int:
        """Frames that a group reads, the reference among them."""
        return len(self.keys[0]) + self.reference

    @property
    def frame_pairs(self) -> int:
        """Pairs of a query frame and a key frame that are computed, masked ones too."""
        return len(self.queries) * len(self.queries[0]) * self.group_keys

    @property
    def in_place(self) -> bool:
        """Whether the keys of all groups are frames in a row and no more, which are read where they lie."""
        flat = [i for group in self.keys for i in group]
        return not self.reference and flat == list(range(flat[0], flat[0] + len(flat)))

    def split(self, key_frames: int) -> Iterator["Call"]:
        """The same in calls that gather so many key frames each, or those of one group."""
        size = len(self.queries) if self.in_place else max(1, key_frames // self.group_keys)
        for at in range(0, len(self.queries), size):
            yield replace(self, queries=self.queries[at : at + size], keys=self.keys[at : at + size])


@lru_cache(maxsize=256)
def calls_of(pattern: Pattern, frames: int, key_frames: int) -> tuple[Call, ...]:
    """The plan in calls that gather so many key frames at once, or those of one group."""
    return tuple(piece for call in plan(pattern, frames) for piece in call.split(key_frames))


@lru_cache(maxsize=256)
def plan(pattern: Pattern, frames: int) -> tuple[Call, ...]:
    """The few calls that compute a pattern and next to nothing else.

    Query frames with the same keys are one long query; those with as many keys as others share a call. Only
    windows over the same pixel are masked: there a call for each length of window costs more than a mask.
    """
    banded = pattern.scope == "pixel" and pattern.windowed
    groups: dict[tuple[int, int, tuple[int, int] | None], list[_Block]] = {}
    for block in _bands(pattern, frames) if banded else _shared(pattern, frames):
        queries, keys, band = block
        groups.setdefault((len(queries), len(keys), band), []).append(block)
    return tuple(
        Call(tuple(block[0] for block in group), tuple(block[1] for block in group), band, pattern.reference)
        for (_, _, band), group in groups.items()
    )


def _shared(pattern: Pattern, frames: int) -> list[_Block]:
    readers: dict[tuple[int, ...], list[int]] = {}
    for i, keys in enumerate(key_frames(pattern, frames)):
        readers.setdefault(keys, []).append(i)
    return [(tuple(queries), keys, None) for keys, queries in readers.items()]


def _bands(pattern: Pattern, frames: int) -> list[_Block]:
    pattern.check(frames)
    before, after = pattern.reach(frames)
    size = before + after + 1
    # One square where it is no dearer than bands, or where the softmax is over all frames.
    size = frames if frames < 2 * size or not pattern.renormalise else size
    blocks: list[_Block] = []
    for start in range(0, frames, size):
        queries = range(start, min(frames, start + size))
        first, last = max(0, start - before), min(frames, start + size + after)
        band = (start - first - before, start - first + after)
        masked = band[0] > 1 - len(queries) or band[1] < last - first - 1
        blocks.append((tuple(queries), tuple(range(first, last)), band if masked else None))
    return blocks
