"""What nodes do with noise, in whichever host they run."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import FramewrightError
from ..sampling.free_init import LowPass, free_init, renoised
from ..sampling.latents import frames_in
from ..sampling.noise import drawn
from .host import host


@dataclass(frozen=True)
class FreeInitNoise:
    """What a NOISE socket carries: FreeInit's noise after a pass that came to `latents` from `noise`."""

    seed: int
    latents: Tensor
    noise: Any
    sigma: float
    low: LowPass

    @classmethod
    def of(cls, model: Any, samples: dict[str, Any], noise: Any, seed: int, low: LowPass) -> "FreeInitNoise":
        handle = host().handle(model)
        return cls(seed, handle.latent_in(samples["samples"].cpu()), noise, handle.highest_sigma(), low)

    def generate_noise(self, latent: dict[str, Any]) -> Tensor:
        """Noise like the LATENT's samples [F, C, h, w]; raises where the pass before had other ones."""
        wanted = latent["samples"]
        if wanted.ndim != 4 or wanted.shape != self.latents.shape:
            raise FramewrightError(
                f"latent: samples of {list(wanted.shape)} came, expected those of the pass before FreeInit, "
                f"{list(self.latents.shape)}"
            )
        began = self.noise.generate_noise({**latent, "samples": self.latents})
        fresh = drawn(wanted.shape, torch.Generator().manual_seed(self.seed), latent.get("batch_index"))
        return free_init(renoised(self.latents.float(), began.float(), self.sigma), fresh, self.low).to(
            wanted
        )


@dataclass(frozen=True)
class InvertedNoise:
    """What a NOISE socket carries: the noise from which a model comes to a clip."""

    noised: Tensor  # [F, C, h, w], as the network takes them, where the sampler begins
    sigma: float
    model: Any
    seed = 0  # of what a sampler draws later on

    def generate_noise(self, latent: dict[str, Any]) -> Tensor:
        """Noise with which sampling begins from the clip's, whatever the LATENT's samples [F, C, h, w]."""
        wanted, handle = latent["samples"], host().handle(self.model)
        if wanted.shape != self.noised.shape:
            raise FramewrightError(
                f"latent: samples of {list(wanted.shape)} came, expected those of the inverted clip, "
                f"{list(self.noised.shape)}"
            )
        zero, one = torch.zeros_like(self.noised), torch.ones_like(self.noised)
        began = handle.latent_in(wanted.to(self.noised)) if wanted.any() else zero
        return (self.noised - handle.noised(self.sigma, zero, began)) / handle.noised(self.sigma, one, zero)


def invert(guider: Any, sampler: Any, sigmas: Tensor, latent: dict[str, Any]) -> InvertedNoise:
    """Follow a model's way from noise to video back, from the LATENT's samples [F, C, h, w] up to sigmas[0].

    DDIM inversion (Song et al. 2021) where the sampler is Euler's or DDIM. Raises where `sigmas` do not fall,
    where the sampler draws noise, or where the way leads to what is not finite.
    """
    clip, handle = frames_in(latent, "samples"), host().guider(guider)
    if len(sigmas) < 2 or not bool((sigmas.diff() < 0).all()):
        raise FramewrightError(f"sigmas: {sigmas.tolist()} came, expected at least 2 levels that fall")
    rising, show = sigmas.flip(0).clamp(min=_CLEAN), host().progress(handle, len(sigmas) - 1)
    found = handle.sample(
        torch.zeros_like(clip), clip, host().without_noise(sampler), rising, None, 0,
        lambda step, x0, x, steps: show(step + 1, x0),
    )  # fmt: skip
    if not torch.isfinite(found).all():
        raise FramewrightError("samples: the way back from them to noise is not finite")
    return InvertedNoise(host().handle(handle.model).latent_in(found), float(sigmas[0]), handle.model)


_CLEAN = 1e-4  # the least noise level at which a sampler can tell where noise would be
