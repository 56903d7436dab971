"""Socket types of node declarations: the part of ComfyUI's `io` that this pack's nodes use."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from enum import Enum
from typing import Any


class FolderType(str, Enum):
    input = "input"
    output = "output"
    temp = "temp"


class UploadType(str, Enum):
    image = "image_upload"
    audio = "audio_upload"
    video = "video_upload"
    model = "file_upload"


class NumberDisplay(str, Enum):
    number = "number"
    slider = "slider"


class ControlAfterGenerate(str, Enum):
    fixed = "fixed"
    increment = "increment"
    decrement = "decrement"
    randomize = "randomize"


def _given(entries: dict[str, Any]) -> dict[str, Any]:
    plain = {key: value.value if isinstance(value, Enum) else value for key, value in entries.items()}
    return {key: value for key, value in plain.items() if value is not None}


class Input:
    """One input socket; `as_dict` is the option part of its entry in the page's node description."""

    io_type: str = "*"

    def __init__(
        self,
        id: str,
        display_name: str | None = None,
        optional: bool = False,
        tooltip: str | None = None,
        lazy: bool | None = None,
        extra_dict: dict[str, Any] | None = None,
        raw_link: bool | None = None,
        advanced: bool | None = None,
    ) -> None:
        self.id = id
        self.optional = optional
        self.options: dict[str, Any] = {
            "display_name": display_name,
            "tooltip": tooltip,
            "lazy": lazy,
            "rawLink": raw_link,
            "advanced": advanced,
        }
        self.options.update(extra_dict or {})

    def get_io_type(self) -> str:
        return self.io_type

    def as_dict(self) -> dict[str, Any]:
        return _given(self.options)


class WidgetInput(Input):
    """An input that the page also shows as a widget; further options go into the description by `names`."""

    names: dict[str, str] = {}

    def __init__(
        self,
        id: str,
        display_name: str | None = None,
        optional: bool = False,
        tooltip: str | None = None,
        lazy: bool | None = None,
        default: Any = None,
        socketless: bool | None = None,
        force_input: bool | None = None,
        extra_dict: dict[str, Any] | None = None,
        raw_link: bool | None = None,
        advanced: bool | None = None,
        **more: Any,
    ) -> None:
        super().__init__(id, display_name, optional, tooltip, lazy, extra_dict, raw_link, advanced)
        unknown = sorted(set(more) - set(self.names))
        if unknown:
            raise TypeError(f"{self.io_type} input {id!r} has no option {', '.join(unknown)}")
        self.options.update({"default": default, "socketless": socketless, "forceInput": force_input})
        self.options.update({self.names[key]: value for key, value in more.items()})


class Output:
    """One output socket."""

    io_type: str = "*"

    def __init__(
        self,
        id: str | None = None,
        display_name: str | None = None,
        tooltip: str | None = None,
        is_output_list: bool = False,
    ) -> None:
        self.id = id
        self.display_name = display_name or id
        self.tooltip = tooltip
        self.is_output_list = is_output_list


class ComfyType:
    """A socket type, with its `Input` and `Output`."""

    Type = Any
    io_type: str = "*"
    Input: type[Input] = Input
    Output: type[Output] = Output


def Custom(io_type: str, base: type[Input] = Input) -> type[ComfyType]:  # a type, hence the capital
    """The socket type of this name; the same name always connects to itself."""
    bound = {"io_type": io_type}
    return type(
        io_type,
        (ComfyType,),
        {**bound, "Input": type("Input", (base,), bound), "Output": type("Output", (Output,), bound)},
    )


class _NumberInput(WidgetInput):
    names = {
        "min": "min",
        "max": "max",
        "step": "step",
        "round": "round",
        "display_mode": "display",
        "control_after_generate": "control_after_generate",
    }


class _BooleanInput(WidgetInput):
    names = {"label_on": "label_on", "label_off": "label_off"}


class _StringInput(WidgetInput):
    names = {"multiline": "multiline", "placeholder": "placeholder", "dynamic_prompts": "dynamicPrompts"}

    def __init__(self, id: str, *args: Any, multiline: bool = False, **more: Any) -> None:
        super().__init__(id, *args, multiline=multiline, **more)


class _ComboInput(WidgetInput):
    names = {"image_folder": "image_folder", "control_after_generate": "control_after_generate"}

    def __init__(
        self,
        id: str,
        options: Iterable[str | int] | type[Enum] | None = None,
        *args: Any,
        upload: UploadType | None = None,
        **more: Any,
    ) -> None:
        super().__init__(id, *args, **more)
        if isinstance(options, type):
            options = [member.value for member in options]
        self.options.update({"multiselect": False, "options": None if options is None else list(options)})
        if upload is not None:
            self.options[upload.value] = True


class _MultiInput(Input):
    """An input that takes several types; given an input in place of an id, it shows that input's widget."""

    io_type = "COMFY_MULTITYPED_V3"

    def __init__(self, id: str | Input, types: Iterable[type[ComfyType]], *args: Any, **more: Any) -> None:
        names = [kind.io_type for kind in types]
        if isinstance(id, Input):
            super().__init__(id.id, *args, **more)
            self.optional = self.optional or id.optional
            own = {key: value for key, value in self.options.items() if value is not None}
            self.options = {**copy.copy(id.options), "widgetType": id.get_io_type(), **own}
            names.insert(0, id.get_io_type())
        else:
            super().__init__(id, *args, **more)
        self.joined = ",".join(dict.fromkeys(names))

    def get_io_type(self) -> str:
        return self.joined


class _DynamicComboInput(Input):
    """A choice that brings inputs of its own, named `choice.input` in a prompt."""

    def __init__(self, id: str, options: Iterable[DynamicCombo.Option], *args: Any, **more: Any) -> None:
        super().__init__(id, *args, **more)
        self.options["options"] = [option.as_dict() for option in options]


def describe_inputs(inputs: Iterable[Input]) -> dict[str, dict[str, list[Any]]]:
    """The page's description of inputs: required and optional, by id, each `[type, options]`."""
    entry: dict[str, dict[str, list[Any]]] = {"required": {}}
    for one in inputs:
        group = entry.setdefault("optional" if one.optional else "required", {})
        group[one.id] = [one.get_io_type(), one.as_dict()]
    return entry


Boolean = Custom("BOOLEAN", _BooleanInput)
Int = Custom("INT", _NumberInput)
Float = Custom("FLOAT", _NumberInput)
String = Custom("STRING", _StringInput)
Combo = Custom("COMBO", _ComboInput)
AnyType = Custom("*")
Image = Custom("IMAGE")
Mask = Custom("MASK")
Latent = Custom("LATENT")
Model = Custom("MODEL")
Vae = Custom("VAE")
Clip = Custom("CLIP")
ClipVision = Custom("CLIP_VISION")
ClipVisionOutput = Custom("CLIP_VISION_OUTPUT")
Conditioning = Custom("CONDITIONING")
ControlNet = Custom("CONTROL_NET")
Noise = Custom("NOISE")
Guider = Custom("GUIDER")
Sampler = Custom("SAMPLER")
Sigmas = Custom("SIGMAS")
Video = Custom("VIDEO")
Audio = Custom("AUDIO")


class MultiType:
    Type = Any
    Input = _MultiInput


class DynamicCombo(Custom("COMFY_DYNAMICCOMBO_V3", _DynamicComboInput)):
    class Option:
        """One choice and the inputs that it brings."""

        def __init__(self, key: str, inputs: Iterable[Input]) -> None:
            self.key = key
            self.inputs = list(inputs)

        def as_dict(self) -> dict[str, Any]:
            return {"key": self.key, "inputs": describe_inputs(self.inputs)}
