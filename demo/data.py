"""What a training step draws from the shapes world: subjects, captions, pictures, noise."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .fit import Draw
from .vae import CHANNELS, DOWNSCALE
from .world import SIZE, Subject, subjects

TRAINED_ON = [s for s in subjects() if not s.held_out]
COLOURED = 0.3  # apart, of −1..1, are the channels of a shape; grounds are grey
SETTLED = 700  # timestep: in less noise, where the shape is can be seen, and it remains to draw it
NEAR = 5.0  # times as much counts a shape then, with what is around it
LATENT = (CHANNELS, SIZE // DOWNSCALE, SIZE // DOWNSCALE)  # shape of a frame's


def draw_subject(draw: Draw) -> Subject:
    return TRAINED_ON[draw.numbers.integers(len(TRAINED_ON))]


def draw_caption(subject: Subject, draw: Draw) -> str:
    """Mostly the caption; at times without its ground, and for one in ten the empty prompt of guidance."""
    chance = draw.numbers.uniform()
    return "" if chance < 0.1 else subject.caption(with_ground=chance > 0.25)


def pixels(pictures: list[np.ndarray]) -> Tensor:
    """Pictures [H, W, 3] in 0..1 to [F, 3, H, W] in −1..1."""
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous() * 2 - 1


def covered(frames: Tensor) -> Tensor:
    """Where the shape is in frames [N, 3, H, W], as 0 or 1 [N, 1, H, W]."""
    return (frames.amax(1, keepdim=True) - frames.amin(1, keepdim=True) > COLOURED).float()


def shape_weights(frames: Tensor, at: Tensor) -> Tensor:
    """How much errors count at each place of the latents [N, 1, h, w]; without it the ground is most of them.

    Frames [N, 3, H, W] at timesteps [N]. Where noise hides the shape, all count the same: weights by
    its place would move what is best to predict.
    """
    near = F.max_pool2d(F.max_pool2d(covered(frames), DOWNSCALE), 3, stride=1, padding=1)
    return 1 + (NEAR - 1) * near * (at < SETTLED).view(-1, 1, 1, 1)


def alphas_cumprod() -> Tensor:
    """The host's noise schedule for latent diffusion: 1000 scaled-linear betas (Rombach et al. 2022)."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    return torch.cumprod(1 - betas, 0).float()


def diffuse(
    latents: Tensor, steps: Tensor, noise: Tensor, seen: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Noised latents and the v to predict (Salimans & Ho 2022), for timesteps [B].

    `seen`: latents that the noise shows in the place of those to predict.
    """
    alpha = alphas_cumprod().to(latents)[steps].view(-1, 1, 1, 1)
    shown = latents if seen is None else seen
    noised = alpha.sqrt() * shown + (1 - alpha).sqrt() * noise
    return noised, (alpha.sqrt() * noised - latents) / (1 - alpha).sqrt()
