"""Core nodes for pictures and plain values, under the core's ids and sockets."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps, ImageSequence

from ..errors import FramewrightError
from .comfy_api import io, ui
from .folders import current
from .video import FileVideo

LARGEST = 16384  # the core's limit for sizes
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
NO_MASK = (64, 64)  # the size of the core's mask for a picture without transparency


class LoadImage(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        files = current().list_input(SUFFIXES)
        return io.Schema(
            node_id="LoadImage",
            display_name="Load Image",
            category="image",
            inputs=[io.Combo.Input("image", options=files, upload=io.UploadType.image)],
            outputs=[io.Image.Output(), io.Mask.Output()],
        )

    @classmethod
    def execute(cls, image: str) -> io.NodeOutput:
        path = current().find(image, "image")
        try:
            pictures = FileVideo(path).pictures()
        except (FramewrightError, ValueError):  # the latter where frames are of several sizes
            return io.NodeOutput(*_by_pillow(path, image))
        clear = torch.zeros(len(pictures), *NO_MASK)
        return io.NodeOutput(pictures[..., :3], 1 - pictures[..., 3] if pictures.shape[3] == 4 else clear)

    @classmethod
    def fingerprint_inputs(cls, image: str) -> str:
        return hashlib.sha256(current().find(image, "image").read_bytes()).hexdigest()

    @classmethod
    def validate_inputs(cls, image: str) -> bool | str:
        try:
            current().find(image, "image")
        except FramewrightError as error:
            return str(error)
        return True


def _by_pillow(path: Path, name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """What FFmpeg, by which newer hosts read pictures, cannot, as they do: moving WebP."""
    try:
        with Image.open(path) as file:
            pictures = [ImageOps.exif_transpose(one.copy()) for one in ImageSequence.Iterator(file)]
    except Exception as error:  # of a broken file Pillow raises almost anything
        raise FramewrightError(f"image: {name!r} cannot be read as a picture: {error}") from error
    same = [one for one in pictures if one.size == pictures[0].size]
    frames = np.stack([_colours(one) for one in same])
    return torch.from_numpy(frames), torch.stack([_transparency(one) for one in same])


def _colours(picture: Image.Image) -> np.ndarray:
    """[H, W, 3] in 0..1; 16-bit grey is scaled, where Pillow's own conversion would clip it to white."""
    if picture.mode.startswith("I"):
        return np.repeat(np.asarray(picture, np.float32)[..., None] / 65535.0, 3, axis=-1)
    return np.asarray(picture.convert("RGB"), np.float32) / 255.0


def _transparency(picture: Image.Image) -> torch.Tensor:
    """A mask [H, W], 1 where the picture is transparent."""
    if "A" not in picture.getbands() and "transparency" not in picture.info:
        return torch.zeros(NO_MASK)
    alpha = np.asarray(picture.convert("RGBA").getchannel("A"), np.float32) / 255.0
    return 1.0 - torch.from_numpy(alpha)


class SaveImage(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SaveImage",
            display_name="Save Image",
            category="image",
            description="Saves pictures in the output folder.",
            inputs=[
                io.Image.Input("images", tooltip="The pictures to save."),
                io.String.Input("filename_prefix", default="ComfyUI", tooltip="Start of the files' names."),
            ],
            is_output_node=True,
            outputs=[io.Image.Output(display_name="images")],
        )

    @classmethod
    def execute(cls, images: torch.Tensor, filename_prefix: str) -> io.NodeOutput:
        return io.NodeOutput(images, ui=ui.ImageSaveHelper.get_save_images_ui(images, filename_prefix, cls))


class PreviewImage(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PreviewImage",
            display_name="Preview Image",
            category="image",
            description="Shows pictures; they go into the temp folder.",
            inputs=[io.Image.Input("images")],
            is_output_node=True,
            outputs=[io.Image.Output(display_name="images")],
        )

    @classmethod
    def execute(cls, images: torch.Tensor) -> io.NodeOutput:
        saved = ui.ImageSaveHelper.save_images(images, ui.temporary_prefix(), io.FolderType.temp, cls, 1)
        return io.NodeOutput(images, ui=ui.SavedImages(saved))


class ImageScale(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ImageScale",
            display_name="Upscale Image",
            category="image/upscaling",
            inputs=[
                io.Image.Input("image"),
                io.Combo.Input(
                    "upscale_method", options=["nearest-exact", "bilinear", "area", "bicubic", "lanczos"]
                ),
                io.Int.Input("width", default=512, min=0, max=LARGEST, step=1),
                io.Int.Input("height", default=512, min=0, max=LARGEST, step=1),
                io.Combo.Input("crop", options=["disabled", "center"]),
            ],
            outputs=[io.Image.Output()],
        )

    @classmethod
    def execute(
        cls, image: torch.Tensor, upscale_method: str, width: int, height: int, crop: str
    ) -> io.NodeOutput:
        """A side of 0 keeps the shape; both at 0 leave the picture as it is."""
        old_height, old_width = image.shape[1:3]
        if width == 0 and height == 0:
            return io.NodeOutput(image)
        width = width or max(1, round(old_width * height / old_height))
        height = height or max(1, round(old_height * width / old_width))
        if crop == "center":
            image = _crop_to_shape(image, width / height)
        if upscale_method == "lanczos":
            return io.NodeOutput(_lanczos(image, width, height))
        scaled = F.interpolate(image.movedim(-1, 1), size=(height, width), mode=upscale_method)
        return io.NodeOutput(scaled.movedim(1, -1))


def _crop_to_shape(image: torch.Tensor, shape: float) -> torch.Tensor:
    """The middle of [F, H, W, C] with this ratio of width to height."""
    height, width = image.shape[1:3]
    old = width / height
    x = round((width - width * (shape / old)) / 2) if old > shape else 0
    y = round((height - height * (old / shape)) / 2) if old < shape else 0
    return image[:, y : height - y, x : width - x]


def _lanczos(image: torch.Tensor, width: int, height: int) -> torch.Tensor:
    """Through 8 bits a channel and Pillow, as in the core."""
    pixels = np.clip(255.0 * image.cpu().numpy(), 0, 255).astype(np.uint8)
    sized = [
        np.asarray(Image.fromarray(one.squeeze(-1) if one.shape[-1] == 1 else one).resize(
            (width, height), resample=Image.Resampling.LANCZOS
        ))
        for one in pixels
    ]  # fmt: skip
    stacked = torch.from_numpy(np.stack(sized).astype(np.float32) / 255.0)
    return stacked.reshape(len(image), height, width, image.shape[-1]).to(image)


class ImageFromBatch(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ImageFromBatch",
            display_name="Get Image from Batch",
            category="image/batch",
            inputs=[
                io.Image.Input("image"),
                io.Int.Input("batch_index", default=0, min=-LARGEST, max=LARGEST),
                io.Int.Input("length", default=1, min=1, max=4096),
            ],
            outputs=[io.Image.Output()],
        )

    @classmethod
    def execute(cls, image: torch.Tensor, batch_index: int, length: int) -> io.NodeOutput:
        """Counts from the end below 0, and stops at either end, as the core does."""
        start = batch_index + len(image) if batch_index < 0 else batch_index
        start = max(0, min(len(image) - 1, start))
        return io.NodeOutput(image[start : start + length].clone())


class PreviewAny(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PreviewAny",
            display_name="Preview as Text",
            category="utilities",
            description="Shows any value as text.",
            inputs=[io.AnyType.Input("source")],
            is_output_node=True,
            outputs=[io.String.Output()],
        )

    @classmethod
    def execute(cls, source: Any) -> io.NodeOutput:
        if isinstance(source, str | int | float):
            text = str(source)
        else:
            try:
                text = json.dumps(source, indent=4, ensure_ascii=False) if source is not None else "None"
            except (TypeError, ValueError):
                text = str(source)
        return io.NodeOutput(text, ui=ui.PreviewText(text))


def _primitive(node_id: str, display_name: str, value: io.Input, output: io.Output) -> type[io.ComfyNode]:
    def define_schema(cls: type[io.ComfyNode]) -> io.Schema:
        return io.Schema(
            node_id=node_id,
            display_name=display_name,
            category="utilities/primitive",
            inputs=[value],
            outputs=[output],
        )

    def execute(cls: type[io.ComfyNode], value: Any) -> io.NodeOutput:
        return io.NodeOutput(value)

    methods = {"define_schema": classmethod(define_schema), "execute": classmethod(execute)}
    return type(node_id, (io.ComfyNode,), methods)


_ANY = {"min": -sys.maxsize, "max": sys.maxsize}
PRIMITIVES = [
    _primitive(
        "PrimitiveInt", "Int",
        io.Int.Input("value", control_after_generate=io.ControlAfterGenerate.fixed, **_ANY), io.Int.Output(),
    ),
    _primitive("PrimitiveFloat", "Float", io.Float.Input("value", step=0.1, **_ANY), io.Float.Output()),
    _primitive("PrimitiveString", "Text", io.String.Input("value"), io.String.Output()),
    _primitive(
        "PrimitiveStringMultiline", "Text (Multiline)",
        io.String.Input("value", multiline=True), io.String.Output(),
    ),
    _primitive("PrimitiveBoolean", "Boolean", io.Boolean.Input("value"), io.Boolean.Output()),
]  # fmt: skip

NODES = [LoadImage, SaveImage, PreviewImage, ImageScale, ImageFromBatch, PreviewAny, *PRIMITIVES]
