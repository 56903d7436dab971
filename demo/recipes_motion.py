"""How the demo's motion module and its motion LoRA are trained, beside the frozen image model."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..temporal.motion import MotionModel
from ..temporal.motion_lora import MotionLora
from ..temporal.motion_settings import AppliedMotion, MotionSettings
from ..temporal.parts import Parts
from ..temporal.slots import FRAMES as CALL_FRAMES
from ..temporal.slots import LAYERS, POSITIONS
from ..temporal.unet import SpaceTimeUNet
from . import render
from .data import diffuse, draw_caption, draw_subject, pixels
from .files import MOTION
from .fit import Draw, fit
from .text import WordEncoder
from .vae import SmallVAE
from .world import FRAMES, Scene

NOISE_ALONE = 0.35  # of the clips
MISLED, MISLED_FROM = 0.7, 800  # of the clips at this timestep or a noisier one
FRAMES_A_STEP = 64
SHOWN = (4,) * 8 + (8,) * 6 + (16,) * 6  # of each clip at once, over the course of a run
RANK = 4  # of the motion LoRA


@dataclass(frozen=True)
class Frozen:
    """The image model that motion is trained beside."""

    vae: SmallVAE
    unet: SpaceTimeUNet
    words: WordEncoder
    device: str

    def __post_init__(self) -> None:
        for module in (self.vae, self.unet, self.words):
            module.requires_grad_(False)


def _played(scene: Scene, draw: Draw) -> Scene:
    """The scene as the motion model sees it: closely staged at first, then anywhere along its course.

    Where every place is as likely as any other, pure noise says nothing of where a motion leads, and the
    words for it go unused; clips that cross the middle halfway make them worth reading. In a long video each
    window of frames has the motion at another place, so the places widen once the words are read.
    """
    return scene.staged(draw.numbers, float(np.clip((draw.progress - 0.25) / 0.25, 0.1, 1.0)))


def _trace(scenes: list[Scene], places: np.ndarray, draw: Draw) -> list[np.ndarray]:
    """What the noise still shows of clips: themselves, or, where misled, a motion of another pace or way.

    In noise that heavy a model would rather guess the way things move than read it. These traces tell where
    a thing is halfway, and lie about how it got there.
    """
    half, pictures = (FRAMES - 1) / 2, []
    for scene in scenes:
        pace = draw.numbers.uniform(-1, 0.3)
        pictures += [render.frame(scene, half + pace * (place - half)) for place in places]
    return pictures


def _bfloat16(device: str) -> bool:
    """Whether the device computes in bfloat16; a CPU that only imitates it takes ten times as long."""
    if device != "cpu":
        return True
    able = getattr(torch.cpu, "get_capabilities", dict)()  # of newer torch
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))


def _loss(
    layers: AppliedMotion, frozen: Frozen, played: Callable[[Scene, Draw], Scene]
) -> Callable[[Draw], Tensor]:
    """The loss of a step on clips of scenes as `played`."""
    vae, unet, words, device = frozen.vae, frozen.unet, frozen.words, frozen.device

    def loss(draw: Draw) -> Tensor:
        shown = SHOWN[int(draw.progress * len(SHOWN))]
        clips = FRAMES_A_STEP // shown
        drawn = [Scene.sample(draw_subject(draw), draw.numbers) for _ in range(clips)]
        captions = [draw_caption(scene.subject, draw) for scene in drawn]
        scenes = [played(scene, draw) for scene in drawn]
        places = np.sort(draw.numbers.permutation(FRAMES)[:shown])
        # Mostly high noise, where it is decided what moves where. Sampling begins with noise alone, but the
        # last timestep still shows a trace of the clip; so some clips are noise alone, others misled.
        chance = torch.rand(clips, generator=draw.noise) ** 1.5
        alone = torch.rand(clips, generator=draw.noise) < NOISE_ALONE * (1 - 0.5 * draw.progress)
        at = (999 * (1 - chance.masked_fill(alone, 0))).long()
        misled = (torch.rand(clips, generator=draw.noise) < MISLED) & (at >= MISLED_FROM) & ~alone
        with torch.no_grad():
            pictures = [render.frame(scene, place) for scene in scenes for place in places]
            latents = vae.encode(pixels(pictures).to(device))
            shows = latents.masked_fill(alone.repeat_interleave(shown).view(-1, 1, 1, 1).to(device), 0)
            if misled.any():
                chosen = [scene for scene, lied in zip(scenes, misled, strict=True) if lied]
                traces = vae.encode(pixels(_trace(chosen, places, draw)).to(device))
                shows[misled.repeat_interleave(shown).to(device)] = traces
            context = words.encode(captions).repeat_interleave(shown, 0)
        at = at.repeat_interleave(shown).to(device)
        noised, target = diffuse(latents, at, draw, shows)
        options = {LAYERS: (layers,), CALL_FRAMES: shown, POSITIONS: torch.from_numpy(places).to(device)}
        # Of sequences this short the plain attention is the fastest on a CPU, forward and back.
        with torch.autocast(device, torch.bfloat16, enabled=_bfloat16(device)), sdpa_kernel(SDPBackend.MATH):
            predicted = unet(noised, at, context, transformer_options=options)
        return F.mse_loss(predicted.float(), target)

    return loss


def train_motion(seed: int, folder: Path, steps: int, frozen: Frozen) -> tuple[MotionModel, dict]:
    torch.manual_seed(seed)
    motion = MotionModel(MOTION).to(frozen.device)
    for site in motion.channels:
        nn.init.zeros_(motion.at(site).proj_out.weight)
        nn.init.zeros_(motion.at(site).proj_out.bias)
    loss = _loss(AppliedMotion(motion, MotionSettings()), frozen, _played)
    return motion, fit("motion", motion, loss, steps, 1e-3, seed, folder)


def train_drift(
    seed: int, folder: Path, steps: int, frozen: Frozen, motion: MotionModel
) -> tuple[MotionLora, dict]:
    """A motion LoRA (Guo et al. 2023) with which shapes move to the left, whatever the words say."""
    torch.manual_seed(seed)
    pairs = {}
    for key, weight in motion.state_dict().items():
        if ".attention_blocks." in key and key.endswith(".weight"):
            outputs, inputs = weight.shape
            down = nn.init.kaiming_uniform_(torch.empty(RANK, inputs), a=5**0.5)
            pairs[key.removesuffix(".weight")] = down, torch.zeros(outputs, RANK), 1.0
    lora = MotionLora(pairs, Parts()).to(frozen.device).requires_grad_(True)
    motion.requires_grad_(False)
    layers = AppliedMotion(motion, MotionSettings(), [lora.bind(motion, 1.0)])

    def drifting(scene: Scene, draw: Draw) -> Scene:
        return _played(replace(scene, subject=replace(scene.subject, motion="left")), draw)

    return lora, fit("drift", lora, _loss(layers, frozen, drifting), steps, 3e-3, seed, folder)
