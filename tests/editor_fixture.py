"""The editors of strokes and poses in the real page, for tests that draw by mouse, finger and keyboard."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from framewright.bridge.hosts import Server
from framewright.controls.strokes import read_drawing
from framewright.demo.world import SIZE
from framewright.tests.page_fixture import open_at, shipped

KEYS = "document.querySelector('.framewright-keys')"
FIELD = "document.querySelector('.framewright-drawing canvas')"
SLIDER = "document.querySelector('.framewright-drawing input[type=range]')"
SHOWN = f"{FIELD}?.getBoundingClientRect().height > 100"


class Editor:
    """A shipped workflow in the page, and the editor of its only node of a kind."""

    def __init__(self, page: Any, name: str, kind: str, widget: str) -> None:
        self.page, self.kind, self.widget = page, kind, widget
        self.load(shipped(name))

    def load(self, workflow: dict[str, Any]) -> None:
        open_at(self.page, workflow, self.kind)
        self.page.wait(SHOWN)

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
        return left + x * side / SIZE, top + y * side / SIZE

    def drag(self, *points: tuple[float, float], modifiers: int = 0) -> None:
        places = [self.at(*point) for point in points]
        self.page.mouse("mouseMoved", *places[0])
        self.page.mouse("mousePressed", *places[0], modifiers=modifiers)
        for (x0, y0), (x1, y1) in zip(places[:-1], places[1:], strict=True):
            for part in (0.25, 0.5, 0.75, 1.0):
                self.page.mouse("mouseMoved", x0 + part * (x1 - x0), y0 + part * (y1 - y0), held=True)
        self.page.mouse("mouseReleased", *places[-1])

    def press(self, label: str) -> None:
        buttons = "[...document.querySelectorAll('.framewright-drawing button')]"
        self.page.evaluate(f"{buttons}.find(one => one.textContent === '{label}').click()")

    def show(self, frame: int) -> None:
        self.page.evaluate(f"void ({SLIDER}.value = {frame}, {SLIDER}.dispatchEvent(new Event('input')))")

    @property
    def line(self) -> str:
        """What is said of the frame at hand."""
        return self.page.evaluate("document.querySelector('.framewright-drawing span').textContent")

    @contextmanager
    def in_other_renderer(self) -> Iterator[None]:
        """The page's renderer that draws nodes as elements."""
        switch = "app.extensionManager.setting.set('Comfy.VueNodes.Enabled', {})"
        self.page.evaluate(switch.format("true"), await_promise=True)
        try:
            self.settle()
            self.page.wait(f"document.querySelector('.lg-node') && {SHOWN}")
            yield
        finally:
            self.page.evaluate(switch.format("false"), await_promise=True)

    def strokes(self) -> list[tuple[tuple[float, float], ...]]:
        return [stroke.points for stroke in read_drawing(self.text, 16).strokes]


@pytest.fixture
def editor(host_server: Server, open_page: Callable[[Server], Any]) -> Iterator[Callable[..., Editor]]:
    page = open_page(host_server)
    yield lambda *given: Editor(page, *given)
    page.evaluate("app.graph.clear()")
    assert [error for error in page.console_errors if "framewright" in error.lower()] == []


@pytest.fixture
def stroke_editor(editor: Callable[..., Editor]) -> Callable[[], Editor]:
    return lambda: editor("demo_strokes", "FramewrightStrokes", "strokes")


@pytest.fixture
def pose_editor(editor: Callable[..., Editor]) -> Callable[[], Editor]:
    return lambda: editor("demo_poses", "FramewrightPoses", "poses")


def near(point: tuple[float, float], wanted: tuple[float, float], by: float = 1.5) -> bool:
    return bool(np.hypot(point[0] - wanted[0], point[1] - wanted[1]) < by)
