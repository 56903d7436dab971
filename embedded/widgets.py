"""Widget values of a page's node: which value in its list belongs to which input."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

DYNAMIC = "COMFY_DYNAMICCOMBO_V3"
WIDGETS = frozenset(
    (
        "INT", "FLOAT", "BOOLEAN", "STRING", "COMBO", "COLOR", "COLORS", "CURVE", "RANGE", "MARKDOWN",
        "TEXTAREA", "BOUNDING_BOX", "BOUNDING_BOXES", "CHART", "COMPOSITOR", "GALLERIA", "PAINTER",
        "VIDEO_EDIT",
    )
) | {DYNAMIC}  # fmt: skip
SIDES = 4  # of a bounding box, each a widget of its own after it
SEEDS = ("seed", "noise_seed")  # the page gives these a control widget even where the node asks for none


def entries(info: dict[str, Any]) -> Iterator[tuple[str, str | list[Any], dict[str, Any]]]:
    """Each input's name, type and options, in the order in which the page makes widgets."""
    for group in ("required", "optional"):
        given = info.get("input", {}).get(group, {})
        order = info.get("input_order", {}).get(group, list(given))
        for name in dict.fromkeys([*order, *given]):
            if name in given:
                kind, *rest = given[name]
                yield name, kind, rest[0] if rest else {}


def widget_type(kind: str | list[Any], options: dict[str, Any]) -> str | None:
    """The widget that the page shows for this input; None for a bare socket."""
    shown = options.get("widgetType") or ("COMBO" if isinstance(kind, list) else kind)
    return shown if shown in WIDGETS and not options.get("forceInput") else None


def combo_options(kind: str | list[Any], options: dict[str, Any]) -> list[Any]:
    if isinstance(kind, list):
        return kind
    return [one["key"] for one in options["options"]] if kind == DYNAMIC else options.get("options") or []


def default(kind: str | list[Any], options: dict[str, Any]) -> Any:
    """What the page puts into a widget that has no saved value."""
    shown = widget_type(kind, options)
    if shown in ("COMBO", DYNAMIC):
        return options.get("default") or next(iter(combo_options(kind, options)), None)
    return options.get("default", {"INT": 0, "FLOAT": 0, "BOOLEAN": False, "STRING": ""}.get(shown or ""))


def widget_values(info: dict[str, Any], saved: list[Any] | dict[str, Any] | None) -> dict[str, Any]:
    """The value of every widget of a node, by input name.

    `saved` is the node's `widgets_values`: by name, or a list in widget order with the values of
    control widgets ("fixed", "randomize") between those of inputs. What is not saved has its default.
    """
    if isinstance(saved, dict):
        return dict(_by_name(info, saved, ""))
    values = iter(_without_forced(info, list(saved or [])))
    return dict(_in_order(info, values, ""))


def _by_name(info: dict[str, Any], saved: dict[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, kind, options in entries(info):
        if widget_type(kind, options) is not None:
            value = saved.get(prefix + name, default(kind, options))
            yield prefix + name, value
            yield from _by_name(_chosen(kind, options, value), saved, f"{prefix}{name}.")


def _in_order(info: dict[str, Any], values: Iterator[Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, kind, options in entries(info):
        shown = widget_type(kind, options)
        if shown is None:
            continue
        value = next(values, default(kind, options))
        yield prefix + name, value
        for _ in range(_controls(prefix + name, shown, options)):
            next(values, None)
        yield from _in_order(_chosen(kind, options, value), values, f"{prefix}{name}.")


def _chosen(kind: str | list[Any], options: dict[str, Any], value: Any) -> dict[str, Any]:
    """The inputs that a dynamic combo's choice brings, as a node description; empty for other widgets."""
    if kind != DYNAMIC:
        return {}
    return {"input": next((one["inputs"] for one in options["options"] if one["key"] == value), {})}


def _controls(name: str, shown: str, options: dict[str, Any]) -> int:
    """Widgets after this one that are not sent; a combo has a filter beside the choice of what happens."""
    if shown == "BOUNDING_BOX":
        return SIDES
    asked = options.get("control_after_generate")
    if shown == "INT" and asked is None:
        asked = name in SEEDS
    return (2 if shown == "COMBO" else 1) if asked and shown in ("INT", "FLOAT", "COMBO") else 0


def _without_forced(info: dict[str, Any], saved: list[Any]) -> list[Any]:
    """Old pages saved a value also for inputs that are forced to be sockets; the page drops it."""
    forced: list[bool] = []
    for _, kind, options in entries(info):
        if options.get("forceInput") or widget_type(kind, options) is not None:
            forced.append(bool(options.get("forceInput")))
            forced += [False] * bool(options.get("control_after_generate"))
    if len(forced) != len(saved):
        return saved
    return [value for value, drop in zip(saved, forced, strict=True) if not drop]
