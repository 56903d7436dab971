"""The demo model's small VAE: 64×64 frames to 4-channel latents of a quarter size, and back."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import FramewrightError

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


class SmallVAE(nn.Module):
    """Pixels [F, 3, H, W] in −1..1 to latents [F, 4, H/4, W/4] of mean 0 and deviation 1 a channel."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.PixelUnshuffle(2), nn.Conv2d(12, width, 3, padding=1), _Res(width),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1), _Res(2 * width), _Res(2 * width),
            nn.SiLU(), nn.Conv2d(2 * width, 2 * CHANNELS, 1),
        )  # fmt: skip
        wide = 3 * width
        self.decoder = nn.Sequential(
            nn.Conv2d(CHANNELS, wide, 3, padding=1), _Res(wide), _Res(wide), _Res(wide), _Res(wide),
            nn.Conv2d(wide, 2 * wide, 3, padding=1), nn.PixelShuffle(2), _Res(wide // 2), _Res(wide // 2),
            nn.SiLU(), nn.Conv2d(wide // 2, 12, 3, padding=1), nn.PixelShuffle(2),
        )  # fmt: skip
        self.register_buffer("mean", torch.zeros(1, CHANNELS, 1, 1))
        self.register_buffer("std", torch.ones(1, CHANNELS, 1, 1))

    def moments(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the posterior, in the latents' own scale."""
        mean, logvar = self.encoder(pixels).chunk(2, dim=1)
        return mean, logvar.clamp(-20, 10)

    def encode(self, pixels: Tensor) -> Tensor:
        return (self.moments(pixels)[0] - self.mean) / self.std

    def decode(self, latents: Tensor) -> Tensor:
        return self.decoder(latents * self.std + self.mean)


class FrameVAE:
    """A VAE socket's value: pictures [F, H, W, 3] in 0..1 to latents and back, as many frames at once as fit.

    `prepare(bytes a frame needs)` gives the device the network is on and the frames to take at once.
    """

    latent_channels = CHANNELS

    def __init__(self, net: SmallVAE, prepare: Callable[[int], tuple[torch.device, int]]) -> None:
        self._net, self._prepare = net, prepare

    def spacial_compression_encode(self) -> int:
        return DOWNSCALE

    def spacial_compression_decode(self) -> int:
        return DOWNSCALE

    def encode(self, pixels: Tensor) -> Tensor:
        height, width = pixels.shape[1:3]
        if height % DOWNSCALE or width % DOWNSCALE:
            raise FramewrightError(
                f"pixels: frames of {width}×{height} came, the demo VAE takes multiples of {DOWNSCALE}; "
                "add Upscale Image before it"
            )
        return self._chunks(self._net.encode, pixels[..., :3].movedim(-1, 1) * 2 - 1, height * width)

    def decode(self, latents: Tensor) -> Tensor:
        if latents.ndim != 4 or latents.shape[1] != CHANNELS:
            raise FramewrightError(
                f"samples: latents of shape {list(latents.shape)} came, "
                f"the demo VAE takes [frames, {CHANNELS}, h, w]"
            )
        area = latents.shape[-2] * latents.shape[-1] * DOWNSCALE**2
        pixels = self._chunks(self._net.decode, latents, area)
        return ((pixels + 1) / 2).clamp(0, 1).movedim(1, -1)

    def _chunks(self, run: Callable[[Tensor], Tensor], frames: Tensor, area: int) -> Tensor:
        device, count = self._prepare(area * BYTES_A_PIXEL)
        with torch.no_grad():
            return torch.cat([run(part.to(device, torch.float32)).cpu() for part in frames.split(count)])
