"""Samplers: from noised latents down a run of noise levels, given a function that denoises.

Each is `sampler(denoise, x, sigmas, seed, callback) -> x` with x [F, C, h, w], `denoise(x, sigma) -> x0`
and falling sigmas [n + 1], in the form x = x0 + sigma·noise of Karras et al. (2022).
"""

from collections.abc import Callable

import torch
from torch import Tensor

from ..bridge.host import DRAWS_NOISE
from ..errors import FramewrightError

Denoise = Callable[[Tensor, Tensor], Tensor]
Callback = Callable[[int, Tensor, Tensor, int], None]  # step, x0, x before the step, number of steps
Sampler = Callable[[Denoise, Tensor, Tensor, int, Callback], Tensor]

SEEDS = 2**64


class _Noise:
    """Fresh noise for each step, as newer ComfyUI draws it on the CPU: from the seed plus one."""

    def __init__(self, seed: int) -> None:
        self._generator = torch.Generator().manual_seed((seed + 1) % SEEDS)

    def like(self, x: Tensor) -> Tensor:
        return torch.randn(x.shape, dtype=x.dtype, generator=self._generator).to(x.device)


def euler(denoise: Denoise, x: Tensor, sigmas: Tensor, seed: int, callback: Callback) -> Tensor:
    """Euler's method: Algorithm 2 of Karras et al. (2022) without its churn."""
    total = len(sigmas) - 1
    for i in range(total):
        x0 = denoise(x, sigmas[i])
        callback(i, x0, x, total)
        x = x + (x - x0) / sigmas[i] * (sigmas[i + 1] - sigmas[i])
    return x


def euler_ancestral(denoise: Denoise, x: Tensor, sigmas: Tensor, seed: int, callback: Callback) -> Tensor:
    """Euler steps to below the next noise level and noise back up to it, as in DDPM (Ho et al. 2020)."""
    total, noise = len(sigmas) - 1, _Noise(seed)
    for i in range(total):
        here, there = sigmas[i], sigmas[i + 1]
        x0 = denoise(x, here)
        callback(i, x0, x, total)
        up = torch.minimum(there, (there**2 * (here**2 - there**2) / here**2).sqrt())
        down = (there**2 - up**2).sqrt()
        x = x0 if down == 0 else x + (x - x0) / here * (down - here) + noise.like(x) * up
    return x


def dpmpp_2m(denoise: Denoise, x: Tensor, sigmas: Tensor, seed: int, callback: Callback) -> Tensor:
    """DPM-Solver++(2M), Algorithm 2 of Lu et al. (2022): multistep of second order in lambda = −log sigma."""
    total = len(sigmas) - 1
    before: Tensor | None = None
    for i in range(total):
        x0 = denoise(x, sigmas[i])
        callback(i, x0, x, total)
        h = sigmas[i].log() - sigmas[i + 1].log()
        data = x0
        if before is not None and sigmas[i + 1] > 0:
            r = (sigmas[i - 1].log() - sigmas[i].log()) / h
            data = x0 + (x0 - before) / (2 * r)
        x = sigmas[i + 1] / sigmas[i] * x - torch.expm1(-h) * data
        before = x0
    return x


def ddim(denoise: Denoise, x: Tensor, sigmas: Tensor, seed: int, callback: Callback) -> Tensor:
    """DDIM with eta 0 (Song et al. 2020): in this form of x Euler's method, and other noise under a mask."""
    return euler(denoise, x, sigmas, seed, callback)


def lcm(denoise: Denoise, x: Tensor, sigmas: Tensor, seed: int, callback: Callback) -> Tensor:
    """Multistep consistency sampling, Algorithm 3 of Luo et al. (2023): x0, noised anew to the next level."""
    total, noise = len(sigmas) - 1, _Noise(seed)
    for i in range(total):
        x0 = denoise(x, sigmas[i])
        callback(i, x0, x, total)
        x = x0 + noise.like(x) * sigmas[i + 1] if sigmas[i + 1] > 0 else x0
    return x


# In the order of ComfyUI's list, whose first is the default.
SAMPLERS: dict[str, Sampler] = {s.__name__: s for s in (euler, euler_ancestral, dpmpp_2m, lcm, ddim)}


def without_noise(sampler: Sampler) -> Sampler:
    """The same; FramewrightError for one that draws noise on its way."""
    if sampler in (euler_ancestral, lcm):
        raise FramewrightError(DRAWS_NOISE)
    return sampler


def sampler_named(name: str) -> Sampler:
    """The sampler that ComfyUI calls by this name."""
    if name not in SAMPLERS:
        raise FramewrightError(f"sampler {name} needs ComfyUI; the built-in host has: {', '.join(SAMPLERS)}")
    return SAMPLERS[name]
