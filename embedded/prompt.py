"""A prompt, which is what the page sends: nodes by id, each with its class and inputs."""

from __future__ import annotations

from typing import Any

from .page import label
from .widgets import DYNAMIC, entries

Prompt = dict[str, dict[str, Any]]
ObjectInfo = dict[str, dict[str, Any]]
Spec = tuple[str | list[Any], dict[str, Any], bool]  # type, options, required


def is_link(value: Any) -> bool:
    """Whether a prompt's input value is a link, [node id, output]."""
    return isinstance(value, list) and len(value) == 2


def describe(prompt: Prompt, key: str) -> str:
    """How errors call a prompt's node."""
    one = prompt[key]
    return label({"type": one["class_type"], "id": key, "title": (one.get("_meta") or {}).get("title")})


def live_inputs(info: dict[str, Any], given: dict[str, Any], prefix: str = "") -> dict[str, Spec]:
    """A node's inputs under these values, with those that a dynamic combo's choice brings as `combo.name`."""
    found: dict[str, Spec] = {}
    required = info.get("input", {}).get("required", {})
    for name, kind, options in entries(info):
        key = prefix + name
        # An older page's prompt has no such combo below another; its own default then holds.
        found[key] = (kind, options, name in required and not (kind == DYNAMIC and prefix))
        if kind == DYNAMIC and not is_link(given.get(key)):
            chosen = [one["inputs"] for one in options["options"] if one["key"] == given.get(key)]
            for inputs in chosen:
                found.update(live_inputs({"input": inputs}, given, f"{key}."))
    return found
