"""Clips that a step of video training learns from, and what the noise shows of them."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from . import render
from .data import LATENT, draw_caption, pixels
from .fit import Draw
from .world import FRAMES, Scene

MISLED, HIDDEN = 0.7, 0.5  # of the clips that one window holds, and of longer ones
HEAVY = 800  # at this timestep or a noisier one


@dataclass(frozen=True)
class Clips:
    """B clips of F frames, drawn on the CPU."""

    frames: Tensor  # [B·F, 3, H, W]
    captions: list[str]  # B
    places: Tensor  # [F], each frame's number in its clip
    at: Tensor  # [B], timesteps
    noise: Tensor  # [B·F, 4, h, w]
    alone: Tensor  # [B·F], whether the noise shows nothing
    misled: Tensor  # [B], whether it shows the traces, M in number
    traces: Tensor  # [M·F, 3, H, W]

    @property
    def count(self) -> int:
        """F."""
        return len(self.places)

    @classmethod
    def of(
        cls, scenes: list[Scene], captions: list[str], places: np.ndarray, draw: Draw, alone_in: float
    ) -> "Clips":
        """The scenes at these places, with timesteps and noise.

        Mostly high noise, where it is decided what moves where. Sampling begins with noise alone, but the
        last timestep still shows a trace of the clip; so a part of the clips, `alone_in` (0..1), is noise
        alone, and others are misled. Of long clips a stretch is hidden: what moves there, and where, must be
        had from the words and from the windows around.
        """
        clips, long = len(scenes), len(places) > FRAMES
        chance = torch.rand(clips, generator=draw.noise) ** 1.5
        alone = torch.rand(clips, generator=draw.noise) < alone_in
        at = (999 * (1 - chance.masked_fill(alone, 0))).long()
        heavy = (at >= HEAVY) & ~alone
        untrue = heavy & (torch.rand(clips, generator=draw.noise) < (HIDDEN if long else MISLED))
        misled, holed = untrue & (not long), untrue & long
        hidden = holed[:, None] & _stretches(clips, len(places), draw)
        lied_of = [scene for scene, lied in zip(scenes, misled, strict=True) if lied]
        traces = [picture for scene in lied_of for picture in _trace(scene, places, draw)]
        return cls(
            pixels([picture for scene in scenes for picture in render.pictures(scene, places)]),
            captions, torch.from_numpy(places), at, draw.randn(clips * len(places), *LATENT),
            (alone[:, None] | hidden).flatten(), misled,
            pixels(traces) if traces else torch.empty(0, 3, 0, 0),
        )  # fmt: skip


def _stretches(clips: int, frames: int, draw: Draw) -> Tensor:
    """A mask [B, F] of frames in a row, between two places drawn in each clip."""
    ends = torch.rand(clips, 2, generator=draw.noise).sort().values * frames
    numbers = torch.arange(frames)
    return (numbers >= ends[:, :1]) & (numbers < ends[:, 1:])


def noise_alone(draw: Draw) -> float:
    """The part of clips that is noise alone over the course of a run that begins with a motion module."""
    return 0.35 * (1 - 0.5 * draw.progress)


def captions_of(scenes: list[Scene], draw: Draw) -> list[str]:
    return [draw_caption(scene.subject, draw) for scene in scenes]


def _trace(scene: Scene, places: np.ndarray, draw: Draw) -> list[np.ndarray]:
    """What noise shows of a clip where it misleads: a motion of another pace or way.

    In noise that heavy a model would rather guess the way things move than read it. These traces tell where
    a thing is halfway, and lie about how it got there.
    """
    half, pace = float(places[0] + places[-1]) / 2, draw.numbers.uniform(-1, 0.3)
    return render.pictures(scene, half + pace * (places - half))
