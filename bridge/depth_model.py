"""Depth models that artists have, in the folders that `transformers` writes."""

import importlib
import math
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import FramewrightError

_METRIC = {"zoedepth", "glpn"}  # which say metres


class _Network(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, pictures: Tensor) -> Tensor:
        return self.net(pixel_values=pictures).predicted_depth


class DepthModel:
    """A folder with a model's config.json, preprocessor_config.json and safetensors; nothing is fetched.

    Raises where it is none, or where `transformers` is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            transformers = importlib.import_module("transformers")
        except ImportError as error:
            raise FramewrightError("name: depth models need the package transformers") from error
        own = {"local_files_only": True, "trust_remote_code": False}
        try:
            self._prepare = transformers.AutoImageProcessor.from_pretrained(folder, **own)
            net = transformers.AutoModelForDepthEstimation.from_pretrained(
                folder, use_safetensors=True, **own
            )
        except Exception as error:  # whatever a folder may hold
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise FramewrightError(
                f"name: {folder.name} cannot be read as a depth model of transformers: {reason}"
            ) from error
        self.net = _Network(net.float().eval().requires_grad_(False))
        says = getattr(net.config, "depth_estimation_type", "relative")
        self._metres = net.config.model_type in _METRIC or says == "metric"
        self._padded = net.config.model_type == "zoedepth" and self._prepare.do_pad

    @torch.no_grad()
    def __call__(self, pictures: Tensor, device: torch.device) -> Tensor:
        """Nearness [f, H, W], in no unit, of pictures [f, H, W, 3] in 0..1."""
        shown = list((pictures.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy())
        given = self._prepare(images=shown, return_tensors="pt")["pixel_values"]
        depth = self.net(given.to(device)).float().cpu()
        near = 1 / depth.clamp(min=1e-3) if self._metres else depth
        height, width = pictures.shape[1:3]
        down, right = (_padding(height), _padding(width)) if self._padded else (0, 0)
        shown_size = (height + 2 * down, width + 2 * right)
        near = F.interpolate(near[:, None], shown_size, mode="bicubic").squeeze(1)
        return near[:, down : down + height, right : right + width]


def _padding(side: int) -> int:
    """The pixels that ZoeDepth's own preparing adds at each end of a side (Bhat et al. 2023)."""
    return int(3 * math.sqrt(side / 2))
