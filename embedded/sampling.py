"""A whole sampling run: noise, classifier-free guidance, masks, and what must never come out of it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import FramewrightError
from ..sampling.noise import is_full
from .samplers import SEEDS, Callback, Denoise, Sampler, ddim
from .schedules import NoiseSchedule


class Model(Protocol):
    """A MODEL of the built-in host, as far as sampling asks."""

    @property
    def schedule(self) -> NoiseSchedule: ...

    def predict(
        self, x: Tensor, sigma: Tensor, conds: list[Any], sigmas: Tensor | None = None
    ) -> list[Tensor]:
        """One x0 for each CONDITIONING; `sigmas` are all of the run's, by which windows know the step."""


def prepare_noise(latent: Tensor, seed: int, batch_index: Sequence[int] | None = None) -> Tensor:
    """Noise like latents [F, C, h, w], the same on every machine.

    With `batch_index` [F] a frame gets the noise of the frame of that number, whatever others are with it.
    """
    generator = torch.Generator().manual_seed(seed)
    if batch_index is None:
        return torch.randn(latent.shape, generator=generator).to(latent.dtype)
    if len(batch_index) != len(latent):
        raise FramewrightError(
            f"latent_image: batch_index has {len(batch_index)} numbers, expected one for each of the "
            f"{len(latent)} frames"
        )
    drawn = [torch.randn(1, *latent.shape[1:], generator=generator) for _ in range(max(batch_index) + 1)]
    return torch.cat([drawn[i] for i in batch_index]).to(latent.dtype)


@dataclass(frozen=True)
class Guider:
    """Classifier-free guidance (Ho & Salimans 2022); at cfg 1 the negative prompt is not computed."""

    model: Model
    positive: Any
    negative: Any
    cfg: float

    def __call__(self, x: Tensor, sigma: Tensor, sigmas: Tensor) -> Tensor:
        if math.isclose(self.cfg, 1.0):
            return self.model.predict(x, sigma, [self.positive], sigmas)[0]
        positive, negative = self.model.predict(x, sigma, [self.positive, self.negative], sigmas)
        return negative + (positive - negative) * self.cfg


@dataclass(frozen=True)
class _Inpaint:
    """Keeps latents where the mask is 0: the network sees them noised, the result has them as they were."""

    denoise: Denoise
    schedule: NoiseSchedule
    mask: Tensor
    latent: Tensor
    noise: Tensor

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        kept = self.schedule.noise_scaling(sigma, self.noise, self.latent)
        x0 = self.denoise(x * self.mask + kept * (1 - self.mask), sigma)
        return x0 * self.mask + self.latent * (1 - self.mask)


def fit_mask(mask: Tensor, latent: Tensor) -> Tensor:
    """A mask [H, W], [N, H, W] or [N, 1, H, W] over latents [F, C, h, w]; too few masks start over."""
    mask = mask.reshape(-1, 1, *mask.shape[-2:]).to(latent)
    mask = F.interpolate(mask, size=latent.shape[-2:], mode="bilinear")
    rounds = math.ceil(len(latent) / len(mask))
    return mask.repeat(rounds, 1, 1, 1)[: len(latent)].expand_as(latent)


@torch.no_grad()
def sample(
    guider: Guider,
    noise: Tensor,
    sampler: Sampler,
    sigmas: Tensor,
    latent: Tensor,
    noise_mask: Tensor | None = None,
    seed: int = 0,
    callback: Callback | None = None,
) -> Tensor:
    """Latents [F, C, h, w] from `latent` under `noise`, on latent's device, as ComfyUI samples on the CPU.

    sigmas [n + 1] fall; where there are none, `latent` comes back. noise_mask is 1 where to paint. What
    `callback` raises ends the run. FramewrightError where the model's prediction or the result is not finite.
    """
    if len(sigmas) == 0:
        return latent
    if noise.shape != latent.shape:
        raise FramewrightError(
            f"noise: {tuple(noise.shape)} came, expected latent_image's {tuple(latent.shape)}"
        )
    noise, sigmas, latent = noise.to(latent).float(), sigmas.to(latent.device), latent.float()
    schedule = guider.model.schedule

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        return guider(x, sigma, sigmas)

    if noise_mask is not None:
        mask_noise = _mask_noise(sampler, noise, seed)
        denoise = _Inpaint(denoise, schedule, fit_mask(noise_mask, latent), latent, mask_noise)

    def checked(step: int, x0: Tensor, x: Tensor, total: int) -> None:
        _refuse_not_finite(x0, f"the model's prediction in step {step + 1} of {total}")
        if callback is not None:
            callback(step, x0, x, total)

    full = is_full(float(sigmas[0]), float(schedule.sigma_max))
    x = schedule.noise_scaling(sigmas[0], noise, latent, full)
    x = sampler(denoise, x, sigmas, seed, checked)
    _refuse_not_finite(x, f"the result of sampler {getattr(sampler, '__name__', sampler)}")
    return schedule.inverse_noise_scaling(sigmas[-1], x)


def _mask_noise(sampler: Sampler, noise: Tensor, seed: int) -> Tensor:
    """Noise on the kept part: ComfyUI's ddim draws its own, every other sampler takes that of the start."""
    return prepare_noise(noise, (seed + 1) % SEEDS).to(noise.device) if sampler is ddim else noise


def _refuse_not_finite(x: Tensor, what: str) -> None:
    bad = (~torch.isfinite(x)).sum().item()
    if bad:
        raise FramewrightError(f"{what} is not finite: {bad} of {x.numel()} values are NaN or infinite")
