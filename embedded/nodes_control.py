"""Core nodes for controls, under the core's ids and sockets."""

from typing import Any

import torch
from torch import Tensor

from ..controls.canny import canny
from .comfy_api import io
from .control import EmbeddedControlNet, apply_control


class Canny(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Canny",
            display_name="Canny",
            category="image/preprocessors",
            inputs=[
                io.Image.Input("image"),
                io.Float.Input("low_threshold", default=0.4, min=0.01, max=0.99, step=0.01),
                io.Float.Input("high_threshold", default=0.8, min=0.01, max=0.99, step=0.01),
            ],
            outputs=[io.Image.Output()],
        )

    @classmethod
    def execute(cls, image: Tensor, low_threshold: float, high_threshold: float) -> io.NodeOutput:
        edges = torch.cat(list(canny(image, low_threshold, high_threshold)))
        return io.NodeOutput(edges[..., None].repeat(1, 1, 1, 3))


class ControlNetApplyAdvanced(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ControlNetApplyAdvanced",
            display_name="Apply ControlNet",
            category="conditioning/controlnet",
            inputs=[
                io.Conditioning.Input("positive"),
                io.Conditioning.Input("negative"),
                io.ControlNet.Input("control_net"),
                io.Image.Input("image"),
                io.Float.Input("strength", default=1.0, min=0.0, max=10.0, step=0.01),
                io.Float.Input("start_percent", default=0.0, min=0.0, max=1.0, step=0.001),
                io.Float.Input("end_percent", default=1.0, min=0.0, max=1.0, step=0.001),
                io.Vae.Input("vae", optional=True),
            ],
            outputs=[
                io.Conditioning.Output(display_name="positive"),
                io.Conditioning.Output(display_name="negative"),
            ],
        )

    @classmethod
    def execute(
        cls, positive: list, negative: list, control_net: EmbeddedControlNet, image: Tensor, strength: float,
        start_percent: float, end_percent: float, vae: Any = None,
    ) -> io.NodeOutput:  # fmt: skip
        if strength == 0:
            return io.NodeOutput(positive, negative)
        between = start_percent, end_percent
        return io.NodeOutput(*apply_control((positive, negative), control_net, image, strength, between))


NODES = [Canny, ControlNetApplyAdvanced]
