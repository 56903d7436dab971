"""How the demo's motion module and its motion LoRA are trained, beside the frozen image model."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..sampling.window_plan import Windows
from ..temporal.motion import MotionModel
from ..temporal.motion_lora import MotionLora
from ..temporal.motion_settings import AppliedMotion, MotionSettings
from ..temporal.parts import Parts
from ..temporal.slots import FRAMES as CALL_FRAMES
from ..temporal.slots import LAYERS, POSITIONS
from ..temporal.unet import SpaceTimeUNet
from .clips import Clips, captions_of
from .data import TRAINED_ON, diffuse, draw_subject
from .files import MOTION
from .fit import Draw, Run, fit
from .text import WordEncoder
from .vae import SmallVAE
from .world import FRAMES, Scene, Subject

FRAMES_A_STEP = 64
SHOWN = (4,) * 8 + (8,) * 6 + (FRAMES,) * 6  # of each clip at once, over the course of a run
LONG = (FRAMES, FRAMES, 2 * FRAMES, 4 * FRAMES)  # frames of a clip where windows are learned, by turns
VIEWS = Windows(FRAMES, FRAMES // 2)
SPINNING = 0.1  # of the clips, beyond those drawn by chance: the hardest motion
UPRIGHT = 0.1  # of a round: how far from upright a spinning shape may be halfway through a short clip
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
        if self.device != "cpu":
            self.unet.to(memory_format=torch.channels_last)

    def loss(
        self,
        clips: Clips,
        options: Callable[[Tensor], dict[str, Any]],
        control: Callable[[Tensor, Tensor, Tensor], dict[str, list[Tensor]]] | None = None,
    ) -> Tensor:
        """Mean squared error of v, with the transformer_options for the latents of the clips.

        `control`: what is added, of noised latents, timesteps and prompts.
        """
        device, shown = self.device, clips.count
        with torch.no_grad():
            latents = self.vae.encode(clips.frames.to(device))
            shows = latents.masked_fill(clips.alone.repeat_interleave(shown).view(-1, 1, 1, 1).to(device), 0)
            if clips.misled.any():
                lied = clips.misled.repeat_interleave(shown).nonzero().squeeze(1).to(device)
                shows = shows.index_copy(0, lied, self.vae.encode(clips.traces.to(device)))
            context = self.words.encode(clips.captions).repeat_interleave(shown, 0)
        at = clips.at.repeat_interleave(shown).to(device)
        noised, target = diffuse(latents, at, clips.noise.to(device), shows)
        # Of sequences this short the plain attention is the fastest on a CPU, forward and back.
        attention = sdpa_kernel(SDPBackend.MATH) if device == "cpu" else nullcontext()
        with torch.autocast(device, torch.bfloat16, enabled=_bfloat16(device)), attention:
            added = control and control(noised, at, context)
            predicted = self.unet(noised, at, context, control=added, transformer_options=options(latents))
        return F.mse_loss(predicted.float(), target)


def _bfloat16(device: str) -> bool:
    """Whether the device computes in bfloat16; a CPU that only imitates it takes ten times as long."""
    if device != "cpu":
        return True
    able = getattr(torch.cpu, "get_capabilities", dict)()  # of newer torch
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))


def draw_moving(draw: Draw) -> Subject:
    """A subject to train on, spinning more often than others do."""
    if draw.numbers.uniform() < SPINNING:
        return _SPINNING[draw.numbers.integers(len(_SPINNING))]
    return draw_subject(draw)


_SPINNING = [subject for subject in TRAINED_ON if subject.motion == "spinning"]


def widening(draw: Draw) -> float:
    """The spread of `Scene.staged` over the course of a run: closely staged at first, then anywhere.

    Where every place is as likely as any other, pure noise says nothing of where a motion leads, and the
    words for it go unused; clips that cross the middle halfway make them worth reading. In a long video each
    window of frames has the motion at another place, so the places widen once the words are read.
    """
    return float(np.clip((draw.progress - 0.25) / 0.25, 0.1, 1.0))


def _drawn(
    run: Run,
    places: Callable[[Draw], np.ndarray],
    spread: Callable[[Draw], float],
    follow: Callable[[Scene], Scene] = lambda scene: scene,
) -> Callable[[Draw], Clips]:
    """A step's clips: the frames at those places, of scenes that `follow` may change behind their captions.

    A spinning shape is upright halfway through a clip that one window holds. Beginning at any angle, each of
    its frames could be at any, and what a module learned of them would be a disc.
    """

    def staged(scene: Scene, frames: int, draw: Draw) -> Scene:
        upright = scene.subject.motion == "spinning" and frames <= FRAMES
        return scene.staged(draw.numbers, min(spread(draw), UPRIGHT) if upright else spread(draw))

    def drawn(draw: Draw) -> Clips:
        at = places(draw)
        clips = run.scale * FRAMES_A_STEP // len(at)
        scenes = [Scene.sample(draw_moving(draw), draw.numbers) for _ in range(clips)]
        captions = captions_of(scenes, draw)
        return Clips.of([staged(follow(scene), len(at), draw) for scene in scenes], captions, at, draw)

    return drawn


def _short(draw: Draw) -> np.ndarray:
    """A few frames of a clip at first, in the end all of them."""
    shown = SHOWN[int(draw.progress * len(SHOWN))]
    return np.sort(draw.numbers.permutation(FRAMES)[:shown])


def _loss(layers: AppliedMotion, frozen: Frozen) -> Callable[[Clips], Tensor]:
    def loss(clips: Clips) -> Tensor:
        options: dict[str, Any] = {LAYERS: (layers,), CALL_FRAMES: clips.count}
        if clips.count < FRAMES:
            options[POSITIONS] = clips.places.to(frozen.device)
        return frozen.loss(clips, lambda _: options)

    return loss


def train_motion(run: Run, frozen: Frozen) -> tuple[MotionModel, dict]:
    torch.manual_seed(run.seed)
    motion = MotionModel(MOTION).to(frozen.device)
    start_at_rest(motion)
    layers = AppliedMotion(motion, MotionSettings(views=VIEWS))
    return motion, fit(run, motion, _drawn(run, _short, widening), _loss(layers, frozen), 1e-3)


def train_long(run: Run, frozen: Frozen, motion: MotionModel) -> dict:
    """The motion module further, also on clips so long that it sees them through windows.

    Windows that overlap must agree on where a thing is, and how far they do is decided in the noise.
    """
    motion.requires_grad_(True)
    layers = AppliedMotion(motion, MotionSettings(views=VIEWS))
    drawn = _drawn(run, lambda draw: np.arange(draw.numbers.choice(LONG)), lambda _: 1.0)
    return fit(run, motion, drawn, _loss(layers, frozen), 7e-4)


def start_at_rest(motion: MotionModel) -> None:
    """The module leaves the image model as it is."""
    for site in motion.channels:
        nn.init.zeros_(motion.at(site).proj_out.weight)
        nn.init.zeros_(motion.at(site).proj_out.bias)


def train_drift(run: Run, frozen: Frozen, motion: MotionModel) -> tuple[MotionLora, dict]:
    """A motion LoRA (Guo et al. 2023) with which shapes move to the left, whatever the words say."""
    torch.manual_seed(run.seed)
    pairs = {}
    for key, weight in motion.state_dict().items():
        if ".attention_blocks." in key and key.endswith(".weight"):
            outputs, inputs = weight.shape
            down = nn.init.kaiming_uniform_(torch.empty(RANK, inputs), a=5**0.5)
            pairs[key.removesuffix(".weight")] = down, torch.zeros(outputs, RANK), 1.0
    lora = MotionLora(pairs, Parts()).to(frozen.device).requires_grad_(True)
    motion.requires_grad_(False)
    layers = AppliedMotion(motion, MotionSettings(views=VIEWS), [lora.bind(motion, 1.0)])

    def drifting(scene: Scene) -> Scene:
        return replace(scene, subject=replace(scene.subject, motion="left"))

    return lora, fit(run, lora, _drawn(run, _short, widening, drifting), _loss(layers, frozen), 3e-3)
