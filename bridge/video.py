"""A VIDEO that is decoded as it is written, so that a long one takes no more memory than a short one."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from ..errors import FramewrightError
from ..sampling.latents import empty_frames, frames_in
from .host import host

AT_ONCE = 16  # frames


class StreamedFrames:
    """Stands for an IMAGE [F, H, W, 3] where it is gone through frame by frame; decodes a few at a time."""

    def __init__(self, vae: Any, latents: Tensor) -> None:
        self._vae, self._latents = vae, latents
        self._around = getattr(vae, "frames_around", 0)  # frames on either side that a frame depends on
        height, width = (side * vae.spacial_compression_decode() for side in latents.shape[-2:])
        self.shape = (len(latents), height, width, 3)

    def __len__(self) -> int:
        return len(self._latents)

    def __iter__(self) -> Iterator[Tensor]:
        told = host().bar(len(self))
        for first in range(0, len(self), AT_ONCE):
            yield from self[first : first + AT_ONCE]
            told(min(first + AT_ONCE, len(self)))

    def __getitem__(self, frames: slice) -> Tensor:
        first, end, _ = frames.indices(len(self))
        begin = max(0, first - self._around)
        decoded = self._vae.decode(self._latents[begin : end + self._around])
        return decoded[first - begin : end - begin]

    def whole(self) -> Tensor:
        return torch.cat([self[first : first + AT_ONCE] for first in range(0, len(self), AT_ONCE)])


def empty_video(vae: Any, width: int, height: int, frames: int) -> dict[str, Tensor]:
    """A LATENT of empty frames, as a VAE of single pictures asks for them; raises on one of whole videos."""
    if getattr(vae, "latent_dim", 2) != 2:
        raise FramewrightError(
            "vae: one for whole videos came, expected an image model's; for such models there are the "
            "core's own empty latents"
        )
    ratio = vae.spacial_compression_encode()
    return {"samples": empty_frames(frames, width, height, ratio, vae.latent_channels)}


def decode_video(samples: dict[str, Any], vae: Any, fps: float) -> Any:
    """A VIDEO of a LATENT's frames [F, C, h, w], which is decoded where it is saved."""
    latents = frames_in(samples, "samples")
    if latents.shape[1] != vae.latent_channels:
        raise FramewrightError(
            f"samples: latents of {latents.shape[1]} channels came, expected {vae.latent_channels}: those of "
            "the vae's own model"
        )
    return host().video(StreamedFrames(vae, latents), fps)
