"""The page's graph: nodes, links, subgraphs, and where a node's input really comes from.

Version 0.4 of the format writes a link as a list, version 1 as an object; otherwise they agree. A link may
pass reroutes, bypassed nodes and subgraph borders before it reaches the node that makes the value.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ..errors import FramewrightError

MUTED, BYPASSED = 2, 4
VIRTUAL = frozenset({"Reroute", "PrimitiveNode", "Note", "MarkdownNote"})
SUBGRAPH_INPUT, SUBGRAPH_OUTPUT = "-10", "-20"
PROXIED_INPUT = "-1"  # how a frame's proxy widgets call the subgraph's own inputs
_PREFIX = re.compile(r"^(\s*\d+\s*:\s*)+")  # of proxy widgets: the subgraphs on the way, in still older pages

Node = dict[str, Any]


def label(node: Node) -> str:
    """How errors call a node: its class, its id, and its title where it has one."""
    title = node.get("title")
    named = f" '{title}'" if title and title != node.get("type") else ""
    return f"{node.get('type')} (#{node.get('id')}{named})"


@dataclass(frozen=True)
class Link:
    """From an output of a node to an input of another; ids are strings."""

    origin: str
    origin_slot: int
    target: str
    target_slot: int


@dataclass(frozen=True)
class Source:
    """The end of a link: an output of a node that runs, or the value of a widget on a subgraph's frame.

    Where no value was saved there, it is that of `widget` of the node.
    """

    node: str = ""
    slot: int = 0
    value: Any = None
    is_value: bool = False
    widget: str = ""


class Graph:
    """One level of a workflow: its nodes and links."""

    def __init__(self, content: dict[str, Any], name: str) -> None:
        self.name = name
        nodes, links = content.get("nodes"), content.get("links", [])
        if not isinstance(nodes, list) or not all(
            isinstance(n, dict) and "id" in n and isinstance(n.get("type"), str) for n in nodes
        ):
            raise FramewrightError(f"{name}: 'nodes' must be a list of objects with an 'id' and a 'type'")
        if not isinstance(links, list):
            raise FramewrightError(f"{name}: 'links' is a {type(links).__name__}, expected a list")
        self.nodes: dict[str, Node] = {}
        for node in nodes:
            if str(node["id"]) in self.nodes:
                raise FramewrightError(f"{name}: two nodes have the id {node['id']}")
            _check_node(node)
            self.nodes[str(node["id"])] = node
        self.links = dict(self._link(one) for one in links if one is not None)

    def _link(self, one: Any) -> tuple[int, Link]:
        names = ("id", "origin_id", "origin_slot", "target_id", "target_slot")
        try:
            values = [one[name] for name in names] if isinstance(one, dict) else one[:5]
            number, origin, origin_slot, target, target_slot = values
            if int(origin_slot) < 0 or int(target_slot) < 0:
                raise ValueError
            return int(number), Link(str(origin), int(origin_slot), str(target), int(target_slot))
        except (KeyError, TypeError, ValueError):
            raise FramewrightError(
                f"{self.name}: link {one!r} is neither [id, from, slot, to, slot, type] nor such an object"
            ) from None


@dataclass
class Scope:
    """A graph in its place: the root, or the inside of one subgraph node with the scope around that node."""

    graph: Graph
    subgraphs: dict[str, dict[str, Any]]
    path: tuple[str, ...] = ()
    outer: Scope | None = None
    frame: Node | None = None
    inner: dict[str, Scope] = field(default_factory=dict)

    def id_of(self, node: Node) -> str:
        return ":".join([*self.path, str(node["id"])])

    def is_subgraph(self, node: Node) -> bool:
        return node["type"] in self.subgraphs

    def enter(self, node: Node) -> Scope:
        """The inside of a subgraph node."""
        key = str(node["id"])
        if key not in self.inner:
            around: Scope | None = self
            while around is not None:
                if around.frame is not None and around.frame["type"] == node["type"]:
                    raise FramewrightError(f"subgraph {label(node)} contains itself")
                around = around.outer
            graph = Graph(self.subgraphs[node["type"]], f"subgraph {label(node)}")
            self.inner[key] = Scope(graph, self.subgraphs, (*self.path, key), self, node)
        return self.inner[key]

    def walk(self) -> Iterator[tuple[Scope, Node]]:
        """Every node that takes part in a run, subgraphs opened, with the scope that it lies in."""
        for node in self.graph.nodes.values():
            if node.get("mode", 0) in (MUTED, BYPASSED):
                continue
            if self.is_subgraph(node):
                yield from self.enter(node).walk()
            else:
                yield self, node

    def source(
        self, node: Node, slot: int, wanted: str | None = None, seen: tuple[str, ...] = ()
    ) -> Source | None:
        """What feeds input `slot` of a node; None if nothing does, as behind a muted node.

        Raises FramewrightError for a link that is not in the graph, and for a circle of reroutes.
        """
        step = f"{self.id_of(node)}.{slot}"
        if step in seen:
            raise FramewrightError(
                f"{label(node)}: its input leads back to itself: {' <- '.join([*seen, step])}"
            )
        inputs = node.get("inputs") or []
        if slot >= len(inputs) or inputs[slot].get("link") is None:
            return None
        link = self.graph.links.get(inputs[slot]["link"])
        if link is None:
            name = inputs[slot].get("name")
            raise FramewrightError(
                f"{label(node)}, input {name}: link {inputs[slot]['link']} is not in the workflow"
            )
        kind = wanted or str(inputs[slot].get("type", "*"))
        if link.origin == SUBGRAPH_INPUT and self.outer is not None and self.frame is not None:
            return self._from_frame(link.origin_slot, kind, (*seen, step))
        origin = self.graph.nodes.get(link.origin)
        if origin is None:
            name = inputs[slot].get("name")
            raise FramewrightError(
                f"{label(node)}, input {name}: it is linked to node #{link.origin}, which is not there"
            )
        return self.output(origin, link.origin_slot, kind, (*seen, step))

    def output(self, node: Node, slot: int, wanted: str, seen: tuple[str, ...]) -> Source | None:
        """The node behind output `slot`, as an input of type `wanted` sees it."""
        mode = node.get("mode", 0)
        if mode == MUTED:
            return None
        if mode == BYPASSED:
            through = _bypass(node, slot, wanted)
            return None if through is None else self.source(node, through, None, seen)
        if self.is_subgraph(node):
            inside = self.enter(node)
            for link in inside.graph.links.values():
                if link.target == SUBGRAPH_OUTPUT and link.target_slot == slot:
                    if link.origin not in inside.graph.nodes:
                        raise FramewrightError(
                            f"{inside.graph.name}: an output is linked to a node not in it"
                        )
                    return inside.output(inside.graph.nodes[link.origin], link.origin_slot, wanted, seen)
            return None
        if node["type"] in VIRTUAL:
            return self.source(node, slot, wanted, seen) if node["type"] == "Reroute" else None
        return Source(self.id_of(node), slot)

    def _from_frame(self, slot: int, kind: str, seen: tuple[str, ...]) -> Source | None:
        """What feeds the subgraph node's own input: a link outside, or the widget shown on its frame."""
        frame, outer = self.frame, self.outer
        if frame is None or outer is None:
            return None
        declared = self.subgraphs[frame["type"]].get("inputs") or []
        if slot >= len(declared):
            raise FramewrightError(f"{self.graph.name}: it has no input {slot}")
        # The page leaves unlinked widget inputs out of the node's own list.
        for index, one in enumerate(frame.get("inputs") or []):
            if one.get("name") == declared[slot].get("name") and one.get("link") is not None:
                return outer.source(frame, index, None, seen)
        name, around = str(declared[slot].get("name")), outer.proxied() or {}
        if (at := (str(frame["id"]), name)) in around:
            return Source(value=around[at], is_value=True)
        if (proxied := self.proxied()) is not None:
            places = [(PROXIED_INPUT, name), *self._widgets_at(slot)]
            if found := [proxied[one] for one in places if one in proxied]:
                return Source(value=found[0], is_value=True)
        else:
            shown = [number for number in range(len(declared)) if any(self._widgets_at(number))]
            values = frame.get("widgets_values") or []
            if slot in shown and isinstance(values, list) and shown.index(slot) < len(values):
                return Source(value=values[shown.index(slot)], is_value=True)
        inside = next(self._widgets_at(slot), None)
        return None if inside is None else Source(":".join([*self.path, inside[0]]), widget=inside[1])

    def fed_by(self, origin: str) -> Iterator[tuple[Node, str]]:
        """The inputs linked to an output, by node and name; the page does not look inside subgraph nodes."""
        for link in self.graph.links.values():
            node = self.graph.nodes.get(link.target, {})
            inputs = node.get("inputs") or []
            linked = (link.origin, link.origin_slot) == (origin, 0) and link.target_slot < len(inputs)
            if linked and not self.is_subgraph(node):
                yield node, inputs[link.target_slot]["name"]

    def proxied(self) -> dict[tuple[str, str], Any] | None:
        """Values on the frame of an older page, by node inside and widget; None where it is not of one.

        There `widgets_values` are those of `proxyWidgets`, which name any widget inside.
        """
        names = ((self.frame or {}).get("properties") or {}).get("proxyWidgets")
        values = (self.frame or {}).get("widgets_values")
        if not isinstance(names, list) or not names:
            return None
        pairs = zip(names, values if isinstance(values, list) else (), strict=False)
        return {
            (str(one[0]), _PREFIX.sub("", str(one[1]))): value
            for one, value in pairs
            if isinstance(one, list) and len(one) > 1 and value is not None
        }

    def _widgets_at(self, slot: int) -> Iterator[tuple[str, str]]:
        """The widgets inside that an input of this subgraph leads to, as node and name."""
        for number, link in self.graph.links.items():
            if link.origin == SUBGRAPH_INPUT and link.origin_slot == slot:
                for one in self.graph.nodes.get(link.target, {}).get("inputs") or []:
                    if one.get("link") == number and one.get("widget"):
                        yield link.target, one["name"]


def root(workflow: dict[str, Any]) -> Scope:
    """The scope of a whole workflow."""
    definitions = workflow.get("definitions") or {}
    subgraphs = definitions.get("subgraphs") or [] if isinstance(definitions, dict) else None
    if not isinstance(subgraphs, list) or not all(
        isinstance(one, dict) and isinstance(one.get("id"), str) and _is_objects(one.get("inputs"))
        for one in subgraphs
    ):
        raise FramewrightError("workflow: 'definitions' must have 'subgraphs', objects with an 'id' each")
    return Scope(Graph(workflow, "workflow"), {one["id"]: one for one in subgraphs})


def _is_objects(value: Any) -> bool:
    """Whether it is a list of objects, or none."""
    return value is None or (isinstance(value, list) and all(isinstance(one, dict) for one in value))


def _check_node(node: Node) -> None:
    """FramewrightError for a node whose parts are not of the page's kinds."""
    inputs = node.get("inputs")
    named = _is_objects(inputs) and all(
        isinstance(one.get("name"), str) and isinstance(one.get("link"), int | str | None)
        for one in inputs or []
    )
    if not named or not _is_objects(node.get("outputs")):
        raise FramewrightError(
            f"{label(node)}: 'inputs' and 'outputs' must be lists of objects, each input with a 'name'"
        )
    if not isinstance(node.get("title"), str | None) or not isinstance(node.get("properties"), dict | None):
        raise FramewrightError(f"{label(node)}: 'title' must be a text and 'properties' an object")


def types_match(one: str, other: str) -> bool:
    """Whether two socket types connect: equal, either is any, or two lists of types share one."""
    if "*" in (one, other) or "" in (one, other):
        return True
    return bool(set(one.upper().split(",")) & set(other.upper().split(",")))


def _bypass(node: Node, slot: int, wanted: str) -> int | None:
    """The input that replaces output `slot` of a bypassed node: the same slot, else the first of its type."""
    inputs, outputs = node.get("inputs") or [], node.get("outputs") or []
    if slot >= len(outputs):
        return None
    if wanted in ("*", ""):
        return slot if slot < len(inputs) else 0
    made = str(outputs[slot].get("type", "*"))
    kinds = [str(one.get("type", "*")) for one in inputs]

    def fits(kind: str) -> bool:
        return types_match(kind, made) and types_match(kind, wanted)

    if slot < len(kinds) and fits(kinds[slot]):
        return slot
    if wanted in kinds:
        return kinds.index(wanted)
    return next((i for i, kind in enumerate(kinds) if fits(kind)), None)
