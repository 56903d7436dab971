"""Detection of people by ONNX models: dots of as many colours as there are joints, found where they are."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from framewright.bridge.maps import detected_poses
from framewright.controls.pose import JOINTS, read_poses
from framewright.controls.pose_detector import PoseDetector
from framewright.embedded.core import registry
from framewright.errors import FramewrightError
from framewright.tests.onnx_models import people_model, pose_model

HEIGHT, WIDTH = 320, 640
FROM_COCO = {
    "nose": 0, "left eye": 1, "right eye": 2, "left ear": 3, "right ear": 4, "left shoulder": 5,
    "right shoulder": 6, "left elbow": 7, "right elbow": 8, "left wrist": 9, "right wrist": 10,
    "left hip": 11, "right hip": 12, "left knee": 13, "right knee": 14, "left ankle": 15, "right ankle": 16,
}  # fmt: skip


def colours(count: int) -> np.ndarray:
    """As far from each other, and from black and red, as a few tries get."""
    rng, chosen = np.random.default_rng(0), [np.zeros(3), np.array([255.0, 0, 0])]
    for _ in range(count):
        tries = rng.uniform(0, 255, (2000, 3))
        gaps = np.min([np.abs(tries - one).sum(1) for one in chosen], axis=0)
        chosen.append(tries[gaps.argmax()])
    return np.stack(chosen[2:]).round()


def dotted(picture: np.ndarray, points: np.ndarray, paint: np.ndarray, radius: int = 3) -> None:
    for (x, y), colour in zip(points, paint, strict=True):
        cv2.circle(picture, (round(x), round(y)), radius, colour.tolist(), -1)


def spread(count: int, left: float, top: float, across: float, down: float) -> np.ndarray:
    """Points [K, 2] on a grid within a box."""
    columns = int(np.ceil(np.sqrt(count * across / down)))
    places = np.arange(count)
    rows = -(-count // columns)
    return np.stack(
        [left + (places % columns + 0.5) * across / columns, top + (places // columns + 0.5) * down / rows], 1
    )


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("onnx")
    return {
        "people": people_model(folder / "yolox.onnx"),
        "body": pose_model(folder / "body.onnx", colours(17)),
        "small": pose_model(folder / "small.onnx", colours(17), 192, 256),
        "whole": pose_model(folder / "whole.onnx", colours(133)),
    }


@pytest.mark.parametrize("pose", ["body", "small"])
def test_joints_are_found_in_openpose_order(pose: str, models: dict[str, Path]) -> None:
    picture = np.zeros((240, 180, 3), np.uint8)
    points = spread(17, 20, 20, 140, 200)
    dotted(picture, points, colours(17))
    frame = PoseDetector(None, models[pose], 0.3)(picture / np.float32(255))
    (person,) = frame.people
    assert (frame.width, frame.height) == (180, 240)
    for joint, (x, y, sure) in zip(JOINTS, person.body, strict=True):
        wanted = points[[5, 6]].mean(0) if joint == "neck" else points[FROM_COCO[joint]]
        assert np.hypot(x - wanted[0], y - wanted[1]) < 2.5, joint
        assert sure > 0.5
    assert person.face is None and person.hand_left is None


def test_a_joint_that_is_not_there_is_not_made_up(models: dict[str, Path]) -> None:
    picture = np.zeros((240, 180, 3), np.uint8)
    dotted(picture, spread(17, 20, 20, 140, 200)[:5], colours(17)[:5])
    (person,) = PoseDetector(None, models["body"], 0.6)(picture / np.float32(255)).people
    there = {joint for joint, sure in zip(JOINTS, person.body[:, 2], strict=True) if sure > 0}
    assert there == {"nose", "left eye", "right eye", "left ear", "right ear"}
    assert not PoseDetector(None, models["body"], 0.6)(np.zeros((240, 180, 3), np.float32)).people


def test_hands_and_face(models: dict[str, Path]) -> None:
    picture = np.zeros((960, 720, 3), np.uint8)
    points = spread(133, 20, 20, 680, 900)
    dotted(picture, points, colours(133), 7)
    (person,) = PoseDetector(None, models["whole"], 0.3)(picture / np.float32(255)).people
    for part, first, count in (("face", 23, 68), ("hand_left", 91, 21), ("hand_right", 112, 21)):
        found = getattr(person, part)
        away = np.hypot(*(found[:, :2] - points[first : first + count]).T)
        assert found.shape == (count, 3) and np.median(away) < 4, (part, away)


def test_people_are_found_once_each_and_their_joints_within(models: dict[str, Path]) -> None:
    picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    wanted = []
    for column in (3, 14):  # cells of 32 pixels
        left, top = 32 * column, 32 * 5
        picture[top : top + 32, left : left + 64] = (255, 0, 0)  # two cells: two boxes of one person
        points = spread(17, left - 24, top - 64, 76, 50)
        dotted(picture, points, colours(17))
        wanted.append(points)
    registry()
    image = torch.from_numpy(picture[None] / np.float32(255))
    (data,) = detected_poses(image, models["people"], models["body"], 0.5)
    (frame,) = read_poses(data)
    assert len(frame.people) == 2
    found = sorted((one.body[0, :2] for one in frame.people), key=lambda nose: nose[0])
    for nose, points in zip(found, wanted, strict=True):
        assert np.hypot(*(nose - points[0])) < 2.5


def test_a_file_that_is_no_such_model_is_one_error(models: dict[str, Path], tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model at all")
    with pytest.raises(FramewrightError, match="pose: broken.onnx cannot be read as an ONNX model"):
        PoseDetector(None, broken, 0.3)
    with pytest.raises(FramewrightError, match="pose: yolox.onnx is no model of RTMPose's or DWPose's"):
        PoseDetector(None, models["people"], 0.3)
    with pytest.raises(FramewrightError, match="people: body.onnx is no model of YOLOX's"):
        PoseDetector(models["body"], models["body"], 0.3)
