"""Flow between frames as nodes make and use it, with the host's progress."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from ..controls.flow import Step, colour_wheel, optical_flow, steady, warped
from ..controls.flow_completion import FlowCompletion
from ..controls.flow_use import carried_latents, carried_noise, followed
from ..controls.stroke_flow import Completion, by_edges, stroke_flow
from ..controls.strokes import Drawing
from ..demo import files
from ..errors import FramewrightError
from ..sampling.latents import frames_in
from ..sampling.noise import drawn
from .host import host
from .pictures import frames_of

COMPLETIONS = ("edges", "demo network")
Part = TypeVar("Part")


def counted(parts: Iterable[Part], total: int) -> Iterator[Part]:
    """The same parts of some work, each shown as done when the next one is asked for."""
    told = host().bar(total)
    for number, part in enumerate(parts, 1):
        yield part
        told(number)


def flow_of(image: Tensor, preset: str) -> list[Step]:
    """A FLOW, the steps between the frames of IMAGE [F, H, W, 3]; raises where there is one frame alone."""
    if len(image) < 2:
        raise FramewrightError("image: 1 frame came, expected 2 or more, between which things move")
    frames = (frames_of(frame[None])[0] for frame in image)
    return list(counted(optical_flow(frames, preset), len(image) - 1))


def completion_of(name: str) -> Completion:
    """How motion spreads from strokes, of COMPLETIONS."""
    if name == "edges":
        return by_edges
    return files.load("completion", FlowCompletion(files.COMPLETION)).spread


def flow_of_strokes(drawing: Drawing, image: Tensor, frames: int, completion: str) -> list[Step]:
    steps = stroke_flow(drawing, frames_of(image[:1])[0], frames, completion_of(completion))
    return list(counted(steps, frames - 1))


def wheels(flow: Sequence[Step]) -> Tensor:
    """IMAGE [F − 1, H, W, 3] of the ways there, the paler the shorter beside the longest of all."""
    longest = max(float(np.hypot(*np.moveaxis(one.there, -1, 0)).max()) for one in flow)
    return torch.from_numpy(np.stack([colour_wheel(one.there, longest) for one in flow]))


def gone(flow: Sequence[Step]) -> Tensor:
    """MASK [F − 1, H, W] of what each frame shows and the next one does not."""
    return torch.from_numpy(np.stack([one.gone for one in flow])).float()


def carried(image: Tensor, flow: Sequence[Step]) -> tuple[Tensor, Tensor]:
    """The first frame of an IMAGE carried along, [F, H, W, 3], and a MASK of where nothing of it is."""
    height, width = image.shape[1:3]
    steps = (one.resized(width, height) for one in flow)
    pairs = list(counted(warped(frames_of(image[:1])[0], steps), len(flow) + 1))
    pictures, empty = (np.stack(side) for side in zip(*pairs, strict=True))
    return torch.from_numpy(pictures.astype(np.float32)), torch.from_numpy(empty).float()


def carried_latent(samples: dict[str, Any], flow: Sequence[Step]) -> tuple[dict[str, Any], Tensor]:
    """The first frame of a LATENT carried along, and a MASK of where nothing of it is."""
    latents = frames_in(samples, "samples")
    frames, empty = carried_latents(latents[:1].float().cpu(), flow)
    return {"samples": frames.to(latents.dtype)}, empty


def steadied(image: Tensor, strength: float, preset: str) -> Tensor:
    frames = (frames_of(frame[None])[0] for frame in image)
    return torch.from_numpy(np.stack(list(counted(steady(frames, strength, preset), len(image)))))


def strokes_of(flow: Sequence[Step], spacing: int, least: float) -> Drawing:
    return followed(flow, spacing, least)


@dataclass(frozen=True, eq=False)
class FlowNoise:
    """What a NOISE socket carries: noise that moves as a FLOW does."""

    seed: int
    flow: Sequence[Step]

    def generate_noise(self, latent: dict[str, Any]) -> Tensor:
        """Noise like the LATENT's samples [F, C, h, w]; raises where the flow has too few steps."""
        wanted = frames_in(latent, "latent")
        fresh = drawn(wanted.shape, torch.Generator().manual_seed(self.seed), latent.get("batch_index"))
        return carried_noise(fresh, self.flow).to(wanted)
