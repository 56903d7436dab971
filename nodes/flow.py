"""Optical flow: found in a video or spread from strokes, and what moves along it."""

from comfy_api.v0_0_2 import io, ui
from torch import Tensor

from ..bridge.drawing import stroke_maps
from ..bridge.flow import (
    FlowNoise,
    carried,
    carried_latent,
    flow_of,
    flow_of_strokes,
    gone,
    steadied,
    strokes_of,
    wheels,
)
from ..controls.flow import PRESETS, Step
from ..controls.strokes import Drawing
from .schema import Flow, Strokes, completion_input, schema

_WHEEL = "The colour wheel: hue says where to, paleness how little."
_PRESET = "Of dense inverse search: medium is the most exact, ultrafast the quickest."


class OpticalFlow(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="FramewrightOpticalFlow",
            display_name="Optical Flow",
            category="Framewright/flow",
            description="How far each pixel of a video moves from frame to frame, there and back, and what "
            "goes out of sight. One step fewer than there are frames.",
            search_aliases=["motion vectors", "dis flow", "raft", "occlusion"],
            inputs=[
                io.Image.Input("image", tooltip="The video's frames."),
                io.Combo.Input("preset", options=list(PRESETS), default="medium", tooltip=_PRESET),
            ],
            outputs=[
                Flow.Output(display_name="FLOW", tooltip="The steps between the frames."),
                io.Image.Output(display_name="IMAGE", tooltip=_WHEEL),
                io.Mask.Output(display_name="MASK", tooltip="What goes out of sight in the next frame."),
            ],
        )  # fmt: skip

    @classmethod
    def execute(cls, image: Tensor, preset: str) -> io.NodeOutput:
        flow = flow_of(image, preset)
        shown = wheels(flow)
        return io.NodeOutput(flow, shown, gone(flow), ui=ui.PreviewImage(shown, cls=cls))


class StrokesToFlow(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="FramewrightStrokesToFlow",
            display_name="Strokes to Flow",
            category="Framewright/flow",
            description="Motion of every pixel from a few strokes (MCDiff's flow completion, Chen et al. "
            "2023): what a stroke begins on moves along with it.",
            search_aliases=["flow completion", "mcdiff", "drag", "sparse to dense"],
            inputs=[
                Strokes.Input("strokes", tooltip="Of Strokes."),
                io.Image.Input("image", tooltip="The frame that the strokes were drawn over."),
                io.Int.Input("frames", default=16, min=2, max=4096, tooltip="Frames of the video."),
                completion_input(),
            ],
            outputs=[
                Flow.Output(display_name="FLOW", tooltip="The steps between the frames."),
                io.Image.Output(display_name="IMAGE", tooltip=_WHEEL),
            ],
        )  # fmt: skip

    @classmethod
    def execute(
        cls, strokes: Drawing, image: Tensor, frames: int, completion: str = "edges"
    ) -> io.NodeOutput:
        flow = flow_of_strokes(strokes, image, frames, completion)
        shown = wheels(flow)
        return io.NodeOutput(flow, shown, ui=ui.PreviewImage(shown, cls=cls))


class StrokesFromFlow(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="FramewrightStrokesFromFlow",
            display_name="Strokes from Flow",
            category="Framewright/flow",
            description="The motion of a video as strokes: points of its first frame, followed from frame to "
            "frame; the 64 at most that go farthest.",
            search_aliases=["point tracking", "trajectories", "motion transfer"],
            inputs=[
                Flow.Input("flow", tooltip="Of Optical Flow."),
                io.Int.Input("spacing", default=8, min=1, max=1024, tooltip="Pixels between the points."),
                io.Float.Input("least", default=4.0, min=0.0, max=8192.0, step=0.5,
                               tooltip="Pixels that a point has to go to be a stroke."),
                io.Float.Input("radius", default=2.5, min=0.5, max=256.0, step=0.5,
                               tooltip="Pixels of the disc that marks a stroke's place; the demo's 2.5."),
            ],
            outputs=[
                io.Image.Output(display_name="IMAGE", tooltip="A map a frame, for a stroke ControlNet."),
                Strokes.Output(display_name="STROKES", tooltip="The strokes themselves."),
            ],
        )  # fmt: skip

    @classmethod
    def execute(cls, flow: list[Step], spacing: int, least: float, radius: float) -> io.NodeOutput:
        drawing = strokes_of(flow, spacing, least)
        maps = stroke_maps(drawing, drawing.width, drawing.height, len(flow) + 1, radius)
        return io.NodeOutput(maps, drawing, ui=ui.PreviewImage(maps, cls=cls))


class WarpImage(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="FramewrightWarpImage",
            display_name="Warp along Flow",
            category="Framewright/flow",
            description="A picture carried along a flow to a video. What comes into sight is filled from "
            "round about, and told by the mask.",
            search_aliases=["warp image", "motion transfer", "flow warp"],
            inputs=[
                io.Image.Input("image", tooltip="Its first frame is carried along."),
                Flow.Input("flow", tooltip="Of Optical Flow or Strokes to Flow; of any size."),
            ],
            outputs=[
                io.Image.Output(display_name="IMAGE", tooltip="A frame more than the flow has steps."),
                io.Mask.Output(display_name="MASK", tooltip="Where nothing of the picture is."),
            ],
        )  # fmt: skip

    @classmethod
    def execute(cls, image: Tensor, flow: list[Step]) -> io.NodeOutput:
        frames, empty = carried(image, flow)
        return io.NodeOutput(frames, empty, ui=ui.PreviewImage(frames, cls=cls))


class WarpLatent(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="FramewrightWarpLatent",
            display_name="Warp Latent along Flow",
            category="Framewright/flow",
            description="The latents of a picture carried along a flow to those of a video, for a sampler "
            "that begins part of the way.",
            search_aliases=["latent warp", "text2video-zero", "motion dynamics"],
            inputs=[
                io.Latent.Input("samples", tooltip="Its first frame is carried along."),
                Flow.Input("flow", tooltip="Of Optical Flow or Strokes to Flow; of any size."),
            ],
            outputs=[
                io.Latent.Output(display_name="LATENT", tooltip="A frame more than the flow has steps."),
                io.Mask.Output(display_name="MASK", tooltip="Where nothing of them is, a pixel a latent."),
            ],
        )  # fmt: skip

    @classmethod
    def execute(cls, samples: dict, flow: list[Step]) -> io.NodeOutput:
        return io.NodeOutput(*carried_latent(samples, flow))


class WarpNoise(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="FramewrightFlowNoise",
            display_name="Noise along Flow",
            category="Framewright/flow",
            description="Noise for the frames of a video that moves as the video does (Chang et al. 2024), "
            "white in every frame. For SamplerCustomAdvanced.",
            search_aliases=["warped noise", "go with the flow", "noise warping"],
            inputs=[
                io.Int.Input("noise_seed", default=0, min=0, max=2**64 - 1, control_after_generate=True,
                             tooltip="The same seed, the same noise."),
                Flow.Input("flow", tooltip="Of Optical Flow or Strokes to Flow, a step fewer than frames."),
            ],
            outputs=[io.Noise.Output(display_name="NOISE", tooltip="The noise.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, noise_seed: int, flow: list[Step]) -> io.NodeOutput:
        return io.NodeOutput(FlowNoise(noise_seed, flow))


class SteadyFrames(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="FramewrightSteadyFrames",
            display_name="Steady Frames",
            category="Framewright/flow",
            description="Takes flicker from a video or from maps of one: each frame is mixed with the one "
            "before, moved along the flow, where that is still to be seen.",
            search_aliases=["deflicker", "temporal smoothing", "stabilize depth"],
            inputs=[
                io.Image.Input("image", tooltip="Frames, or depth, edge and other maps."),
                io.Float.Input("strength", default=0.6, min=0.0, max=0.95, step=0.05,
                               tooltip="Part of the frame before."),
                io.Combo.Input("preset", options=list(PRESETS), default="medium", tooltip=_PRESET),
            ],
            outputs=[io.Image.Output(display_name="IMAGE", tooltip="As many frames.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, image: Tensor, strength: float, preset: str) -> io.NodeOutput:
        return io.NodeOutput(steadied(image, strength, preset))


NODES = [OpticalFlow, StrokesToFlow, StrokesFromFlow, WarpImage, WarpLatent, WarpNoise, SteadyFrames]
