"""What nodes do with a picture to animate, in whichever host they run."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ..errors import FramewrightError
from ..temporal.image_input import ImageInput
from .host import host
from .motion import Motion


def animate_image(model: Any, motion: Motion, vae: Any, image: Tensor, affinity: Sequence[float]) -> Any:
    """A clone of MODEL whose frames begin from IMAGE [1, H, W, 3], by MOTION's input convolution.

    Raises where MOTION has none.
    """
    if motion.file.input_conv is None:
        raise FramewrightError(
            f"motion: {motion.name} is of the family {motion.file.family}, which has no input convolution; "
            "expected a PIA module"
        )
    if image.shape[0] != 1:
        raise FramewrightError(f"image: {image.shape[0]} pictures came, expected 1")
    handle = host().handle(model).clone()
    latents = handle.latent_in(vae.encode(image)).float()
    handle.refuse_areas("a picture")
    handle.add_input_patch(ImageInput(motion.file.input_conv, latents, affinity))
    return handle.model
