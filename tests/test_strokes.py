"""Strokes as text: what is read, where things are along them, and the maps drawn of them."""

import json
from typing import Any

import numpy as np
import pytest
from framewright.controls.strokes import EXAMPLE, Drawing, Stroke, draw_tracks, read_drawing
from framewright.errors import FramewrightError


def drawn(**parts: Any) -> str:
    return json.dumps({"width": 64, "height": 32, "strokes": [], **parts})


def stroke(*points: Any, **more: Any) -> str:
    return drawn(strokes=[{"points": list(points), **more}])


def test_a_stroke_is_gone_along_evenly_between_its_frames() -> None:
    drawing = read_drawing(stroke([10, 10], [30, 10], [30, 20], first=2, last=5), 8)
    (track,) = drawing.tracks(8, 64, 32)
    wanted = [[10, 10]] * 3 + [[20, 10], [30, 10], [30, 20], [30, 20], [30, 20]]
    assert np.allclose(track, wanted)


def test_without_its_frames_a_stroke_takes_the_whole_video() -> None:
    (track,) = read_drawing(stroke([0, 0], [15, 0]), 16).tracks(16, 64, 32)
    assert np.allclose(track[:, 0], range(16))


def test_tracks_and_anchors_are_scaled_to_the_frame() -> None:
    drawing = read_drawing(drawn(strokes=[{"points": [[8, 8], [16, 8]]}], anchors=[[4, 4], [64, 32]]), 2)
    assert drawing.tracks(2, 128, 96).tolist() == [[[16, 24], [32, 24]]]
    assert drawing.anchors_at(128, 96).tolist() == [[8, 12], [128, 96]]


def test_nothing_drawn_is_a_drawing() -> None:
    empty = read_drawing(drawn(), 4)
    assert empty == Drawing(64, 32)
    assert empty.tracks(4, 64, 32).shape == (0, 4, 2) and empty.anchors_at(64, 32).shape == (0, 2)
    assert not draw_tracks(empty.tracks(4, 64, 32), 64, 32, 2.0).any()


def test_the_example_is_a_drawing() -> None:
    assert read_drawing(EXAMPLE, 16).strokes == (Stroke.even([(14, 44), (32, 20), (50, 44)], 0, 15),)


BAD = {
    "no JSON": ("{", "not JSON"),
    "a list": ("[]", "a list of 0 came"),
    "of another kind": (json.dumps({"people": []}), "a dict came, expected an object with a list of strokes"),
    "poses in its place": (json.dumps([{"people": [], "canvas_width": 8}]), "a list of 1 came"),
    "an unknown part": (drawn(script="<img onerror=alert(1)>"), "'script' came"),
    "no canvas": (json.dumps({"strokes": []}), "a canvas of None by None"),
    "a canvas of nothing": (drawn(width=0), "a canvas of 0 by 32"),
    "a huge canvas": (drawn(width=10**9), "a canvas of 1000000000"),
    "more strokes than allowed": (
        drawn(strokes=[{"points": [[0, 0], [1, 1]]}] * 65), "65 came, expected at most 64"),
    "more points than allowed": (stroke(*[[k % 60, 1] for k in range(4097)]), "a list of 4097 came"),
    "no stroke": (drawn(strokes=["<script>"]), "stroke 0 is a str"),
    "out of the frame": (stroke([10, 10], [70, 10]), "stroke 0 has a point at 70, 10, outside.*64×32"),
    "below nothing": (stroke([10, -1], [20, 10]), "outside of the canvas"),
    "zero length": (stroke([10, 10], [10, 10]), "stroke 0 has no length"),
    "one point": (stroke([10, 10]), "stroke 0 has no length"),
    "a point of three": (stroke([1, 2, 3], [4, 5, 6]), r"\[1, 2, 3\] as a point"),
    "words for numbers": (stroke(["1", "2"], [3, 4]), r"\['1', '2'\] as a point"),
    "truth for numbers": (stroke([True, False], [3, 4]), "as a point"),
    "not finite": (stroke([float("nan"), 1], [3, 4]), "as a point"),
    "a number too long": (stroke([10**400, 1], [3, 4]), "outside of the canvas"),
    "past the video": (stroke([1, 1], [3, 4], first=0, last=16), "from frame 0 to 16, expected .* < 16"),
    "backwards": (stroke([1, 1], [3, 4], first=9, last=3), "from frame 9 to 3"),
    "half a frame": (stroke([1, 1], [3, 4], first=0.5), "from frame 0.5"),
    "an anchor outside": (drawn(anchors=[[65, 3]]), "anchors has a point at 65, 3"),
    "anchors that are none": (drawn(anchors={"x": 1}), "anchors: a dict came"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_drawing_is_one_error(case: str) -> None:
    text, message = BAD[case]
    with pytest.raises(FramewrightError, match=f"^strokes: .*{message}"):
        read_drawing(text, 16)


def test_a_map_has_a_disc_where_the_stroke_is_and_its_way_behind() -> None:
    maps = draw_tracks(read_drawing(stroke([10, 16], [50, 16]), 5).tracks(5, 64, 32), 64, 32, 3.0)
    assert maps.shape == (5, 32, 64, 3) and maps.dtype == np.float32
    for number, frame in enumerate(maps):
        x = 10 + 10 * number
        assert np.allclose(frame[16, x], 1), "the middle of the disc"
        assert np.allclose(frame[16, min(63, x + 5)], 0), "nothing ahead"
        if number > 1:
            assert frame[16, x - 6].tolist() == pytest.approx([0, 0.35, 0.7], abs=0.02), "the way so far"
    middles = [np.argwhere(frame[..., 0] > 0.5).mean(0) for frame in maps]
    assert np.allclose(middles, [[16, 10 + 10 * k] for k in range(5)], atol=0.25)
