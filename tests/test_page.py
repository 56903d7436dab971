"""The real page in a headless browser: the graphs that it sends and the nodes that it knows, against ours."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from framewright.bridge.client import Client
from framewright.bridge.hosts import Server
from framewright.embedded.core import registry
from framewright.embedded.nodes_files import NODES as FILE_NODES
from framewright.embedded.nodes_video import NODES as VIDEO_NODES
from framewright.embedded.registry import Registry
from framewright.embedded.workflow import parse, to_prompt
from framewright.tests.page_fixture import WORKFLOWS, open_at, shipped

SHIPPED = sorted(WORKFLOWS.glob("*.json"))
FIXTURES = sorted((Path(__file__).parent / "page" / "workflows").glob("*.json"))

CORE = [*FILE_NODES, *VIDEO_NODES]


def object_info(server: Server) -> dict[str, Any]:
    return Client(server.url)._json("GET", "/object_info")


@pytest.mark.parametrize("path", [*SHIPPED, *FIXTURES], ids=lambda path: path.stem)
def test_page_sends_what_we_send(path: Path, host_server: Server, open_page: Callable[[Server], Any]) -> None:
    page = open_page(host_server)
    workflow = parse(path.read_text("utf-8"), path.name)
    page.evaluate(f"app.loadGraphData({json.dumps(workflow)})", await_promise=True)
    unknown = page.evaluate(
        "app.graph.nodes.map(node => node.type).filter(type => !(type in LiteGraph.registered_node_types))"
    )
    assert unknown == []
    theirs = page.evaluate("app.graphToPrompt().then(sent => sent.output)", await_promise=True)
    assert len(theirs) > 0
    info = object_info(host_server)
    assert told(to_prompt(workflow, info), info) == told(theirs, info)
    assert [error for error in page.console_errors if "framewright" in error.lower()] == []


def test_a_node_shows_its_windows_as_they_are_set(
    host_server: Server, open_page: Callable[[Server], Any], tmp_path: Path
) -> None:
    page = open_page(host_server)
    open_at(page, workflow := shipped("long_video_windows"), "FramewrightContextWindows")
    page.evaluate("void (window.shown = () => document.querySelector('.framewright-timeline'))")
    picture = "shown()?.querySelector('img')"
    page.wait(f"{picture}?.naturalWidth > 0")
    first = page.evaluate(f"[{picture}.src, {picture}.naturalWidth]")
    page.screenshot(tmp_path / "timeline.png")

    def set_widget(node: str, name: str, value: object) -> None:
        page.evaluate(f"{node}.widgets.find(one => one.name === '{name}').value = {json.dumps(value)}")

    set_widget("told", "schedule", "uniform")
    page.wait(f"{picture}.naturalWidth > 0 && {picture}.src !== {json.dumps(first[0])}")
    set_widget("told", "overlap", 16)
    page.wait("shown().innerText.includes('overlap: 16 came, expected 0 to 15')")
    set_widget("told", "overlap", 4)
    page.wait(f"shown().innerText === '' && !{picture}.hidden")
    frames = "app.graph.nodes.find(node => node.type === 'FramewrightEmptyFrames')"
    set_widget(frames, "frames", 20)
    page.wait(f"{picture}.naturalWidth > 0 && {picture}.naturalWidth !== {first[1]}")
    saved = page.evaluate("app.graph.serialize().nodes.find(one => one.type === told.type).widgets_values")
    given = next(one for one in workflow["nodes"] if one["type"] == "FramewrightContextWindows")
    assert len(saved) == len(given["widgets_values"])
    page.evaluate("app.graph.clear()")
    assert [error for error in page.console_errors if "framewright" in error.lower()] == []


def test_what_a_node_tells_is_shown_on_it(
    host_server: Server, open_page: Callable[[Server], Any], tmp_path: Path
) -> None:
    page = open_page(host_server)
    open_at(page, workflow := shipped("prompts_over_time"), "FramewrightPromptSchedule")
    sampler = "app.graph.nodes.find(node => node.type === 'KSampler')"
    page.evaluate(f"{sampler}.widgets.find(one => one.name === 'steps').value = 1")
    page.evaluate("app.queuePrompt(0)", await_promise=True)
    page.wait("told.widgets.some(one => String(one.value).endsWith(' frames'))")
    page.screenshot(tmp_path / "told.png")
    with Client(host_server.url) as client:  # until the host has nothing to do
        while client._json("GET", "/prompt")["exec_info"]["queue_remaining"]:
            time.sleep(0.2)
    saved = page.evaluate("app.graph.serialize().nodes.find(one => one.type === told.type).widgets_values")
    given = next(one for one in workflow["nodes"] if one["type"] == "FramewrightPromptSchedule")
    assert saved[: len(given["widgets_values"])] == given["widgets_values"]
    page.evaluate("app.graph.clear()")


def told(prompt: dict[str, Any], info: dict[str, Any]) -> dict[str, Any]:
    """What a prompt asks for, without titles, which the page translates, and undeclared previews."""
    kept = {}
    for key, node in prompt.items():
        declared = {name for group in info[node["class_type"]]["input"].values() for name in group}
        inputs = {name: value for name, value in node["inputs"].items() if name.split(".")[0] in declared}
        kept[key] = {"class_type": node["class_type"], "inputs": inputs}
    return kept


def spec(entry: list[Any]) -> tuple[str, dict[str, Any]]:
    """An input's type and its options, without texts, and with the old way of writing a choice as the new."""
    kind, *rest = entry
    options = dict(rest[0]) if rest else {}
    if isinstance(kind, list):
        kind, options["options"] = "COMBO", kind
    if "image_upload" in options or "video_upload" in options:
        options.pop("options", None)  # the files of the moment
    if options.get("control_after_generate"):
        options["control_after_generate"] = True  # newer hosts say how, older ones that
    for text in ("tooltip", "display_name", "multiselect", "placeholder"):
        options.pop(text, None)
    return kind, {key: value for key, value in options.items() if value is not False}


# Sockets that came or changed in the core after 0.3.64, and choices that the built-in host leaves out.
NEWER = {("CreateVideo", "bit_depth"), ("ImageFromBatch", "batch_index"), ("SaveVideo", "format")}
NEWER |= {("SaveVideo", "codec"), ("PrimitiveFloat", "value")}


def test_core_nodes_are_the_core_s(host_server: Server) -> None:
    theirs = object_info(host_server)
    newest = "bit_depth" in theirs["CreateVideo"]["input"].get("optional", {})
    for name, ours in json.loads(json.dumps(Registry(CORE).object_info())).items():
        for group in ("required", "optional"):
            own = {key: spec(entry) for key, entry in ours["input"].get(group, {}).items()}
            real = {key: spec(entry) for key, entry in theirs[name]["input"].get(group, {}).items()}
            apart = {key for node, key in NEWER if node == name and (not newest or node == "SaveVideo")}
            kept = [key for key in own if key not in apart]
            assert kept == [key for key in real if key not in apart], (name, group)
            assert {key: own[key] for key in kept} == {key: real[key] for key in kept}, (name, group)
        count = len(theirs[name]["output"])
        assert ours["output"][:count] == theirs[name]["output"], name
        assert ours["output_node"] == theirs[name]["output_node"], name
        if newest:
            assert ours["output"] == theirs[name]["output"], name
            assert ours["output_name"] == theirs[name]["output_name"], name
            assert ours["display_name"] == theirs[name]["display_name"], name


def test_declarations_of_the_pack_are_the_same_in_both_hosts(host_server: Server) -> None:
    theirs = {name: one for name, one in object_info(host_server).items() if name.startswith("Framewright")}
    ours = json.loads(json.dumps(registry().object_info()))
    assert set(theirs) <= set(ours)
    assert theirs, "the host loaded no node of the pack"
    for name, real in theirs.items():
        for key in set(real) - {"python_module", "search_aliases", "output_tooltips"}:
            assert ours[name][key] == real[key], (name, key)
        assert [text or None for text in real["output_tooltips"]] == ours[name]["output_tooltips"], name
