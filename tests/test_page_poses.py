"""Poses edited in the real page by mouse and keyboard."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from framewright.controls.pose import EXAMPLE, read_keys
from framewright.controls.pose_motion import join_keys
from framewright.tests.editor_fixture import FIELD, KEYS, SLIDER, Editor, near


def test_a_pose_is_edited_over_three_key_frames(pose_editor: Callable[[], Editor], tmp_path: Path) -> None:
    posed = pose_editor()
    posed.press("Key")
    numbers = sorted(read_keys(posed.text, 16))
    wrists = {0: (30.0, 20.0), 7: (40.0, 12.0), 15: (52.0, 20.0)}
    for frame, place in wrists.items():
        posed.show(frame)
        assert posed.line.startswith(f"frame {frame},")
        wrist = joint(posed.text, frame, 4)
        posed.drag(wrist, place)
        assert near(joint(posed.text, frame, 4), place)
    posed.page.screenshot(tmp_path / "pose.png")
    assert sorted(read_keys(posed.text, 16)) == sorted({*numbers, 7})
    before = posed.text
    posed.press("Mirror")
    assert near(mirrored(before, 15, 4), joint(posed.text, 15, 7))
    posed.press("Undo")
    assert posed.text == before
    posed.press("Copy")
    posed.show(0)
    posed.press("Paste")
    assert joint(posed.text, 0, 4) == joint(before, 15, 4)
    posed.page.evaluate(f"{KEYS}.focus()")
    posed.page.key("z", modifiers=2)
    assert posed.text == before
    posed.press("Add")
    assert {len(frame.people) for frame in read_keys(posed.text, 16).values()} == {2}
    posed.press("Remove")
    saved = posed.page.evaluate("app.graph.serialize()")
    posed.load(saved)
    posed.settle()
    assert near(joint(posed.text, 7, 4), wrists[7])


def joint(text: str, frame: int, number: int) -> tuple[float, float]:
    """Of the first person, at a key frame or between two."""
    x, y, sure = join_keys(read_keys(text, 16), 16)[frame].people[0].body[number]
    assert sure > 0
    return float(x), float(y)


def mirrored(text: str, frame: int, number: int) -> tuple[float, float]:
    body = read_keys(text, 16)[frame].people[0].body
    xs = body[body[:, 2] > 0, 0]
    return float(xs.min() + xs.max() - body[number, 0]), float(body[number, 1])


def test_poses_are_edited_in_the_page_s_other_renderer_too(
    pose_editor: Callable[[], Editor], tmp_path: Path
) -> None:
    posed = pose_editor()
    with posed.in_other_renderer():
        before = posed.text
        posed.drag(joint(before, 0, 4), (30, 20))
        posed.settle()
        posed.page.screenshot(tmp_path / "vue_pose.png")
        assert near(joint(posed.text, 0, 4), (30, 20), 3)
        posed.press("Undo")
        assert posed.text == before


def with_hand(at: int, x: float, parts: float = 1.0) -> dict[str, Any]:
    """A key frame of a person whose right hand is beside the wrist; coordinates divided by `parts`."""
    frame = json.loads(EXAMPLE)[0]
    body = frame["people"][0]["pose_keypoints_2d"]
    moved = [value + (x if k % 3 == 0 and body[k + 2] else 0) for k, value in enumerate(body)]
    hand = [value for k in range(21) for value in (moved[12] + k / 10, moved[13] + 1, 1)]
    scaled = [[v / parts if k % 3 < 2 else v for k, v in enumerate(one)] for one in (moved, hand)]
    people = [{"pose_keypoints_2d": scaled[0], "hand_right_keypoints_2d": scaled[1]}]
    return {**frame, "frame": at, "people": people}


def test_hands_go_along_and_what_is_deleted_is_hidden(pose_editor: Callable[[], Editor]) -> None:
    posed = pose_editor()
    posed.text = json.dumps([with_hand(0, 0), with_hand(15, 20)])
    posed.show(9)
    posed.press("Key")
    person = read_keys(posed.text, 16)[9].people[0]
    assert near(person.hand_right[0, :2], (22 + 12, 36), 0.2)
    wrist = joint(posed.text, 9, 4)
    posed.drag(wrist, (wrist[0] + 6, wrist[1] - 4))
    person = read_keys(posed.text, 16)[9].people[0]
    assert near(person.hand_right[0, :2], (22 + 12 + 6, 36 - 4), 0.5)
    posed.press("Copy")  # from where the keyboard must come back to the drawing
    posed.page.key("Delete")
    assert posed.page.evaluate("app.graph.nodes.includes(told)")
    assert read_keys(posed.text, 16)[9].people[0].body[4, 2] == 0
    between = join_keys(read_keys(posed.text, 16), 16)
    assert [float(one.people[0].body[4, 2]) for one in between] == [1.0] + 14 * [0.0] + [1.0]
    posed.press("Mirror")
    turned = read_keys(posed.text, 16)[9].people[0]
    xs = np.delete(person.body, 4, 0)  # without the wrist that was deleted
    xs = xs[xs[:, 2] > 0, 0]
    assert turned.hand_right is None
    middle = person.hand_right[0]
    assert near(turned.hand_left[0, :2], (xs.min() + xs.max() - middle[0], middle[1]), 0.2)


def test_parts_of_the_canvas_and_keys_beyond_the_video(pose_editor: Callable[[], Editor]) -> None:
    posed = pose_editor()
    posed.text = json.dumps([with_hand(0, 0, parts=64), with_hand(15, 20, parts=64)])
    posed.drag((22, 35), (30, 20))
    assert near(joint(posed.text, 0, 4), (30, 20)) and near(joint(posed.text, 15, 4), (42, 35))
    posed.page.evaluate("void (told.widgets.find(one => one.name === 'frames').value = 8)")
    posed.settle()
    assert posed.page.evaluate(f"{SLIDER}.max") == "15"
    posed.show(15)
    assert "beyond" in posed.line
    posed.press("No key")
    assert list(read_keys(posed.text, 8)) == [0]


def test_who_is_added_gets_a_number_that_nobody_has(pose_editor: Callable[[], Editor]) -> None:
    posed = pose_editor()
    posed.text = json.dumps([with_hand(0, 0), {**with_hand(15, 0), "people": []}])
    posed.press("Add")
    first, last = (read_keys(posed.text, 16)[at].people for at in (0, 15))
    assert len(first) == len(last) == 2
    assert first[0].body[0, 2] == 1 and not last[0].body[:, 2].any()
    assert np.array_equal(first[1].body, last[1].body) and last[1].body[1, 2] == 1


def test_a_person_partly_off_the_canvas_stays_there(pose_editor: Callable[[], Editor]) -> None:
    posed = pose_editor()
    outside = with_hand(0, 0)
    values = outside["people"][0]["pose_keypoints_2d"]
    values[3 * 10 + 1] = 70  # an ankle
    posed.text = json.dumps([outside])
    wrist = joint(posed.text, 0, 4)
    posed.drag(wrist, (wrist[0] + 6, wrist[1]), modifiers=8)
    body = read_keys(posed.text, 1)[0].people[0].body
    assert abs(body[10, 1] - 70) < 1.5 and near(body[4, :2], (wrist[0] + 6, wrist[1]))


def test_the_frame_at_hand_of_a_video_is_under_the_drawing(pose_editor: Callable[[], Editor]) -> None:
    posed = pose_editor()
    posed.page.evaluate(
        """(async () => {
        const source = LiteGraph.createNode('EmptyImage');
        app.graph.add(source);
        source.connect(0, told, told.inputs.findIndex(one => one.name === 'image'));
        told.imgs = ['#f00', '#00f'].map(colour => {
            const canvas = Object.assign(document.createElement('canvas'), { width: 64, height: 64 });
            const context = canvas.getContext('2d');
            context.fillStyle = colour;
            context.fillRect(0, 0, 64, 64);
            return Object.assign(new Image(), { src: canvas.toDataURL() });
        });
        await Promise.all(told.imgs.map(one => one.decode()));
    })()""",
        await_promise=True,
    )
    for frame, colour in ((0, [255, 0, 0]), (1, [0, 0, 255])):
        posed.show(frame)
        posed.settle()
        pixel = f"[...{FIELD}.getContext('2d').getImageData({FIELD}.width / 2, 4, 1, 1).data.slice(0, 3)]"
        assert posed.page.evaluate(pixel) == colour
