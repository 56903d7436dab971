"""Node declarations in ComfyUI's V3 form, under the names of `comfy_api`'s `io`."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from .sockets import (
    AnyType,
    Audio,
    Boolean,
    Clip,
    ClipVision,
    ClipVisionOutput,
    Combo,
    ComfyType,
    Conditioning,
    ControlAfterGenerate,
    ControlNet,
    Custom,
    DynamicCombo,
    Float,
    FolderType,
    Guider,
    Image,
    Input,
    Int,
    Latent,
    Mask,
    Model,
    MultiType,
    Noise,
    NumberDisplay,
    Output,
    Sampler,
    Sigmas,
    String,
    UploadType,
    Vae,
    Video,
    WidgetInput,
    describe_inputs,
)

__all__ = [
    "AnyType", "Audio", "Boolean", "Clip", "ClipVision", "ClipVisionOutput", "Combo", "ComfyNode",
    "ComfyType", "Conditioning", "ControlAfterGenerate", "ControlNet", "Custom", "DynamicCombo", "Float",
    "FolderType", "Guider", "Hidden", "HiddenHolder", "Image", "Input", "Int", "Latent", "Mask", "Model",
    "MultiType", "Noise", "NodeOutput", "NumberDisplay", "Output", "Sampler", "Schema", "Sigmas", "String",
    "UploadType", "Vae", "Video", "WidgetInput",
]  # fmt: skip


class Hidden(str, Enum):
    """What a node may ask to be told beside its inputs."""

    unique_id = "UNIQUE_ID"
    prompt = "PROMPT"
    extra_pnginfo = "EXTRA_PNGINFO"


@dataclass(frozen=True)
class HiddenHolder:
    """The hidden values of one execution."""

    unique_id: str | None = None
    prompt: dict[str, Any] | None = None
    extra_pnginfo: dict[str, Any] | None = None


@dataclass
class Schema:
    """What a node declares about itself."""

    node_id: str
    display_name: str | None = None
    category: str = "sd"
    inputs: list[Input] = field(default_factory=list)
    outputs: list[Output] = field(default_factory=list)
    hidden: list[Hidden] = field(default_factory=list)
    description: str = ""
    search_aliases: list[str] = field(default_factory=list)
    is_output_node: bool = False
    is_deprecated: bool = False
    is_experimental: bool = False
    not_idempotent: bool = False
    essentials_category: str | None = None

    def __post_init__(self) -> None:
        if self.is_output_node:
            self.hidden = list(dict.fromkeys([*self.hidden, Hidden.prompt, Hidden.extra_pnginfo]))
        for kind, ids in (
            ("input", [one.id for one in self.inputs]),
            ("output", [one.id for one in self.outputs if one.id is not None]),
        ):
            twice = sorted({one for one in ids if ids.count(one) > 1})
            if twice:
                raise ValueError(f"{self.node_id}: {kind} ids must be unique, {', '.join(twice)} are not")


class NodeOutput:
    """What an execution gives: one value an output, and what the page shows."""

    def __init__(self, *args: Any, ui: Any = None) -> None:
        self.args = args
        self.ui = ui

    @property
    def result(self) -> tuple[Any, ...] | None:
        return self.args or None

    def __getitem__(self, index: int) -> Any:
        return self.args[index]


class ComfyNode:
    """Base of all nodes; a node defines `define_schema` and `execute`, and may define
    `validate_inputs` (True or an error text) and `fingerprint_inputs` (a value that changes when
    the node must run again)."""

    hidden: HiddenHolder = HiddenHolder()

    @classmethod
    def define_schema(cls) -> Schema:
        raise NotImplementedError

    @classmethod
    def execute(cls, **inputs: Any) -> NodeOutput:
        raise NotImplementedError

    @classmethod
    def validate_inputs(cls, **inputs: Any) -> bool | str:
        raise NotImplementedError

    @classmethod
    def fingerprint_inputs(cls, **inputs: Any) -> Any:
        raise NotImplementedError

    @classmethod
    def GET_SCHEMA(cls) -> Schema:
        return cls.define_schema()

    @classmethod
    def GET_NODE_INFO_V1(cls) -> dict[str, Any]:
        """This node's entry in the host's `/object_info`."""
        schema = cls.define_schema()
        inputs: dict[str, dict[str, Any]] = describe_inputs(schema.inputs)
        if schema.hidden:
            inputs["hidden"] = {one.name: [one.value] for one in schema.hidden}
        return {
            "input": inputs,
            "input_order": {group: list(entries) for group, entries in inputs.items()},
            "is_input_list": False,
            "output": [one.io_type for one in schema.outputs],
            "output_is_list": [one.is_output_list for one in schema.outputs],
            "output_name": [one.display_name or one.io_type for one in schema.outputs],
            "output_tooltips": [one.tooltip for one in schema.outputs],
            "output_matchtypes": None,
            "name": schema.node_id,
            "display_name": schema.display_name,
            "description": schema.description,
            "python_module": getattr(cls, "RELATIVE_PYTHON_MODULE", "nodes"),
            "category": schema.category,
            "output_node": schema.is_output_node,
            "has_intermediate_output": False,
            "deprecated": schema.is_deprecated,
            "experimental": schema.is_experimental,
            "dev_only": False,
            "api_node": False,
            "price_badge": None,
            "search_aliases": schema.search_aliases or None,
            "essentials_category": schema.essentials_category,
        }
