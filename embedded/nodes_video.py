"""Core nodes for videos, under the core's ids and sockets."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import torch

from ..errors import FramewrightError
from .comfy_api import io, ui
from .folders import current
from .video import Components, FileVideo, FrameVideo, Video, write

SUFFIXES = frozenset({".mp4", ".mkv", ".webm", ".mov", ".avi", ".m4v", ".mpg", ".mpeg", ".gif"})


class LoadVideo(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        files = current().list_input(SUFFIXES)
        return io.Schema(
            node_id="LoadVideo",
            display_name="Load Video",
            category="video",
            inputs=[io.Combo.Input("file", options=files, upload=io.UploadType.video)],
            outputs=[io.Video.Output()],
        )

    @classmethod
    def execute(cls, file: str) -> io.NodeOutput:
        return io.NodeOutput(FileVideo(current().find(file, "file")))

    @classmethod
    def fingerprint_inputs(cls, file: str) -> float:
        return current().find(file, "file").stat().st_mtime

    @classmethod
    def validate_inputs(cls, file: str) -> bool | str:
        try:
            current().find(file, "file")
        except FramewrightError as error:
            return str(error)
        return True


class GetVideoComponents(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="GetVideoComponents",
            display_name="Get Video Components",
            category="video",
            description="Takes a video apart: frames, sound, frame rate, bit depth and colour space.",
            inputs=[io.Video.Input("video", tooltip="The video to take apart.")],
            outputs=[
                io.Image.Output(display_name="images"),
                io.Audio.Output(display_name="audio"),
                io.Float.Output(display_name="fps"),
                io.Int.Output(display_name="bit_depth"),
                io.Combo.Output(display_name="color_space"),
            ],
        )

    @classmethod
    def execute(cls, video: Video) -> io.NodeOutput:
        parts = video.get_components()
        return io.NodeOutput(
            parts.images, parts.audio, float(parts.frame_rate), video.get_bit_depth(), "sRGB"
        )


class CreateVideo(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CreateVideo",
            display_name="Create Video",
            category="video",
            description="Makes a video of frames.",
            inputs=[
                io.Image.Input("images", tooltip="The frames."),
                io.Float.Input("fps", default=30.0, min=1.0, max=120.0, step=1.0),
                io.Audio.Input("audio", optional=True, tooltip="Sound to put under the frames."),
                io.Int.Input("bit_depth", optional=True, default=8, min=8, max=10, step=2,
                             display_mode=io.NumberDisplay.number, tooltip="10 keeps gradients smooth."),
            ],
            outputs=[io.Video.Output()],
        )  # fmt: skip

    @classmethod
    def execute(
        cls, images: torch.Tensor, fps: float, audio: dict[str, Any] | None = None, bit_depth: int = 8
    ) -> io.NodeOutput:
        return io.NodeOutput(FrameVideo(Components(images, Fraction(fps), audio), bit_depth))


def _codec_input(optional: bool = False, hidden: bool = False) -> io.Input:
    encoding = io.DynamicCombo.Input(
        "encoding",
        [
            io.DynamicCombo.Option("auto", []),
            io.DynamicCombo.Option(
                "re-encode",
                [
                    io.Float.Input(
                        "crf", default=23.0, min=0.0, max=51.0, step=1.0, tooltip="Lower is better."
                    ),
                    io.Combo.Input("color_space", options=["auto", "sRGB"], default="auto"),
                ],
            ),
        ],
        optional=True,
    )
    return io.DynamicCombo.Input(
        "codec",
        [io.DynamicCombo.Option("auto", []), io.DynamicCombo.Option("h264", [encoding])],
        optional=optional,
        tooltip="How frames are packed; auto is H.264.",
        extra_dict={"hidden": True} if hidden else None,
    )


class SaveVideo(io.ComfyNode):
    """The newest core's sockets; prompts of older cores, where format and codec were plain lists, fit too."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SaveVideo",
            display_name="Save Video",
            category="video",
            description="Saves videos in the output folder.",
            inputs=[
                io.Video.Input("video", tooltip="The video to save."),
                io.String.Input(
                    "filename_prefix", default="video/ComfyUI", tooltip="Start of the file's name."
                ),
                io.DynamicCombo.Input(
                    "format",
                    [io.DynamicCombo.Option(name, [_codec_input()]) for name in ("auto", "mp4", "mkv")],
                    tooltip="The kind of file; auto is mp4.",
                ),
                _codec_input(optional=True, hidden=True),
            ],
            is_output_node=True,
            outputs=[io.Video.Output("video", tooltip="The video, unchanged.")],
        )

    @classmethod
    def execute(
        cls, video: Video, filename_prefix: str, format: dict[str, Any], codec: dict[str, Any] | None = None
    ) -> io.NodeOutput:
        encoding = (format.get("codec") or codec or {}).get("encoding") or {}
        place = current().numbered(filename_prefix, "output", *video.get_dimensions())
        suffix = "mp4" if format["format"] == "auto" else format["format"]
        name = f"{place.stem}_{place.counter:05}_.{suffix}"
        metadata = {**(cls.hidden.extra_pnginfo or {}), "prompt": cls.hidden.prompt}
        write(video, place.folder / name, metadata, encoding.get("crf"))
        result = ui.SavedResult(name, place.subfolder, io.FolderType.output)
        return io.NodeOutput(video, ui=ui.PreviewVideo([result]))


NODES = [LoadVideo, GetVideoComponents, CreateVideo, SaveVideo]
