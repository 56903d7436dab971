"""A prompt checked against the nodes' declarations before anything runs."""

from __future__ import annotations

import inspect
import math
from typing import Any

from ..errors import FramewrightError
from .comfy_api import io
from .page import types_match
from .prompt import ObjectInfo, Prompt, describe, is_link, live_inputs
from .registry import Registry, missing
from .widgets import DYNAMIC, combo_options, widget_type


def validate(prompt: Prompt, registry: Registry) -> Prompt:
    """The prompt with its values in the declared types; FramewrightError lists all that is wrong with it.

    As in the host, nodes that no output needs may lack anything but their class.
    """
    classes = {one["class_type"] for one in prompt.values()}
    info = {name: registry.node(name).GET_NODE_INFO_V1() for name in classes if name in registry}
    for key, one in prompt.items():
        if one["class_type"] not in registry:
            raise missing(one["class_type"], registry, describe(prompt, key))
    if not any(info[one["class_type"]]["output_node"] for one in prompt.values()):
        raise FramewrightError("the graph has no output node, such as SaveImage, so there is nothing to run")
    errors: list[str] = []
    checked = {
        key: {**prompt[key], "inputs": _inputs(prompt, key, registry, info, errors)}
        for key in needed(prompt, info)
    }
    if errors:
        raise FramewrightError("\n".join(errors))
    return {**prompt, **checked}


def needed(prompt: Prompt, info: ObjectInfo) -> list[str]:
    """Output nodes and what feeds them, each after its feeds."""
    order: list[str] = []
    ends = [key for key, one in prompt.items() if info[one["class_type"]]["output_node"]]
    ahead = [(key, False) for key in reversed(ends)]
    seen: set[str] = set()
    while ahead:
        key, fed = ahead.pop()
        if fed:
            order.append(key)
        elif key not in seen:
            seen.add(key)
            ahead.append((key, True))
            feeds = [str(value[0]) for value in prompt[key]["inputs"].values() if is_link(value)]
            ahead += [(feed, False) for feed in feeds if feed in prompt]
    return order


def _inputs(
    prompt: Prompt, key: str, registry: Registry, info: ObjectInfo, errors: list[str]
) -> dict[str, Any]:
    one = prompt[key]
    called = describe(prompt, key)
    node = registry.node(one["class_type"])
    own_check = _arguments(node.validate_inputs) if is_defined(node, "validate_inputs") else frozenset()
    checked: dict[str, Any] = {}
    for name, (kind, options, required) in live_inputs(info[one["class_type"]], one["inputs"]).items():
        if name not in one["inputs"]:
            if required:
                errors.append(f"{called}: {name}: nothing came, expected {_kind(kind)}")
            continue
        value = one["inputs"][name]
        try:
            if is_link(value):
                checked[name] = _link(prompt, value, kind, info)
            else:
                checked[name] = widget_value(value, kind, options, own=name in own_check)
        except FramewrightError as error:
            errors.append(f"{called}: {name}: {error}")
    if own_check and not any(line.startswith(f"{called}: ") for line in errors):
        plain = {name: value for name, value in checked.items() if name in own_check and not is_link(value)}
        answer = node.validate_inputs(**plain) if len(plain) == len(own_check) else True
        if answer is not True:
            errors.append(f"{called}: {answer or 'its inputs do not fit together'}")
    return checked


def is_defined(node: type[io.ComfyNode], function: str) -> bool:
    """Whether a node class has its own version of an optional function."""
    return getattr(node, function).__func__ is not getattr(io.ComfyNode, function).__func__


def _arguments(function: Any) -> frozenset[str]:
    return frozenset(inspect.signature(function).parameters)


def _kind(kind: str | list[Any]) -> str:
    return "COMBO" if isinstance(kind, list) or kind == DYNAMIC else kind


def _link(prompt: Prompt, value: list[Any], kind: str | list[Any], info: ObjectInfo) -> list[Any]:
    origin, slot = str(value[0]), value[1]
    if origin not in prompt:
        raise FramewrightError(f"linked to node #{origin}, which is not there")
    outputs = info[prompt[origin]["class_type"]]["output"]
    if isinstance(slot, bool) or not isinstance(slot, int) or not 0 <= slot < len(outputs):
        raise FramewrightError(
            f"output {slot} of {describe(prompt, origin)} came, it has {len(outputs)} outputs"
        )
    if not types_match(_kind(outputs[slot]), _kind(kind)):
        raise FramewrightError(
            f"{outputs[slot]} came from {describe(prompt, origin)}, expected {_kind(kind)}"
        )
    return [origin, slot]


def widget_value(value: Any, kind: str | list[Any], options: dict[str, Any], own: bool = False) -> Any:
    """A widget's value in its declared type; a node that checks it itself (`own`) judges range and choice."""
    if isinstance(value, dict) and "__value__" in value:
        value = value["__value__"]
    shown = widget_type(kind, {**options, "forceInput": False})
    if shown is None:
        raise FramewrightError(f"{value!r} came, expected a link from a node that makes {_kind(kind)}")
    value = _typed(value, shown)
    if own:
        return value
    if shown in ("COMBO", DYNAMIC):
        choices = combo_options(kind, options)
        if value not in choices:
            listed = ", ".join(map(str, choices[:20])) + (
                f" and {len(choices) - 20} more" if len(choices) > 20 else ""
            )
            raise FramewrightError(
                f"{value!r} came, expected one of: {listed or 'nothing, the list is empty'}"
            )
    if shown in ("INT", "FLOAT"):
        low, high = options.get("min", -math.inf), options.get("max", math.inf)
        if not low <= value <= high:
            raise FramewrightError(f"{value} came, expected {low} to {high}")
    return value


def _typed(value: Any, shown: str) -> Any:
    try:
        if shown == "INT":
            if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
                raise ValueError
            return int(value)
        if shown == "FLOAT":
            number = float(value)
            if isinstance(value, bool) or not math.isfinite(number):
                raise ValueError
            return number
    except (TypeError, ValueError, OverflowError):
        expected = {"INT": "a whole number", "FLOAT": "a finite number"}[shown]
        raise FramewrightError(f"{value!r} came, expected {expected}") from None
    if shown == "BOOLEAN":
        known = {"true": True, "false": False, "1": True, "0": False}
        if str(value).lower() not in known:
            raise FramewrightError(f"{value!r} came, expected true or false")
        return known[str(value).lower()]
    if shown == "STRING":
        if isinstance(value, list | dict) or value is None:
            raise FramewrightError(f"{value!r} came, expected a text")
        return str(value)
    if shown in ("COMBO", DYNAMIC) and not isinstance(value, str):
        raise FramewrightError(f"{value!r} came, expected a choice")
    return value
