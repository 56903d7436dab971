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
from .clips import PACED, TORN, Clips, captions_of, noise_alone
from .data import covered, diffuse, draw_subject, shape_weights
from .files import MOTION
from .fit import Draw, Run, fit
from .probe import Probe
from .text import WordEncoder
from .vae import SmallVAE
from .world import FRAMES, Scene

FRAMES_A_STEP = 64
ALONE, ASKED = 0.2, 0.2  # see `Stage`, once the words are read
LONG = (FRAMES, 2 * FRAMES, 4 * FRAMES)  # frames of a clip where windows are learned, each as often
VIEWS = Windows(FRAMES, FRAMES // 2)
ON_THE_SPOT = ("spinning", "bouncing")
TURNED = 0.1  # of a round: how far from halfway these may be, halfway through a short clip
MOVING = 4.0  # times as much weighs the part of an error that changes from frame to frame
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

    def errors(
        self,
        clips: Clips,
        options: Callable[[Tensor], dict[str, Any]],
        control: Callable[[Tensor, Tensor, Tensor], dict[str, list[Tensor]]] | None = None,
    ) -> Tensor:
        """Errors of v [B·F, 4, h, w], with the transformer_options for the latents of the clips.

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
        return predicted.float() - target


def _bfloat16(device: str) -> bool:
    """Whether the device computes in bfloat16; a CPU that only imitates it takes ten times as long."""
    if device != "cpu":
        return True
    able = getattr(torch.cpu, "get_capabilities", dict)()  # of newer torch
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))


@dataclass(frozen=True)
class Stage:
    """How clips are shown at one step of a run."""

    places: np.ndarray  # of the frames, in their clips
    spread: float  # of `Scene.staged`
    alone: float  # part of the clips that is noise alone
    asked: float = 0.0  # weight of the probe's loss


@dataclass(frozen=True)
class Staged:
    clips: Clips
    stage: Stage


def _course(draw: Draw) -> Stage:
    """Few frames, closely staged and mostly in noise alone, until the words are read; then longer clips.

    Where every place is as likely as any other, pure noise says nothing of where a motion leads, and the
    words for it go unused; clips that cross the middle halfway make them worth reading. In a long video each
    window of frames has the motion at another place, so the places widen once the words are read. Windows
    that overlap must agree on where a thing is, and that is learned last, of clips longer than a window; the
    rest of it in `train_long`.
    """
    at = draw.progress
    shown = 4 if at < 0.18 else 8 if at < 0.3 else FRAMES if at < 0.5 else draw.numbers.choice(LONG)
    return Stage(
        np.sort(draw.numbers.permutation(max(FRAMES, shown))[:shown]),
        spread=float(np.interp(at, (0.16, 0.28), (0.03, 1.0))),
        alone=float(np.interp(at, (0.14, 0.22), (0.8, ALONE))),
        asked=float(np.interp(at, (0.18, 0.28), (1.0, ASKED))),
    )


def _further(draw: Draw) -> Stage:
    return Stage(np.arange(draw.numbers.choice(LONG)), 1.0, ALONE, ASKED)


def _whole(draw: Draw) -> Stage:
    return Stage(np.arange(FRAMES), 1.0, noise_alone(draw))


def _drawn(
    run: Run, stage: Callable[[Draw], Stage], follow: Callable[[Scene], Scene] = lambda scene: scene
) -> Callable[[Draw], Staged]:
    """A step's clips, of scenes that `follow` may change behind their captions.

    What moves on the spot is halfway through its round halfway through a clip that one window holds. Were it
    anywhere, each frame could show any of it, and a module would learn their mean: a disc, a thing at rest.
    """

    def drawn(draw: Draw) -> Staged:
        now = stage(draw)
        short, clips = len(now.places) <= FRAMES, run.scale * FRAMES_A_STEP // len(now.places)

        def staged(scene: Scene) -> Scene:
            close = short and scene.subject.motion in ON_THE_SPOT
            return scene.staged(draw.numbers, min(now.spread, TURNED) if close else now.spread)

        scenes = [Scene.sample(draw_subject(draw), draw.numbers) for _ in range(clips)]
        captions = captions_of(scenes, draw)
        scenes = [staged(follow(scene)) for scene in scenes]
        # Whether windows agree is learned where noise shows enough to tell, and is not yet thin.
        alone, noise = (now.alone, PACED) if short else (0.0, TORN)
        return Staged(Clips.of(scenes, captions, now.places, draw, alone, noise), now)

    return drawn


def weighed(errors: Tensor) -> Tensor:
    """The mean squared error of clips [B, F, …], of which what changes from frame to frame counts more.

    What is best to predict stays the same; less of a step goes into how clips look, and more into how they
    move.
    """
    mean = errors.mean(1, keepdim=True)
    return mean.pow(2).mean() + MOVING * (errors - mean).pow(2).mean()


def _missed(shape: Tensor) -> Callable[[Tensor], Tensor]:
    """How far answers [N, 1, h, w] are from the part of each place that the shape covers."""

    def loss(logits: Tensor) -> Tensor:
        share = F.adaptive_avg_pool2d(shape, (logits.shape[2], logits.shape[3]))
        return F.binary_cross_entropy_with_logits(logits.float(), share)

    return loss


def _loss(
    layers: AppliedMotion, frozen: Frozen, probe: Probe | None = None, weights: bool = False
) -> Callable[[Staged], Tensor]:
    """`probe`: asked at every place what the shape covers: in noise alone, only the words tell that.

    `weights`: whether shapes count more than their grounds, so that they come out well the sooner.
    """

    def loss(given: Staged) -> Tensor:
        clips, heard = given.clips, []
        options: dict[str, Any] = {LAYERS: (layers,), CALL_FRAMES: clips.count}
        if probe is not None:
            missed = _missed(covered(clips.frames.to(frozen.device)))
            options[LAYERS] = layers, probe.listen(missed, heard)
        if clips.count < FRAMES:
            options[POSITIONS] = clips.places.to(frozen.device)
        errors = frozen.errors(clips, lambda _: options)
        if weights:
            at = clips.at.repeat_interleave(clips.count)
            errors = errors * shape_weights(clips.frames, at).sqrt().to(frozen.device)
        value = weighed(errors.unflatten(0, (-1, clips.count)))
        return value + given.stage.asked * torch.stack(heard).sum() if heard else value

    return loss


def train_motion(run: Run, frozen: Frozen) -> tuple[MotionModel, dict]:
    torch.manual_seed(run.seed)
    motion = MotionModel(MOTION).to(frozen.device)
    start_at_rest(motion)
    return motion, _fit_asked(run, frozen, motion, _course, lr=1e-3, muon=6e-3, weights=True)


def train_long(run: Run, frozen: Frozen, motion: MotionModel) -> dict:
    """The motion module further, on clips of all lengths: windows take long to learn to agree."""
    torch.manual_seed(run.seed)
    return _fit_asked(run, frozen, motion.requires_grad_(True), _further, lr=6e-4, muon=2e-3, weights=False)


def _fit_asked(
    run: Run, frozen: Frozen, motion: MotionModel, stage: Callable[[Draw], Stage], lr: float, muon: float,
    weights: bool,
) -> dict:  # fmt: skip
    probe = Probe(1).to(frozen.device)
    loss = _loss(AppliedMotion(motion, MotionSettings(views=VIEWS)), frozen, probe, weights)
    return fit(run, nn.ModuleList([motion, probe]), _drawn(run, stage), loss, lr, muon)


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

    return lora, fit(run, lora, _drawn(run, _whole, drifting), _loss(layers, frozen), 3e-3)
