"""Contact sheets: the frames of a video side by side, under a line of text."""

import math
import textwrap

import cv2
import numpy as np

from .draw import canvas, finished, text, text_width

GAP = 3  # pixels between frames
LINE = 18  # pixels a line of text takes
SMALLEST = 96  # pixels a frame is wide at least, by whole factors


def contact_sheet(
    frames: np.ndarray, columns: int, label: str = "", above: np.ndarray | None = None
) -> np.ndarray:
    """Frames [F, H, W, 3] as one picture [h, w, 3], with `above` (another picture) on top of it."""
    factor = max(1, math.ceil(SMALLEST / frames.shape[2]))
    painted = np.round(frames.clip(0, 1) * 255).astype(np.uint8)
    cells = [cv2.resize(f, None, fx=factor, fy=factor, interpolation=cv2.INTER_NEAREST) for f in painted]
    height, width = cells[0].shape[:2]
    columns = min(columns, len(cells))
    rows = math.ceil(len(cells) / columns)
    lines = _wrapped(label, columns * (width + GAP) - GAP)
    top = len(lines) * LINE + (GAP if lines else 0)
    sheet = canvas(top + rows * (height + GAP) + GAP, columns * (width + GAP) + GAP)
    for number, line in enumerate(lines):
        text(sheet, line, GAP + 2, (number + 1) * LINE - 4)
    for number, cell in enumerate(cells):
        y, x = divmod(number, columns)
        y, x = top + GAP + y * (height + GAP), GAP + x * (width + GAP)
        sheet[y : y + height, x : x + width] = cell
    return finished(sheet) if above is None else stacked(above, finished(sheet))


def stacked(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Two pictures one over the other, the narrower one padded at its right."""
    width = max(above.shape[1], below.shape[1])
    parts = []
    for part in (above, below):
        padded = finished(canvas(part.shape[0], width))
        padded[:, : part.shape[1]] = part
        parts.append(padded)
    return np.concatenate(parts)


def _wrapped(label: str, width: int) -> list[str]:
    if not label:
        return []
    letters = max(8, int(width / (text_width("abcdefghij 0123") / 15)))
    return [line for part in label.splitlines() for line in textwrap.wrap(part, letters) or [""]]
