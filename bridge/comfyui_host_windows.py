"""What ComfyUI's own context windows tell a call, in the words that our layers know."""

from collections.abc import Mapping
from typing import Any

import torch

from ..temporal.slots import NUMBERS


def host_window(options: Mapping[str, Any]) -> list[int] | None:
    """Which of the frames that are sampled a call holds, in a window of the host's own."""
    window = options.get("context_window")
    if window is None:
        return None
    before = getattr(window, "causal_anchor_index", None)  # a frame more than the window's own
    return [*([] if before is None else [before]), *window.index_list]


def numbered(options: dict[str, Any]) -> dict[str, Any]:
    """transformer_options that say which frames of the video a call holds, in the host's own windows too."""
    held, numbers = host_window(options), options.get(NUMBERS)
    if held is None:
        return options
    return {**options, NUMBERS: torch.tensor(held) if numbers is None else numbers.cpu()[held]}
