"""Keypoints as other tools write them, put right over time, and drawn as ControlNets know them."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from framewright.controls.pose import (
    EXAMPLE,
    MOST_PEOPLE,
    Person,
    PoseFrame,
    read_keys,
    read_poses,
    without_unsure,
    write_poses,
)
from framewright.controls.pose_motion import (
    fill_gaps,
    first_with_people,
    followed,
    give_to,
    join_keys,
    smoothed,
)
from framewright.controls.skeleton import draw_skeletons
from framewright.errors import FramewrightError

# The published rendering (OpenPose, Cao et al. 2017, as the released ControlNets have it): joints counted
# from 1, each bone with the colour of its number.
BONES = [
    (2, 3), (2, 6), (3, 4), (4, 5), (6, 7), (7, 8), (2, 9), (9, 10), (10, 11), (2, 12), (12, 13), (13, 14),
    (2, 1), (1, 15), (15, 17), (1, 16), (16, 18),
]  # fmt: skip
COLOURS = [
    (255, 0, 0), (255, 85, 0), (255, 170, 0), (255, 255, 0), (170, 255, 0), (85, 255, 0), (0, 255, 0),
    (0, 255, 85), (0, 255, 170), (0, 255, 255), (0, 170, 255), (0, 85, 255), (0, 0, 255), (85, 0, 255),
    (170, 0, 255), (255, 0, 255), (255, 0, 170), (255, 0, 85),
]  # fmt: skip


def body(**parts: Any) -> dict[str, Any]:
    """A person as detectors write one: joint k at (10 + 20 k, 30 + 5 (k mod 7))."""
    numbers = [n for k in range(18) for n in (10 + 20 * k, 30 + 5 * (k % 7), 0.9)]
    return {"pose_keypoints_2d": numbers, **parts}


def frame(*people: dict[str, Any], width: int = 384, height: int = 128, **more: Any) -> dict[str, Any]:
    return {"people": list(people), "canvas_width": width, "canvas_height": height, **more}


def standing(x: float, y: float, size: float = 1.0) -> Person:
    points = json.loads(EXAMPLE)[0]["people"][0]["pose_keypoints_2d"]
    joints = np.array(points, np.float32).reshape(-1, 3)
    moved = (joints[:, :2] - [18, 34]) * size + [x, y]
    return Person(np.concatenate([moved, joints[:, 2:]], 1).astype(np.float32))


def test_what_another_pack_writes_is_read() -> None:
    """As detectors' nodes write it: parts that are empty or None, sizes last, whole people with all parts."""
    full = body(
        face_keypoints_2d=[1.0, 2.0, 1.0] * 70, hand_left_keypoints_2d=None, hand_right_keypoints_2d=[]
    )
    two = read_poses([frame(full, body()), frame()])
    assert [len(one.people) for one in two] == [2, 0]
    person = two[0].people[0]
    assert person.face is not None and len(person.face) == 70
    assert person.hand_left is None and person.hand_right is None
    assert person.body[3].tolist() == pytest.approx([70, 45, 0.9])
    assert (two[0].width, two[0].height) == (384, 128)


def test_one_frame_alone_and_parts_of_the_canvas() -> None:
    numbers = [n for k in range(18) for n in (k / 18, 0.5, 1)]
    (one,) = read_poses(frame({"pose_keypoints_2d": numbers}))
    assert one.people[0].body[9].tolist() == [192, 64, 1]
    numbers[1] = 1.04  # below the picture's edge
    one, two = read_poses([frame(), frame({"pose_keypoints_2d": numbers})])
    assert not one.people and two.people[0].body[9].tolist() == [192, 64, 1]


def test_the_newer_body_of_25_keypoints() -> None:
    numbers = [n for k in range(25) for n in (100 + k, 200 + k, 1)]
    (one,) = read_poses(frame({"pose_keypoints_2d": numbers}))
    # Its 8 is the middle of the hips, and feet come after the 18.
    assert one.people[0].body[:, 0].tolist() == [100 + k for k in (*range(8), *range(9, 19))]


def test_nobody_is_a_black_frame() -> None:
    (one,) = read_poses([frame()])
    assert not draw_skeletons(one, 64, 32).any()
    assert draw_skeletons(one, 64, 32).shape == (32, 64, 3)


def test_what_is_written_is_read() -> None:
    hand = [float(n) for k in range(21) for n in (k, k, 1)]
    given = read_poses([frame(body(hand_left_keypoints_2d=hand)), frame()])
    again = read_poses(json.loads(json.dumps(write_poses(given))))
    for one, two in zip(given, again, strict=True):
        assert (one.width, one.height, len(one.people)) == (two.width, two.height, len(two.people))
        for a, b in zip(one.people, two.people, strict=True):
            for part, points in vars(a).items():
                other = getattr(b, part)
                assert (points is None) == (other is None)
                assert points is None or np.allclose(points, other, atol=1e-3)


BAD = {
    "no list": ("hello", "a str came, expected a list"),
    "an empty list": ([], "a list of 0 came"),
    "a list of numbers": ([1], "frame 0 is a int"),
    "no people": (
        [{"canvas_width": 8, "canvas_height": 8}],
        "expected OpenPose's dict with a list of people",
    ),
    "no canvas": ([{"people": []}], "a canvas of None by None"),
    "a canvas of nothing": ([frame(width=0)], "a canvas of 0 by 128"),
    "137 people": ([frame(*[body()] * 137)], "137 people, expected at most 64"),
    "a person who is none": ([frame("me")], "person 0 is a str"),  # type: ignore[arg-type]
    "no body": ([frame({"face_keypoints_2d": [0.0] * 210})], "no pose_keypoints_2d"),
    "missing numbers": ([frame({"pose_keypoints_2d": [1.0] * 53})], "expected 54 or 75 numbers"),
    "words": ([frame({"pose_keypoints_2d": ["a"] * 54})], "expected 54 or 75 numbers"),
    "not finite": ([frame({"pose_keypoints_2d": [float("nan")] * 54})], "expected 54 or 75 numbers"),
    "out of all sight": ([frame({"pose_keypoints_2d": [1e12] * 54})], "expected 54 or 75 numbers below"),
    "a number too long": ([frame({"pose_keypoints_2d": [10**400] * 54})], "expected 54 or 75 numbers"),
    "a hand of nine": ([frame(body(hand_left_keypoints_2d=[1.0] * 27))], "hand_left.*expected 63 numbers"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_pose_is_one_error(case: str) -> None:
    given, message = BAD[case]
    with pytest.raises(FramewrightError, match=f"poses: .*{message}"):
        read_poses(given)


BAD_KEYS = {
    "{": "not JSON",
    json.dumps([frame(frame=16)]): "key frames at 16 came, expected different ones, 0 to 15",
    json.dumps([frame(frame=-1)]): "key frames at -1",
    json.dumps([frame(frame="<b>")]): "key frames at '<b>'",
    json.dumps([frame(frame=3), frame(frame=3)]): "key frames at 3, 3",
    json.dumps([frame(frame=0), frame(frame=3, width=64)]): "canvases of different sizes",
}


@pytest.mark.parametrize("text", BAD_KEYS)
def test_key_frames_that_are_none_are_one_error(text: str) -> None:
    with pytest.raises(FramewrightError, match=BAD_KEYS[text]):
        read_keys(text, 16)


def test_between_key_frames_joints_go_in_a_straight_line() -> None:
    joined = join_keys(read_keys(EXAMPLE, 20), 20)
    assert len(joined) == 20
    noses = np.stack([one.people[0].body[0, :2] for one in joined])
    wanted = np.interp(range(20), [0, 15], [18, 46])
    assert np.allclose(noses[:, 0], wanted, atol=1e-4)
    assert np.allclose(noses[:, 1], noses[0, 1])


def test_what_a_key_frame_lacks_is_hidden_up_to_it() -> None:
    first, last = json.loads(EXAMPLE)
    middle = {**json.loads(EXAMPLE)[0], "frame": 7}
    middle["people"][0]["pose_keypoints_2d"][3 * 4 + 2] = 0  # a wrist
    first["people"] *= 2
    last["frame"] = 12
    joined = join_keys(read_keys(json.dumps([first, middle, last]), 16), 16)
    assert [float(one.people[0].body[4, 2]) for one in joined] == [1.0] + 11 * [0.0] + 4 * [1.0]
    assert all(one.people[0].body[3, 2] == 1 for one in joined)
    assert [len(one.people) for one in joined] == [2] + 15 * [1]


def shown(*people: Person | None) -> list[PoseFrame]:
    return [PoseFrame(() if one is None else (one,), 64, 64) for one in people]


def test_everyone_keeps_a_place_in_the_lists() -> None:
    """However a detector lists them, whoever it misses, and where someone comes in later."""
    left, right, late = ([standing(x + k, 30) for k in range(6)] for x in (10, 34, 50))
    lists = [(0, 1), (1, 0), (1,), (), (1, 0), (2, 1, 0)]
    frames = [
        PoseFrame(tuple((left, right, late)[who][k] for who in who_is_there), 64, 64)
        for k, who_is_there in enumerate(lists)
    ]
    ordered = followed(frames)
    assert [len(one.people) for one in ordered] == [2, 2, 2, 0, 2, 3]
    for k, frame in enumerate(ordered):
        for person, (track, who) in zip(frame.people, ((left, 0), (right, 1), (late, 2)), strict=False):
            assert person.body[1, 2] == (who in lists[k])
            assert who not in lists[k] or person is track[k]
    refined = smoothed(fill_gaps(ordered, 4), 1.0)
    assert [len(one.people) for one in refined] == [2] * 5 + [3]
    noses = np.stack([[one.body[0, 0] for one in frame.people[:2]] for frame in refined])
    assert np.allclose(noses[:, 1] - noses[:, 0], 24, atol=0.5), "of two people, and not halfway between"


def test_more_people_over_time_than_there_are_places() -> None:
    crowd = shown(*[standing(1000 * k, 30) for k in range(MOST_PEOPLE + 3)])
    ordered = followed(crowd)
    assert max(len(one.people) for one in ordered) == MOST_PEOPLE
    assert [
        one.people.index(given.people[0]) for one, given in zip(ordered[-3:], crowd[-3:], strict=True)
    ] == [0, 1, 2]


def test_short_gaps_are_filled_and_long_ones_are_left() -> None:
    ends = standing(20, 30), standing(44, 30)
    short = fill_gaps(shown(ends[0], None, None, ends[1]), 2)
    assert [len(one.people) for one in short] == [1, 1, 1, 1]
    assert [round(float(one.people[0].body[0, 0]), 3) for one in short] == [20, 28, 36, 44]
    long = fill_gaps(shown(ends[0], None, None, None, ends[1]), 2)
    assert [len(one.people) for one in long] == [1, 0, 0, 0, 1]


def test_nothing_is_filled_before_the_first_and_after_the_last_sight() -> None:
    filled = fill_gaps(shown(None, standing(20, 30), None), 9)
    assert [len(one.people) for one in filled] == [0, 1, 0]


def test_smoothing_takes_jitter_and_leaves_even_motion() -> None:
    rng, frames = np.random.default_rng(0), 40
    even = shown(*[standing(10 + k, 30) for k in range(frames)])
    inside = slice(8, -8)

    def noses(video: list[PoseFrame]) -> np.ndarray:
        return np.stack([one.people[0].body[0, :2] for one in video])[inside]

    assert np.allclose(noses(smoothed(even, 2.0)), noses(even), atol=1e-3)
    shaken = shown(*[standing(10 + k + rng.normal(), 30 + rng.normal()) for k in range(frames)])
    left = noses(smoothed(shaken, 2.0)) - noses(even)
    assert left.std() < 0.5 * (noses(shaken) - noses(even)).std()
    assert smoothed(even, 0.0) == even


def _lengths(person: Person) -> np.ndarray:
    ends = np.array(BONES[:13]) - 1
    return np.hypot(*np.moveaxis(person.body[ends[:, 0], :2] - person.body[ends[:, 1], :2], -1, 0))


def test_a_motion_goes_to_a_body_of_other_proportions() -> None:
    """Every limb as long as the other body's, at its place, in the directions of the motion."""
    walk = shown(*[standing(10 + k, 30) for k in range(8)])
    other = standing(40, 40, 1.5)
    other.body[[4, 7], 1] += 9  # longer arms
    given = give_to(walk, shown(other)[0])
    for one in given:
        assert np.allclose(_lengths(one.people[0]), _lengths(other), rtol=1e-4)
    necks = np.stack([one.people[0].body[1, :2] for one in given])
    assert np.allclose(necks[0], other.body[1, :2], atol=1e-4)
    assert np.allclose(np.diff(necks[:, 0]), 1.5, atol=1e-4), "as far as the torso is longer"
    assert {(one.width, one.height) for one in give_to(walk, PoseFrame((other,), 128, 96))} == {(128, 96)}


def test_a_joint_stays_with_its_body_where_the_one_before_is_missing() -> None:
    walk = [standing(410, 430) for _ in range(2)]
    other = standing(440, 440, 1.0)
    other.body[[4, 7], 1] += 9  # longer arms
    walk[1].body[3] = 0
    seen, unseen = (one.people[0].body for one in give_to(shown(*walk), shown(other)[0]))
    assert np.abs(unseen[4, :2] - seen[4, :2]).max() < 10 and unseen[3, 2] == 0


@pytest.mark.parametrize("missing", [(), (0,)])
def test_a_hand_stays_with_its_body_where_the_wrist_is_missing(missing: tuple[int, ...]) -> None:
    person = standing(410, 430)
    hand = np.float32([[*person.body[4, :2] + k, 1] for k in range(21)])
    hand[list(missing)] = 0
    person = replace(person, hand_right=hand)
    person.body[4] = 0
    given = give_to(shown(person), shown(standing(440, 440, 1.0))[0])[0].people[0]
    assert given.hand_right is not None
    moved = given.hand_right[5, :2] - hand[5, :2]
    assert np.abs(moved - (given.body[1, :2] - person.body[1, :2])).max() < 1


def test_a_body_without_hips_or_nobody_is_an_error() -> None:
    legless = standing(20, 30)
    legless.body[8, 2] = 0
    with pytest.raises(FramewrightError, match="body: a body without neck or hips"):
        give_to(shown(standing(20, 30)), shown(legless)[0])
    with pytest.raises(FramewrightError, match="poses: a body without neck or hips"):
        give_to(shown(legless), shown(standing(20, 30))[0])
    beside = [replace(one, people=(*one.people, legless)) for one in shown(standing(20, 30))]
    assert [len(one.people) for one in give_to(beside, shown(standing(40, 30))[0])] == [1] * len(beside)
    with pytest.raises(FramewrightError, match="body: poses without a person"):
        first_with_people(shown(None))


def test_joints_that_a_detector_was_not_sure_of_are_not_found() -> None:
    person = standing(20, 30)
    person.body[8:14, 2], person.body[2, 2] = 0.02, 0.5
    (one,) = without_unsure(shown(person)[:1], 0.3)
    drawn, bare = one.people[0].body, person.body
    assert (drawn[8:14, 2] == 0).all() and drawn[2, 2] == 0.5
    assert np.array_equal(drawn[:8], bare[:8])


def test_the_skeleton_has_the_published_joints_and_colours() -> None:
    (one,) = read_poses([frame(body())])
    picture = np.round(draw_skeletons(one, 384, 128) * 255).astype(int)
    points = one.people[0].body
    for number, colour in enumerate(COLOURS):
        x, y = points[number, :2].astype(int)
        assert tuple(picture[y, x]) == colour, f"joint {number + 1}"
    # Each bone alone, so that no other one lies over its middle: it is dimmer than its joints.
    for (a, b), colour in zip(BONES, COLOURS, strict=False):
        pair = np.zeros((18, 3), np.float32)
        pair[a - 1], pair[b - 1] = (20, 20, 1), (100, 60, 1)
        alone = draw_skeletons(PoseFrame((Person(pair),), 128, 128), 128, 128)
        assert tuple(np.round(alone[40, 60] * 255).astype(int)) == tuple(int(0.6 * c) for c in colour)


def test_a_joint_that_was_not_found_is_not_drawn_nor_its_bones() -> None:
    person = standing(32, 34)
    whole = draw_skeletons(PoseFrame((person,), 64, 64), 64, 64)
    person.body[0, 2] = 0
    headless = draw_skeletons(PoseFrame((person,), 64, 64), 64, 64)
    x, y = person.body[0, :2].astype(int)
    assert whole[y, x].any() and not headless[y, x].any()
    assert headless.any()


def test_hands_and_faces_are_drawn_and_the_canvas_is_scaled() -> None:
    body_only = Person(np.zeros((18, 3), np.float32))
    hand = np.array([(10 + 2 * k, 20, 1) for k in range(21)], np.float32)
    face = np.array([(40, 5 + k % 9, 1) for k in range(70)], np.float32)
    one = PoseFrame((Person(body_only.body, hand_left=hand, face=face),), 64, 32)
    picture = draw_skeletons(one, 128, 64)
    assert picture.shape == (64, 128, 3)
    assert tuple(picture[40, 20]) == (0, 0, 1), "a joint of the hand"
    assert tuple(picture[12, 80]) == (1, 1, 1), "a dot of the face"
