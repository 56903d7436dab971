"""Strokes and poses drawn in the real page by mouse, finger and keyboard; the video that comes of them."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from framewright.bridge.client import Client
from framewright.bridge.hosts import Server
from framewright.controls.pose import EXAMPLE, read_keys
from framewright.controls.pose_motion import join_keys
from framewright.controls.strokes import read_drawing
from framewright.demo.judge import coverage
from framewright.embedded.workflow import parse

ROOT = Path(__file__).resolve().parent.parent
NONE = '{"width": 64, "height": 64, "strokes": [], "anchors": []}'
KEYS = "document.querySelector('.framewright-keys')"
# The page greets with templates, at a time of its own.
WITHOUT_DIALOGS = """void (() => {
    const close = () => document.querySelector("[role=dialog] button[aria-label*=lose]")?.click();
    close();
    window.closing ??= new MutationObserver(close);
    window.closing.observe(document.body, { childList: true, subtree: true });
})()"""
FIELD = "document.querySelector('.framewright-drawing canvas')"


class Editor:
    """A shipped workflow in the page, and the editor of its only node of a kind."""

    def __init__(self, page: Any, name: str, kind: str, widget: str, size: float) -> None:
        self.page, self.kind, self.widget, self.size = page, kind, widget, size
        workflow = parse((ROOT / "workflows" / f"{name}.json").read_text("utf-8"), name)
        self.load(workflow)

    def load(self, workflow: dict[str, Any]) -> None:
        page = self.page
        page.evaluate(f"app.loadGraphData({json.dumps(workflow)})", await_promise=True)
        page.evaluate(WITHOUT_DIALOGS)
        page.evaluate(f"void (window.told = app.graph.nodes.find(node => node.type === '{self.kind}'))")
        page.evaluate("void (app.canvas.ds.scale = 1, app.canvas.centerOnNode(told))")
        page.wait(f"{FIELD}?.getBoundingClientRect().height > 100")

    @property
    def text(self) -> str:
        return self.page.evaluate(f"told.widgets.find(one => one.name === '{self.widget}').value")

    @text.setter
    def text(self, value: str) -> None:
        widget = f"told.widgets.find(one => one.name === '{self.widget}')"
        self.page.evaluate(f"void ({widget}.value = {json.dumps(value)})")
        self.settle()

    def settle(self) -> None:
        """Waits until the editor has looked at the text again."""
        self.page.evaluate("new Promise(done => setTimeout(done, 600))", await_promise=True)

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Pixels of the tab of a place in the drawing, which is square and in the middle of its field."""
        box = self.page.evaluate(f"{FIELD}.getBoundingClientRect().toJSON()")
        side = min(box["width"], box["height"])
        left, top = box["left"] + (box["width"] - side) / 2, box["top"] + (box["height"] - side) / 2
        return left + x * side / self.size, top + y * side / self.size

    def drag(self, *points: tuple[float, float]) -> None:
        places = [self.at(*point) for point in points]
        self.page.mouse("mouseMoved", *places[0])
        self.page.mouse("mousePressed", *places[0])
        for (x0, y0), (x1, y1) in zip(places[:-1], places[1:], strict=True):
            for part in (0.25, 0.5, 0.75, 1.0):
                self.page.mouse("mouseMoved", x0 + part * (x1 - x0), y0 + part * (y1 - y0), held=True)
        self.page.mouse("mouseReleased", *places[-1])

    def press(self, label: str) -> None:
        buttons = "[...document.querySelectorAll('.framewright-drawing button')]"
        self.page.evaluate(f"{buttons}.find(one => one.textContent === '{label}').click()")

    def strokes(self) -> list[tuple[tuple[float, float], ...]]:
        return [stroke.points for stroke in read_drawing(self.text, 16).strokes]


@pytest.fixture
def editor(host_server: Server, open_page: Callable[[Server], Any]) -> Iterator[Callable[..., Editor]]:
    page = open_page(host_server)
    yield lambda *given: Editor(page, *given)
    page.evaluate("app.graph.clear()")
    assert [error for error in page.console_errors if "framewright" in error.lower()] == []


def near(point: tuple[float, float], wanted: tuple[float, float], by: float = 1.5) -> bool:
    return bool(np.hypot(point[0] - wanted[0], point[1] - wanted[1]) < by)


def test_two_strokes_are_drawn_and_the_video_follows_them(
    editor: Callable[..., Editor], host_server: Server, open_page: Callable[[Server], Any], tmp_path: Path
) -> None:
    drawn = editor("demo_strokes", "FramewrightStrokes", "strokes", 64)
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


def test_a_finger_draws_too(editor: Callable[..., Editor]) -> None:
    drawn = editor("demo_strokes", "FramewrightStrokes", "strokes", 64)
    drawn.text = NONE
    way = [drawn.at(10 + 4 * step, 20) for step in range(10)]
    drawn.page.touch("touchStart", way[0])
    for place in way[1:]:
        drawn.page.touch("touchMove", place)
    drawn.page.touch("touchEnd")
    drawn.settle()
    (stroke,) = drawn.strokes()
    assert near(stroke[0], (10, 20)) and near(stroke[-1], (46, 20))


def test_a_stroke_keeps_its_place_when_its_node_is_resized(editor: Callable[..., Editor]) -> None:
    drawn = editor("demo_strokes", "FramewrightStrokes", "strokes", 64)
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


def test_what_is_no_drawing_is_said_and_kept(editor: Callable[..., Editor]) -> None:
    drawn = editor("demo_strokes", "FramewrightStrokes", "strokes", 64)
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


def test_a_pose_is_edited_over_three_key_frames(
    editor: Callable[..., Editor], host_server: Server, tmp_path: Path
) -> None:
    posed = editor("demo_poses", "FramewrightPoses", "poses", 64)
    posed.press("Key")
    numbers = sorted(read_keys(posed.text, 16))

    def show(frame: int) -> None:
        slider = "document.querySelector('.framewright-drawing input[type=range]')"
        posed.page.evaluate(f"void ({slider}.value = {frame}, {slider}.dispatchEvent(new Event('input')))")

    wrists = {0: (30.0, 20.0), 7: (40.0, 12.0), 15: (52.0, 20.0)}
    for frame, place in wrists.items():
        show(frame)
        shown = posed.page.evaluate("document.querySelector('.framewright-drawing span').textContent")
        assert shown.startswith(f"frame {frame},")
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
    show(0)
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


@contextmanager
def other_renderer(drawn: Editor) -> Iterator[None]:
    """The page's renderer that draws nodes as elements, while an editor's workflow is open."""
    switch = "app.extensionManager.setting.set('Comfy.VueNodes.Enabled', {})"
    drawn.page.evaluate(switch.format("true"), await_promise=True)
    try:
        drawn.settle()
        drawn.page.wait(
            f"document.querySelector('.lg-node') && {FIELD}?.getBoundingClientRect().height > 100"
        )
        yield
    finally:
        drawn.page.evaluate(switch.format("false"), await_promise=True)


def test_strokes_are_drawn_in_the_page_s_other_renderer_too(
    editor: Callable[..., Editor], tmp_path: Path
) -> None:
    drawn = editor("demo_strokes", "FramewrightStrokes", "strokes", 64)
    with other_renderer(drawn):
        drawn.text = NONE
        drawn.drag((10, 10), (40, 30))
        drawn.settle()
        drawn.page.screenshot(tmp_path / "vue.png")
        (stroke,) = drawn.strokes()
        assert near(stroke[0], (10, 10), 3) and near(stroke[-1], (40, 30), 3)
        drawn.press("Undo")
        assert drawn.strokes() == []


def test_poses_are_edited_in_the_page_s_other_renderer_too(
    editor: Callable[..., Editor], tmp_path: Path
) -> None:
    posed = editor("demo_poses", "FramewrightPoses", "poses", 64)
    with other_renderer(posed):
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


def test_hands_go_along_and_what_is_deleted_is_hidden(editor: Callable[..., Editor]) -> None:
    posed = editor("demo_poses", "FramewrightPoses", "poses", 64)
    posed.text = json.dumps([with_hand(0, 0), with_hand(15, 20)])
    show = "document.querySelector('.framewright-drawing input[type=range]')"
    posed.page.evaluate(f"void ({show}.value = 9, {show}.dispatchEvent(new Event('input')))")
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


def test_parts_of_the_canvas_and_keys_beyond_the_video(editor: Callable[..., Editor]) -> None:
    posed = editor("demo_poses", "FramewrightPoses", "poses", 64)
    posed.text = json.dumps([with_hand(0, 0, parts=64), with_hand(15, 20, parts=64)])
    posed.drag((22, 35), (30, 20))
    assert near(joint(posed.text, 0, 4), (30, 20)) and near(joint(posed.text, 15, 4), (42, 35))
    posed.page.evaluate("void (told.widgets.find(one => one.name === 'frames').value = 8)")
    posed.settle()
    show = "document.querySelector('.framewright-drawing input[type=range]')"
    assert posed.page.evaluate(f"{show}.max") == "15"
    posed.page.evaluate(f"void ({show}.value = 15, {show}.dispatchEvent(new Event('input')))")
    assert "beyond" in posed.page.evaluate("document.querySelector('.framewright-drawing span').textContent")
    posed.press("No key")
    assert list(read_keys(posed.text, 8)) == [0]


def test_the_frame_at_hand_of_a_video_is_under_the_drawing(editor: Callable[..., Editor]) -> None:
    posed = editor("demo_poses", "FramewrightPoses", "poses", 64)
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
    show = "document.querySelector('.framewright-drawing input[type=range]')"
    for frame, colour in ((0, [255, 0, 0]), (1, [0, 0, 255])):
        posed.page.evaluate(f"void ({show}.value = {frame}, {show}.dispatchEvent(new Event('input')))")
        posed.settle()
        pixel = f"[...{FIELD}.getContext('2d').getImageData({FIELD}.width / 2, 4, 1, 1).data.slice(0, 3)]"
        assert posed.page.evaluate(pixel) == colour


def test_nothing_goes_on_for_nodes_that_are_gone(editor: Callable[..., Editor]) -> None:
    page = editor("demo_strokes", "FramewrightStrokes", "strokes", 64).page
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
    page = editor("demo_strokes", "FramewrightStrokes", "strokes", 64).page
    assert page.evaluate("going.size") == 1
    page.evaluate("void told.clone()")
    assert page.evaluate("going.size") == 1
    page.evaluate("void app.graph.remove(told)")
    assert page.evaluate("going.size") == 0


def test_text_that_is_no_drawing_can_be_cleared(editor: Callable[..., Editor]) -> None:
    drawn = editor("demo_strokes", "FramewrightStrokes", "strokes", 64)
    drawn.text = "no drawing"
    drawn.press("Clear")
    assert drawn.strokes() == []
    drawn.text = json.dumps({**json.loads(NONE), "strokes": [{"points": [[5, 5], [40, 5]]}]})
    drawn.drag((20, 5), (20, 6))
    field = "document.querySelectorAll('.framewright-drawing input[type=number]')[0]"
    drawn.page.evaluate(f"void ({field}.value = 3, {field}.dispatchEvent(new Event('change')))")
    assert json.loads(drawn.text)["strokes"][0]["first"] == 3
    assert "last" not in json.loads(drawn.text)["strokes"][0], "it goes on to the end of any video"
