"""A stand-in for ComfyUI's `comfy_api`, so that the same node files run where there is no ComfyUI."""

from __future__ import annotations

import importlib.util
import sys
from abc import ABC, abstractmethod

from . import io, ui

__all__ = ["ComfyExtension", "install", "io", "ui"]


class ComfyExtension(ABC):
    """What the pack's door returns: its list of nodes."""

    @abstractmethod
    async def get_node_list(self) -> list[type[io.ComfyNode]]: ...


def install() -> bool:
    """Stands this package in for `comfy_api` where no real one can be imported; says whether it stands in."""
    this = sys.modules[__name__]
    present = sys.modules.get("comfy_api")
    if present is None and importlib.util.find_spec("comfy_api") is None:
        for name in ("comfy_api", "comfy_api.v0_0_2", "comfy_api.latest"):
            sys.modules[name] = this
        return True
    return present is this
