"""The skeleton that pose ControlNets read, drawn of keypoints."""

import colorsys

import cv2
import numpy as np

from .pose import BONES, HAND_BONES, PoseFrame

COLOURS = (
    (255, 0, 0), (255, 85, 0), (255, 170, 0), (255, 255, 0), (170, 255, 0), (85, 255, 0), (0, 255, 0),
    (0, 255, 85), (0, 255, 170), (0, 255, 255), (0, 170, 255), (0, 85, 255), (0, 0, 255), (85, 0, 255),
    (170, 0, 255), (255, 0, 255), (255, 0, 170), (255, 0, 85),
)  # fmt: skip
_DIM = 0.6  # of a joint's colour in the bone of its number
_WIDTH = 4 / 512  # half of a bone's width and a joint's radius, as a part of the canvas's shorter side
_FACE, _HAND_JOINT = (255, 255, 255), (0, 0, 255)
_FRACTION = 4  # bits of a pixel that OpenCV draws to


def draw_skeletons(frame: PoseFrame, width: int, height: int) -> np.ndarray:
    """Bodies, hands and faces on black, [height, width, 3] in 0..1; the canvas is scaled to that size."""
    canvas = np.zeros((height, width, 3), np.uint8)
    scale = np.array([width / frame.width, height / frame.height, 1], np.float32)
    half = max(_WIDTH * min(width, height), 0.75)
    for person in frame.people:
        _draw_body(canvas, person.body * scale, half)
    for person in frame.people:
        for hand in (person.hand_left, person.hand_right):
            if hand is not None:
                _draw_hand(canvas, hand * scale, half)
        if person.face is not None:
            for x, y, sure in person.face * scale:
                if sure > 0:
                    _disc(canvas, x, y, 0.75 * half, _FACE)
    return canvas.astype(np.float32) / 255


def _draw_body(canvas: np.ndarray, body: np.ndarray, half: float) -> None:
    for (a, b), colour in zip(BONES, COLOURS, strict=False):
        if min(body[a, 2], body[b, 2]) > 0:
            _bone(canvas, body[a, :2], body[b, :2], half, tuple(int(_DIM * part) for part in colour))
    for (x, y, sure), colour in zip(body, COLOURS, strict=True):
        if sure > 0:
            _disc(canvas, x, y, half, colour)


def _draw_hand(canvas: np.ndarray, hand: np.ndarray, half: float) -> None:
    for number, (a, b) in enumerate(HAND_BONES):
        if min(hand[a, 2], hand[b, 2]) > 0:
            hue = colorsys.hsv_to_rgb(number / len(HAND_BONES), 1.0, 1.0)
            start, end = _fine(hand[a, :2]), _fine(hand[b, :2])
            colour = tuple(int(255 * part) for part in hue)
            cv2.line(canvas, start, end, colour, max(1, round(half / 2)), cv2.LINE_AA, _FRACTION)
    for x, y, sure in hand:
        if sure > 0:
            _disc(canvas, x, y, half, _HAND_JOINT)


def _bone(canvas: np.ndarray, a: np.ndarray, b: np.ndarray, half: float, colour: tuple[int, ...]) -> None:
    """An ellipse from joint to joint."""
    turns = np.linspace(0, 2 * np.pi, 32, endpoint=False)
    along, middle = (b - a) / 2, (a + b) / 2
    length = max(float(np.hypot(*along)), 1e-6)
    across = np.array([-along[1], along[0]]) / length * half
    outline = middle + np.cos(turns)[:, None] * along + np.sin(turns)[:, None] * across
    points = np.round(outline * 2**_FRACTION).astype(np.int32)
    cv2.fillConvexPoly(canvas, points, colour, cv2.LINE_AA, _FRACTION)


def _disc(canvas: np.ndarray, x: float, y: float, radius: float, colour: tuple[int, ...]) -> None:
    size = round(radius * 2**_FRACTION)
    cv2.circle(canvas, _fine((x, y)), size, colour, -1, cv2.LINE_AA, _FRACTION)


def _fine(point: tuple[float, float] | np.ndarray) -> tuple[int, int]:
    x, y = (round(float(side) * 2**_FRACTION) for side in point)
    return x, y
