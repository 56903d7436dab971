"""Numbers and choices that come by links: hosts check only those that are typed into a node."""

from typing import Any

from ..errors import FramewrightError
from .validate import widget_value

_CHECKED = ("INT", "FLOAT", "COMBO")


def ranged(node: Any) -> Any:
    """A node class of the pack, of whichever host's API, that refuses what its own widgets would not take."""

    def execute(cls: Any, **given: Any) -> Any:
        for one in node.define_schema().inputs:
            if one.id in given and one.io_type in _CHECKED:
                try:
                    given[one.id] = widget_value(given[one.id], one.io_type, one.as_dict())
                except FramewrightError as error:
                    raise FramewrightError(f"{one.id}: {error}") from None
        return super(checked, cls).execute(**given)

    held = {"execute": classmethod(execute), "__module__": node.__module__}
    checked = type(node.__name__, (node,), held)
    return checked
