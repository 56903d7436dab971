"""From sparse strokes to dense flow by a network that has seen things move (MCDiff, Chen et al. 2023).

Its first stage: a UNet that is shown a picture and the motion of a few pixels, where all others hold a
learned embedding, and tells that of every pixel.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .stroke_flow import Spread

SEEN_AT = 64  # pixels of the longer side of what the network is shown
DOT = 2  # pixels about a place that are shown to move with it
_GROUPS = 8


@dataclass(frozen=True)
class CompletionParams:
    """Channels at a half of the picture's size, a quarter and so on; of what is known of a pixel's motion."""

    widths: tuple[int, ...] = (48, 64, 96, 96)
    motion: int = 16

    @property
    def stride(self) -> int:
        """Pixels of which a picture's sides have to be a multiple."""
        return 2 ** len(self.widths)


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.GroupNorm(_GROUPS, inputs), nn.SiLU(), nn.Conv2d(inputs, outputs, 3, padding=1),
            nn.GroupNorm(_GROUPS, outputs), nn.SiLU(), nn.Conv2d(outputs, outputs, 3, padding=1),
        )  # fmt: skip
        self.skip = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.skip(x) + self.layers(x)


class FlowCompletion(nn.Module):
    def __init__(self, params: CompletionParams) -> None:
        super().__init__()
        widths = params.widths
        self.params = params
        self.known = nn.Conv2d(2, params.motion, 1)
        self.unknown = nn.Parameter(torch.randn(params.motion, 1, 1))
        self.conv_in = nn.Conv2d(4 * (3 + params.motion), widths[0], 3, padding=1)
        self.down = nn.ModuleList(
            _Block(a, b) for a, b in zip((widths[0], *widths[:-1]), widths, strict=True)
        )
        self.middle = nn.Sequential(_Block(widths[-1], widths[-1]), _Block(widths[-1], widths[-1]))
        self.up = nn.ModuleList(
            _Block(a + b, b) for a, b in zip((widths[-1], *widths[:0:-1]), widths[::-1], strict=True)
        )
        self.out = nn.Sequential(nn.GroupNorm(_GROUPS, widths[0]), nn.SiLU(), nn.Conv2d(widths[0], 8, 1))

    def forward(self, pictures: Tensor, motion: Tensor, known: Tensor) -> Tensor:
        """Flow [B, 2, H, W] from pictures [B, 3, H, W] in −1..1 and motion [B, 2, H, W] where `known`.

        `known` is [B, 1, H, W], true or false; H and W are multiples of `params.stride`.
        """
        hints = torch.where(known, self.known(motion), self.unknown)
        h, kept = self.conv_in(F.pixel_unshuffle(torch.cat([pictures, hints], 1), 2)), []
        for number, block in enumerate(self.down):
            h = block(h if number == 0 else F.avg_pool2d(h, 2))
            kept.append(h)
        h = self.middle(h)
        for block in self.up:
            other = kept.pop()
            h = block(torch.cat([F.interpolate(h, size=other.shape[2:], mode="nearest"), other], 1))
        return F.pixel_shuffle(self.out(h), 2)

    def spread(self, places: np.ndarray, anchors: np.ndarray, picture: np.ndarray) -> Spread:
        """A `Completion`; moves may be of any length, for the network is shown them beside the longest."""
        height, width = picture.shape[:2]
        size = _sides(width, height, self.params.stride)
        scale = np.array(size) / [width, height]
        small = cv2.resize(picture.astype(np.float32), size, interpolation=cv2.INTER_AREA)
        shown = torch.from_numpy(small).permute(2, 0, 1)[None] * 2 - 1
        pinned = np.concatenate([places, anchors]) * scale

        def flow(moves: np.ndarray) -> np.ndarray:
            far = longest(moves)
            if far == 0:
                return np.zeros((height, width, 2), np.float32)
            beside = np.concatenate([moves / far, np.zeros_like(anchors)])
            with torch.inference_mode():
                found = self(shown, *(one[None] for one in dotted(pinned, beside, *size)))[0]
            dense = found.permute(1, 2, 0).numpy() * np.float32(far)
            return cv2.resize(dense, (width, height), interpolation=cv2.INTER_LINEAR)

        return flow


def _sides(width: int, height: int, stride: int) -> tuple[int, int]:
    steps = SEEN_AT / max(width, height) / stride
    return max(1, round(width * steps)) * stride, max(1, round(height * steps)) * stride


def longest(moves: np.ndarray) -> float:
    """Of moves [K, 2], in pixels; beside it the network is told lengths, and tells them."""
    return float(np.hypot(*moves.T).max(initial=0))


def dotted(places: np.ndarray, moves: np.ndarray, width: int, height: int) -> tuple[Tensor, Tensor]:
    """The motion [2, H, W] of places [K, 2] x, y that move so [K, 2], and where it is known, [1, H, W]."""
    motion, known = torch.zeros(2, height, width), torch.zeros(1, height, width, dtype=torch.bool)
    for (x, y), move in zip(places, moves, strict=True):
        column, row = min(max(round(x), 0), width - 1), min(max(round(y), 0), height - 1)
        columns, rows = (slice(max(0, at - DOT), at + DOT + 1) for at in (column, row))
        motion[:, rows, columns] = torch.from_numpy(np.asarray(move, np.float32))[:, None, None]
        known[:, rows, columns] = True
    return motion, known
