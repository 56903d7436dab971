"""People found in pictures by the ONNX models that artists have: YOLOX for where, RTMPose or DWPose for how.

Run by OpenCV. DWPose: Yang et al. 2023; RTMPose, whose joints are read off two axes: Jiang et al. 2023.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from ..errors import FramewrightError
from .pose import MOST_PEOPLE, Person, PoseFrame

_PEOPLE_SIZES = ((640, 640), (416, 416))  # width and height that released models take
_POSE_SIZES = ((288, 384), (192, 256))
_STRIDES = (8, 16, 32)
_FILL = 114  # grey beside a picture that is not square
_SAME = 0.45  # overlap from which two boxes are of one person
_AROUND = 1.25  # times its box is what is looked at
_FINE = 2  # places of an axis to a pixel
_MEAN, _STD = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])
# OpenPose's order out of COCO's; its neck, the second, is between the shoulders.
_FROM_COCO = (0, 5, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3)
_NECK = 1
_FACE, _LEFT, _RIGHT = slice(23, 91), slice(91, 112), slice(112, 133)
_WANTED = {"people": ["YOLOX's"], "pose": ["RTMPose's", "DWPose's"]}
_COUNTS = (17, 133)  # of the body, or of body, feet, face and hands

Box = tuple[float, float, float, float]  # left, top, width, height in pixels


class PoseDetector:
    """Files of one's own, for frames [H, W, 3] in 0..1; without `people` the whole picture is one person.

    `sure` (0..1): the confidence from which a person or joint counts. Raises where a file is none of these.
    """

    def __init__(self, people: Path | None, pose: Path, sure: float) -> None:
        self._sure = sure
        self._people = None if people is None else _Model(people, "people", _PEOPLE_SIZES, _are_people)
        self._pose = _Model(pose, "pose", _POSE_SIZES, _are_joints)

    def __call__(self, frame: np.ndarray) -> PoseFrame:
        picture = np.ascontiguousarray((frame.clip(0, 1) * 255).round().astype(np.uint8))
        height, width = picture.shape[:2]
        boxes = [(0.0, 0.0, float(width), float(height))] if self._people is None else self._boxes(picture)
        people = (self._person(picture, box) for box in boxes[:MOST_PEOPLE])
        return PoseFrame(tuple(one for one in people if one is not None), width, height)

    def _boxes(self, picture: np.ndarray) -> list[Box]:
        """Of people, the surest first."""
        assert self._people is not None
        width, height = self._people.size
        scale = min(width / picture.shape[1], height / picture.shape[0])
        small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
        filled = np.full((height, width, 3), _FILL, np.uint8)
        filled[: small.shape[0], : small.shape[1]] = small[:height, :width]
        (rows,) = self._people(filled[..., ::-1].astype(np.float32))
        grid, stride = _cells(width, height)
        middles = (rows[:, :2] + grid) * stride / scale
        sizes = np.exp(rows[:, 2:4]) * stride / scale
        sure = rows[:, 4] * rows[:, 5]  # that a thing is there, and that it is a person
        boxes = np.concatenate([middles - sizes / 2, sizes], 1)
        kept = cv2.dnn.NMSBoxes(boxes.tolist(), sure.tolist(), self._sure, _SAME)
        return [tuple(boxes[place].tolist()) for place in np.array(kept, int).ravel()]

    def _person(self, picture: np.ndarray, box: Box) -> Person | None:
        """The joints of whoever is in a box; None where none is found."""
        width, height = self._pose.size
        left, top, across, down = box
        scale = max(across / width, down / height) * _AROUND  # pixels of the picture to one of the model's
        corner = np.array([left + across / 2 - width / 2 * scale, top + down / 2 - height / 2 * scale])
        looked_at = np.array([[scale, 0, corner[0]], [0, scale, corner[1]]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        cut = cv2.warpAffine(picture, looked_at, (width, height), flags=flags)
        axes = self._pose(((cut - _MEAN) / _STD).astype(np.float32))
        places = np.stack([axis.argmax(-1) for axis in axes], -1) / _FINE * scale + corner
        sure = np.stack([axis.max(-1) for axis in axes]).mean(0)
        points = np.concatenate([places, sure[:, None]], 1).astype(np.float32)
        points[sure < self._sure] = 0
        return _person(points) if (points[:17, 2] > 0).any() else None


def _person(points: np.ndarray) -> Person:
    """Of COCO's keypoints [17 or 133, 3]."""
    body = points[list(_FROM_COCO)]
    shoulders = points[[5, 6]]
    body[_NECK] = shoulders.mean(0) if (shoulders[:, 2] > 0).all() else 0
    if len(points) == _COUNTS[0]:
        return Person(body)
    parts = (points[part] for part in (_LEFT, _RIGHT, _FACE))
    return Person(body, *(part if (part[:, 2] > 0).any() else None for part in parts))


def _cells(width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Of YOLOX's three grids, each cell's column and row [N, 2], and its pixels [N, 1]."""
    grids, strides = [], []
    for stride in _STRIDES:
        rows, columns = np.mgrid[: height // stride, : width // stride]
        grids.append(np.stack([columns.ravel(), rows.ravel()], 1))
        strides.append(np.full((rows.size, 1), stride))
    return np.concatenate(grids), np.concatenate(strides)


def _are_people(outputs: list[np.ndarray], width: int, height: int) -> bool:
    """One output [cells, 85]."""
    cells = sum((width // stride) * (height // stride) for stride in _STRIDES)
    return [one.shape for one in outputs] == [(cells, 85)]


def _are_joints(outputs: list[np.ndarray], width: int, height: int) -> bool:
    """Two outputs, of columns [K, 2 · width] and of rows [K, 2 · height]."""
    shapes = [one.shape for one in outputs]
    return shapes in ([(count, _FINE * width), (count, _FINE * height)] for count in _COUNTS)


class _Model:
    """An ONNX file for pictures of a size of its own, (width, height), which is found by trying."""

    def __init__(
        self,
        path: Path,
        socket: str,
        sizes: Sequence[tuple[int, int]],
        fits: Callable[[list[np.ndarray], int, int], bool],
    ) -> None:
        try:
            self._net = cv2.dnn.readNetFromONNX(str(path))
        except cv2.error as error:
            raise FramewrightError(f"{socket}: {path.name} cannot be read as an ONNX model") from error
        for width, height in sizes:
            self.size = width, height
            try:
                if fits(self(np.zeros((height, width, 3), np.float32)), width, height):
                    return
            except cv2.error:
                continue  # it is of another size
        raise FramewrightError(
            f"{socket}: {path.name} is no model of {' or '.join(_WANTED[socket])}, at "
            f"{' or '.join(f'{width} by {height}' for width, height in sizes)} pixels"
        )

    def __call__(self, picture: np.ndarray) -> list[np.ndarray]:
        """Its outputs of a picture [H, W, 3], the shorter first, without the axis of the batch."""
        self._net.setInput(np.ascontiguousarray(picture.transpose(2, 0, 1)[None]))
        outputs = self._net.forward(self._net.getUnconnectedOutLayersNames())
        return sorted((one[0] for one in outputs), key=lambda one: one.shape[-1])
