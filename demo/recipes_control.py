"""How the demo's ControlNets are trained: single frames with their exact controls, beside the image model."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..temporal.control_net import ControlNet, encoder_weights
from . import hints, render
from .data import LATENT, TRAINED_ON, diffuse, draw_caption, draw_subject, pixels
from .files import CONTROL
from .fit import Draw, Run, fit
from .recipes_motion import Frozen
from .world import FRAMES, SIZE, Scene

FRAMES_A_STEP = 32
NOISE_ALONE, MISLED = 0.15, 0.35  # of the frames: the noise shows nothing, or another frame
MISLED_FROM = 500  # this timestep or a noisier one
FIGURES_ON_STROKES = 0.5
FIGURES = [subject for subject in TRAINED_ON if subject.shape == "stick figure"]


@dataclass(frozen=True)
class Controlled:
    frames: Tensor  # [B, 3, H, W]
    hints: Tensor  # [B, 3, H, W], 0..1
    captions: list[str]
    at: Tensor  # [B], timesteps
    noise: Tensor  # [B, 4, h, w]
    alone: Tensor  # [B], whether the noise shows nothing
    misled: Tensor  # [B], whether it shows the frame before in the batch


def _scene(control: str, draw: Draw) -> Scene:
    """A stroke says least of what moves most: every other of its scenes is a figure."""
    figure = control == "pose" or (control == "stroke" and draw.numbers.uniform() < FIGURES_ON_STROKES)
    subject = FIGURES[draw.numbers.integers(len(FIGURES))] if figure else draw_subject(draw)
    return Scene.sample(subject, draw.numbers)


def _stroke(scene: Scene, frame: int, draw: Draw) -> np.ndarray:
    """Any bent way to where the shape's middle is, as an artist may draw it, [H, W, 3]."""
    end = hints.middle(scene, frame)
    reach = draw.numbers.uniform() * SIZE / 2
    start, bend = end + draw.numbers.uniform(-reach, reach, (2, 2))
    t = np.linspace(0, 1, FRAMES)[:, None]
    return hints.stroke_hints((1 - t) ** 2 * start + 2 * t * (1 - t) * bend + t**2 * end)[-1]


def _hints(control: str, scenes: list[Scene], places: list[int], pictures: list, draw: Draw) -> Tensor:
    if control == "canny":
        shown = list(hints.canny_hints(pictures))
    elif control == "stroke":
        shown = [_stroke(scene, at, draw) for scene, at in zip(scenes, places, strict=True)]
    else:
        show = hints.depth_hint if control == "depth" else hints.pose_hint
        shown = [show(scene, at) for scene, at in zip(scenes, places, strict=True)]
    return torch.from_numpy(np.stack(shown)).permute(0, 3, 1, 2).float().contiguous()


def train_control(run: Run, control: str, frozen: Frozen) -> tuple[ControlNet, dict]:
    """A ControlNet that begins as the image model's encoder.

    Much of what it learns from is noise that shows nothing, or another frame: what the hint says has to hold.
    """
    torch.manual_seed(run.seed)
    device, model = run.device, ControlNet(CONTROL)
    begins = encoder_weights(frozen.unet.state_dict(), list(model.state_dict()))
    model.load_state_dict(begins, strict=False)
    model.to(device)

    def drawn(draw: Draw) -> Controlled:
        count = FRAMES_A_STEP * run.scale
        scenes = [_scene(control, draw) for _ in range(count)]
        places = draw.numbers.integers(FRAMES, size=count).tolist()
        pictures = [render.frame(scene, at) for scene, at in zip(scenes, places, strict=True)]
        alone, misled = (torch.rand(count, generator=draw.noise) < part for part in (NOISE_ALONE, MISLED))
        at = (999 * (1 - torch.rand(count, generator=draw.noise) ** 1.5)).long().masked_fill(alone, 999)
        return Controlled(
            pixels(pictures), _hints(control, scenes, places, pictures, draw),
            [draw_caption(scene.subject, draw) for scene in scenes], at, draw.randn(count, *LATENT),
            alone, misled & (at >= MISLED_FROM),
        )  # fmt: skip

    def loss(given: Controlled) -> Tensor:
        at, alone, misled = (t.to(device) for t in (given.at, given.alone, given.misled))
        with torch.no_grad():
            latents = frozen.vae.encode(given.frames.to(device))
            shows = torch.where(misled.view(-1, 1, 1, 1), latents.roll(1, 0), latents)
            shows = shows.masked_fill(alone.view(-1, 1, 1, 1), 0)
            noised, target = diffuse(latents, at, given.noise.to(device), shows)
            context = frozen.words.encode(given.captions)
        residuals = model(noised, given.hints.to(device), at, context)
        return F.mse_loss(frozen.unet(noised, at, context, control=residuals), target)

    return model, fit(run, model, drawn, loss, 1e-3)
