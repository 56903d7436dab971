"""What nodes do with ControlNets, in whichever host they run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..controls.weights import ControlWeights, Layer, fit_frames, fit_rows
from ..demo.files import CONTROLS, NEXT, SPARSELY
from ..errors import FramewrightError
from ..temporal.sparse_control import load_sparse_control
from .host import check_range, host
from .pictures import check_maps

DEMO_CONTROLS = (*CONTROLS, SPARSELY, NEXT)


@dataclass(frozen=True, eq=False)
class Strengths:
    """How strongly a ControlNet acts; `between`: parts of the sampling; what is empty changes nothing."""

    strength: float
    between: tuple[float, float] = (0.0, 1.0)
    frames: Sequence[float] | None = None
    steps: Sequence[tuple[float, float]] = ()
    layers: Mapping[Layer, float] | None = None
    mask: Tensor | None = None  # [M, H, W]

    def weights(self, frames: int, fit: str) -> ControlWeights | None:
        """For a video of so many frames; None where `strength` says it all."""
        if self.frames is None and self.mask is None and not self.steps and not self.layers:
            return None
        each = None if self.frames is None else fit_frames(torch.tensor(self.frames), frames, "hold")
        mask = self.mask
        if mask is not None and len(mask) > 1:
            mask = fit_frames(mask, frames, fit)
        return ControlWeights(each, mask, self.layers or {}, tuple(self.steps))

    def count(self, maps: int) -> int:
        """The frames of a video of which only its maps are known; raises where these do not tell."""
        masks = 1 if self.mask is None else len(self.mask)
        if maps == masks == 1 and self.frames is not None:
            raise FramewrightError(
                "frames: 0 came beside one map and frame_strength, expected the video's number of frames"
            )
        return masks if maps == 1 else maps

    def only_at(self, at: Sequence[int], frames: int) -> "Strengths":
        """Nothing in all frames but these."""
        given = [1.0] if self.frames is None else self.frames
        each = fit_frames(torch.tensor(given), frames, "hold").tolist()
        return replace(self, frames=[each[frame] if frame in at else 0.0 for frame in range(frames)])

    def of_maps(self, at: Sequence[int], frames: int) -> "Strengths":
        """Where there is a mask for each of several maps, it goes where the map goes."""
        if self.mask is None or not 1 < len(self.mask) == len(at):
            return self
        return replace(self, mask=_placed(self.mask, at, frames))


def sparse_control(path: Path) -> Any:
    """The CONTROL_NET of a SparseCtrl file."""
    return host().sparse_control(load_sparse_control(path, host().parts(), host().read_pickle))


def control_video(
    conds: Sequence[list],
    control: Any,
    image: Tensor,
    frames: int,
    fit: str,
    strengths: Strengths,
    vae: Any = None,
    at: Sequence[int] | None = None,
) -> list[list]:
    """CONDITIONINGs with a ControlNet and one map of IMAGE [G, H, W, 3] a frame; raises where one is odd.

    `at`: the frames that the maps belong to, where others go without. `frames`: 0 for as many as there are
    maps, or as `at` reaches to.
    """
    check_maps(image)
    check_range(strengths.between)
    if strengths.strength == 0:
        return list(conds)
    sparse = getattr(control, "sparse", False)
    if sparse and control.sees_latents and vae is None:
        raise FramewrightError(
            "vae: none came, expected that of the video: this sparse ControlNet is shown latents"
        )
    shown: Sequence[int] = ()
    if at is not None:
        shown = _checked(at, len(image), frames)
    elif sparse:
        shown = _spread(len(image), frames)
    frames = frames or (max(shown) + 1 if shown else strengths.count(len(image)))
    if shown:
        strengths = strengths.of_maps(shown, frames)
    if shown and not sparse:
        image = _placed(image, shown, frames)
        strengths, shown = strengths.only_at(shown, frames), ()
    # One map for all frames stays one: hosts pass it through the hint encoder once.
    hints = image if shown or len(image) == 1 else fit_frames(image, frames, fit)
    return host().apply_control(
        conds, control, hints, strengths.strength, strengths.between, strengths.weights(frames, fit), vae,
        shown,
    )  # fmt: skip


def _placed(pictures: Tensor, at: Sequence[int], frames: int) -> Tensor:
    """Pictures [G, …] to one for each frame, those of `at` where they belong, and any elsewhere."""
    return pictures[[at.index(frame) if frame in at else 0 for frame in range(frames)]]


def _spread(pictures: int, frames: int) -> list[int]:
    """Frames for as many pictures, from the first to the last of the video; of a single one the first."""
    if pictures > max(1, frames):
        raise FramewrightError(
            f"image: {pictures} pictures came for a sparse ControlNet with frames {frames} and no at_frames; "
            "expected the video's number of frames, or at_frames"
        )
    return [0] if pictures == 1 else fit_rows(frames, pictures, "spread")


def _checked(at: Sequence[int], pictures: int, frames: int) -> list[int]:
    odd = [frame for frame in at if frame < 0 or (frames and frame >= frames)]
    if odd or len(set(at)) < len(at) or len(at) != pictures:
        until = f"0 to {frames - 1}" if frames else "0 or later"
        raise FramewrightError(
            f"at_frames: {', '.join(map(str, at))} came for {pictures} pictures, expected as many different "
            f"frames from {until}"
        )
    return list(at)
