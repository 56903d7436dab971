"""Frames before and after sampling."""

from comfy_api.v0_0_2 import io, ui

from ..bridge.pictures import frames_of, image
from ..bridge.video import decode_video, empty_video
from ..pictures.sheet import contact_sheet
from .schema import schema


class EmptyFrames(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="FramewrightEmptyFrames",
            display_name="Empty Frames",
            category="Framewright/frames",
            description="Empty latents, one for each frame of a video, of the size and channels "
            "that a VAE asks for.",
            search_aliases=["empty latent video", "empty latent image", "batch"],
            inputs=[
                io.Vae.Input("vae", tooltip="Says how much smaller latents are than pixels."),
                io.Int.Input(
                    "width",
                    default=64,
                    min=8,
                    max=8192,
                    step=8,
                    tooltip="Pixels; a multiple of the VAE's ratio.",
                ),
                io.Int.Input(
                    "height",
                    default=64,
                    min=8,
                    max=8192,
                    step=8,
                    tooltip="Pixels; a multiple of the VAE's ratio.",
                ),
                io.Int.Input("frames", default=16, min=1, max=4096, tooltip="Frames of the video."),
            ],
            outputs=[io.Latent.Output(display_name="LATENT", tooltip="For a sampler.")],
        )

    @classmethod
    def execute(cls, vae: object, width: int, height: int, frames: int) -> io.NodeOutput:
        return io.NodeOutput(empty_video(vae, width, height, frames))


class DecodeVideo(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="FramewrightDecodeVideo",
            display_name="Decode Video",
            category="Framewright/frames",
            description="VAE Decode and Create Video in one, for long videos: frames are decoded a few "
            "at a time while Save Video writes them, so that memory does not grow with their number.",
            search_aliases=["vae decode", "streaming", "create video", "low memory"],
            inputs=[
                io.Latent.Input("samples", tooltip="The video's latents."),
                io.Vae.Input("vae", tooltip="The model's."),
                io.Float.Input("fps", default=8.0, min=1.0, max=120.0, step=1.0, tooltip="Frames a second."),
            ],
            outputs=[io.Video.Output(display_name="VIDEO", tooltip="For Save Video.")],
        )

    @classmethod
    def execute(cls, samples: dict, vae: object, fps: float) -> io.NodeOutput:
        return io.NodeOutput(decode_video(samples, vae, fps))


class ContactSheet(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="FramewrightContactSheet",
            display_name="Contact Sheet",
            category="Framewright/frames",
            description="Lays the frames of a video side by side in one picture, under a line of text. "
            "Sheets stack, so that several videos can be compared.",
            search_aliases=["image grid", "compare", "storyboard", "frames to grid"],
            is_output_node=True,
            inputs=[
                io.Image.Input("images", tooltip="Frames."),
                io.Int.Input("columns", default=8, min=1, max=64, tooltip="Frames in a row."),
                io.String.Input("label", optional=True, default="", tooltip="Text over the frames."),
                io.Image.Input(
                    "above", optional=True, tooltip="Another sheet, to be put on top of this one."
                ),
            ],
            outputs=[io.Image.Output(display_name="SHEET", tooltip="The sheet, one picture.")],
        )

    @classmethod
    def execute(cls, images: object, columns: int, label: str = "", above: object = None) -> io.NodeOutput:
        top = None if above is None else frames_of(above)[0]
        sheet = image(contact_sheet(frames_of(images), columns, label, top))
        return io.NodeOutput(sheet, ui=ui.PreviewImage(sheet, cls=cls))


NODES = [EmptyFrames, DecodeVideo, ContactSheet]
