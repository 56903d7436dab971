"""Context windows: videos longer than a model holds."""

from comfy_api.v0_0_2 import io, ui

from ..bridge.pictures import image
from ..bridge.windows import add_windows, frame_numbers, run_in_chunks
from ..pictures.timeline import window_timeline
from ..sampling.window_plan import FUSES, SCHEDULES
from ..sampling.window_plan import Windows as WindowsPlan
from .schema import Windows, sampling_range, schema


class ContextWindows(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="FramewrightContextWindows",
            display_name="Context Windows",
            category="Framewright/windows",
            description="Samples a long video as overlapping windows of the length that the motion module "
            "holds, fused at every step (MultiDiffusion over frames; Lumiere, 2024). Windows share model "
            "calls.",
            search_aliases=["sliding context", "long video", "context options", "multidiffusion"],
            inputs=[
                io.Model.Input("model", tooltip="Model with its motion module applied."),
                io.Int.Input("length", default=16, min=1, max=512, tooltip="Frames a window holds."),
                io.Int.Input("overlap", default=8, min=0, max=511,
                             tooltip="Frames a window shares with the next; less than its length."),
                io.Combo.Input("schedule", options=list(SCHEDULES), default="standard",
                               tooltip="standard: the same windows at each step. uniform and random: they "
                               "start elsewhere at each step, so that no seam stays in place. looped: they "
                               "go on from the last frame to the first. batched: one after another, no "
                               "overlap."),
                io.Combo.Input("fuse", options=list(FUSES), default="pyramid",
                               tooltip="How overlapping frames are averaged: uniform mean counts all alike, "
                               "overlap linear fades only where windows overlap, the others count the "
                               "middle of a window most."),
                io.Int.Input("stride", default=1, min=1, max=8, optional=True,
                             tooltip="1: the frames of a window are in a row. 2: there are also windows of "
                             "every second frame, 3: of every fourth, and so on, which see further."),
                io.Boolean.Input("closed_loop", default=False, optional=True,
                                 tooltip="For looped: the end of the video is fused with its beginning."),
                io.String.Input("keep_frames", default="", optional=True,
                                tooltip="Numbers of frames, as 0, 32, that every window holds beside its own "
                                "as a reference: a picture that the video starts from, say."),
                *sampling_range("the windows of another Context Windows node earlier in the graph hold"),
            ],
            outputs=[
                io.Model.Output(display_name="MODEL", tooltip="The model, sampling in windows."),
                Windows.Output(display_name="WINDOWS", tooltip="For Windows Preview."),
            ],
        )  # fmt: skip

    @classmethod
    def execute(
        cls, model: object, length: int, overlap: int, schedule: str, fuse: str, stride: int = 1,
        closed_loop: bool = False, keep_frames: str = "", start_percent: float = 0.0,
        end_percent: float = 1.0,
    ) -> io.NodeOutput:  # fmt: skip
        keep = frame_numbers("keep_frames", keep_frames)
        windows = WindowsPlan(length, overlap, schedule, fuse, stride, closed_loop, keep)
        return io.NodeOutput(add_windows(model, windows, start_percent, end_percent), windows)


class WindowsPreview(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="FramewrightWindowsPreview",
            display_name="Windows Preview",
            category="Framewright/windows",
            description="Draws which frames each context window holds at the first sampling steps, and how "
            "much each frame counts in it.",
            search_aliases=["timeline", "context view"],
            is_output_node=True,
            inputs=[
                Windows.Input("windows", tooltip="From Context Windows or Temporal Windows."),
                io.Int.Input("frames", default=64, min=1, max=4096, tooltip="Frames of the video."),
                io.Int.Input("steps", default=3, min=1, max=16, tooltip="Sampling steps to draw."),
            ],
            outputs=[io.Image.Output(display_name="IMAGE", tooltip="The picture.")],
        )

    @classmethod
    def execute(cls, windows: WindowsPlan, frames: int, steps: int) -> io.NodeOutput:
        plans = [windows.plan(frames, step) for step in range(steps)]
        picture = image(window_timeline(plans, frames))
        return io.NodeOutput(picture, ui=ui.PreviewImage(picture, cls=cls))


class TemporalWindows(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="FramewrightTemporalWindows",
            display_name="Temporal Windows",
            category="Framewright/windows",
            description="Windows inside a motion module only: its attention runs over overlapping windows of "
            "frames, averaged in every layer, while the image model sees each frame once (FreeNoise, Qiu et "
            "al. 2023). Where Context Windows fuses whole predictions, this fuses features.",
            search_aliases=["freenoise", "long video", "view options", "windowed temporal attention"],
            inputs=[
                io.Int.Input("length", default=16, min=1, max=512,
                             tooltip="Frames that attend together; what the motion module was trained for."),
                io.Int.Input("overlap", default=12, min=0, max=511,
                             tooltip="Frames a window shares with the next; less than its length."),
                io.Combo.Input("fuse", options=list(FUSES), default="pyramid",
                               tooltip="How overlapping frames are averaged."),
            ],
            outputs=[Windows.Output(display_name="WINDOWS", tooltip="For Apply Motion Module.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, length: int, overlap: int, fuse: str) -> io.NodeOutput:
        return io.NodeOutput(WindowsPlan(length, overlap, "standard", fuse))


class FrameChunks(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="FramewrightFrameChunks",
            display_name="Frame Chunks",
            category="Framewright/windows",
            description="The image model sees a few frames of a long video at a time, which bounds its "
            "memory, while temporal layers see all of them. The frames stay what they are.",
            search_aliases=["low vram", "memory", "batched inference", "split frames"],
            inputs=[
                io.Model.Input("model", tooltip="Model with its motion module applied."),
                io.Int.Input("frames", default=16, min=1, max=4096,
                             tooltip="Frames through the image model at a time: as many as fit."),
            ],
            outputs=[io.Model.Output(display_name="MODEL", tooltip="The model, in chunks.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, model: object, frames: int) -> io.NodeOutput:
        return io.NodeOutput(run_in_chunks(model, frames))


NODES = [ContextWindows, TemporalWindows, FrameChunks, WindowsPreview]
