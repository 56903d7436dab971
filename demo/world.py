"""The shapes world: what a clip can show, its caption, and the scene behind it.

A scene is one coloured shape over a grey ground, on a canvas whose opposite edges join: what leaves at the
right comes back at the left, so that a motion can go on for as many frames as anybody asks for.
"""

import zlib
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import numpy as np

from ..errors import FramewrightError

SIZE = 64  # pixels, width and height
FRAMES = 16
FPS = 8
SPIN = np.radians(9)  # of a spinning shape, a frame

COLOURS = {
    "red": (0.90, 0.12, 0.12),
    "yellow": (0.93, 0.86, 0.10),
    "green": (0.12, 0.75, 0.15),
    "cyan": (0.10, 0.85, 0.88),
    "blue": (0.15, 0.22, 0.92),
    "magenta": (0.90, 0.12, 0.85),
}
SHAPES = ("circle", "square", "triangle", "star", "stick figure")
GROUNDS = ("plain", "checkered", "striped")
DIRECTIONS = {
    "right": (1, 0), "left": (-1, 0), "up": (0, -1), "down": (0, 1),
    "up right": (1, -1), "up left": (-1, -1), "down right": (1, 1), "down left": (-1, 1),
}  # fmt: skip
MOTIONS = (*DIRECTIONS, "still", "bouncing", "spinning", "growing")

WORDS = ("a", "on", "ground", "moving", "walking", "standing", "still", "bouncing", "spinning", "growing",
         "up", "down", "left", "right", "stick", "figure", *SHAPES[:4], *COLOURS, *GROUNDS)  # fmt: skip


Kind = TypeVar("Kind", bound="Scene")


@dataclass(frozen=True)
class Subject:
    """What a caption says."""

    colour: str
    shape: str
    motion: str
    ground: str

    def caption(self, with_ground: bool = True) -> str:
        if self.motion in DIRECTIONS:
            verb = "walking" if self.shape == "stick figure" else "moving"
            action = f"{verb} {self.motion}"
        else:
            action = "standing still" if self.motion == "still" else self.motion
        ground = f" on a {self.ground} ground" if with_ground else ""
        return f"a {self.colour} {self.shape} {action}{ground}"

    @property
    def held_out(self) -> bool:
        """A fixed sixth of all subjects is never trained on."""
        return zlib.crc32(self.caption().encode()) % 6 == 0


def subjects() -> list[Subject]:
    """Every subject of the world; a circle does not spin, because nobody could see it."""
    return [
        Subject(colour, shape, motion, ground)
        for colour in COLOURS for shape in SHAPES for motion in MOTIONS for ground in GROUNDS
        if not (shape == "circle" and motion == "spinning")
    ]  # fmt: skip


def tokens(text: str, length: int = 12) -> list[int]:
    """Word numbers of a caption, padded with 0 to `length`; raises on a word the world does not have."""
    words = text.lower().replace(",", " ").replace(".", " ").split()
    unknown = sorted({word for word in words if word not in WORDS})
    if unknown:
        raise FramewrightError(
            f"prompt: unknown word {', '.join(map(repr, unknown))}; the demo model knows: {', '.join(WORDS)}"
        )
    if len(words) > length:
        raise FramewrightError(f"prompt: {len(words)} words came, the demo model reads at most {length}")
    return [WORDS.index(word) + 1 for word in words] + [0] * (length - len(words))


@dataclass(frozen=True)
class Pose:
    """Where the shape is in one frame.

    Centre in pixels (may lie outside the canvas: it wraps), angle in radians, radius in pixels.
    """

    x: float
    y: float
    angle: float
    radius: float
    gait: float


@dataclass(frozen=True)
class Scene:
    """A subject with everything that a caption leaves open."""

    subject: Subject
    x: float
    y: float
    angle: float
    radius: float
    phase: float  # 0..1, of bouncing and walking
    speed: float  # pixels a frame
    tone: float  # grey of the ground, 0..1
    ground_phase: tuple[float, float]  # pixels

    @classmethod
    def sample(cls, subject: Subject, rng: np.random.Generator) -> "Scene":
        spins = subject.motion == "spinning"
        return cls(
            subject,
            x=rng.uniform(0, SIZE),
            y=rng.uniform(0, SIZE),
            angle=rng.uniform(0, 2 * np.pi) if spins else 0.0,
            radius=rng.uniform(9.0, 12.0),
            phase=rng.uniform(),
            speed=rng.uniform(1.6, 2.4),
            tone=rng.uniform(0.4, 0.7),
            ground_phase=(rng.uniform(0, 16), rng.uniform(0, 16)),
        )

    def staged(self, rng: np.random.Generator, spread: float) -> "Scene":
        """The scene where a spectator would film it: its motion on a path through the middle of the canvas.

        `spread` (0..1) tells how far along its course it may be halfway through the clip: 0, just halfway,
        1, anywhere on the round that brings it back to where it was.
        """
        motion, course = self.subject.motion, spread * rng.uniform(-0.5, 0.5)
        x, y = SIZE / 2 + rng.uniform(-6, 6, 2)
        if motion in DIRECTIONS:
            along = np.array(DIRECTIONS[motion]) / np.linalg.norm(DIRECTIONS[motion])
            around = SIZE / np.abs(along).max()
            x, y = (x, y) + along * (course * around - self.speed * (FRAMES - 1) / 2)
            return replace(self, x=float(x), y=float(y))
        if motion == "bouncing":
            return replace(self, x=x, y=y + 8, phase=course)
        if motion == "spinning":
            return replace(self, x=x, y=y, angle=course * 2 * np.pi - SPIN * (FRAMES - 1) / 2)
        return self

    def made(self, kind: type[Kind], **more: Any) -> Kind:
        """The scene as one of a kind of which more is known."""
        return kind(**{field.name: getattr(self, field.name) for field in fields(Scene)}, **more)

    def pose(self, frame: float) -> Pose:
        motion, x, y, angle, radius, gait = self.subject.motion, self.x, self.y, self.angle, self.radius, 0.0
        if motion in DIRECTIONS:
            step = np.array(DIRECTIONS[motion]) / np.linalg.norm(DIRECTIONS[motion]) * self.speed * frame
            x, y, gait = x + step[0], y + step[1], self.phase + frame / 8
        elif motion == "bouncing":
            y -= 15 * abs(np.sin(np.pi * (frame / FRAMES + self.phase)))
        elif motion == "spinning":
            angle += SPIN * frame
        elif motion == "growing":
            radius *= 0.65 + 0.7 * min(frame, FRAMES - 1) / (FRAMES - 1)
        return Pose(float(x), float(y), float(angle), float(radius), float(gait))
