"""From the page's JSON to the prompt: recorded graphs of the real page, and what is refused."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from framewright.embedded import page_text
from framewright.embedded.assignments import set_inputs
from framewright.embedded.core import registry
from framewright.embedded.widgets import widget_values
from framewright.embedded.workflow import load, page_of, parse, to_prompt
from framewright.errors import FramewrightError

PAGE = Path(__file__).parent / "page"
SHIPPED = sorted((Path(__file__).resolve().parent.parent / "workflows").glob("*.json"))
TEXT_TO_VIDEO = next(path for path in SHIPPED if path.stem == "text_to_video")
INFO: dict[str, Any] = json.loads((PAGE / "object_info.json").read_text())  # of 0.33.0, without texts

SOURCE = {"input": {"required": {"seed": ["INT", {}]}}, "output": ["IMAGE"], "display_name": "Source"}
PASS = {
    "input": {
        "required": {"image": ["IMAGE"], "width": ["INT", {"default": 8}]},
        "optional": {"mask": ["MASK"]},
    },
    "output": ["MASK", "IMAGE"],
    "display_name": "Pass",
}
SINK = {"input": {"required": {"images": ["IMAGE"]}}, "output": [], "display_name": "Sink"}
SMALL = {"Source": SOURCE, "Pass": PASS, "Sink": SINK}


def node(
    number: int, kind: str, inputs: list[tuple[str, str, int | None]] = (), **more: Any
) -> dict[str, Any]:
    slots = [{"name": name, "type": type_, "link": link} for name, type_, link in inputs]
    outputs = [{"name": one, "type": one} for one in SMALL.get(kind, {"output": ["*"]})["output"]]
    return {"id": number, "type": kind, "inputs": slots, "outputs": outputs, **more}


def chain(**middle: Any) -> dict[str, Any]:
    """Source 1 → Pass 2 → Sink 3, with changes to the middle node."""
    return {
        "version": 0.4,
        "nodes": [
            node(1, "Source", widgets_values=[5, "randomize"]),
            {
                **node(2, "Pass", [("image", "IMAGE", 1), ("mask", "MASK", None)], widgets_values=[16]),
                **middle,
            },
            node(3, "Sink", [("images", "IMAGE", 2)]),
        ],
        "links": [[1, 1, 0, 2, 0, "IMAGE"], [2, 2, 1, 3, 0, "IMAGE"]],
    }


@pytest.mark.parametrize("name", ["core_04", "subgraph_v1", "subgraph_proxies"])
def test_recorded_page(name: str) -> None:
    workflow = load(PAGE / "workflows" / f"{name}.json")
    kept = copy.deepcopy(workflow)
    assert to_prompt(workflow, INFO) == load(PAGE / "prompts" / f"{name}.json")
    assert workflow == kept


def test_chain() -> None:
    assert to_prompt(chain(), SMALL) == {
        "1": {"class_type": "Source", "inputs": {"seed": 5}, "_meta": {"title": "Source"}},
        "2": {"class_type": "Pass", "inputs": {"width": 16, "image": ["1", 0]}, "_meta": {"title": "Pass"}},
        "3": {"class_type": "Sink", "inputs": {"images": ["2", 1]}, "_meta": {"title": "Sink"}},
    }


def test_links_as_objects() -> None:
    names = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
    newer = chain() | {"version": 1}
    newer["links"] = [dict(zip(names, link, strict=True)) for link in newer["links"]]
    assert to_prompt(newer, SMALL) == to_prompt(chain(), SMALL)


@pytest.mark.parametrize(
    ("mode", "feeds"),
    [(0, ["2", 1]), (2, None), (4, ["1", 0])],
    ids=["active", "muted", "bypassed"],
)
def test_modes(mode: int, feeds: list[Any] | None) -> None:
    prompt = to_prompt(chain(mode=mode), SMALL)
    assert prompt["3"]["inputs"].get("images") == feeds
    assert ("2" in prompt) == (mode == 0)


def test_bypass_takes_the_input_of_the_same_type() -> None:
    workflow = chain(mode=4)
    workflow["nodes"][1]["inputs"].reverse()  # the mask first, unlinked
    workflow["links"][0][4] = 1
    assert to_prompt(workflow, SMALL)["3"]["inputs"] == {"images": ["1", 0]}


def test_bypass_without_an_input_of_the_type_is_a_cut() -> None:
    workflow = chain(mode=4)
    workflow["nodes"][1]["inputs"] = workflow["nodes"][1]["inputs"][1:]
    assert to_prompt(workflow, SMALL)["3"]["inputs"] == {}


def test_a_primitive_before_a_subgraph_leaves_the_widget_inside_as_it_is() -> None:
    inner = node(1, "Source", [("seed", "INT", 1)], widgets_values=[5, "fixed"])
    subgraph = {
        "id": "s",
        "inputs": [{"name": "other", "type": "INT"}, {"name": "number", "type": "INT"}],
        "nodes": [inner],
        "links": [[1, -10, 1, 1, 0, "INT"]],
    }
    nodes = [node(number, "PrimitiveNode", widgets_values=[number, "fixed"]) for number in (1, 2)]
    nodes += [node(number + 2, "s", [("number", "INT", number)], widgets_values=[5]) for number in (1, 2)]
    links = [[number, number, 0, number + 2, 0, "INT"] for number in (1, 2)]
    prompt = to_prompt({"nodes": nodes, "links": links, "definitions": {"subgraphs": [subgraph]}}, SMALL)
    assert {key: one["inputs"] for key, one in prompt.items()} == {"3:1": {"seed": 5}, "4:1": {"seed": 5}}


def test_values_on_a_frame_of_an_older_page_are_those_of_its_proxies() -> None:
    inner = [
        node(1, "Source", [("seed", "INT", None)], widgets_values=[5, "fixed"]),
        node(2, "Pass", [("image", "IMAGE", 2), ("width", "INT", 1)], widgets_values=[16]),
        node(3, "Sink", [("images", "IMAGE", 3)]),
        node(4, "PrimitiveNode", widgets_values=[1, "fixed"]),
        node(5, "Source", [("seed", "INT", 4)], widgets_values=[5, "fixed"]),
        # Fed as an input that is no widget.
        node(6, "Source", [("seed", "INT", 5)], widgets_values=[5, "fixed"]),
    ]
    inner[1]["inputs"][1]["widget"] = {"name": "width"}
    links = [
        [1, -10, 0, 2, 1, "INT"],
        [2, 1, 0, 2, 0, "IMAGE"],
        [3, 2, 1, 3, 0, "IMAGE"],
        [4, 4, 0, 5, 0, "INT"],
        [5, -10, 0, 6, 0, "INT"],
    ]
    subgraph = {"id": "s", "inputs": [{"name": "broad", "type": "INT"}], "nodes": inner, "links": links}
    frame = node(9, "s", widgets_values=[7, None, 24, 8])

    def sent(*proxies: list[str]) -> list[Any]:
        frame["properties"] = {"proxyWidgets": [*proxies]}
        prompt = to_prompt({"nodes": [frame], "links": [], "definitions": {"subgraphs": [subgraph]}}, SMALL)
        where = {"9:1": "seed", "9:2": "width", "9:6": "seed", "9:5": "seed"}
        return [prompt[key]["inputs"][name] for key, name in where.items()]

    seed, after, primitive = ["1", "seed"], ["1", "control_after_generate"], ["4", "value"]
    assert sent(seed, after, ["-1", "broad"], primitive) == [7, 24, 24, 8]
    assert sent(seed, after, ["2", "width"]) == [7, 24, 24, 1]
    assert sent(["1", "3: seed"]) == [7, 16, 16, 1]


def test_a_prompt_is_taken_as_it_is() -> None:
    prompt = {"7": {"class_type": "Anything", "inputs": {"x": [1, 2, 3]}, "extra": 1}}
    assert to_prompt(prompt, SMALL) == prompt


@pytest.mark.parametrize(
    ("saved", "expected"),
    [
        ([7, "fixed", 2.5, "b", "fixed", "", "text"], {"noise_seed": 7, "x": 2.5, "c": "b", "t": "text"}),
        ([7], {"noise_seed": 7, "x": 0.5, "c": "a", "t": ""}),
        (None, {"noise_seed": 0, "x": 0.5, "c": "a", "t": ""}),
        ({"t": "named", "x": 1}, {"noise_seed": 0, "x": 1, "c": "a", "t": "named"}),
    ],
    ids=["list", "short", "none", "by name"],
)
def test_widget_values(saved: Any, expected: dict[str, Any]) -> None:
    required = {
        "t": ["STRING", {}],  # input_order, not this order, is the page's
        "noise_seed": ["INT", {}],
        "model": ["MODEL"],
        "x": ["FLOAT", {"default": 0.5}],
        "forced": ["INT", {"forceInput": True}],
        "c": [["a", "b"], {"control_after_generate": True}],
    }
    order = ["noise_seed", "model", "x", "forced", "c", "t"]
    assert (
        widget_values({"input": {"required": required}, "input_order": {"required": order}}, saved)
        == expected
    )


def test_values_of_forced_sockets_are_dropped() -> None:
    info = {"input": {"required": {"a": ["INT", {}], "f": ["INT", {"forceInput": True}], "b": ["INT", {}]}}}
    assert widget_values(info, [1, 99, 2]) == {"a": 1, "b": 2}
    assert widget_values(info, [1, 2]) == {"a": 1, "b": 2}


def test_choices_and_comments() -> None:
    assert {page_text.choose("{a|{b|c}} x // no") for _ in range(200)} == {"a x ", "b x ", "c x "}
    assert page_text.choose(r"\{a|b\}/* no */") == "{a|b}"


def test_file_names() -> None:
    filled = page_text.fill(
        "%A.w%/%date:yyyy%_%width%_%B.w%", lambda title, name: "1/2" if title == "A" else None
    )
    assert filled.startswith("1_2/2") and filled.endswith("_%width%_%B.w%") and len(filled.split("_")[1]) == 6


def changed(**more: Any) -> dict[str, Any]:
    return {**chain(), **more}


def with_reroutes_in_a_ring() -> dict[str, Any]:
    workflow = chain()
    workflow["nodes"] += [node(8, "Reroute", [("", "*", 8)]), node(9, "Reroute", [("", "*", 9)])]
    workflow["links"] = [
        [1, 8, 0, 2, 0, "*"],
        [2, 2, 1, 3, 0, "IMAGE"],
        [8, 9, 0, 8, 0, "*"],
        [9, 8, 0, 9, 0, "*"],
    ]
    return workflow


def subgraph_in_itself() -> dict[str, Any]:
    inside = {"id": "s", "nodes": [node(1, "s")], "links": []}
    return {"nodes": [node(1, "s")], "links": [], "definitions": {"subgraphs": [inside]}}


def ring() -> dict[str, Any]:
    return {
        key: {"class_type": "Pass", "inputs": {"image": [feed, 1]}} for key, feed in [("1", "2"), ("2", "1")]
    }


@pytest.mark.parametrize(
    ("workflow", "said"),
    [
        ({}, "neither a workflow"),
        ({"nodes": 3}, "'nodes' must be a list"),
        ({"nodes": [{"id": 1}]}, "'nodes' must be a list of objects with an 'id' and a 'type'"),
        ({"nodes": [], "links": {}}, "'links' is a dict"),
        (changed(links=[[1, 1]]), r"link \[1, 1\] is neither"),
        (changed(links=[[1, 1, 0, 2, 0, "IMAGE"]]), r"Sink \(#3\), input images: link 2 is not in"),
        (
            changed(links=[[1, 1, 0, 2, 0, "IMAGE"], [2, 77, 1, 3, 0, "IMAGE"]]),
            r"Sink \(#3\), input images: it is linked to node #77, which is not there",
        ),
        (chain(type="Psas", title="Mine"), r"Psas \(#2 'Mine'\) needs ComfyUI. Did you mean Pass\?.*Sink"),
        (chain(type="workflow>Psas"), r"workflow>Psas \(#2\) is a group node of older pages; save"),
        (chain(widgets_values=4), r"Pass \(#2\): 'widgets_values' is a int"),
        (chain(id=1), "two nodes have the id 1"),
        (with_reroutes_in_a_ring(), r"Reroute \(#8\): its input leads back to itself"),
        (subgraph_in_itself(), "contains itself"),
        (ring(), r"in a circle: Pass \(#1\) <- Pass \(#2\) <- Pass \(#1\)"),
        ({"1": {"class_type": "Sink", "inputs": {"images": ["9", 0]}}}, r"input images: linked to node #9"),
        ({"1": {"class_type": "Sink", "inputs": []}}, "node #1: 'inputs' is a list"),
        ({"1": {"class_type": None, "inputs": {}}}, "node #1: 'class_type' must be a text"),
        ({"1": {"class_type": "Sink", "inputs": {}, "_meta": "x"}}, "node #1: .*'_meta' an object"),
        ({"nodes": [{"id": 1, "type": None}]}, "'nodes' must be a list of objects with an 'id' and a 'type'"),
        (chain(inputs={"image": 1}), r"Pass \(#2\): 'inputs' and 'outputs' must be lists"),
        (chain(inputs=[{"type": "IMAGE"}]), "each input with a 'name'"),
        (chain(inputs=[{"name": "image", "link": [1]}]), "each input with a 'name'"),
        (chain(outputs=[None]), "must be lists of objects"),
        (chain(properties=[1]), "'properties' an object"),
        (chain(title=["x"]), "'title' must be a text"),
        (changed(links=[[1, 1, -3, 2, 0, "IMAGE"]]), "is neither"),
        (changed(definitions={"subgraphs": {"id": "s"}}), "'definitions' must have 'subgraphs'"),
        (changed(definitions=[{"id": "s"}]), "'definitions' must have 'subgraphs'"),
        (changed(definitions={"subgraphs": [{"nodes": []}]}), "objects with an 'id' each"),
        (
            {"nodes": [node(1, "PrimitiveNode", widgets_values={"value": 1})], "links": []},
            r"PrimitiveNode \(#1\): 'widgets_values' is a dict",
        ),
    ],
)  # fmt: skip
def test_refused(workflow: dict[str, Any], said: str) -> None:
    with pytest.raises(FramewrightError, match=said):
        to_prompt(workflow, SMALL)


def test_a_node_that_a_server_lacks_is_of_another_pack() -> None:
    said = r"Psas \(#2\) is of a pack that is not in ComfyUI 0.33.0. Did you mean Pass\?"
    with pytest.raises(FramewrightError, match=said):
        to_prompt(chain(type="Psas"), SMALL, "ComfyUI 0.33.0")


def test_no_sheet_says_a_prompt_again() -> None:
    """One node feeds a prompt and the sheet of it; else who sets another prompt gets a sheet that lies."""
    sheets = 0
    for path in SHIPPED:
        nodes = load(path)["nodes"]
        texts = [one["widgets_values"][0] for one in nodes if one["type"].endswith(("Prompt", "String"))]
        labels = [one["widgets_values"][1] for one in nodes if one["type"] == "FramewrightContactSheet"]
        sheets += len(labels)
        assert not [label for label in labels for text in texts if text and text in label], path.stem
    assert sheets


def test_a_file_that_begins_with_a_mark_is_read(tmp_path: Path) -> None:
    (tmp_path / "marked.json").write_text('{"nodes": []}', "utf-8-sig")
    assert load(tmp_path / "marked.json") == {"nodes": []}


def test_broken_files(tmp_path: Path) -> None:
    with pytest.raises(FramewrightError, match="mine: broken JSON at line 2, column 6: Expecting"):
        parse('{"a": 1,\n "b" 2}', "mine")
    with pytest.raises(FramewrightError, match="expected a workflow, got a JSON list"):
        parse("[]")
    with pytest.raises(FramewrightError, match="absent.json"):
        load(tmp_path / "absent.json")


PROMPT = {
    "1": {"class_type": "Source", "inputs": {"seed": 5}, "_meta": {"title": "First v1.0"}},
    "2": {"class_type": "Source", "inputs": {"seed": 6, "on": True, "name": "x"}},
    "3": {
        "class_type": "Pass",
        "inputs": {"image": ["1", 0], "format.codec": "auto"},
        "_meta": {"title": "Pass"},
    },
}


@pytest.mark.parametrize(
    ("assignment", "key", "name", "value"),
    [
        ("2.seed=9", "2", "seed", 9),
        ("First v1.0.seed=-3", "1", "seed", -3),
        ("Pass.width=32", "3", "width", 32),
        ("3.format.codec=h264", "3", "format.codec", "h264"),
        ("2.on=false", "2", "on", False),
        ("2.on=False", "2", "on", False),
        ("2.name=12", "2", "name", "12"),
        ("2.name=a=b", "2", "name", "a=b"),
    ],
)
def test_set_inputs(assignment: str, key: str, name: str, value: Any) -> None:
    changed = set_inputs(PROMPT, [assignment], SMALL)
    assert changed[key]["inputs"][name] == value and type(changed[key]["inputs"][name]) is type(value)
    assert PROMPT[key]["inputs"].get(name) != value
    changed[key]["inputs"].pop(name)
    rest = {one: {**entry, "inputs": dict(entry["inputs"])} for one, entry in PROMPT.items()}
    rest[key]["inputs"].pop(name, None)
    assert changed == rest


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("seed", "expected NODE.input=value"),
        ("seed=1", "expected NODE.input=value"),
        (
            "Source.seed=1",
            r"several nodes are called 'Source', use an id: Source \(#1 'First v1.0'\), Source \(#2\)",
        ),
        ("KSampler.seed=1", r"no node is called 'KSampler'; there are: Source \(#1"),
        ("2.steps=1", r"Source \(#2\) has no input 'steps' to set, it has: seed, on, name"),
        ("3.image=a.png", "has no input 'image' to set"),
        ("2.on=off", "'2.on=off': expected true or false"),
    ],
)
def test_set_inputs_refuses(assignment: str, said: str) -> None:
    with pytest.raises(FramewrightError, match=said):
        set_inputs(PROMPT, [assignment], SMALL)


HERE = registry().object_info()


def test_inputs_that_a_choice_brings_are_set_after_it() -> None:
    changes = [
        "SaveVideo.format=mp4",
        "SaveVideo.format.codec=h264",
        "SaveVideo.format.codec.encoding=re-encode",
    ]
    page = load(TEXT_TO_VIDEO)
    saver = next(
        one for one in to_prompt(page, HERE, assignments=changes).values() if one["class_type"] == "SaveVideo"
    )
    assert saver["inputs"]["format.codec.encoding"] == "re-encode"
    with pytest.raises(FramewrightError, match="has no input 'format.codec.encoding' to set"):
        to_prompt(page, HERE, assignments=changes[2:])


def test_files_are_named_by_what_is_set() -> None:
    page = load(TEXT_TO_VIDEO)
    changes = ["KSampler.seed=777", "SaveVideo.filename_prefix=take_%KSampler.seed%"]
    names = [
        one["inputs"].get("filename_prefix") for one in to_prompt(page, HERE, assignments=changes).values()
    ]
    assert "take_777" in names


def test_a_page_that_is_not_what_ran_is_not_kept() -> None:
    page = load(TEXT_TO_VIDEO)
    assert page_of(page, []) is page
    assert page_of(page, ["KSampler.seed=777"]) is None and page_of(PROMPT, []) is None
