"""Context windows as a picture: a row a window, a column a frame, brighter where a frame counts more."""

from collections.abc import Sequence

import numpy as np

from .draw import ACCENT, FAINT, INK, PAPER, RULE, box, canvas, finished, text

LEFT, TOP, ROW = 72, 40, 12
MOST = 4096  # rows; those beyond are left out
Step = Sequence[
    tuple[Sequence[int], Sequence[float]]
]  # windows, each its frames and what each of them counts


def window_timeline(
    steps: Sequence[Step], frames: int, width: int = 960, height: int | None = None
) -> np.ndarray:
    """The windows of one or more sampling steps.

    Frames share `width` pixels, two each at least; many windows lie in low rows, which `height` pixels hold,
    one each at least.
    """
    cell = max(2, min(14, width // frames))
    rows = sum(len(windows) + 1 for windows in steps)
    row = max(1, min(ROW, (height or MOST) // rows))
    end = TOP + min(rows, MOST) * row
    picture = canvas(end + 14, LEFT + frames * cell + 16)
    every = next(n for n in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024) if n * cell >= 34)
    for frame in range(0, frames, every):
        text(picture, str(frame), LEFT + frame * cell, TOP - 10, 0.35, FAINT)
        box(picture, LEFT + frame * cell, TOP - 6, 1, end - TOP, RULE)
    left_out = f", {rows - MOST:,} rows are left out" if rows > MOST else ""
    text(picture, f"{frames} frames{left_out}", LEFT, 16, 0.42, INK)
    y = TOP
    for number, windows in enumerate(steps):
        text(picture, f"step {number}", 10, y + 10, 0.38, INK)
        for held, weights in windows[: max(0, (end - y) // row)]:
            for frame, weight in zip(held, weights, strict=True):
                strength = 0.25 + 0.75 * weight / max(weights)
                colour = tuple(
                    round(strength * a + (1 - strength) * b) for a, b in zip(ACCENT, PAPER, strict=True)
                )
                box(picture, LEFT + frame * cell, y, max(1, cell - 1), max(1, row - 3), colour)
            y += row
        y += row
    return finished(picture)
