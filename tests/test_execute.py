"""The built-in host's runs: validation, order, reuse, events, failures."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from framewright.embedded import comfy_api
from framewright.embedded.comfy_api import io, ui
from framewright.embedded.execute import Cache, Run, run
from framewright.embedded.folders import Folders
from framewright.embedded.nodes_files import NODES as FILE_NODES
from framewright.embedded.nodes_video import NODES as VIDEO_NODES
from framewright.embedded.progress import Interrupted, report
from framewright.embedded.ranges import ranged
from framewright.embedded.registry import Registry
from framewright.errors import FramewrightError

comfy_api.install()
CORE = [*FILE_NODES, *VIDEO_NODES]
CALLS: list[str] = []
MARK = {"value": 0.0}


class Make(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Make",
            display_name="Make Number",
            inputs=[
                io.Int.Input("seed", default=0, min=0, max=100),
                io.Float.Input("x", default=0.5, min=0.0, max=1.0, optional=True),
                io.Combo.Input("kind", options=["a", "b"], optional=True),
                io.Boolean.Input("on", optional=True),
            ],
            outputs=[io.Int.Output("number"), io.Float.Output("real")],
        )

    @classmethod
    def execute(cls, seed: int, x: float = 0.5, kind: str = "a", on: bool = False) -> io.NodeOutput:
        CALLS.append(f"make {seed} {x} {kind} {on}")
        return io.NodeOutput(seed, float(seed))


class Double(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Double",
            inputs=[io.MultiType.Input("number", [io.Int, io.Float]), io.Image.Input("image", optional=True)],
            outputs=[io.Int.Output("number")],
        )

    @classmethod
    def execute(cls, number: int, image: Any = None) -> io.NodeOutput:
        CALLS.append(f"double {number}")
        for step in (1, 2):
            report(step, 2)
        if number == 13:
            raise FramewrightError("number: 13 came, expected luck")
        if number == 14:
            raise KeyError("gone")
        return io.NodeOutput(number * 2)

    @classmethod
    def fingerprint_inputs(cls, **inputs: Any) -> float:
        return MARK["value"]


class Show(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Show",
            inputs=[io.AnyType.Input("value"), io.String.Input("text", default="", optional=True)],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, value: Any, text: str = "") -> io.NodeOutput:
        CALLS.append(f"show {value}")
        assert set(cls.hidden.prompt) >= {cls.hidden.unique_id}
        return io.NodeOutput(ui=ui.PreviewText(f"{cls.hidden.unique_id}: {value}{text}"))


REGISTRY = Registry([Make, Double, Show, *CORE])


def prompt(**inputs: Any) -> dict[str, Any]:
    return {
        "9": {"class_type": "Show", "inputs": {"value": ["5", 0]}, "_meta": {"title": "The End"}},
        "5": {"class_type": "Double", "inputs": {"number": ["1", 0]}},
        "1": {"class_type": "Make", "inputs": {"seed": 3, **inputs}, "_meta": {"title": "Mine"}},
        "7": {"class_type": "Make", "inputs": {"seed": 99}},  # feeds nothing
    }


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    CALLS.clear()
    MARK["value"] = 0.0
    (tmp_path / "input").mkdir()
    return Folders(tmp_path / "input", tmp_path / "output", tmp_path / "temp")


def test_what_no_output_needs_may_lack_its_inputs(folders: Folders) -> None:
    spare = {
        "7": {"class_type": "Double", "inputs": {"number": ["8", 0]}},
        "8": {"class_type": "Make", "inputs": {}},
    }
    run({**prompt(), **spare}, REGISTRY, folders, Cache())
    assert CALLS == ["make 3 0.5 a False", "double 3", "show 6"]


def test_order_and_result(folders: Folders) -> None:
    result = run(prompt(), REGISTRY, folders, Cache())
    assert CALLS == ["make 3 0.5 a False", "double 3", "show 6"]
    assert result == Run({"9": {"text": ("9: 6",)}}, ["1", "5", "9"], [])


def test_reuse(folders: Folders) -> None:
    cache = Cache()
    run(prompt(), REGISTRY, folders, cache)
    again = run(prompt(), REGISTRY, folders, cache)
    assert (again.executed, again.cached) == ([], ["1", "5", "9"])
    assert again.outputs == {"9": {"text": ("9: 6",)}}
    CALLS.clear()
    later = prompt()
    later["9"]["inputs"]["text"] = "!"
    assert run(later, REGISTRY, folders, cache).executed == ["9"]
    assert run(prompt(seed=4), REGISTRY, folders, cache).executed == ["1", "5", "9"]
    MARK["value"] = 1.0
    assert run(prompt(seed=4), REGISTRY, folders, cache).executed == ["5", "9"]
    MARK["value"] = math.nan
    for _ in range(2):
        assert run(prompt(seed=4), REGISTRY, folders, cache).executed == ["5", "9"]
    assert len(cache.made) == 3


def test_events(folders: Folders) -> None:
    heard: list[tuple[str, dict[str, Any]]] = []
    cache = Cache()
    run(prompt(), REGISTRY, folders, cache, lambda kind, data: heard.append((kind, data)))
    assert heard == [
        ("execution_cached", {"nodes": []}),
        ("executing", {"node": "1", "title": "Mine", "index": 0, "total": 3}),
        ("executing", {"node": "5", "title": "Double", "index": 1, "total": 3}),
        ("progress", {"node": "5", "value": 1, "max": 2}),
        ("progress", {"node": "5", "value": 2, "max": 2}),
        ("executing", {"node": "9", "title": "The End", "index": 2, "total": 3}),
        ("executed", {"node": "9", "output": {"text": ("9: 6",)}}),
    ]


def test_interrupt_keeps_what_is_done(folders: Folders) -> None:
    def stop(kind: str, data: dict[str, Any]) -> None:
        if kind == "progress":
            raise Interrupted

    cache = Cache()
    with pytest.raises(Interrupted):
        run(prompt(), REGISTRY, folders, cache, stop)
    assert run(prompt(), REGISTRY, folders, cache).executed == ["5", "9"]


def test_failures_name_the_node(folders: Folders) -> None:
    with pytest.raises(FramewrightError, match=r"^Double \(#5\): number: 13 came, expected luck$"):
        run(prompt(seed=13), REGISTRY, folders, Cache())
    with pytest.raises(RuntimeError, match=r"^Double \(#5\): KeyError: 'gone'$"):
        run(prompt(seed=14), REGISTRY, folders, Cache())


def test_no_gradients(folders: Folders) -> None:
    class Grad(io.ComfyNode):
        @classmethod
        def define_schema(cls) -> io.Schema:
            return io.Schema(node_id="Grad", is_output_node=True)

        @classmethod
        def execute(cls) -> io.NodeOutput:
            return io.NodeOutput(ui=ui.PreviewText(str(torch.is_inference_mode_enabled())))

    graph = {"1": {"class_type": "Grad", "inputs": {}}}
    assert run(graph, Registry([Grad]), folders, Cache()).outputs == {"1": {"text": ("True",)}}


@pytest.mark.parametrize(
    ("inputs", "made"),
    [
        ({"seed": "7"}, "make 7 0.5 a False"),
        ({"seed": 7.0, "x": 1}, "make 7 1.0 a False"),
        ({"kind": "b", "on": "true"}, "make 3 0.5 b True"),
        ({"on": {"__value__": False}, "unknown": 4}, "make 3 0.5 a False"),
    ],
)
def test_values_are_typed(inputs: dict[str, Any], made: str, folders: Folders) -> None:
    run(prompt(**inputs), REGISTRY, folders, Cache())
    assert CALLS[0] == made


def bad(node: str, **inputs: Any) -> dict[str, Any]:
    graph = prompt()
    graph[node]["inputs"].update(inputs)
    return graph


@pytest.mark.parametrize(
    ("graph", "said"),
    [
        (bad("1", seed=101), r"Make \(#1 'Mine'\): seed: 101 came, expected 0 to 100"),
        (bad("1", seed=-1), "seed: -1 came, expected 0 to 100"),
        (bad("1", seed=2.5), "seed: 2.5 came, expected a whole number"),
        (bad("1", seed=True), "seed: True came, expected a whole number"),
        (bad("1", seed="many"), "seed: 'many' came, expected a whole number"),
        (bad("1", x=math.nan), "x: nan came, expected a finite number"),
        (bad("1", x=None), "x: None came, expected a finite number"),
        (bad("1", kind="c"), "kind: 'c' came, expected one of: a, b"),
        (bad("1", on="maybe"), "on: 'maybe' came, expected true or false"),
        (bad("9", text=[1, 2, 3]), "text: .1, 2, 3. came, expected a text"),
        (bad("5", image="a.png"), r"Double \(#5\): image: 'a.png' came, expected a link .* makes IMAGE"),
        (bad("5", image=["1", 0]), r"image: INT came from Make \(#1 'Mine'\), expected IMAGE"),
        (bad("5", number=["1", 2]), r"number: output 2 of Make \(#1 'Mine'\) came, it has 2 outputs"),
        (bad("5", number=["9", 0]), "in a circle"),
        ({"1": {"class_type": "Make", "inputs": {"seed": 1}}}, "no output node"),
        ({"1": {"class_type": "Show", "inputs": {}}}, r"Show \(#1\): value: nothing came, expected \*"),
        ({"1": {"class_type": "KSampler", "inputs": {}}}, r"node KSampler \(#1\) needs ComfyUI.*Make.*Show"),
        ({"1": {"class_type": "LoadImage", "inputs": {"image": "no.png"}}, "2": {
            "class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}}, "there is no file 'no.png' in"),
        ({"1": {"class_type": "LoadVideo", "inputs": {"file": "../../x"}}, "2": {
            "class_type": "PreviewAny", "inputs": {"source": ["1", 0]}}}, "file: '../../x' lies outside"),
    ],
)  # fmt: skip
def test_refused_before_anything_runs(graph: dict[str, Any], said: str, folders: Folders) -> None:
    with pytest.raises(FramewrightError, match=said):
        run(graph, REGISTRY, folders, Cache())
    assert CALLS == []


def test_what_comes_by_a_link_keeps_to_the_range(folders: Folders) -> None:
    graph = prompt()
    graph["3"] = {"class_type": "PrimitiveInt", "inputs": {"value": 101}}
    graph["1"]["inputs"]["seed"] = ["3", 0]
    with pytest.raises(FramewrightError, match=r"^Make \(#1 'Mine'\): seed: 101 came, expected 0 to 100$"):
        run(graph, Registry([ranged(Make), Double, Show, *CORE]), folders, Cache())
    assert CALLS == []
    run(graph, REGISTRY, folders, Cache())
    assert CALLS[0] == "make 101 0.5 a False", "as the core's own nodes take it"


def test_all_errors_at_once(folders: Folders) -> None:
    with pytest.raises(FramewrightError, match="(?s)seed: -1 came.*x: 2.0 came"):
        run(bad("1", seed=-1, x=2.0), REGISTRY, folders, Cache())


def test_two_classes_of_one_id() -> None:
    with pytest.raises(ValueError, match="two node classes are called Make"):
        Registry([Make, type("Other", (Make,), {})])
