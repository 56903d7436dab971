"""What nodes show in the page, under the names of `comfy_api`'s `ui`."""

from __future__ import annotations

import json
import random
import string
from typing import Any

import numpy as np
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ..folders import current
from .io import ComfyNode, FolderType

Node = type[ComfyNode] | None


class SavedResult(dict):
    """Where a saved file lies: its name, its sub-folder, and which of the host's folders."""

    def __init__(self, filename: str, subfolder: str, type: FolderType) -> None:
        super().__init__(filename=filename, subfolder=subfolder, type=type.value)


class SavedImages:
    def __init__(self, results: list[SavedResult], is_animated: bool = False) -> None:
        self.results = results
        self.is_animated = is_animated

    def as_dict(self) -> dict[str, Any]:
        shown: dict[str, Any] = {"images": self.results}
        if self.is_animated:
            shown["animated"] = (True,)
        return shown


class PreviewVideo:
    def __init__(self, values: list[SavedResult]) -> None:
        self.values = values

    def as_dict(self) -> dict[str, Any]:
        return {"images": self.values, "animated": (True,)}


class PreviewText:
    def __init__(self, value: str) -> None:
        self.value = value

    def as_dict(self) -> dict[str, Any]:
        return {"text": (self.value,)}


class ImageSaveHelper:
    """Writes pictures the way the host's nodes do."""

    @staticmethod
    def save_images(
        images: torch.Tensor,
        filename_prefix: str,
        folder_type: FolderType,
        cls: Node,
        compress_level: int = 4,
    ) -> list[SavedResult]:
        """Saves [F, H, W, C] floats in 0..1 as numbered PNG files that carry the prompt and workflow."""
        height, width = images.shape[1:3]
        place = current().numbered(filename_prefix, folder_type.value, width, height)
        note = PngInfo()
        if cls is not None and cls.hidden.prompt is not None:
            note.add_text("prompt", json.dumps(cls.hidden.prompt))
        for key, value in ((cls.hidden.extra_pnginfo if cls is not None else None) or {}).items():
            note.add_text(key, json.dumps(value))
        results = []
        for frame, image in enumerate(images):
            pixels = np.clip(255.0 * image.cpu().numpy(), 0, 255).astype(np.uint8)
            name = f"{place.stem.replace('%batch_num%', str(frame))}_{place.counter + frame:05}_.png"
            Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels).save(
                place.folder / name, pnginfo=note, compress_level=compress_level
            )
            results.append(SavedResult(name, place.subfolder, folder_type))
        return results

    @staticmethod
    def get_save_images_ui(
        images: torch.Tensor, filename_prefix: str, cls: Node, compress_level: int = 4
    ) -> SavedImages:
        saved = ImageSaveHelper.save_images(images, filename_prefix, FolderType.output, cls, compress_level)
        return SavedImages(saved)


def temporary_prefix() -> str:
    """A file name start for previews that no earlier preview has."""
    return "ComfyUI_temp_" + "".join(random.choices(string.ascii_lowercase, k=5))


class PreviewImage:
    """Pictures [F, H, W, C] saved in the temp folder and shown on the node."""

    def __init__(self, image: torch.Tensor, animated: bool = False, cls: Node = None) -> None:
        self.values = ImageSaveHelper.save_images(image, temporary_prefix(), FolderType.temp, cls, 1)
        self.animated = animated

    def as_dict(self) -> dict[str, Any]:
        return {"images": self.values, "animated": (self.animated,)}


class PreviewMask(PreviewImage):
    """Masks [F, H, W] shown in grey."""

    def __init__(self, mask: torch.Tensor, animated: bool = False, cls: Node = None) -> None:
        grey = mask.reshape(-1, *mask.shape[-2:]).unsqueeze(-1).expand(-1, -1, -1, 3)
        super().__init__(grey, animated, cls)
