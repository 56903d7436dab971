"""The node classes that the built-in host has, by id."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from ..errors import FramewrightError
from .comfy_api import io


class Registry:
    """Node classes by node id; ValueError if two classes share one."""

    def __init__(self, classes: Iterable[type[io.ComfyNode]]) -> None:
        self._classes: dict[str, type[io.ComfyNode]] = {}
        for one in classes:
            name = one.GET_SCHEMA().node_id
            if self._classes.setdefault(name, one) is not one:
                raise ValueError(f"two node classes are called {name}: {self._classes[name]} and {one}")

    def __contains__(self, node_id: str) -> bool:
        return node_id in self._classes

    def __iter__(self) -> Iterable[str]:
        return iter(self._classes)

    def node(self, node_id: str) -> type[io.ComfyNode]:
        """The class of this id; FramewrightError if the built-in host has none."""
        if node_id not in self._classes:
            raise missing(node_id, self._classes)
        return self._classes[node_id]

    def object_info(self) -> dict[str, dict[str, Any]]:
        """All descriptions, as the host's `/object_info` gives them; file lists are those of now."""
        return {name: one.GET_NODE_INFO_V1() for name, one in self._classes.items()}


def missing(
    node_id: str, present: Iterable[str], label: str | None = None, host: str | None = None
) -> FramewrightError:
    """The error for a node that a host does not have: this one, where no other's name is given."""
    known = sorted(present)
    close = difflib.get_close_matches(node_id, known, 1)
    hint = f" Did you mean {close[0]}?" if close else ""
    if node_id.startswith(("workflow>", "workflow/")):
        return FramewrightError(
            f"node {label or node_id} is a group node of older pages; save the workflow in a newer one, "
            "which makes a subgraph of it"
        )
    if host is not None:
        return FramewrightError(f"node {label or node_id} is of a pack that is not in {host}.{hint}")
    return FramewrightError(
        f"node {label or node_id} needs ComfyUI.{hint} The built-in host has: {', '.join(known) or 'no node'}"
    )
