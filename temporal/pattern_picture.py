"""A pattern as a picture: query frames down, key frames across."""

import cv2
import numpy as np

from .patterns import Pattern, key_frames

Color = tuple[int, int, int]

PAPER: Color = (250, 250, 248)
INK: Color = (52, 56, 64)
FAINT: Color = (128, 132, 140)
EMPTY: Color = (236, 237, 238)
ALL_PIXELS: Color = (52, 101, 152)
SAME_PIXEL: Color = (214, 140, 52)
WEIGHED: Color = (247, 226, 196)
REFERENCE: Color = (74, 146, 120)

FONT = cv2.FONT_HERSHEY_SIMPLEX
GRID = 480  # pixels that a grid aims at
LEFT, TOP, RIGHT, BOTTOM = 74, 92, 26, 66  # margins around the grid
LEGEND = 128  # pixels of an entry


def matrix(pattern: Pattern, frames: int) -> list[list[int]]:
    """Rows of query frames over columns of key frames: 0 not read, 1 all pixels, 2 the same pixel."""
    read = 1 if pattern.scope == "all" else 2
    rows = [[0] * frames for _ in range(frames)]
    for row, keys in zip(rows, key_frames(pattern, frames), strict=True):
        for j in keys:
            row[j] = read
    return rows


def picture(pattern: Pattern, frames: int) -> np.ndarray:
    """The matrix drawn with labels: float [H, W, 3] in 0..1; a reference picture is a column of its own."""
    cell = max(1, min(40, GRID // (frames + 2 * pattern.reference)))
    columns = frames * cell + (2 * cell if pattern.reference else 0)
    title = _text_width(pattern.name, 0.62) + 2 * RIGHT
    width = max(LEFT + columns + RIGHT, title, 2 * (LEGEND + RIGHT))
    canvas = np.full((TOP + frames * cell + BOTTOM, width, 3), PAPER, np.uint8)
    left = LEFT + (width - RIGHT - LEFT - columns) // 2
    unread = EMPTY if pattern.renormalise else WEIGHED

    for i, row in enumerate(matrix(pattern, frames)):
        for j, read in enumerate(row):
            _cell(canvas, left + j * cell, TOP + i * cell, cell, (unread, ALL_PIXELS, SAME_PIXEL)[read])
        if pattern.reference:
            _cell(canvas, left + (frames + 1) * cell, TOP + i * cell, cell, REFERENCE)

    _text(canvas, pattern.name, (RIGHT, 28), 0.62, INK)
    _text(canvas, "key and value frame", (left + frames * cell // 2, TOP - 32), 0.44, FAINT, centre=True)
    _upright(canvas, "query frame", (left - 52, TOP + frames * cell // 2))
    for i in range(0, frames, _tick(cell)):
        middle = i * cell + cell // 2
        _text(canvas, str(i), (left + middle, TOP - 9), 0.4, INK, centre=True)
        _text(canvas, str(i), (left - 8 - _text_width(str(i), 0.4), TOP + middle + 4), 0.4, INK)
    if pattern.reference:
        _text(canvas, "ref", (left + (frames + 1) * cell + cell // 2, TOP - 9), 0.4, INK, centre=True)
    if 0 < pattern.images < frames:
        _cut(canvas, left, (frames - pattern.images) * cell, frames * cell)
    _legend(canvas, pattern, TOP + frames * cell + 38)
    return canvas.astype(np.float32) / 255


def _tick(cell: int) -> int:
    """Frames from one label to the next: a power of two with room for three figures."""
    return next(step for step in (1, 2, 4, 8, 16, 32) if step * cell >= 28)


def _cell(canvas: np.ndarray, x: int, y: int, size: int, color: Color) -> None:
    gap = 2 if size >= 12 else int(size >= 5)
    canvas[y : y + size - gap, x : x + size - gap] = color


def _cut(canvas: np.ndarray, left: int, at: int, end: int) -> None:
    """Lines between the video frames and the pictures after them."""
    x, y = left + at - 2, TOP + at - 2
    cv2.line(canvas, (x, TOP), (x, TOP + end), INK, 1)
    cv2.line(canvas, (left, y), (left + end, y), INK, 1)


def _legend(canvas: np.ndarray, pattern: Pattern, y: int) -> None:
    entries = [(ALL_PIXELS, "all pixels") if pattern.scope == "all" else (SAME_PIXEL, "same pixel")]
    if not pattern.renormalise:
        entries.append((WEIGHED, "weighed, dropped"))
    if pattern.reference:
        entries.append((REFERENCE, "reference"))
    for n, (color, label) in enumerate(entries):
        x = RIGHT + n * LEGEND
        canvas[y - 11 : y + 1, x : x + 12] = color
        _text(canvas, label, (x + 20, y), 0.42, INK)


def _text_width(text: str, scale: float) -> int:
    return cv2.getTextSize(text, FONT, scale, 1)[0][0]


def _text(
    canvas: np.ndarray, text: str, at: tuple[int, int], scale: float, color: Color, centre: bool = False
) -> None:
    x = at[0] - _text_width(text, scale) // 2 if centre else at[0]
    cv2.putText(canvas, text, (x, at[1]), FONT, scale, color, 1, cv2.LINE_AA)


def _upright(canvas: np.ndarray, text: str, at: tuple[int, int]) -> None:
    """Text that reads upwards, its middle at a point."""
    length, height = _text_width(text, 0.44) + 4, 18
    strip = np.full((height, length, 3), PAPER, np.uint8)
    _text(strip, text, (2, 13), 0.44, FAINT)
    strip = np.rot90(strip)
    y, x = max(0, at[1] - length // 2), at[0] - height // 2
    strip = strip[: canvas.shape[0] - y]
    canvas[y : y + strip.shape[0], x : x + height] = strip
