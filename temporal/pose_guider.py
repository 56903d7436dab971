"""Pose guiders: a few convolutions whose view of pose maps is added to what a UNet's first convolution gives.

AnimateAnyone (Hu et al. 2023), in the key layout of its public reimplementation: conv_in, blocks, conv_out.
"""

from pathlib import Path
from typing import Any

from torch import Tensor

from ..errors import FramewrightError
from .checkpoint import Reader, check_keys, dtype_of, fill, read_tensors
from .condition_encoder import ConditionEncoder, encoder_widths
from .extent import Extent
from .key_layouts import strip_prefix
from .parts import Parts
from .slots import Site, frames_in_call

_WHAT = "pose guider"
_FIRST: Site = ("input", 0)


def load_pose_guider(path: Path, parts: Parts, read_pickle: Reader | None = None) -> ConditionEncoder:
    """The pose guider of a file, of whatever widths; raises one error where it holds none."""
    tensors = {strip_prefix(key): value for key, value in read_tensors(path, read_pickle, _WHAT).items()}
    widths = encoder_widths(tensors)
    if widths is None:
        raise FramewrightError(
            f"{_WHAT}: {path.name} holds none; expected the weights of conv_in, blocks and conv_out, as in "
            "AnimateAnyone's pose_guider.pth"
        )
    model = ConditionEncoder(len(tensors["conv_out.weight"]), widths, parts)
    check_keys(path.name, model.state_dict(), tensors, _WHAT)
    return fill(model.to(dtype_of(tensors)) if parts.casts else model, tensors)


class PoseInput:
    """What a host calls after each input block (its `input_block_patch`); acts after the first.

    `features` [F, C, h, w] one a frame, the last one for all further ones.
    """

    def __init__(self, features: Tensor, extent: Extent) -> None:
        self._features, self._extent = features, extent

    def __call__(self, h: Tensor, options: dict[str, Any]) -> Tensor:
        strength = self._extent.at(_FIRST, options) if options["block"] == _FIRST else 0.0
        if strength == 0:
            return h
        if h.shape[1:] != self._features.shape[1:]:
            (c, y, x), (channels, height, width) = self._features.shape[1:], h.shape[1:]
            raise FramewrightError(
                f"{_WHAT}: features of {x}×{y} with {c} channels came for a model and video of "
                f"{width}×{height} with {channels}; scale the maps to the video's size"
            )
        numbers = frames_in_call(len(h), options)
        added = self._features[numbers.clamp(max=len(self._features) - 1)].to(h)
        return h + strength * added.repeat(len(h) // len(added), 1, 1, 1)
