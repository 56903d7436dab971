"""What node declarations share: a schema for hosts of any age, the pack's socket types, files by name."""

from dataclasses import fields
from pathlib import Path
from typing import Any

from comfy_api.v0_0_2 import io

from ..bridge.flow import COMPLETIONS
from ..errors import FramewrightError

Words = io.Custom("FRAMEWRIGHT_WORDS")
Motion = io.Custom("FRAMEWRIGHT_MOTION")
Positions = io.Custom("FRAMEWRIGHT_POSITIONS")
Camera = io.Custom("FRAMEWRIGHT_CAMERA")
Pattern = io.Custom("FRAMEWRIGHT_PATTERN")
Windows = io.Custom("FRAMEWRIGHT_WINDOWS")
Plan = io.Custom("FRAMEWRIGHT_PLAN")
Strokes = io.Custom("FRAMEWRIGHT_STROKES")
Flow = io.Custom("FRAMEWRIGHT_FLOW")
Poses = io.Custom("POSE_KEYPOINT")  # of other packs and the core too

_KNOWN = {field.name for field in fields(io.Schema)}


def schema(**given: Any) -> io.Schema:
    """A node's schema; what an older host does not know yet, such as search aliases, is left out there."""
    return io.Schema(**{name: value for name, value in given.items() if name in _KNOWN})


def sampling_range(what: str, optional: bool = True) -> list[io.Float.Input]:
    """The inputs for the part of the sampling in which a node acts; `what` is so before and after it."""
    return [
        io.Float.Input(
            f"{end}_percent", optional=optional, default=default, min=0.0, max=1.0, step=0.001,
            tooltip=f"Part of the sampling {when} which {what}.",
        )
        for end, default, when in (("start", 0.0, "before"), ("end", 1.0, "after"))
    ]  # fmt: skip


def completion_input() -> io.Combo.Input:
    return io.Combo.Input(
        "completion", options=list(COMPLETIONS), default="edges", optional=True,
        tooltip="How motion spreads from strokes: as far as the picture's edges, for any picture, or by a "
        "network that has seen the demo's shapes move, turn and grow.",
    )  # fmt: skip


def chosen(files: dict[str, Path], name: str, what: str, socket: str = "name") -> Path:
    """The file of that name; raises with those there are."""
    if name not in files:
        raise FramewrightError(f"{socket}: no {what} {name!r}; there is {', '.join(files) or 'none'}")
    return files[name]
