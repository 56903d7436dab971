"""How the demo's flow completion is trained: pictures of things that move, and the motion of a few pixels."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ..controls.flow_completion import FlowCompletion, dotted, longest
from . import render
from .data import TRAINED_ON, pixels
from .files import COMPLETION
from .fit import Draw, Run, fit
from .world import SIZE, Pose, Scene, Subject

PICTURES_A_STEP = 16
MARGIN = 15  # pixels from a thing's middle to the rim, so that nothing comes back at the other side
FAR = 12.0  # pixels that a thing moves at most
RESTS, TURNS, GROUND_MOVES = 0.3, 0.4, 0.1  # of the things; of the pictures
FEW, MANY = 3, 5  # places at most that tell of what moves as one; of what also turns, grows or walks


@dataclass(frozen=True)
class Jump(Scene):
    """A scene of two frames, with a pose for each."""

    poses: tuple[Pose, Pose]

    def pose(self, frame: float) -> Pose:
        return self.poses[int(frame > 0)]


@dataclass(frozen=True)
class SparseFlow:
    """What is known of the motion in B pictures, and what is to be found."""

    pictures: Tensor  # [B, 3, H, W], −1..1
    motion: Tensor  # [B, 2, H, W], where it is known, beside the longest
    known: Tensor  # [B, 1, H, W]
    flow: Tensor  # [B, 2, H, W], beside the longest that is known


def moving(scene: Scene, turns: bool, draw: Draw) -> Jump:
    """The scene's shape somewhere on the canvas, and where it goes: any way, or turning and growing too."""
    rng = draw.numbers
    x, y = rng.uniform(MARGIN, SIZE - MARGIN, 2)
    way, far = rng.uniform(0, 2 * np.pi), rng.uniform(1, FAR)
    now = replace(scene.pose(0), x=float(x), y=float(y), radius=float(rng.uniform(7, 12)))
    then = replace(now, x=x + far * np.cos(way), y=y + far * np.sin(way))
    if turns:
        then = replace(
            then, angle=now.angle + rng.uniform(-0.4, 0.4), radius=now.radius * rng.uniform(0.8, 1.25),
            gait=now.gait and now.gait + rng.uniform(-0.2, 0.2),
        )  # fmt: skip
    return scene.made(Jump, poses=(now, then))


@dataclass
class Example:
    """A picture [H, W, 3], its flow [H, W, 2], and K places [K, 2] x, y whose motion is told."""

    picture: np.ndarray
    flow: np.ndarray
    places: np.ndarray

    @property
    def moves(self) -> np.ndarray:
        return self.flow[self.places[:, 1], self.places[:, 0]]

    @classmethod
    def of(cls, scenes: list[Scene], draw: Draw) -> "Example":
        """Things before one another, each of which rests or is told of, over a ground that mostly rests."""
        rng = draw.numbers
        picture = render.ground(scenes[0])[..., None]
        flow, owner = np.zeros((SIZE, SIZE, 2), np.float32), np.zeros((SIZE, SIZE), int)
        told = [int(rng.integers(0, FEW + 1))]
        if rng.uniform() < GROUND_MOVES:
            flow[:] = rng.uniform(-FAR, FAR, 2)
            told = [int(rng.integers(1, FEW + 1))]
        for number, scene in enumerate(scenes, 1):
            turns, rests = rng.uniform() < TURNS, len(scenes) > 1 and rng.uniform() < RESTS
            jump = moving(scene, turns, draw)
            cover = render.mask(jump, 0)
            picture = render.over(picture, cover, scene.subject.colour)
            own = np.zeros_like(flow) if rests else render.flow(jump, 0, cover)
            flow, owner = np.where(cover[..., None] > 0.5, own, flow), np.where(cover > 0.5, number, owner)
            least = 0 if rests else 3 if turns else 1
            told.append(int(rng.integers(least, (MANY if turns else FEW) + 1)))
        places = [_among(owner == number, count, rng) for number, count in enumerate(told)]
        return cls(picture.astype(np.float32), flow, np.concatenate(places))


def _among(where: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Some places [K, 2] x, y of those marked."""
    rows, columns = np.nonzero(where)
    picked = rng.choice(len(rows), min(count, len(rows)), replace=False)
    return np.stack([columns[picked], rows[picked]], -1)


def example(draw: Draw, of: Sequence[Subject] = TRAINED_ON) -> Example:
    """One that something moves in, which is told of."""
    while True:
        first, second = (Scene.sample(of[draw.numbers.integers(len(of))], draw.numbers) for _ in range(2))
        alone = draw.numbers.uniform() < 0.4 or first.subject.colour == second.subject.colour
        one = Example.of([first] if alone else [first, second], draw)
        if longest(one.moves) > 0.5:
            return one


def sparse_flow(examples: list[Example]) -> SparseFlow:
    pairs = [(one, longest(one.moves)) for one in examples]
    dots = [dotted(one.places, one.moves / far, SIZE, SIZE) for one, far in pairs]
    flows = [one.flow / far for one, far in pairs]
    return SparseFlow(
        pixels([one.picture for one in examples]), torch.stack([motion for motion, _ in dots]),
        torch.stack([known for _, known in dots]),
        torch.from_numpy(np.stack(flows)).permute(0, 3, 1, 2).float().contiguous(),
    )  # fmt: skip


def train_completion(run: Run) -> tuple[FlowCompletion, dict]:
    """What moves is a small part of most pictures, and counts in each as much as all that rests."""
    torch.manual_seed(run.seed)
    model = FlowCompletion(COMPLETION).to(run.device)

    def loss(given: SparseFlow) -> Tensor:
        pictures, motion, known, flow = (
            one.to(run.device) for one in (given.pictures, given.motion, given.known, given.flow)
        )
        wrong, moves = (one.abs().sum(1) for one in (model(pictures, motion, known) - flow, flow))
        return _mean(wrong, moves > 0) + _mean(wrong, moves == 0)

    def drawn(draw: Draw) -> SparseFlow:
        return sparse_flow([example(draw) for _ in range(PICTURES_A_STEP * run.scale)])

    return model, fit(run, model, drawn, loss, 3e-3)


def _mean(values: Tensor, where: Tensor) -> Tensor:
    """Of values [B, H, W] where it is true, that of each picture's."""
    return ((values * where).sum((1, 2)) / where.sum((1, 2)).clamp(min=1)).mean()
