"""Noise levels of latent diffusion: the model's own, and which of them a sampler visits."""

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from ..errors import FramewrightError
from ..sampling.noise_levels import TIMESTEPS, Betas

ABOVE_ALL = 999999999.9  # what ComfyUI takes for the sigma of the start, so that any real one is below it


def _to_frames(sigma: Tensor, ndim: int) -> Tensor:
    """A sigma for all, or one a frame as [F, 1, …], to broadcast over latents of `ndim` dimensions."""
    return sigma.reshape(()) if sigma.numel() == 1 else sigma.reshape(-1, *(1,) * (ndim - 1))


class NoiseSchedule:
    """1000 noise levels, and what a net predicts.

    x = x0 + sigma·noise throughout (Karras et al. 2022); `prediction` is "eps" (Ho et al. 2020) or "v"
    (Salimans & Ho 2022); `sigmas` [1000] begin with the lowest, None: latent diffusion's. A sigma is a tensor
    of no dimension, or [F] with one for each frame.
    """

    def __init__(self, prediction: Literal["eps", "v"], sigmas: Tensor | None = None) -> None:
        if prediction not in ("eps", "v"):
            raise FramewrightError(f"prediction: {prediction!r} came, expected 'eps' or 'v'")
        self.prediction = prediction
        sigmas = Betas().sigmas() if sigmas is None else sigmas
        self.sigmas = sigmas.float()
        self.log_sigmas = sigmas.log().float()

    @property
    def sigma_min(self) -> Tensor:
        return self.sigmas[0]

    @property
    def sigma_max(self) -> Tensor:
        return self.sigmas[-1]

    def timestep(self, sigma: Tensor) -> Tensor:
        """The whole timestep 0..999 nearest in log sigma, in sigma's shape."""
        distance = sigma.log().to(self.log_sigmas).reshape(1, -1) - self.log_sigmas[:, None]
        return distance.abs().argmin(0).reshape(sigma.shape).to(sigma.device)

    def sigma(self, timestep: Tensor) -> Tensor:
        """The noise level of a timestep, between two by the logarithm."""
        t = timestep.to(self.log_sigmas).clamp(0, TIMESTEPS - 1)
        low, high = self.log_sigmas[t.floor().long()], self.log_sigmas[t.ceil().long()]
        return torch.lerp(low, high, t.frac()).exp().to(timestep.device)

    def percent_to_sigma(self, percent: float) -> float:
        """The noise level at which 0..1 of the steps are done."""
        if percent <= 0:
            return ABOVE_ALL
        if percent >= 1:
            return 0.0
        return self.sigma(torch.tensor((1 - percent) * (TIMESTEPS - 1))).item()

    def calculate_input(self, sigma: Tensor, x: Tensor) -> Tensor:
        """What the network is given for noised latents x: scaled to a variance of one."""
        return x / (_to_frames(sigma, x.ndim) ** 2 + 1) ** 0.5

    def calculate_denoised(self, sigma: Tensor, out: Tensor, x: Tensor) -> Tensor:
        """x0 from the network's output for noised latents x."""
        sigma = _to_frames(sigma, x.ndim)
        if self.prediction == "eps":
            return x - out * sigma
        return x / (sigma**2 + 1) - out * sigma / (sigma**2 + 1) ** 0.5

    def noise_scaling(
        self, sigma: Tensor, noise: Tensor, latent: Tensor, max_denoise: bool = False
    ) -> Tensor:
        """Noised latents; `max_denoise` starts from the full variance that training's last timestep had."""
        sigma = _to_frames(sigma, noise.ndim)
        return latent + noise * ((1 + sigma**2).sqrt() if max_denoise else sigma)

    def inverse_noise_scaling(self, sigma: Tensor, latent: Tensor) -> Tensor:
        """Latents from what a sampler that ended at sigma returns: for these predictions, the same."""
        return latent


def _uniform(schedule: NoiseSchedule, steps: int, with_last: bool) -> list[float]:
    """Noise levels at equal distances of timesteps, with timestep 0 as the last or as the one left out."""
    count = steps if with_last else steps + 1
    return [float(schedule.sigma(t)) for t in torch.linspace(TIMESTEPS - 1, 0, count)[:steps]]


def _simple(schedule: NoiseSchedule, steps: int) -> list[float]:
    """Every n-th of the model's own noise levels, from the top."""
    stride = len(schedule.sigmas) / steps
    return [float(schedule.sigmas[-1 - int(i * stride)]) for i in range(steps)]


def _karras(schedule: NoiseSchedule, steps: int, rho: float = 7.0) -> list[float]:
    """Equation 5 of Karras et al. (2022)."""
    top, bottom = (float(s) ** (1 / rho) for s in (schedule.sigma_max, schedule.sigma_min))
    return ((top + torch.linspace(0, 1, steps) * (bottom - top)) ** rho).tolist()


# In the order of ComfyUI's list, whose first is the default.
SCHEDULES: dict[str, Callable[[NoiseSchedule, int], list[float]]] = {
    "simple": _simple,
    "sgm_uniform": partial(_uniform, with_last=False),
    "karras": _karras,
    "normal": partial(_uniform, with_last=True),
}


def check_schedule(name: str) -> None:
    """FramewrightError for a scheduler that only ComfyUI has."""
    if name not in SCHEDULES:
        known = ", ".join(SCHEDULES)
        raise FramewrightError(f"scheduler {name} needs ComfyUI; the built-in host has: {known}")


def schedule_sigmas(name: str, schedule: NoiseSchedule, steps: int, denoise: float = 1.0) -> Tensor:
    """Falling noise levels [steps + 1] that end in 0, as ComfyUI's scheduler of that name has them.

    With `denoise` below 1 they are the last of a longer run of steps/denoise; at 0 there are none, [0]. None
    of the built-in samplers is one of those for which ComfyUI leaves out the level before the last.
    """
    check_schedule(name)
    if steps < 1:
        raise FramewrightError(f"steps: {steps} came, expected 1 or more")
    if denoise <= 0:
        return torch.empty(0)
    total = steps if denoise > 0.9999 else int(steps / denoise)
    return torch.tensor([*SCHEDULES[name](schedule, total), 0.0])[-(steps + 1) :]
