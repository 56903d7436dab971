"""What nodes do with reference pictures, in whichever host they run."""

from typing import Any

import torch

from ..errors import FramewrightError
from ..sampling.latents import frames_in
from ..sampling.noise import drawn
from ..temporal.extent import Extent
from ..temporal.families import base_of
from ..temporal.keyed_text import layer_name
from .host import during, host

_SEED = 0  # of the noise that the picture is seen under


def apply_reference(
    model: Any, samples: dict[str, Any], extent: Extent, steps: tuple[float, float], unet: Any = None
) -> Any:
    """A clone of MODEL whose frames read the first picture of a LATENT, between parts (0..1) of sampling."""
    latents = frames_in(samples, "reference")[:1].float().cpu()
    if not latents.isfinite().all():
        raise FramewrightError("reference: latents that are not finite came, expected those of a picture")
    for layer, strength in extent.layers.items():
        if not 0 <= strength <= 1:
            raise FramewrightError(
                f"layer_strength: {layer_name(layer)} at {strength:g} came, expected 0 to 1"
            )
    handle = host().handle(model).clone()
    if latents.shape[1] != handle.latent_channels:
        raise FramewrightError(
            f"reference: latents of {latents.shape[1]} channels came, expected {handle.latent_channels}: "
            "those of the model's own VAE"
        )
    if unet is not None and (other := host().handle(unet).sites()) != handle.sites():
        raise FramewrightError(
            f"reference_model: one of {base_of(other)} came, expected one of the model's kind, "
            f"{base_of(handle.sites())}"
        )
    noise = drawn(latents.shape, torch.Generator().manual_seed(_SEED))
    handle.add_reference(
        latents, noise if unet is None else torch.zeros_like(noise), during(extent, steps, handle), unet
    )
    return handle.model
