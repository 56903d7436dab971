"""Clips that a step of video training learns from, and what the noise shows of them."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from . import render
from .data import LATENT, draw_caption, pixels
from .fit import Draw
from .world import Scene


@dataclass(frozen=True)
class Noise:
    """Which timesteps clips get, and what the noise shows that is not the clip.

    `least`: the least timestep; `trace`: what is shown in a part of the clips (0..1) of timestep `since` or
    noisier.
    """

    least: int
    part: float
    since: int
    trace: Callable[[Scene, np.ndarray, Draw], list[np.ndarray]]


def _another_pace(scene: Scene, places: np.ndarray, draw: Draw) -> list[np.ndarray]:
    """A motion of another pace or way.

    In noise that heavy a model would rather guess the way things move than read it. These traces tell where
    a thing is halfway, and lie about how it got there.
    """
    half, pace = float(places[0] + places[-1]) / 2, draw.numbers.uniform(-1, 0.3)
    return render.pictures(scene, half + pace * (places - half))


def _torn(scene: Scene, places: np.ndarray, draw: Draw) -> list[np.ndarray]:
    """From a random frame on another take of the subject, with its ground, size and pace.

    So a video looks whose windows do not agree on what they show. The first frame's take is the one to go by,
    which every window but the first can tell from those that it shares frames with. Windows part in the first
    steps of sampling, but there is noise enough to mend that until later.
    """
    other = Scene.sample(scene.subject, draw.numbers).staged(draw.numbers, 1.0)
    cut = int(draw.numbers.integers(1, len(places)))
    return [*render.pictures(scene, places[:cut]), *render.pictures(other, places[cut:])]


PACED, TORN = Noise(0, 0.7, 800, _another_pace), Noise(400, 0.7, 500, _torn)


@dataclass(frozen=True)
class Clips:
    """B clips of F frames, drawn on the CPU."""

    frames: Tensor  # [B·F, 3, H, W]
    captions: list[str]  # B
    places: Tensor  # [F], each frame's number in its clip
    at: Tensor  # [B], timesteps
    noise: Tensor  # [B·F, 4, h, w]
    alone: Tensor  # [B], whether the noise shows nothing
    misled: Tensor  # [B], whether it shows the traces, M in number
    traces: Tensor  # [M·F, 3, H, W]

    @property
    def count(self) -> int:
        """F."""
        return len(self.places)

    @classmethod
    def of(
        cls, scenes: list[Scene], captions: list[str], places: np.ndarray, draw: Draw, alone_in: float,
        shown: Noise = PACED,
    ) -> "Clips":  # fmt: skip
        """The scenes at these places, with timesteps and noise.

        Mostly high noise, where it is decided what moves where. Sampling begins with noise alone, but the
        last timestep still shows a trace of the clip; so a part of the clips, `alone_in` (0..1), is noise
        alone, and others are misled.
        """
        clips = len(scenes)
        chance = torch.rand(clips, generator=draw.noise) ** 1.5
        alone = torch.rand(clips, generator=draw.noise) < alone_in
        at = (999 - (999 - shown.least) * chance.masked_fill(alone, 0)).long()
        chosen = torch.rand(clips, generator=draw.noise) < shown.part
        misled = chosen & (at >= shown.since) & ~alone
        lied_of = [scene for scene, lied in zip(scenes, misled, strict=True) if lied]
        traces = [picture for scene in lied_of for picture in shown.trace(scene, places, draw)]
        return cls(
            pixels([picture for scene in scenes for picture in render.pictures(scene, places)]),
            captions, torch.from_numpy(places), at, draw.randn(clips * len(places), *LATENT), alone, misled,
            pixels(traces) if traces else torch.empty(0, 3, 0, 0),
        )  # fmt: skip


def noise_alone(draw: Draw) -> float:
    """The part of clips that is noise alone over the course of a run that begins with a motion module."""
    return 0.35 * (1 - 0.5 * draw.progress)


def captions_of(scenes: list[Scene], draw: Draw) -> list[str]:
    return [draw_caption(scene.subject, draw) for scene in scenes]
