"""Temporal layers at the end of an image model's transformer blocks (Tune-A-Video, Wu et al. 2022).

Attention over the frames of each pixel, without positions, and in FollowYourPose (Ma et al. 2023) a low-rank
convolution over frames.
"""

from torch import Tensor, nn

from ..errors import FramewrightError
from .new_layers import LowRankConv
from .parts import Parts
from .slots import INNER
from .transformer import AS_TRAINED, Calls, Manner, TemporalAttention, over_pixels

HEADS = 8  # of the image model that they are tuned on, SD1.5


class InnerLayer(nn.Module):
    """Residual temporal attention, and convolution of a `rank` over 0, on activations [B·F, C, h, w]."""

    def __init__(self, channels: int, rank: int, parts: Parts) -> None:
        super().__init__()
        self.norm_temp = parts.layer_norm(channels)
        self.attn_temp = TemporalAttention(channels, HEADS, 0, parts)
        self.conv_temporal = LowRankConv(channels, rank, parts) if rank else None

    @property
    def calls(self) -> Calls:
        return {INNER: self.forward}

    def forward(self, x: Tensor, frames: int, manner: Manner = AS_TRAINED) -> Tensor:
        if manner.positions is not None or manner.views is not None:
            raise FramewrightError(
                "positions, windows: Tune-A-Video layers came, which know no positions and take any number "
                "of frames; expected a motion module of the AnimateDiff type"
            )
        x = x + over_pixels(x, frames, lambda t, _: self.attn_temp(self.norm_temp(t), manner))
        return x if self.conv_temporal is None else self.conv_temporal(x, frames)
