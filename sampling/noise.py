"""Noise that a video starts from: how much of it a frame shares with the others.

Every prior gives each frame standard normal noise. independent: each its own. shared: all the same
(ControlVideo, Zhang et al. 2023; Make-A-Video's super-resolution, Singer et al. 2022). mixed and progressive:
a part in common with all frames, or with the one before (PYoCo, Ge et al. 2023). FreeNoise: that of the first
window, shuffled anew for every window after it (Qiu et al. 2023); repeated: not shuffled.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import FramewrightError
from .latents import frames_in


def drawn(shape: Sequence[int], generator: torch.Generator, numbers: Sequence[int] | None = None) -> Tensor:
    """Independent noise [F, …]; with `numbers` [F], a frame gets that of the frame of its number.

    The same numbers as the host's own noise of that seed.
    """
    if numbers is None:
        return torch.randn(tuple(shape), generator=generator)
    frames = [torch.randn(1, *shape[1:], generator=generator) for _ in range(max(numbers) + 1)]
    return torch.cat([frames[number] for number in numbers])


def mixed(own: Tensor, common: Tensor, alpha: float) -> Tensor:
    """Own noise [F, …] with `common` [1, …] in it, alpha² times as much of its variance."""
    return (own + alpha * common) / (1 + alpha**2) ** 0.5


def progressive(own: Tensor, alpha: float) -> Tensor:
    """Noise [F, …] of which each frame takes over from the one before what mixed takes from a common one."""
    frames = [own[:1]]
    for frame in own[1:].split(1):
        frames.append(mixed(frame, frames[-1], alpha))
    return torch.cat(frames)


def free_noise(noise: Tensor, length: int, apart: int, generator: torch.Generator) -> Tensor:
    """Noise [F, …] in which what each window adds is that of `apart` frames `length` before, shuffled."""
    noise = noise.clone()
    for start in range(length, len(noise), apart):
        order = torch.randperm(apart, generator=generator)[: len(noise) - start]
        noise[start : start + apart] = noise[start - length + order]
    return noise


def is_full(sigma: float, highest: float) -> bool:
    """Whether hosts begin from this level with noise of the variance that training's last timestep had."""
    return sigma > highest or math.isclose(sigma, highest, rel_tol=1e-5)


@dataclass(frozen=True)
class VideoNoise:
    """What a NOISE socket carries; `length` and `overlap` are those of the windows, alpha is PYoCo's."""

    seed: int
    prior: str = "independent"
    alpha: float = 1.0
    length: int = 16
    overlap: int = 8

    def __post_init__(self) -> None:
        if self.prior not in PRIORS:
            raise FramewrightError(f"prior: {self.prior!r} came, expected one of {', '.join(PRIORS)}")
        if not 0 <= self.alpha < float("inf"):
            raise FramewrightError(f"alpha: {self.alpha} came, expected 0 or more")
        if self.prior == "FreeNoise" and not 0 <= self.overlap < self.length:
            raise FramewrightError(
                f"overlap: {self.overlap} came, expected 0 to {self.length - 1} for windows of {self.length}"
            )

    def generate_noise(self, latent: dict[str, Any]) -> Tensor:
        """Noise like the LATENT's samples [F, C, h, w], on the CPU."""
        samples = frames_in(latent, "latent")
        generator = torch.Generator().manual_seed(self.seed)
        own = drawn(samples.shape, generator, latent.get("batch_index"))
        return PRIORS[self.prior](self, own, generator).to(samples.dtype)


PRIORS: dict[str, Callable[[VideoNoise, Tensor, torch.Generator], Tensor]] = {
    "independent": lambda noise, own, generator: own,
    "shared": lambda noise, own, generator: own[:1].expand_as(own),
    "mixed": lambda noise, own, generator: mixed(
        own, torch.randn(own[:1].shape, generator=generator), noise.alpha
    ),
    "progressive": lambda noise, own, generator: progressive(own, noise.alpha),
    "FreeNoise": lambda noise, own, generator: free_noise(
        own, noise.length, noise.length - noise.overlap, generator
    ),
    "repeated": lambda noise, own, generator: own[torch.arange(len(own)) % noise.length],
}
