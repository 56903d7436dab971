"""A video frame after frame, each from the one before and how its pixels move (MCDiff, Chen et al. 2023)."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..controls.stroke_flow import Carried, Completion
from ..controls.strokes import Drawing
from ..errors import FramewrightError
from ..temporal.slots import NUMBERS
from .host import GuiderHandle, host
from .pictures import frames_of


@dataclass(frozen=True, eq=False)
class Sampling:
    """How each frame is sampled; `control` is a CONTROL_NET that paints in a picture where it is −1."""

    model: Any
    positive: list
    negative: list
    cfg: float
    control: Any
    vae: Any
    noise: Any
    sampler: Any
    sigmas: Tensor


def sample_along(
    sampling: Sampling, image: Tensor, drawing: Drawing, frames: int, completion: Completion
) -> Tensor:
    """IMAGE [F, H, W, 3] that begins with that of `image`, whose things go along the strokes.

    Raises where there is no stroke, no step to sample, or where the model's pictures are not of the image's
    size.
    """
    begun, steps = image[:1, ..., :3].float().cpu(), len(sampling.sigmas) - 1
    height, width = begun.shape[1:3]
    if not drawing.strokes:
        raise FramewrightError("strokes: none came, expected one or more, along which things move")
    if steps < 1:
        raise FramewrightError(f"sigmas: {len(sampling.sigmas)} noise levels came, expected at least 2")
    blank = torch.zeros_like(sampling.vae.encode(begun)).float().cpu()
    noise = sampling.noise.generate_noise({"samples": blank.repeat(frames, 1, 1, 1)})
    plain = host().cfg_guider(sampling.model, sampling.positive, sampling.negative, sampling.cfg)
    show, made = host().progress(plain, (frames - 1) * steps), [begun]
    carried = Carried(drawing, frames_of(begun)[0], frames, completion)
    for number in range(1, frames):
        hint = torch.from_numpy(carried.after(frames_of(made[-1])[0], number))[None]

        def told(step: int, x0: Tensor, x: Tensor, of: int, before: int = (number - 1) * steps) -> None:
            show(before + step + 1, x0)

        samples = _guider(sampling, hint).part([number], frames, {NUMBERS: torch.tensor([number])}).sample(
            noise[number : number + 1], blank, sampling.sampler, sampling.sigmas, None,
            (sampling.noise.seed + number) % 2**64, told,
        )  # fmt: skip
        made.append(sampling.vae.decode(samples).float().cpu())
        if made[-1].shape != begun.shape:
            raise FramewrightError(
                f"image: {width}×{height} came, the model's pictures are "
                f"{made[-1].shape[2]}×{made[-1].shape[1]}; scale it to that"
            )
    return torch.cat(made)


def _guider(sampling: Sampling, hint: Tensor) -> GuiderHandle:
    conds = host().apply_control(
        [sampling.positive, sampling.negative], sampling.control, hint, 1.0, (0.0, 1.0), None, sampling.vae
    )
    return host().cfg_guider(sampling.model, *conds, sampling.cfg)
