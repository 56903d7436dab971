"""Latents that sampling starts from."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..errors import FramewrightError


def empty_frames(frames: int, width: int, height: int, ratio: int, channels: int) -> Tensor:
    """Zero latents [frames, channels, height/ratio, width/ratio]; raises where a side does not divide."""
    if frames < 1:
        raise FramewrightError(f"frames: {frames} came, expected at least 1")
    for name, side in (("width", width), ("height", height)):
        if side < ratio or side % ratio:
            raise FramewrightError(
                f"{name}: {side} came, expected a multiple of {ratio} "
                f"(nearest: {max(1, round(side / ratio)) * ratio})"
            )
    return torch.zeros(frames, channels, height // ratio, width // ratio)


def frames_in(latent: dict[str, Any], socket: str) -> Tensor:
    """A LATENT's samples [F, C, h, w]; raises on others, such as those of a model of whole videos."""
    samples = latent["samples"]
    if samples.ndim != 4:
        raise FramewrightError(
            f"{socket}: latents of {list(samples.shape)} came, expected [frames, channels, height, width]"
        )
    return samples


def set_known(latent: dict[str, Any], known: Tensor, numbers: Sequence[int]) -> dict[str, Tensor]:
    """A LATENT's samples [F, C, h, w] with `known` [N, C, h, w] among them, and a mask that paints the rest.

    `numbers`: the frame of each, or of the first, which the others follow. What was known before stays so.
    """
    samples = latent["samples"]
    if len(numbers) == 1:
        numbers = range(numbers[0], numbers[0] + len(known))
    if len(numbers) != len(known):
        raise FramewrightError(
            f"frames: {len(numbers)} numbers came for {len(known)} pictures, expected one, or one for each"
        )
    if max(numbers) >= len(samples) or len(set(numbers)) < len(numbers):
        raise FramewrightError(
            f"frames: {list(numbers)} came, expected different frames from 0 to {len(samples) - 1}"
        )
    if known.shape[1:] != samples.shape[1:]:
        raise FramewrightError(
            f"images: their latents are {list(known.shape[1:])}, those of the video "
            f"{list(samples.shape[1:])}; add Upscale Image before it"
        )
    samples, given = samples.clone(), given_frames(samples, latent.get("noise_mask"), "samples")
    samples[list(numbers)], given[list(numbers)] = known.to(samples), 1
    return {"samples": samples, "noise_mask": frame_mask(given, samples)}


def frame_mask(given: Tensor, latents: Tensor) -> Tensor:
    """The mask [F, 1, h, w] by which samplers paint: 1 where a frame is to be made."""
    return (1 - given.to(latents)).view(-1, 1, 1, 1).expand(-1, 1, *latents.shape[-2:]).contiguous()


def given_frames(samples: Tensor, noise_mask: Tensor | None, socket: str = "latent_image") -> Tensor:
    """Which frames [F] of a LATENT are known, as 1: those of which its mask paints nothing.

    Raises where a frame is painted in part.
    """
    if noise_mask is None:
        return torch.zeros(len(samples))
    pixels = noise_mask.reshape(-1, *noise_mask.shape[-2:]).flatten(1)
    painted = pixels.any(1)
    if bool((pixels[painted] != 1).any()):
        raise FramewrightError(
            f"{socket}: a mask over a part of its frames came, expected 1 all over a frame that is to be "
            "made and 0 all over one that is known"
        )
    rounds = -(-len(samples) // len(painted))
    return (~painted.repeat(rounds)[: len(samples)]).float()
