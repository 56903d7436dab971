"""Strokes drawn in the real page by mouse, finger and keyboard; the video that comes of them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
from framewright.bridge.client import Client
from framewright.bridge.hosts import Server
from framewright.controls.strokes import read_drawing
from framewright.demo.judge import coverage
from framewright.tests.editor_fixture import KEYS, Editor, near

NONE = '{"width": 64, "height": 64, "strokes": [], "anchors": []}'


def test_two_strokes_are_drawn_and_the_video_follows_them(
    stroke_editor: Callable[[], Editor],
    host_server: Server,
    open_page: Callable[[Server], Any],
    tmp_path: Path,
) -> None:
    drawn = stroke_editor()
    drawn.text = NONE
    drawn.drag((14, 50), (14, 14))
    drawn.drag((48, 14), (48, 30), (48, 50))
    drawn.page.screenshot(tmp_path / "strokes.png")
    first, second = drawn.strokes()
    assert near(first[0], (14, 50)) and near(first[-1], (14, 14))
    assert near(second[0], (48, 14)) and near(second[-1], (48, 50))

    drawn.drag((48, 32), (44, 32))  # takes the second stroke along
    assert near(drawn.strokes()[1][0], (44, 14))
    drawn.page.key("ArrowRight", modifiers=8)
    assert near(drawn.strokes()[1][0], (49, 14))
    drawn.page.key("z", modifiers=2)
    drawn.page.key("z", modifiers=2)
    assert near(drawn.strokes()[1][0], (48, 14))
    drawn.page.key("z", modifiers=2 + 8)
    assert near(drawn.strokes()[1][0], (44, 14))
    drawn.press("Undo")
    drawn.page.evaluate(f"{KEYS}.focus()")
    drawn.page.key("Tab")
    drawn.page.key("Delete")
    assert len(drawn.strokes()) == 1
    drawn.press("Undo")
    assert drawn.strokes() == [first, second]
    drawn.press("Anchor")
    drawn.drag((30, 60), (31, 60))
    assert near(read_drawing(drawn.text, 16).anchors[0], (31, 60))
    drawn.press("Undo")

    saved = drawn.page.evaluate("app.graph.serialize()")
    drawn.page.open(host_server.url)
    drawn.page.wait("window.app && app.graph?.nodes.length")  # what was open last, or the page's own
    drawn.settle()
    drawn.load(saved)
    drawn.settle()
    assert drawn.strokes() == [first, second]
    drawn.page.screenshot(tmp_path / "again.png")

    prompt = drawn.page.evaluate("app.graphToPrompt().then(sent => sent.output)", await_promise=True)
    frames = render(Client(host_server.url), prompt, tmp_path)
    for frame, wanted in ((0, ((14, 50), (48, 14))), (15, ((14, 14), (48, 50)))):
        covered = coverage(frames[frame])
        assert covered is not None
        sides = [np.argwhere(half > 0.5).mean(0) for half in (covered[0][:, :32], covered[0][:, 32:])]
        for (y, x), goal, left in zip(sides, wanted, (0, 32), strict=True):
            assert near((x + left, y), goal, 5), (frame, x + left, y, goal)


def render(client: Client, prompt: dict[str, Any], folder: Path) -> np.ndarray:
    """The frames of the video that a prompt saves, [F, H, W, 3] in 0..1."""
    with client:
        outputs = client.outputs(client.follow(client.queue(prompt)))
        paths = [client.download(file, folder) for file in outputs]
    (path,) = [path for path in paths if path.suffix == ".mp4"]
    with av.open(str(path)) as video:
        frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
    return np.stack(frames) / np.float32(255)


def test_a_finger_draws_too(stroke_editor: Callable[[], Editor]) -> None:
    drawn = stroke_editor()
    drawn.text = NONE
    way = [drawn.at(10 + 4 * step, 20) for step in range(10)]
    drawn.page.touch("touchStart", way[0])
    for place in way[1:]:
        drawn.page.touch("touchMove", place)
    drawn.page.touch("touchEnd")
    drawn.settle()
    (stroke,) = drawn.strokes()
    assert near(stroke[0], (10, 20)) and near(stroke[-1], (46, 20))


def test_one_finger_draws_and_others_do_not(stroke_editor: Callable[[], Editor]) -> None:
    drawn = stroke_editor()
    drawn.text = NONE
    palm = drawn.at(50, 50)
    drawn.page.touch("touchStart", drawn.at(10, 20))
    drawn.page.touch("touchStart", drawn.at(10, 20), palm)
    for step in range(1, 10):
        drawn.page.touch("touchMove", drawn.at(10 + 4 * step, 20), (palm[0] + step, palm[1]))
    drawn.page.touch("touchEnd")
    drawn.settle()
    (stroke,) = drawn.strokes()
    assert near(stroke[0], (10, 20)) and near(stroke[-1], (46, 20)) and len(stroke) == 2


def test_a_click_chooses_a_stroke_and_leaves_it_as_it_is(stroke_editor: Callable[[], Editor]) -> None:
    drawn = stroke_editor()
    strokes = [
        [[14, 32], [50, 32], [20, 32]],
        [[30, 10], [30.5, 10]],
        [[10, 50], [12, 50], [14, 50], [50, 50]],
    ]
    drawn.text = json.dumps({"width": 64, "height": 64, "strokes": [{"points": one} for one in strokes]})
    before = drawn.strokes()
    for place in ((40, 32), (30, 10), (30, 50)):
        drawn.drag(place, place)
        assert drawn.strokes() == before
    drawn.text = NONE
    drawn.drag((14, 32), (50, 32), (20, 32))  # there and a part of the way back
    assert near(drawn.strokes()[0][1], (50, 32)) and near(drawn.strokes()[0][-1], (20, 32))


def test_a_stroke_keeps_its_place_when_its_node_is_resized(stroke_editor: Callable[[], Editor]) -> None:
    drawn = stroke_editor()
    drawn.text = NONE
    drawn.drag((10, 10), (40, 30))
    before = drawn.at(40, 30)
    drawn.page.evaluate("void told.setSize([told.size[0] + 90, told.size[1] + 160])")
    drawn.page.evaluate("void app.graph.setDirtyCanvas(true, true)")
    drawn.settle()
    assert not near(drawn.at(40, 30), before), "its field is larger now"
    drawn.drag((40, 30), (44, 50))  # takes hold of the stroke's end
    (stroke,) = drawn.strokes()
    assert near(stroke[0], (10, 10)) and near(stroke[-1], (44, 50))


def test_what_is_no_drawing_is_said_and_kept(stroke_editor: Callable[[], Editor]) -> None:
    drawn = stroke_editor()
    for text in ("{", "[]", '{"strokes": 3}', '<img src=x onerror="window.hacked = 1">'):
        drawn.text = text
        drawn.drag((10, 10), (30, 30))
        assert drawn.text == text
        told = drawn.page.evaluate("document.querySelector('.framewright-drawing').innerText")
        assert "JSON" in told or "drawing" in told
    assert not drawn.page.evaluate("window.hacked")
    drawn.text = NONE
    drawn.drag((10, 10), (30, 30))
    assert len(drawn.strokes()) == 1


def test_strokes_are_drawn_in_the_page_s_other_renderer_too(
    stroke_editor: Callable[[], Editor], tmp_path: Path
) -> None:
    drawn = stroke_editor()
    with drawn.in_other_renderer():
        drawn.text = NONE
        drawn.drag((10, 10), (40, 30))
        drawn.settle()
        drawn.page.screenshot(tmp_path / "vue.png")
        (stroke,) = drawn.strokes()
        assert near(stroke[0], (10, 10), 3) and near(stroke[-1], (40, 30), 3)
        drawn.press("Undo")
        assert drawn.strokes() == []


def test_nothing_goes_on_for_nodes_that_are_gone(stroke_editor: Callable[[], Editor]) -> None:
    page = stroke_editor().page
    page.evaluate("""void (() => {
        window.going = new Set();
        const [begin, end] = [setInterval, clearInterval];
        window.setInterval = (act, every) => {
            const id = begin(act, every);
            if (every === 250) going.add(id);
            return id;
        };
        window.clearInterval = id => (going.delete(id), end(id));
    })()""")
    page = stroke_editor().page
    assert page.evaluate("going.size") == 1
    page.evaluate("void told.clone()")
    assert page.evaluate("going.size") == 1
    page.evaluate("void app.graph.remove(told)")
    assert page.evaluate("going.size") == 0


def test_text_that_is_no_drawing_can_be_cleared(stroke_editor: Callable[[], Editor]) -> None:
    drawn = stroke_editor()
    drawn.text = "no drawing"
    drawn.press("Clear")
    assert drawn.strokes() == []
    drawn.text = json.dumps({**json.loads(NONE), "strokes": [{"points": [[5, 5], [40, 5]]}]})
    drawn.drag((20, 5), (20, 6))
    field = "document.querySelectorAll('.framewright-drawing input[type=number]')[0]"
    drawn.page.evaluate(f"void ({field}.value = 3, {field}.dispatchEvent(new Event('change')))")
    assert json.loads(drawn.text)["strokes"][0]["first"] == 3
    assert "last" not in json.loads(drawn.text)["strokes"][0], "it goes on to the end of any video"
