"""How the demo's frame-conditioned motion module is trained: clips of which some frames are given."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..temporal.families import KNOWN_CONV
from ..temporal.known_frames import KNOWN as GIVEN
from ..temporal.known_frames import Known, KnownFrames
from ..temporal.motion import MotionModel
from ..temporal.motion_settings import AppliedMotion, MotionSettings
from ..temporal.slots import FRAMES as CALL_FRAMES
from ..temporal.slots import LAYERS, POSITIONS
from .clips import Clips, captions_of, noise_alone
from .data import draw_subject
from .files import KNOWN, UNET
from .fit import Draw, Run, fit
from .recipes_motion import FRAMES_A_STEP, Frozen
from .vae import CHANNELS
from .world import Scene

FRAMES = 17  # of a clip at once
REAL_TIME = 0.35  # of the steps show frames in a row
FURTHEST = (KNOWN.positions - 1) // (FRAMES - 1)  # frames apart that they are in the others
FROM_THE_START = 0.5  # of the steps; the others show a clip that is under way
SHAKEN = 0.2  # most noise on given latents, which have deviation 1


class FrameConditioned(nn.Module):
    """A motion module and a convolution for known frames, which begins at zero."""

    def __init__(self) -> None:
        super().__init__()
        self.motion = MotionModel(KNOWN)
        self.weight = nn.Parameter(torch.zeros(UNET.model_channels, 1 + CHANNELS, 3, 3))

    def tensors(self) -> dict[str, Tensor]:
        return {**self.motion.state_dict(), KNOWN_CONV: self.weight}


@dataclass(frozen=True)
class KnownClips:
    clips: Clips
    known: Tensor  # [B·F], 1 where a frame is given
    shake: Tensor  # [B·F, 4, h, w], what is wrong with the given latents


def _known(clips: int, under_way: bool, draw: Draw) -> np.ndarray:
    """Which frames of each clip are given, [B, F]: none, the first few, the two ends, or any."""
    kinds = draw.numbers.choice(("none", "first", "ends", "any"), clips, p=(0.25, 0.35, 0.3, 0.1))
    known = np.zeros((clips, FRAMES), np.float32)
    for row, kind in zip(known, kinds, strict=True):
        if kind == "ends":
            row[[0, -1]] = 1
        elif kind == "any":
            row[:] = draw.numbers.uniform(size=FRAMES) < draw.numbers.uniform()
        elif kind == "first" or under_way:
            row[: draw.numbers.integers(1, 9)] = 1
    return known


def _widening(draw: Draw) -> float:
    """The spread of `Scene.staged` over the course of a run: closely staged at first, then anywhere."""
    return float(np.clip((draw.progress - 0.25) / 0.25, 0.1, 1.0))


def _drawn(run: Run):  # noqa: ANN202 - what `fit` takes
    def drawn(draw: Draw) -> KnownClips:
        apart = 1 if draw.numbers.uniform() < REAL_TIME else round(FURTHEST ** draw.numbers.uniform())
        first = 0 if draw.numbers.uniform() < FROM_THE_START else int(draw.numbers.integers(1, 240))
        count = max(1, run.scale * FRAMES_A_STEP // FRAMES)
        scenes = [Scene.sample(draw_subject(draw), draw.numbers) for _ in range(count)]
        captions = captions_of(scenes, draw)
        places = first + apart * np.arange(FRAMES)
        scenes = [scene.staged(draw.numbers, _widening(draw)) for scene in scenes]
        clips = Clips.of(scenes, captions, places, draw, noise_alone(draw))
        known = torch.from_numpy(_known(count, first > 0, draw)).flatten()
        amounts = SHAKEN * torch.rand(count, generator=draw.noise).repeat_interleave(FRAMES)
        return KnownClips(clips, known, amounts.view(-1, 1, 1, 1) * draw.randn(*clips.noise.shape))

    return drawn


def train_known(run: Run, frozen: Frozen, motion: MotionModel) -> tuple[FrameConditioned, dict]:
    """From a motion module's weights: prediction, interpolation and no frame given, at any pace.

    A frame's place in the clip is its row in the position table, so that frames may be far apart.
    """
    torch.manual_seed(run.seed)
    model, device = FrameConditioned(), frozen.device
    tables = {key: value for key, value in model.motion.state_dict().items() if key.endswith(".pe")}
    model.motion.load_state_dict({**motion.state_dict(), **tables})
    model.to(device)
    layers = AppliedMotion(model.motion, MotionSettings())
    patches = {"input_block_patch": [KnownFrames(model.weight)]}

    def loss(given: KnownClips) -> Tensor:
        clips, known, shake = given.clips, given.known.to(device), given.shake.to(device)
        places = clips.places.to(device)

        def options(latents: Tensor) -> dict[str, Any]:
            return {LAYERS: (layers,), CALL_FRAMES: FRAMES, POSITIONS: places - places[0],
                    GIVEN: Known(latents + shake, known), "patches": patches}  # fmt: skip

        return frozen.errors(clips, options).pow(2).mean()

    return model, fit(run, model, _drawn(run), loss, 6e-4)
