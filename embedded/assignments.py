"""Inputs of a workflow changed from the command line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ..errors import FramewrightError
from .prompt import ObjectInfo, Prompt, describe, is_link, live_inputs
from .widgets import widget_type

SWITCH = {"true": True, "false": False}


def set_inputs(prompt: Prompt, assignments: Sequence[str], object_info: ObjectInfo) -> Prompt:
    """A prompt with inputs changed by `NODE.input=value`, NODE being a node's id, title or class.

    Inputs that the prompt leaves at their default can be set too, and those that a choice brings. Raises
    FramewrightError for a malformed assignment, a node that is not there or not the only one, an unknown
    input, and what is neither true nor false for a switch.
    """
    changed = {key: {**one, "inputs": dict(one["inputs"])} for key, one in prompt.items()}
    for assignment in assignments:
        target, equals, value = assignment.partition("=")
        if not equals or "." not in target:
            raise FramewrightError(f"{assignment!r}: expected NODE.input=value, as in KSampler.steps=12")
        key, name = _find_input(changed, target, assignment, object_info)
        changed[key]["inputs"][name] = _value(value, changed[key], name, object_info, assignment)
    return changed


def _find_input(prompt: Prompt, target: str, assignment: str, object_info: ObjectInfo) -> tuple[str, str]:
    parts = target.split(".")
    splits = [(".".join(parts[:i]), ".".join(parts[i:])) for i in range(len(parts) - 1, 0, -1)]
    for called, name in splits:
        keys = _called(prompt, called)
        if len(keys) > 1:
            candidates = ", ".join(describe(prompt, key) for key in keys)
            raise FramewrightError(
                f"{assignment!r}: several nodes are called {called!r}, use an id: {candidates}"
            )
        if keys:
            known = _settable(prompt[keys[0]], object_info)
            if name not in known:
                raise FramewrightError(
                    f"{assignment!r}: {describe(prompt, keys[0])} has no input {name!r} to set, "
                    f"it has: {', '.join(known) or 'none'}"
                )
            return keys[0], name
    there = ", ".join(describe(prompt, key) for key in prompt)
    raise FramewrightError(f"{assignment!r}: no node is called {splits[0][0]!r}; there are: {there}")


def _called(prompt: Prompt, name: str) -> list[str]:
    if name in prompt:
        return [name]
    titled = [key for key, one in prompt.items() if (one.get("_meta") or {}).get("title") == name]
    return titled or [key for key, one in prompt.items() if one["class_type"] == name]


def _widgets(node: dict[str, Any], object_info: ObjectInfo) -> dict[str, str]:
    """The widgets that the node has under its present values, by their names, and the type of each."""
    inputs = live_inputs(object_info.get(node["class_type"], {}), node["inputs"])
    kinds = {name: widget_type(kind, options) for name, (kind, options, _) in inputs.items()}
    return {name: kind for name, kind in kinds.items() if kind is not None}


def _settable(node: dict[str, Any], object_info: ObjectInfo) -> list[str]:
    given = [name for name, value in node["inputs"].items() if not is_link(value)]
    return list(dict.fromkeys([*_widgets(node, object_info), *given]))


def _value(text: str, node: dict[str, Any], name: str, object_info: ObjectInfo, assignment: str) -> Any:
    """The value that a text stands for: itself for texts and choices, else what it is as JSON."""
    kind, now = _widgets(node, object_info).get(name), node["inputs"].get(name)
    if kind == "BOOLEAN" or isinstance(now, bool):
        if text.lower() not in SWITCH:
            raise FramewrightError(f"{assignment!r}: expected true or false")
        return SWITCH[text.lower()]
    if kind == "STRING" or isinstance(now, str):
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
