"""How the demo's sparse ControlNet is trained: whole clips of which some frames are shown."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..temporal.control_net import encoder_weights
from ..temporal.motion import MotionModel
from ..temporal.motion_settings import AppliedMotion, MotionSettings
from ..temporal.slots import FRAMES as CALL_FRAMES
from ..temporal.slots import LAYERS
from ..temporal.sparse_control import SparseControlNet, rows_shown
from .clips import Clips, captions_of, noise_alone
from .data import draw_subject
from .files import SPARSE
from .fit import Draw, Run, fit
from .recipes_control import led
from .recipes_motion import Frozen, start_at_rest
from .world import FRAMES, Scene

CLIPS_A_STEP = 3
MOST_SHOWN = 3  # frames of a clip
FIRST_ALONE = 0.5  # of the clips


@dataclass(frozen=True)
class Shown:
    clips: Clips
    at: list[list[int]]  # of each clip, the frames that are shown


def _shown(draw: Draw) -> list[int]:
    if draw.numbers.uniform() < FIRST_ALONE:
        return [0]
    count = draw.numbers.integers(1, MOST_SHOWN + 1)
    return sorted(draw.numbers.choice(FRAMES, count, replace=False).tolist())


def _scene(at: list[int], draw: Draw) -> Scene:
    """One picture leaves the motion to the words; several may show that a shape goes another way."""
    scene = Scene.sample(draw_subject(draw), draw.numbers)
    return scene if len(at) == 1 else led(scene, draw)


def train_sparse(run: Run, frozen: Frozen, motion: MotionModel) -> tuple[SparseControlNet, dict]:
    """A sparse ControlNet that begins as the image model's encoder, beside the motion module."""
    torch.manual_seed(run.seed)
    model = SparseControlNet(SPARSE)
    begins = encoder_weights(frozen.unet.state_dict(), list(model.state_dict()))
    model.load_state_dict(begins, strict=False)
    start_at_rest(model.motion)
    model.to(run.device)
    motion.requires_grad_(False)
    told: dict[str, Any] = {CALL_FRAMES: FRAMES}
    options = {**told, LAYERS: (AppliedMotion(motion, MotionSettings()),)}

    def drawn(draw: Draw) -> Shown:
        at = [_shown(draw) for _ in range(CLIPS_A_STEP * run.scale)]
        scenes = [_scene(one, draw) for one in at]
        return Shown(
            Clips.of(scenes, captions_of(scenes, draw), np.arange(FRAMES), draw, noise_alone(draw)), at
        )

    def loss(given: Shown) -> Tensor:
        clips = given.clips.frames.unflatten(0, (-1, FRAMES))

        def added(noised: Tensor, at: Tensor, context: Tensor) -> dict[str, list[Tensor]]:
            features = []
            for clip, shown in zip(clips, given.at, strict=True):
                latents = frozen.vae.encode(clip[shown].to(run.device))
                features.append(model.embed(latents)[rows_shown(shown, FRAMES, told)])
            return model(torch.cat(features), at, context, told)

        return frozen.errors(given.clips, lambda _: options, added).pow(2).mean()

    return model, fit(run, model, drawn, loss, 1e-3)
