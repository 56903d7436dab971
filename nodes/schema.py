"""What every node declaration shares: its schema, for hosts of any age, and the pack's own socket types."""

from dataclasses import fields
from typing import Any

from comfy_api.v0_0_2 import io

Words = io.Custom("FRAMEWRIGHT_WORDS")
Motion = io.Custom("FRAMEWRIGHT_MOTION")
Positions = io.Custom("FRAMEWRIGHT_POSITIONS")
Pattern = io.Custom("FRAMEWRIGHT_PATTERN")
Windows = io.Custom("FRAMEWRIGHT_WINDOWS")

_KNOWN = {field.name for field in fields(io.Schema)}


def schema(**given: Any) -> io.Schema:
    """A node's schema; what an older host does not know yet, such as search aliases, is left out there."""
    return io.Schema(**{name: value for name, value in given.items() if name in _KNOWN})
