"""Strokes: paths drawn over a frame, along which things are to move."""

from typing import Any

from comfy_api.v0_0_2 import io, ui
from torch import Tensor

from ..bridge.along_strokes import Sampling, sample_along
from ..bridge.drawing import stroke_maps
from ..bridge.flow import completion_of
from ..controls.strokes import EXAMPLE, Drawing, read_drawing
from .schema import Strokes, completion_input, schema


class DrawStrokes(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="FramewrightStrokes",
            display_name="Strokes",
            category="Framewright/control",
            description="Draw paths over a frame along which things are to move, with their timing, and "
            "anchors that stay. What is drawn is text in the workflow, so that a shared file carries it.",
            search_aliases=["motion brush", "drag", "trajectory", "mcdiff", "draw motion", "spline"],
            inputs=[
                io.String.Input("strokes", multiline=True, default=EXAMPLE,
                                tooltip="What is drawn, as JSON: points in pixels of the canvas; first and "
                                "last: the frames between which a stroke is gone along."),
                io.Int.Input("width", default=64, min=8, max=8192, tooltip="Pixels of the maps."),
                io.Int.Input("height", default=64, min=8, max=8192, tooltip="Pixels of the maps."),
                io.Int.Input("frames", default=16, min=2, max=4096, tooltip="Frames of the video."),
                io.Float.Input("radius", default=2.5, min=0.5, max=256.0, step=0.5,
                               tooltip="Pixels of the disc that marks a stroke's place; the demo's 2.5."),
                io.Image.Input("image", optional=True, tooltip="Its first frame is drawn over in the page."),
            ],
            outputs=[
                io.Image.Output(display_name="IMAGE", tooltip="A map a frame, for a stroke ControlNet."),
                Strokes.Output(display_name="STROKES", tooltip="The strokes and anchors themselves."),
            ],
        )  # fmt: skip

    @classmethod
    def execute(
        cls, strokes: str, width: int, height: int, frames: int, radius: float, image: Tensor | None = None
    ) -> io.NodeOutput:
        drawing = read_drawing(strokes, frames)
        maps = stroke_maps(drawing, width, height, frames, radius)
        shown = ui.PreviewImage(maps if image is None else image[:1], cls=cls)
        return io.NodeOutput(maps, drawing, ui=shown)


class SampleAlongStrokes(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="FramewrightSampleAlongStrokes",
            display_name="Sample along Strokes",
            category="Framewright/flow",
            description="Animates a picture frame after frame, as MCDiff does (Chen et al. 2023): strokes "
            "say how the frame before moves on, and the model draws the next one from that, with what comes "
            "into sight. It needs no motion module.",
            search_aliases=["mcdiff", "drag animation", "autoregressive", "image to video", "motion brush"],
            inputs=[
                io.Model.Input("model", tooltip="An image model."),
                io.Conditioning.Input("positive", tooltip="What is to be seen."),
                io.Conditioning.Input("negative", tooltip="What is not."),
                io.ControlNet.Input("control_net", tooltip="One that paints in what is missing in a picture: "
                                    "next of Load Demo Control, or one for inpainting."),
                io.Vae.Input("vae", tooltip="The model's."),
                io.Image.Input("image", tooltip="The first frame."),
                Strokes.Input("strokes", tooltip="Of Strokes, drawn over the first frame."),
                io.Noise.Input("noise", tooltip="For the frames after the first one."),
                io.Sampler.Input("sampler", tooltip="Any."),
                io.Sigmas.Input("sigmas", tooltip="The same for each frame."),
                io.Float.Input("cfg", default=1.0, min=0.0, max=100.0, step=0.1,
                               tooltip="Weight of the prompts. The demo's shapes keep their form best at 1."),
                io.Int.Input("frames", default=16, min=2, max=4096, tooltip="Frames of the video."),
                completion_input(),
            ],
            outputs=[io.Image.Output(display_name="IMAGE", tooltip="The video's frames.")],
        )  # fmt: skip

    @classmethod
    def execute(
        cls, model: Any, positive: list, negative: list, control_net: Any, vae: Any, image: Tensor,
        strokes: Drawing, noise: Any, sampler: Any, sigmas: Tensor, cfg: float, frames: int,
        completion: str = "edges",
    ) -> io.NodeOutput:  # fmt: skip
        sampling = Sampling(model, positive, negative, cfg, control_net, vae, noise, sampler, sigmas)
        return io.NodeOutput(sample_along(sampling, image, strokes, frames, completion_of(completion)))


NODES = [DrawStrokes, SampleAlongStrokes]
