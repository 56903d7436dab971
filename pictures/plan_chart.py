"""The plan of a long video as a picture: levels downwards, frames to the right."""

from collections.abc import Sequence

import numpy as np

from .draw import ACCENT, FAINT, INK, RULE, box, canvas, finished, text

LEFT, TOP, ROW, BAR = 76, 62, 9, 7
ROOM = 4096  # pixels for levels; those beyond are left out
Segment = tuple[Sequence[int], Sequence[int]]  # its frames, and those of them that are given to it
GIVEN = (98, 160, 234)


def plan_chart(levels: Sequence[Sequence[Segment]], frames: int, title: str, costs: str) -> np.ndarray:
    """Each segment's made frames and the given ones; segments that can be made side by side share a level."""
    cell = max(1, min(14, 960 // frames))
    packed, height = [], 0
    for level in levels:
        packed.append(_packed(level))
        height += len(packed[-1]) * ROW + 7
        if height > ROOM:
            break
    if len(packed) < len(levels):
        title = f"{title}; {len(levels) - len(packed):,} more levels are left out"
    picture = canvas(TOP + height + 16, max(LEFT + frames * cell + 24, 560))
    text(picture, title, 10, 18, 0.45, INK)
    text(picture, costs, 10, 36, 0.36, FAINT)
    every = next(
        n for n in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 1 << 20) if n * cell >= 34
    )
    for frame in range(0, frames, every):
        text(picture, str(frame), LEFT + frame * cell, TOP - 10, 0.33, FAINT)
        box(picture, LEFT + frame * cell, TOP - 6, 1, height, RULE)
    y = TOP
    for number, rows in enumerate(packed):
        if len(levels) <= 12 or number % 8 == 0:
            text(picture, f"level {number}", 10, y + BAR + 1, 0.35, INK)
        for row in rows:
            for held, known in row:
                _segment(picture, held, known, cell, y)
            y += ROW
        y += 7
    return finished(picture)


def _segment(picture: np.ndarray, held: Sequence[int], known: Sequence[int], cell: int, y: int) -> None:
    first, last = LEFT + held[0] * cell, LEFT + (held[-1] + 1) * cell
    box(picture, first, y + BAR // 2, last - first, 1, RULE)
    given = set(known)
    for frame in held:
        colour = GIVEN if frame in given else ACCENT
        box(picture, LEFT + frame * cell, y, max(2, cell - 1), BAR, colour)


def _packed(level: Sequence[Segment]) -> list[list[Segment]]:
    """The segments of a level in as few rows as hold them side by side."""
    rows: list[list[Segment]] = []
    for segment in level:
        row = next((row for row in rows if row[-1][0][-1] < segment[0][0]), None)
        if row is None:
            rows.append(row := [])
        row.append(segment)
    return rows
