"""The demo model's small VAE: 64×64 frames to 4-channel latents of a quarter size, and back.

Frames are encoded one by one. The decoder sees the frames around each, as in MagicVideo (Zhou et al. 2022)
and Stable Video Diffusion (Blattmann et al. 2023): sampled latents are never quite steady, and would flicker.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import FramewrightError
from ..temporal.parts import Parts
from ..temporal.space_time import TemporalConv

DOWNSCALE = 4
CHANNELS = 4
BYTES_A_PIXEL = 1024  # activations at their widest
# Least-squares fit of latents to red, green and blue in −1..1, for previews while sampling.
RGB = [[-0.123, 0.111, 0.175], [-0.013, 0.086, 0.026], [-0.297, -0.151, -0.065], [0.017, -0.117, 0.132]]


class _Res(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(F.silu(x))


class _Decoder(nn.Module):
    """Residual blocks at a quarter and at half of the size, each followed by a convolution over frames."""

    def __init__(self, wide: int) -> None:
        super().__init__()
        half = wide // 2
        self.enter = nn.Conv2d(CHANNELS, wide, 3, padding=1)
        self.coarse = nn.ModuleList(_Res(wide) for _ in range(4))
        self.grow = nn.Sequential(nn.Conv2d(wide, 2 * wide, 3, padding=1), nn.PixelShuffle(2))
        self.fine = nn.ModuleList(_Res(half) for _ in range(2))
        self.leave = nn.Sequential(nn.SiLU(), nn.Conv2d(half, 12, 3, padding=1), nn.PixelShuffle(2))
        widths = [wide] * len(self.coarse) + [half] * len(self.fine)
        self.temporal = nn.ModuleList(TemporalConv(one, identity=True, parts=Parts()) for one in widths)

    @property
    def reach(self) -> int:
        """Frames to either side that a frame's picture depends on."""
        return len(self.temporal)

    def forward(self, x: Tensor, frames: int) -> Tensor:
        """[B·F, 4, h, w] to pixels [B·F, 3, 4h, 4w]; a single picture passes no temporal layer."""
        x, over = self.enter(x), iter(self.temporal)
        for block in self.coarse:
            x = self._steady(next(over), block(x), frames)
        x = self.grow(x)
        for block in self.fine:
            x = self._steady(next(over), block(x), frames)
        return self.leave(x)

    @staticmethod
    def _steady(layer: nn.Module, x: Tensor, frames: int) -> Tensor:
        return x if frames == 1 else layer(x, frames)


class SmallVAE(nn.Module):
    """Pixels [F, 3, H, W] in −1..1 to latents [F, 4, H/4, W/4] of mean 0 and deviation 1 a channel."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.PixelUnshuffle(2), nn.Conv2d(12, width, 3, padding=1), _Res(width),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1), _Res(2 * width), _Res(2 * width),
            nn.SiLU(), nn.Conv2d(2 * width, 2 * CHANNELS, 1),
        )  # fmt: skip
        self.decoder = _Decoder(3 * width)
        self.register_buffer("mean", torch.zeros(1, CHANNELS, 1, 1))
        self.register_buffer("std", torch.ones(1, CHANNELS, 1, 1))

    def moments(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the posterior, in the latents' own scale."""
        mean, logvar = self.encoder(pixels).chunk(2, dim=1)
        return mean, logvar.clamp(-20, 10)

    def encode(self, pixels: Tensor) -> Tensor:
        return (self.moments(pixels)[0] - self.mean) / self.std

    def decode(self, latents: Tensor, frames: int) -> Tensor:
        """Latents of clips of `frames` frames each to pixels; frames of one clip are decoded together."""
        return self.decoder(latents * self.std + self.mean, frames)


class FrameVAE:
    """A VAE socket's value: pictures [F, H, W, 3] in 0..1 to latents and back, as many frames at once as fit.

    `prepare(bytes a frame needs)` gives the device the network is on and the frames to take at once.
    """

    latent_channels = CHANNELS

    def __init__(self, net: SmallVAE, prepare: Callable[[int], tuple[torch.device, int]]) -> None:
        self._net, self._prepare = net, prepare

    def spacial_compression_encode(self) -> int:
        return DOWNSCALE

    @property
    def frames_around(self) -> int:
        """Frames on either side of one that its decoding depends on."""
        return self._net.decoder.reach

    def spacial_compression_decode(self) -> int:
        return DOWNSCALE

    def encode(self, pixels: Tensor) -> Tensor:
        height, width = pixels.shape[1:3]
        if height % DOWNSCALE or width % DOWNSCALE:
            raise FramewrightError(
                f"pixels: frames of {width}×{height} came, the demo VAE takes multiples of {DOWNSCALE}; "
                "add Upscale Image before it"
            )
        device, count = self._prepare(height * width * BYTES_A_PIXEL)
        parts = (pixels[..., :3].movedim(-1, 1) * 2 - 1).split(count)
        with torch.no_grad():
            return torch.cat([self._net.encode(part.to(device, torch.float32)).cpu() for part in parts])

    def decode(self, latents: Tensor) -> Tensor:
        if latents.ndim != 4 or latents.shape[1] != CHANNELS:
            raise FramewrightError(
                f"samples: latents of shape {list(latents.shape)} came, "
                f"the demo VAE takes [frames, {CHANNELS}, h, w]"
            )
        device, count = self._prepare(latents.shape[-2] * latents.shape[-1] * DOWNSCALE**2 * BYTES_A_PIXEL)
        reach, total, parts = self.frames_around, latents.shape[0], []
        with torch.no_grad():
            for first in range(0, total, count):  # each part with the frames around it that it depends on
                begin, end = max(0, first - reach), min(total, first + count + reach)
                seen = latents[begin:end].to(device, torch.float32)
                parts.append(self._net.decode(seen, end - begin)[first - begin :][:count].cpu())
        return ((torch.cat(parts) + 1) / 2).clamp(0, 1).movedim(1, -1)
