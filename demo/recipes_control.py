"""How the demo's ControlNets and its pose guider are trained: single frames with their exact controls."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..temporal.condition_encoder import ConditionEncoder
from ..temporal.control_net import ControlNet, encoder_weights
from ..temporal.extent import EVERYWHERE
from ..temporal.motion import MotionModel
from ..temporal.motion_settings import AppliedMotion, MotionSettings
from ..temporal.parts import Parts
from ..temporal.pose_guider import PoseInput
from ..temporal.slots import FRAMES as CALL_FRAMES
from ..temporal.slots import LAYERS
from . import hints, render
from .clips import Clips, captions_of, noise_alone
from .data import LATENT, TRAINED_ON, diffuse, draw_caption, draw_subject, pixels
from .files import CONTROL, GUIDER, NEXT, UNET
from .fit import Draw, Run, fit
from .recipes import shaken
from .recipes_motion import Frozen
from .world import FRAMES, SIZE, Pose, Scene

FRAMES_A_STEP = 32
NOISE_ALONE, MISLED = 0.15, 0.35  # of the frames: the noise shows nothing, or another frame
MISLED_FROM = 500  # this timestep or a noisier one
FIGURES_ON_STROKES = 0.5
CLIPS_A_STEP = 3
UNSTEADY, UNSHARP, STAINED = 0.4, 0.8, 0.04  # at most, of a frame to go on from: share, pixels, deviation
LED = 0.5  # of the clips, along a stroke of their own, whatever their words say
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


@dataclass(frozen=True)
class Led(Scene):
    """A scene whose shape goes along a stroke, and does what else its motion is on the way."""

    way: np.ndarray  # [F, 2]

    @classmethod
    def along(cls, scene: Scene, way: np.ndarray) -> "Led":
        return scene.made(cls, way=way)

    def pose(self, frame: float) -> Pose:
        x, y = (float(np.interp(frame, np.arange(FRAMES), side)) for side in self.way.T)
        return replace(super().pose(frame), x=x, y=y)


def led(scene: Scene, draw: Draw) -> Scene:
    """The scene, or its shape led along a bent way as an artist may draw it."""
    if draw.numbers.uniform() < LED:
        return Led.along(scene, bent(np.array([scene.x, scene.y]), draw))
    return scene


def _scene(control: str, draw: Draw) -> Scene:
    """A stroke says least of what moves most: every other of its scenes is a figure."""
    figure = control == "pose" or (control == "stroke" and draw.numbers.uniform() < FIGURES_ON_STROKES)
    subject = FIGURES[draw.numbers.integers(len(FIGURES))] if figure else draw_subject(draw)
    scene = Scene.sample(subject, draw.numbers)
    return led(scene, draw) if control == NEXT else scene


def _stroke(scene: Scene, frame: int, draw: Draw) -> np.ndarray:
    """Any bent way to where the shape's middle is, as an artist may draw it, [H, W, 3]."""
    return hints.stroke_hints(bent(hints.middle(scene, frame), draw))[-1]


def _moved(scene: Scene, frame: int, draw: Draw) -> np.ndarray:
    """The frame before, as a model may have drawn it, moved on to this one, [H, W, 3]."""
    before = render.frame(shaken(scene, UNSTEADY * draw.numbers.uniform(), draw), frame - 1)
    blur, cells = UNSHARP * draw.numbers.uniform(), int(draw.numbers.choice((16, 64)))
    stains = draw.numbers.normal(0, STAINED * draw.numbers.uniform(), (cells, cells, 3)).astype(np.float32)
    before = cv2.GaussianBlur(before, (0, 0), max(blur, 0.05)) + cv2.resize(stains, (SIZE, SIZE))
    return hints.moved_hint(scene, frame, before.clip(0, 1))


def bent(end: np.ndarray, draw: Draw) -> np.ndarray:
    """A way [F, 2] to a place."""
    reach = draw.numbers.uniform() * SIZE / 2
    start, bend = end + draw.numbers.uniform(-reach, reach, (2, 2))
    t = np.linspace(0, 1, FRAMES)[:, None]
    return (1 - t) ** 2 * start + 2 * t * (1 - t) * bend + t**2 * end


def _hints(control: str, scenes: list[Scene], places: list[int], pictures: list, draw: Draw) -> Tensor:
    if control == "canny":
        shown = list(hints.canny_hints(pictures))
    elif control == "stroke":
        shown = [_stroke(scene, at, draw) for scene, at in zip(scenes, places, strict=True)]
    elif control == NEXT:
        shown = [_moved(scene, at, draw) for scene, at in zip(scenes, places, strict=True)]
    else:
        show = hints.depth_hint if control == "depth" else hints.pose_hint
        shown = [show(scene, at) for scene, at in zip(scenes, places, strict=True)]
    return torch.from_numpy(np.stack(shown)).permute(0, 3, 1, 2).float().contiguous()


def train_control(run: Run, control: str, frozen: Frozen) -> tuple[ControlNet, dict]:
    """A ControlNet that begins as the image model's encoder."""
    torch.manual_seed(run.seed)
    model = ControlNet(CONTROL)
    begins = encoder_weights(frozen.unet.state_dict(), list(model.state_dict()))
    model.load_state_dict(begins, strict=False)

    def predict(noised: Tensor, maps: Tensor, at: Tensor, context: Tensor) -> Tensor:
        return frozen.unet(noised, at, context, control=model(noised, maps, at, context))

    return model, _fit_on_frames(run, control, model.to(run.device), frozen, predict)


def train_guider(run: Run, frozen: Frozen) -> tuple[ConditionEncoder, dict]:
    """A pose guider (AnimateAnyone, Hu et al. 2023) that at first adds nothing."""
    torch.manual_seed(run.seed)
    model = ConditionEncoder(UNET.model_channels, GUIDER, Parts())
    nn.init.zeros_(model.conv_out.weight)
    nn.init.zeros_(model.conv_out.bias)

    def predict(noised: Tensor, maps: Tensor, at: Tensor, context: Tensor) -> Tensor:
        patches = {"input_block_patch": [PoseInput(model(maps), EVERYWHERE)]}
        return frozen.unet(noised, at, context, transformer_options={"patches": patches})

    return model, _fit_on_frames(run, "pose", model.to(run.device), frozen, predict)


def _fit_on_frames(
    run: Run, control: str, model: nn.Module, frozen: Frozen, predict: Callable[..., Tensor]
) -> dict:
    """Single frames, of which `predict` gets the noised latents, the hints, the timesteps and the words.

    Much of what it learns from is noise that shows nothing, or another frame: what the hint says has to hold.
    """
    device = run.device

    def drawn(draw: Draw) -> Controlled:
        count = FRAMES_A_STEP * run.scale
        scenes = [_scene(control, draw) for _ in range(count)]
        first = 1 if control == NEXT else 0  # which has a frame before it
        places = draw.numbers.integers(first, FRAMES, size=count).tolist()
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
        return F.mse_loss(predict(noised, given.hints.to(device), at, context), target)

    return fit(run, model, drawn, loss, 1e-3)


def _clip_hints(control: str, scene: Scene) -> np.ndarray:
    if control == "stroke":
        return hints.stroke_hints(np.stack([hints.middle(scene, at) for at in range(FRAMES)]))
    return hints.canny_hints(render.pictures(scene, range(FRAMES)))


def train_follow(run: Run, control: str, net: ControlNet, frozen: Frozen, motion: MotionModel) -> dict:
    """A stroke or canny ControlNet further, on whole clips beside the motion module: it rules over the words.

    What it learns of single frames leaves the motion module free to lead things elsewhere.
    """
    motion.requires_grad_(False)
    net.requires_grad_(True)
    options = {LAYERS: (AppliedMotion(motion, MotionSettings()),), CALL_FRAMES: FRAMES}

    def drawn(draw: Draw) -> tuple[Clips, Tensor]:
        scenes = [led(_scene(control, draw), draw) for _ in range(CLIPS_A_STEP * run.scale)]
        maps = np.concatenate([_clip_hints(control, scene) for scene in scenes])
        clips = Clips.of(scenes, captions_of(scenes, draw), np.arange(FRAMES), draw, noise_alone(draw))
        return clips, torch.from_numpy(maps).permute(0, 3, 1, 2).float().contiguous()

    def loss(given: tuple[Clips, Tensor]) -> Tensor:
        clips, maps = given[0], given[1].to(run.device)
        errors = frozen.errors(
            clips, lambda _: options, lambda noised, at, context: net(noised, maps, at, context)
        )
        return errors.pow(2).mean()

    return fit(run, net, drawn, loss, 5e-4)
