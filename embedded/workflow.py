"""From the page's workflow JSON to the prompt that runs: what the page itself does when it queues a graph."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import FramewrightError
from .assignments import set_inputs
from .page import VIRTUAL as VIRTUAL_NODES
from .page import Node, Scope, label, root
from .page_text import choose, fill
from .prompt import ObjectInfo, Prompt, describe, is_link
from .registry import missing
from .widgets import entries, widget_values

PREFIX = "filename_prefix"
SAVERS = frozenset(
    {
        "SaveImage", "SaveImageAdvanced", "SaveSVGNode", "SaveVideo", "SaveAnimatedWEBP", "SaveWEBM",
        "SaveAudio", "SaveAudioMP3", "SaveAudioOpus", "SaveAudioAdvanced", "SaveGLB", "Save3DAdvanced",
        "SaveGaussianSplat", "SavePointCloud", "SaveAnimatedPNG", "CLIPSave", "VAESave", "ModelSave",
        "LoraSave", "SaveLatent",
    }
)  # fmt: skip


def load(path: Path) -> dict[str, Any]:
    """A workflow or prompt file; FramewrightError names the line and column where its JSON is broken."""
    try:
        text = path.read_text(encoding="utf-8-sig")  # some editors begin a file with a mark
    except (OSError, UnicodeDecodeError) as error:
        raise FramewrightError(f"{path}: {error}") from error
    return parse(text, str(path))


def parse(text: str, name: str = "workflow") -> dict[str, Any]:
    """A workflow or prompt from its JSON text."""
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise FramewrightError(
            f"{name}: broken JSON at line {error.lineno}, column {error.colno}: {error.msg}"
        ) from error
    except (
        ValueError,
        RecursionError,
    ) as error:  # numbers of thousands of digits, lists in lists without end
        raise FramewrightError(f"{name}: its JSON cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise FramewrightError(f"{name}: expected a workflow, got a JSON {type(content).__name__}")
    return content


def is_prompt(content: dict[str, Any]) -> bool:
    """Whether this already is what the page sends: nodes by id, each with its class and inputs."""
    return bool(content) and all(isinstance(one, dict) and "class_type" in one for one in content.values())


def to_prompt(
    workflow: dict[str, Any],
    object_info: ObjectInfo,
    host: str | None = None,
    assignments: Sequence[str] = (),
) -> Prompt:
    """The prompt that the page would send for this workflow, in either of its formats (0.4 and 1).

    Muted nodes are left out, bypassed ones and reroutes are skipped over, subgraphs are opened, and widget
    values get their names from `object_info`. A prompt is returned as it came. Raises FramewrightError for
    what is no workflow, nodes that `object_info` lacks, links to nowhere, and cycles. `host`: whose that is,
    where it is not the built-in one's. `assignments` set other values (`set_inputs`), before
    files are named by them.
    """
    if is_prompt(workflow):
        prompt: Prompt = {str(key): {"inputs": {}, **one} for key, one in workflow.items()}
        _check_links(prompt)
        return set_inputs(prompt, assignments, object_info)
    if "nodes" not in workflow:
        raise FramewrightError(
            "this is neither a workflow, which has 'nodes', nor a prompt, which has 'class_type's"
        )
    scope = root(workflow)
    active = list(scope.walk())
    values: dict[str, dict[str, Any]] = {}
    for where, node in active:
        if node["type"] not in VIRTUAL_NODES:
            if node["type"] not in object_info:
                raise missing(node["type"], object_info, label(node), host)
            values[where.id_of(node)] = _widgets(node, object_info[node["type"]])
    for where, node in active:
        if node["type"] == "PrimitiveNode":
            _spread_primitive(where, node, values)
    prompt, named = {}, list[str]()
    for where, node in active:
        if node["type"] not in VIRTUAL_NODES:
            key = where.id_of(node)
            proxied = where.proxied() or {}
            own = {name: proxied.get((str(node["id"]), name), value) for name, value in values[key].items()}
            inputs, linked = _sent(own, object_info[node["type"]]), _linked(where, node, values)
            if node["type"] in SAVERS and PREFIX not in linked:
                named.append(key)
            prompt[key] = {
                "inputs": {**inputs, **linked},
                "class_type": node["type"],
                "_meta": {"title": _title(node, object_info)},
            }
    for one in prompt.values():
        gone = [name for name, value in one["inputs"].items() if is_link(value) and value[0] not in prompt]
        for name in gone:
            del one["inputs"][name]
    _check_links(prompt)
    changed = set_inputs(prompt, assignments, object_info)
    for key, one in changed.items():
        before = prompt[key]["inputs"]
        values[key] |= {name: value for name, value in one["inputs"].items() if value is not before.get(name)}
    _name_files(changed, named, _titles(active, object_info), values)
    return changed


def page_of(workflow: dict[str, Any], assignments: Sequence[str]) -> dict[str, Any] | None:
    """The page's workflow for the files that are made; None where it is not what ran.

    The page then opens the prompt that every file also keeps.
    """
    return None if assignments or is_prompt(workflow) else workflow


def _title(node: Node, object_info: ObjectInfo) -> str:
    return node.get("title") or object_info[node["type"]].get("display_name") or node["type"]


def _widgets(node: Node, info: dict[str, Any]) -> dict[str, Any]:
    saved = node.get("widgets_values")
    if saved is not None and not isinstance(saved, list | dict):
        raise FramewrightError(
            f"{label(node)}: 'widgets_values' is a {type(saved).__name__}, expected a list or an object"
        )
    return widget_values(info, saved)


def _spread_primitive(where: Scope, node: Node, values: dict[str, dict[str, Any]]) -> None:
    """Puts a primitive's value into the widgets linked to it; it passes no reroute, as in the page."""
    saved = node.get("widgets_values") or []
    if not isinstance(saved, list):
        raise FramewrightError(
            f"{label(node)}: 'widgets_values' is a {type(saved).__name__}, expected a list"
        )
    proxied = (where.proxied() or {}).items()
    saved = [value for (one, _), value in proxied if one == str(node["id"])] or saved
    if saved:
        for target, name in where.fed_by(str(node["id"])):
            own = values.get(where.id_of(target), {})
            if name in own:
                own[name] = saved[0]


def _titles(active: list[tuple[Scope, Node]], object_info: ObjectInfo) -> dict[str, str]:
    """Node ids by the name that a file name may call them: the alias set in the page, else the title."""
    found: dict[str, str] = {}
    for where, node in active:
        if node["type"] not in VIRTUAL_NODES:
            found.setdefault(_title(node, object_info), where.id_of(node))
    aliases: dict[str, str] = {}
    for where, node in active:
        alias = (node.get("properties") or {}).get("Node name for S&R")
        if alias and node["type"] not in VIRTUAL_NODES:
            aliases.setdefault(alias, where.id_of(node))
    return {**found, **aliases}


def _sent(own: dict[str, Any], info: dict[str, Any]) -> dict[str, Any]:
    """Widget values as they are sent: choices made, lists wrapped."""
    chosen = {name for name, _, options in entries(info) if options.get("dynamicPrompts")}
    sent = {}
    for name, value in own.items():
        if isinstance(value, str) and name in chosen:
            value = choose(value)
        sent[name] = {"__value__": value} if isinstance(value, list) else value
    return sent


def _name_files(
    prompt: Prompt, savers: list[str], titles: dict[str, str], values: dict[str, dict[str, Any]]
) -> None:
    """Fills in what the file names of these nodes ask for: dates, and the values of other nodes' widgets."""

    def look_up(title: str, name: str) -> str | None:
        value = values.get(titles.get(title, ""), {}).get(name)
        return None if value is None else str(value)

    for key in savers:
        inputs = prompt[key]["inputs"]
        if isinstance(inputs.get(PREFIX), str):
            inputs[PREFIX] = fill(inputs[PREFIX], look_up)


def _linked(where: Scope, node: Node, values: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Inputs that come by a link."""
    found: dict[str, Any] = {}
    for slot, one in enumerate(node.get("inputs") or []):
        name, source = one["name"], where.source(node, slot)
        if source is None or (source.node, source.widget) == (where.id_of(node), name):
            continue
        if source.widget:
            own = values.get(source.node, {})
            found |= {name: own[source.widget]} if source.widget in own else {}
        else:
            found[name] = source.value if source.is_value else [source.node, source.slot]
    return found


def _check_links(prompt: Prompt) -> None:
    """FramewrightError for a link to a node that is not there, and for a cycle."""
    feeds: dict[str, list[str]] = {}
    for key, one in prompt.items():
        if not isinstance(one["inputs"], dict):
            raise FramewrightError(
                f"node #{key}: 'inputs' is a {type(one['inputs']).__name__}, expected an object"
            )
        meta = one.get("_meta") or {}
        titled = isinstance(meta, dict) and isinstance(meta.get("title"), str | None)
        if not isinstance(one["class_type"], str) or not titled:
            raise FramewrightError(
                f"node #{key}: 'class_type' must be a text, and '_meta' an object with a 'title'"
            )
        feeds[key] = [str(value[0]) for value in one["inputs"].values() if is_link(value)]
        for name, value in one["inputs"].items():
            if is_link(value) and str(value[0]) not in prompt:
                raise FramewrightError(
                    f"{describe(prompt, key)}, input {name}: linked to node #{value[0]}, which is not there"
                )
    done: set[str] = set()
    for start in prompt:
        trail: list[str] = []
        ahead = [(start, 0)]
        while ahead:
            key, depth = ahead.pop()
            del trail[depth:]
            if key in trail:
                circle = [*trail[trail.index(key) :], key]
                raise FramewrightError(
                    f"the graph runs in a circle: {' <- '.join(describe(prompt, k) for k in circle)}"
                )
            if key not in done:
                trail.append(key)
                done.add(key)
                ahead += [(feed, depth + 1) for feed in feeds[key]]
