"""What nodes do with reference pictures, in whichever host they run."""

from typing import Any

import torch

from ..errors import FramewrightError
from ..sampling.noise import drawn
from ..temporal.extent import Extent
from .host import during, host

_SEED = 0  # of the noise that the picture is seen under


def apply_reference(
    model: Any, samples: dict[str, Any], extent: Extent, steps: tuple[float, float], unet: Any = None
) -> Any:
    """A clone of MODEL whose frames read the first picture of a LATENT, between parts (0..1) of sampling."""
    latents = samples["samples"]
    if latents.ndim != 4:
        raise FramewrightError(
            f"reference: latents of {list(latents.shape)} came, expected [frames, channels, height, width]"
        )
    latents = latents[:1].float().cpu()
    if not latents.isfinite().all():
        raise FramewrightError("reference: latents that are not finite came, expected those of a picture")
    handle = host().handle(model).clone()
    noise = drawn(latents.shape, torch.Generator().manual_seed(_SEED))
    handle.add_reference(
        latents, noise if unet is None else torch.zeros_like(noise), during(extent, steps, handle), unet
    )
    return handle.model
