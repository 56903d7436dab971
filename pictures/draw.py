"""Text and surfaces that every picture of the pack shares.

Drawing is done on bytes, which OpenCV's text needs.
"""

import cv2
import numpy as np

Colour = tuple[int, ...]  # red, green, blue in 0..255
PAPER: Colour = (28, 30, 35)
RULE: Colour = (52, 55, 62)
INK: Colour = (235, 237, 242)
FAINT: Colour = (130, 137, 150)
ACCENT: Colour = (250, 158, 56)
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def canvas(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), PAPER, np.uint8)


def finished(picture: np.ndarray) -> np.ndarray:
    """The drawn bytes as a picture [H, W, 3] in 0..1."""
    return picture.astype(np.float32) / 255


def text(picture: np.ndarray, words: str, x: int, y: int, size: float = 0.4, colour: Colour = INK) -> None:
    """Write words with their baseline at (x, y), in place."""
    cv2.putText(picture, words, (x, y), _FONT, size, colour, 1, cv2.LINE_AA)


def text_width(words: str, size: float = 0.4) -> int:
    return cv2.getTextSize(words, _FONT, size, 1)[0][0]


def box(picture: np.ndarray, x: int, y: int, width: int, height: int, colour: Colour) -> None:
    picture[y : y + height, x : x + width] = colour
