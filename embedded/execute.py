"""Runs a prompt: validation, then its output nodes and what they need, nothing twice."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from ..errors import FramewrightError
from . import folders as places
from .comfy_api import io
from .folders import Folders
from .progress import Interrupted, listen
from .prompt import Prompt, describe, is_link, live_inputs
from .registry import Registry
from .validate import is_defined, needed, validate
from .widgets import DYNAMIC
from .workflow import to_prompt

# Called as the host's websocket speaks: "executing" {node, title, index, total}, "progress" {node, value,
# max}, "executed" {node, output}, "execution_cached" {nodes}. It may raise Interrupted, which ends the run.
OnEvent = Callable[[str, dict[str, Any]], None]


@dataclass(frozen=True)
class Made:
    """What one execution of a node gave."""

    values: tuple[Any, ...]
    ui: dict[str, Any]


@dataclass
class Cache:
    """Results of the last run; the next reuses those of nodes that are the same and fed the same."""

    made: dict[str, Made] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """A finished run: what its nodes show, as in the host's history, and which of them ran or were cached."""

    outputs: dict[str, dict[str, Any]]
    executed: list[str]
    cached: list[str]


def run(
    prompt: Prompt,
    registry: Registry,
    folders: Folders,
    cache: Cache,
    on_event: OnEvent = lambda kind, data: None,
    workflow: dict[str, Any] | None = None,
) -> Run:
    """Runs all output nodes of a prompt and what they need.

    `workflow`, where given, is saved in pictures and videos beside the prompt. Raises FramewrightError for
    a prompt that does not fit the nodes and for what a node or the disk refuses, RuntimeError for any other
    failure of a node, both naming it, and Interrupted.
    """
    with places.use(folders):
        prompt = validate(to_prompt(prompt, {}), registry)
        return _Runner(prompt, registry, cache, on_event, workflow).run()


class _Runner:
    def __init__(
        self,
        prompt: Prompt,
        registry: Registry,
        cache: Cache,
        on_event: OnEvent,
        workflow: dict[str, Any] | None,
    ) -> None:
        self.prompt = prompt
        self.registry = registry
        self.cache = cache
        self.on_event = on_event
        self.extra = None if workflow is None else {"workflow": workflow}
        self.info = {
            name: registry.node(name).GET_NODE_INFO_V1()
            for name in {one["class_type"] for one in prompt.values()}
        }
        self.order = needed(prompt, self.info)
        self.signatures: dict[str, str] = {}

    def run(self) -> Run:
        for key in self.order:
            self.signatures[key] = self._signature(key)
        kept = set(self.signatures.values())
        self.cache.made = {name: made for name, made in self.cache.made.items() if name in kept}
        known, needed = set(self.cache.made), list[str]()
        for key in self.order:  # of nodes that are the same, and fed the same, one runs
            if self.signatures[key] not in known:
                known.add(self.signatures[key])
                needed.append(key)
        cached = [key for key in self.order if key not in needed]
        self.on_event("execution_cached", {"nodes": cached})
        for index, key in enumerate(needed):
            title = (self.prompt[key].get("_meta") or {}).get("title") or self.prompt[key]["class_type"]
            self.on_event("executing", {"node": key, "title": title, "index": index, "total": len(needed)})
            made = self._execute(key)
            self.cache.made[self.signatures[key]] = made
            if made.ui:
                self.on_event("executed", {"node": key, "output": made.ui})
        outputs = {key: self._made(key).ui for key in self.order if self._made(key).ui}
        return Run(outputs, needed, cached)

    def _made(self, key: str) -> Made:
        return self.cache.made[self.signatures[key]]

    def _signature(self, key: str) -> str:
        """What a node's result depends on: class, values, fingerprint, and the signatures of its feeds."""
        one = self.prompt[key]
        node = self.registry.node(one["class_type"])
        inputs = {
            name: [self.signatures[value[0]], value[1]] if is_link(value) else {"value": value}
            for name, value in sorted(one["inputs"].items())
        }
        parts = [one["class_type"], inputs, self._fingerprint(key, node), repr(places.current())]
        if node.GET_SCHEMA().not_idempotent or io.Hidden.unique_id in node.GET_SCHEMA().hidden:
            parts.append(key)
        return hashlib.sha256(json.dumps(parts, default=repr).encode()).hexdigest()

    def _fingerprint(self, key: str, node: type[io.ComfyNode]) -> str | None:
        if not is_defined(node, "fingerprint_inputs"):
            return None
        plain = self._nested(key, lambda value: None if is_link(value) else value)
        value = self._call(key, lambda: node.fingerprint_inputs(**plain))
        # What is not equal to itself, a NaN, asks for a new run each time.
        return repr(value) if value == value else uuid.uuid4().hex

    def _nested(self, key: str, take: Callable[[Any], Any]) -> dict[str, Any]:
        """A node's arguments; what a dynamic combo brings is put into one dict with its choice."""
        one = self.prompt[key]
        specs = live_inputs(self.info[one["class_type"]], one["inputs"])
        arguments: dict[str, Any] = {}
        for name, (kind, _, _) in specs.items():
            if name in one["inputs"]:
                *outer, last = (
                    name.split(".") if any(name.startswith(f"{other}.") for other in specs) else [name]
                )
                inside = arguments
                for step in outer:
                    inside = inside[step]
                value = take(one["inputs"][name])
                inside[last] = {last: value} if kind == DYNAMIC else value
        return arguments

    def _execute(self, key: str) -> Made:
        node = self.registry.node(self.prompt[key]["class_type"])
        schema = node.GET_SCHEMA()
        hidden = io.HiddenHolder(
            unique_id=key,
            prompt=self.prompt if io.Hidden.prompt in schema.hidden else None,
            extra_pnginfo=self.extra if io.Hidden.extra_pnginfo in schema.hidden else None,
        )
        arguments = self._nested(
            key, lambda value: self._made(value[0]).values[value[1]] if is_link(value) else value
        )
        # A class of its own for this call, so that runs side by side do not see each other's hidden values.
        called = type(node.__name__, (node,), {"hidden": hidden})

        def progress(value: int, total: int) -> None:
            self.on_event("progress", {"node": key, "value": value, "max": total})

        with listen(progress), torch.inference_mode():
            result = self._call(key, lambda: called.execute(**arguments))
        values = result.args if isinstance(result, io.NodeOutput) else tuple(result or ())
        if len(values) < len(schema.outputs) and not (schema.is_output_node and not values):
            raise RuntimeError(
                f"{describe(self.prompt, key)}: it gave {len(values)} outputs, expected {len(schema.outputs)}"
            )
        ui = getattr(result, "ui", None)
        return Made(values, ui.as_dict() if hasattr(ui, "as_dict") else dict(ui or {}))

    def _call(self, key: str, function: Callable[[], Any]) -> Any:
        try:
            return function()
        except Interrupted:
            raise
        except (FramewrightError, OSError) as error:  # the latter of folders and disks
            raise FramewrightError(f"{describe(self.prompt, key)}: {error}") from error
        except Exception as error:
            raise RuntimeError(f"{describe(self.prompt, key)}: {type(error).__name__}: {error}") from error
