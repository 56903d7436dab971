"""Text and surfaces that every picture of the pack shares."""

import cv2
import numpy as np

PAPER = (0.11, 0.12, 0.14)
INK = (0.92, 0.93, 0.95)
FAINT = (0.45, 0.48, 0.53)
ACCENT = (0.98, 0.62, 0.22)
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def canvas(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), PAPER, np.float32)


def text(picture: np.ndarray, words: str, x: int, y: int, size: float = 0.4, colour: tuple = INK) -> None:
    """Write words with their baseline at (x, y), in place."""
    cv2.putText(picture, words, (x, y), _FONT, size, colour, 1, cv2.LINE_AA)


def text_width(words: str, size: float = 0.4) -> int:
    return cv2.getTextSize(words, _FONT, size, 1)[0][0]


def box(picture: np.ndarray, x: int, y: int, width: int, height: int, colour: tuple) -> None:
    picture[y : y + height, x : x + width] = colour
