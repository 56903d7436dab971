"""What nodes do with noise, in whichever host they run."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import FramewrightError
from ..sampling.free_init import LowPass, free_init, renoised
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
        return cls(seed, handle.latent_in(samples["samples"]), noise, handle.highest_sigma(), low)

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
