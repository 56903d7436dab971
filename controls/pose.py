"""People as OpenPose knows them: keypoints, the JSON that tools exchange, and the skeleton drawn of them.

Keypoints, their order, the bones between them and their colours are OpenPose's (Cao et al. 2017), as released
ControlNets were trained on them.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..errors import FramewrightError
from .canvas import canvas_size, told

JOINTS = (
    "nose", "neck", "right shoulder", "right elbow", "right wrist", "left shoulder", "left elbow",
    "left wrist", "right hip", "right knee", "right ankle", "left hip", "left knee", "left ankle",
    "right eye", "left eye", "right ear", "left ear",
)  # fmt: skip
BONES = (
    (1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13),
    (1, 0), (0, 14), (14, 16), (0, 15), (15, 17),
)  # fmt: skip
_STANDING = (
    (0, -16), (0, -10), (3, -9), (4, -4), (4, 1), (-3, -9), (-4, -4), (-4, 1), (2, 3), (3, 11), (4, 19),
    (-2, 3), (-3, 11), (-4, 19),
)  # fmt: skip
HAND_BONES = tuple(
    (0 if joint == 0 else 4 * finger + joint, 4 * finger + joint + 1)
    for finger in range(5)
    for joint in range(4)
)
BODY_25 = (*range(8), *range(9, 19))  # of OpenPose's newer body of 25 keypoints, the 18 of this one
MOST_PEOPLE, _FARTHEST = 64, 1_000_000
SURE = 0.3  # confidence from which a joint counts as found, as in detectors' own drawings
_BEYOND = 2  # parts of a canvas that joints outside of a picture are guessed to lie at
PARTS = {"hand_left": (21,), "hand_right": (21,), "face": (68, 70)}  # how many keypoints each may have


@dataclass(frozen=True, eq=False)
class Person:
    """Keypoints [K, 3]: x, y in pixels and confidence, 0 where a joint was not found.

    body: 18 of JOINTS; hands: 21 each; face: 68 or 70; None where there are none.
    """

    body: np.ndarray
    hand_left: np.ndarray | None = None
    hand_right: np.ndarray | None = None
    face: np.ndarray | None = None

    def changed(self, change: Callable[[np.ndarray], np.ndarray]) -> "Person":
        """With `change` of the keypoints of every part that there is."""
        parts = {part: None if points is None else change(points) for part, points in vars(self).items()}
        return Person(**parts)  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False)
class PoseFrame:
    """The people of one frame, on a canvas of this size in pixels."""

    people: tuple[Person, ...]
    width: int
    height: int


def read_poses(data: Any) -> list[PoseFrame]:
    """Frames from OpenPose's JSON, as a POSE_KEYPOINT socket carries it: a dict for each frame, or one alone.

    Coordinates are pixels of the canvas, or in all frames parts of it, 0..1 and a little beyond. Raises
    FramewrightError on anything else.
    """
    frames = [data] if isinstance(data, Mapping) else data
    if not isinstance(frames, Sequence) or isinstance(frames, (str, bytes)) or not frames:
        raise FramewrightError(f"poses: {told(data)} came, expected a list with a dict for each frame")
    return _in_pixels([_read_frame(frame, number) for number, frame in enumerate(frames)])


def without_unsure(frames: Sequence[PoseFrame], confidence: float) -> list[PoseFrame]:
    """Frames in which joints of less confidence were not found; some detectors put every joint somewhere."""

    def kept(points: np.ndarray) -> np.ndarray:
        return np.where(points[:, 2:] < confidence, points * [1, 1, 0], points)

    return [replace(frame, people=tuple(one.changed(kept) for one in frame.people)) for frame in frames]


def read_keys(text: str, frames: int) -> dict[int, PoseFrame]:
    """Key frames of a video by number: the JSON that `read_poses` reads, with "frame": number in each dict.

    Where no dict says its frame, they are those from the first one on.
    """
    try:
        data = json.loads(text)
    except ValueError as error:
        raise FramewrightError(f"poses: what came is not JSON ({error})") from error
    read = read_poses(data)
    given = [data] if isinstance(data, dict) else data
    numbers = [frame.get("frame", place) for place, frame in enumerate(given)]
    odd = [number for number in numbers if type(number) is not int or not 0 <= number < frames]
    if odd or len(set(numbers)) < len(numbers):
        raise FramewrightError(
            f"poses: key frames at {', '.join(map(repr, numbers[:9]))} came, expected different ones, 0 to "
            f"{frames - 1}"
        )
    if len({(frame.width, frame.height) for frame in read}) > 1:
        raise FramewrightError("poses: canvases of different sizes came, expected one for all frames")
    return dict(sorted(zip(numbers, read, strict=True)))


def _read_frame(frame: Any, number: int) -> PoseFrame:
    if not isinstance(frame, Mapping) or not isinstance(people := frame.get("people"), Sequence):
        raise FramewrightError(
            f"poses: frame {number} is {told(frame)}, expected OpenPose's dict with a list of people"
        )
    where = f"poses: frame {number}"
    width, height = canvas_size(frame.get("canvas_width"), frame.get("canvas_height"), where)
    if len(people) > MOST_PEOPLE:
        raise FramewrightError(f"{where} has {len(people)} people, expected at most {MOST_PEOPLE}")
    read = [_read_person(person, f"{where}, person {k}") for k, person in enumerate(people)]
    return PoseFrame(tuple(read), width, height)


def _read_person(person: Any, where: str) -> Person:
    if not isinstance(person, Mapping):
        raise FramewrightError(f"{where} is {told(person)}, expected OpenPose's dict of keypoints")
    body = _keypoints(person.get("pose_keypoints_2d"), where, "pose", (18, 25))
    if body is None:
        raise FramewrightError(f"{where} has no pose_keypoints_2d")
    parts = {
        name: _keypoints(person.get(f"{name}_keypoints_2d"), where, name, counts)
        for name, counts in PARTS.items()
    }
    return Person(body[list(BODY_25)] if len(body) == 25 else body, **parts)


def _keypoints(values: Any, where: str, part: str, counts: tuple[int, ...]) -> np.ndarray | None:
    """[K, 3], or None of an empty list."""
    if values is None or (isinstance(values, Sequence) and not values):
        return None
    try:
        points = np.asarray(values, np.float32).reshape(-1, 3)
    except (TypeError, ValueError, OverflowError):
        points = np.empty((0, 3), np.float32)
    if len(points) not in counts or not (np.abs(points) < _FARTHEST).all():
        raise FramewrightError(
            f"{where} has {told(values)} as {part}_keypoints_2d, expected "
            f"{' or '.join(str(3 * count) for count in counts)} numbers below {_FARTHEST:,}: x, y, confidence"
        )
    return points


def _in_pixels(frames: list[PoseFrame]) -> list[PoseFrame]:
    """Some tools write parts of the canvas in the place of pixels."""
    people = [person for frame in frames for person in frame.people]
    given = [points for person in people for points in vars(person).values() if points is not None]
    found = np.concatenate([points[points[:, 2] > 0, :2].ravel() for points in given] or [np.empty(0)])
    if not found.size or np.abs(found).max() > _BEYOND:
        return frames

    def scaled(frame: PoseFrame) -> PoseFrame:
        size = [frame.width, frame.height, 1]
        return replace(frame, people=tuple(one.changed(lambda points: points * size) for one in frame.people))

    return [scaled(frame) for frame in frames]


def write_poses(frames: Sequence[PoseFrame]) -> list[dict[str, Any]]:
    """What `read_poses` reads, in pixels."""

    def flat(points: np.ndarray | None) -> list[float] | None:
        return None if points is None else [round(float(value), 3) for value in points.ravel()]

    return [
        {
            "people": [
                {
                    "pose_keypoints_2d": flat(person.body),
                    **{f"{part}_keypoints_2d": flat(getattr(person, part)) for part in PARTS},
                }
                for person in frame.people
            ],
            "canvas_width": frame.width,
            "canvas_height": frame.height,
        }
        for frame in frames
    ]


def _standing(frame: int, x: int, y: int) -> str:
    joints = [number for dx, dy in _STANDING for number in (x + dx, y + dy, 1)]
    body = joints + [0] * (3 * len(JOINTS) - len(joints))
    people = [{"pose_keypoints_2d": body}]
    return json.dumps({"frame": frame, "canvas_width": 64, "canvas_height": 64, "people": people})


EXAMPLE = f"[\n  {_standing(0, 18, 34)},\n  {_standing(15, 46, 34)}\n]"
