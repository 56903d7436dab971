"""How a long video holds out: curves against the frame's number."""

from collections.abc import Sequence

import cv2
import numpy as np

from .draw import ACCENT, FAINT, INK, RULE, box, canvas, finished, text

WIDTH, HEIGHT, LEFT, TOP = 640, 120, 52, 44
_SMOOTH = 16  # frames that a curve is averaged over


def sharpness(frames: np.ndarray) -> np.ndarray:
    """The variance of the Laplacian (Pech-Pacheco et al. 2000), [F], of frames [F, H, W, 3] in 0..1."""
    greys = (np.asarray(frame, np.float32).mean(-1) for frame in frames)
    return np.array([cv2.Laplacian(grey, cv2.CV_32F).var() for grey in greys])


def smoothed(values: np.ndarray) -> np.ndarray:
    """The mean [F] of each value's neighbours, fewer at the ends."""
    ones = np.ones(min(_SMOOTH, len(values)))
    return np.convolve(values, ones, "same") / np.convolve(np.ones(len(values)), ones, "same")


def drift_plot(curves: Sequence[tuple[str, np.ndarray, float]], label: str) -> np.ndarray:
    """Curves, each its name, its values [F] and the value at the top of its axis, one under the other."""
    picture = canvas(TOP + len(curves) * (HEIGHT + 34), WIDTH)
    text(picture, label, 10, 20, 0.45, INK)
    for number, (name, values, highest) in enumerate(curves):
        _curve(picture, TOP + number * (HEIGHT + 34), name, values, highest)
    return finished(picture)


def _curve(picture: np.ndarray, top: int, name: str, values: np.ndarray, highest: float) -> None:
    width, last = WIDTH - LEFT - 20, max(1, len(values) - 1)
    for part in (0, 0.5, 1):
        y = top + round(HEIGHT * (1 - part))
        box(picture, LEFT, y, width, 1, RULE)
        text(picture, f"{part * highest:.2g}", 10, y + 4, 0.34, FAINT)
    early, late = values[: (len(values) + 1) // 2], values[len(values) // 2 :]
    means = f"mean {values.mean():.3f}, first half {early.mean():.3f}, second {late.mean():.3f}"
    text(picture, f"{name}: {means}", LEFT, top - 6, 0.36, INK)
    for part in range(5):
        text(
            picture,
            str(round(part / 4 * last)),
            LEFT + round(part / 4 * width) - 8,
            top + HEIGHT + 14,
            0.33,
            FAINT,
        )
    x = LEFT + np.arange(len(values)) / last * width
    y = top + HEIGHT * (1 - np.clip(smoothed(values) / highest, 0, 1))
    points = np.stack([x, y], 1).round().astype(np.int32)
    cv2.polylines(picture, [points.reshape(-1, 1, 2)], False, ACCENT, 2, cv2.LINE_AA)
