"""ControlNets and maps in CONDITIONING, which in both hosts is a list of [rows, more]."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .weights import fit_frames

Joined = Callable[[Any], Any]  # the ControlNet that a condition has, or None, to the one after it
CONCAT = "noise_concat"  # the hosts' own key of what is put beside the latents, [F, C, h, w]


def add_control(conds: Sequence[list], after: Joined) -> list[list]:
    """CONDITIONINGs with a ControlNet after those that they have; one object where they had the same."""
    made: dict[Any, Any] = {}

    def controlled(more: dict[str, Any]) -> dict[str, Any]:
        before = more.get("control")
        if before not in made:
            made[before] = after(before)
        return {**more, "control": made[before], "control_apply_to_uncond": False}

    return [[[rows, controlled(more)] for rows, more in cond] for cond in conds]


def set_concat(cond: list, channels: Tensor) -> list:
    """A CONDITIONING with channels [F, C, h, w] beside the latents, in place of any that it has."""
    return [[rows, {**more, CONCAT: channels}] for rows, more in cond]


def consecutive(maps: Tensor, frames: int, channels: int, count: int, size: tuple[int, int]) -> Tensor:
    """For each frame the first channels of the `count` maps about its own, [F, count · channels, h, w].

    maps [G, H, W, C]; where they are too few, or at an end, the last and the first one stay.
    """
    small = F.interpolate(maps[..., :channels].movedim(-1, 1).float(), size, mode="area")
    own = fit_frames(small, frames, "hold")
    offsets = range(-(count // 2), count // 2 + 1)
    rows = [[min(max(frame + offset, 0), frames - 1) for offset in offsets] for frame in range(frames)]
    return own[torch.tensor(rows)].flatten(1, 2)
