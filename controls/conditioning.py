"""ControlNets in CONDITIONING: in both hosts a list of [rows, more], where `more["control"]` is the last."""

from collections.abc import Callable, Sequence
from typing import Any

Joined = Callable[[Any], Any]  # the ControlNet that a condition has, or None, to the one after it


def add_control(conds: Sequence[list], after: Joined) -> list[list]:
    """CONDITIONINGs with a ControlNet after those that they have; one object where they had the same."""
    made: dict[Any, Any] = {}

    def controlled(more: dict[str, Any]) -> dict[str, Any]:
        before = more.get("control")
        if before not in made:
            made[before] = after(before)
        return {**more, "control": made[before], "control_apply_to_uncond": False}

    return [[[rows, controlled(more)] for rows, more in cond] for cond in conds]
