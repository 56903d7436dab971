"""FreeInit (Wu et al. 2023): a video once more, from noise whose slow parts are those that it came to.

The first pass's result is noised again as far as the schedule goes. Of that, low frequencies in space and
time are kept; high ones are fresh noise. Latents are [F, C, h, w].
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import FramewrightError


@dataclass(frozen=True)
class LowPass:
    """A filter over frames, height and width; `space` and `time` are parts of the highest frequency."""

    kind: str = "butterworth"
    order: int = 4
    space: float = 0.25
    time: float = 0.25

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise FramewrightError(f"filter: {self.kind!r} came, expected one of {', '.join(KINDS)}")
        if self.order < 1:
            raise FramewrightError(f"order: {self.order} came, expected at least 1")
        for socket, value in (("space", self.space), ("time", self.time)):
            if not 0 <= value <= 1:
                raise FramewrightError(f"{socket}: {value:g} came, expected 0 to 1")

    def response(self, frames: int, height: int, width: int) -> Tensor:
        """How much of each frequency passes, [F, 1, h, w], the lowest one in the middle."""
        if self.space == 0 or self.time == 0:
            return torch.zeros(frames, 1, height, width)
        t, y, x = (2 * (torch.arange(n) - n // 2) / n for n in (frames, height, width))
        if self.kind == "box":
            inside = (_near(frames, self.time)[:, None, None] & _near(height, self.space)[:, None]
                      & _near(width, self.space))  # fmt: skip
            return inside.float()[:, None]
        distance = ((self.space / self.time) * t[:, None, None]) ** 2 + y[:, None] ** 2 + x**2
        return KINDS[self.kind](self, distance)[:, None]


def _near(count: int, part: float) -> Tensor:
    """Which of `count` frequencies are within a part of the middle one."""
    middle, reach = count // 2, round(count // 2 * part)
    place = torch.arange(count)
    return (place >= middle - reach) & (place < middle + max(reach, 1))


KINDS: dict[str, Callable[[LowPass, Tensor], Tensor]] = {
    "butterworth": lambda low, d: 1 / (1 + (d / low.space**2) ** low.order),
    "gaussian": lambda low, d: torch.exp(-d / (2 * low.space**2)),
    "box": lambda low, d: d,  # by each axis alone, see `response`
    "ideal": lambda low, d: (d <= low.space * 2).float(),
}


def renoised(latents: Tensor, noise: Tensor, sigma: float) -> Tensor:
    """Latents under noise at the level sigma, as a variance-preserving model sees them."""
    return (latents + sigma * noise) / (1 + sigma**2) ** 0.5


def free_init(slow: Tensor, fresh: Tensor, low: LowPass) -> Tensor:
    """Low frequencies of `slow` and high ones of `fresh`, both [F, C, h, w]."""
    response = low.response(slow.shape[0], *slow.shape[-2:]).to(slow)
    dims = (0, 2, 3)
    kept, new = (torch.fft.fftshift(torch.fft.fftn(x, dim=dims), dim=dims) for x in (slow, fresh))
    together = kept * response + new * (1 - response)
    return torch.fft.ifftn(torch.fft.ifftshift(together, dim=dims), dim=dims).real
