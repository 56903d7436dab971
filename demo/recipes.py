"""How the image model and its VAE are trained: data from the shapes world, and a loss."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..temporal.slots import LAYERS
from ..temporal.unet import SpaceTimeUNet
from . import render
from .data import LATENT, diffuse, draw_caption, draw_subject, pixels, shape_weights
from .files import UNET
from .fit import Draw, Run, fit
from .probe import Probe
from .text import WordEncoder
from .vae import SmallVAE
from .world import FRAMES, MOTIONS, Scene

UNSTEADY = 0.2  # most noise on the decoder's latents, which have deviation 1
AROUND, SPREAD = 0.4, 1.2  # timesteps of the image model: a sigmoid of numbers of this mean and deviation
CUT = 0.03  # of the decoder's frames begin another scene


def _still(scene: Scene, draw: Draw) -> np.ndarray:
    return render.frame(scene, int(draw.numbers.integers(FRAMES)))


def train_vae(run: Run) -> tuple[SmallVAE, dict]:
    torch.manual_seed(run.seed)
    vae = SmallVAE().to(run.device)

    def drawn(draw: Draw) -> tuple[Tensor, Tensor]:
        scenes = [Scene.sample(draw_subject(draw), draw.numbers) for _ in range(24 * run.scale)]
        return pixels([_still(scene, draw) for scene in scenes]), draw.randn(len(scenes), *LATENT)

    def loss(given: tuple[Tensor, Tensor]) -> Tensor:
        frames, noise = (t.to(run.device) for t in given)
        mean, logvar = vae.moments(frames)
        restored = vae.decoder(mean + (0.5 * logvar).exp() * noise, frames=1)
        divergence = 0.5 * (mean**2 + logvar.exp() - 1 - logvar).mean()
        error = restored - frames
        return error.abs().mean() + 2 * error.pow(2).mean() + 2e-4 * divergence

    record = fit(run, vae, drawn, loss, 2e-3)
    draw = Draw.of(run.seed, run.steps, run.steps)
    with torch.no_grad():
        scenes = [Scene.sample(draw_subject(draw), draw.numbers) for _ in range(512)]
        latents = vae.encode(pixels([_still(scene, draw) for scene in scenes]).to(run.device))
        vae.mean.copy_(latents.mean((0, 2, 3), keepdim=True))
        vae.std.copy_(latents.std((0, 2, 3), keepdim=True))
    return vae, record


def shaken(scene: Scene, amount: float, draw: Draw) -> Scene:
    """The scene as an unsteady model would draw it in one frame; `amount` 0..1."""
    x, y, angle, radius, tone, *phase = draw.numbers.normal(size=7) * amount
    return replace(
        scene, x=scene.x + 0.5 * x, y=scene.y + 0.5 * y, angle=scene.angle + 0.08 * angle,
        radius=scene.radius * (1 + 0.04 * radius), tone=scene.tone + 0.015 * tone,
        ground_phase=(scene.ground_phase[0] + 0.3 * phase[0], scene.ground_phase[1] + 0.3 * phase[1]),
    )  # fmt: skip


def _shake(amounts: Tensor, draw: Draw) -> Tensor:
    """What unsteady latents differ by: noise, as often broad as fine; amounts [B] are at most 1."""
    noise = draw.randn(len(amounts), *LATENT)
    for cells in (2, 4, 8):
        coarse = draw.randn(len(amounts), LATENT[0], cells, cells)
        noise = noise + F.interpolate(coarse, LATENT[1:], mode="bilinear")
    return (UNSTEADY / 2) * amounts.view(-1, 1, 1, 1) * noise


def train_decoder(run: Run, vae: SmallVAE) -> dict:
    """The decoder further, over clips: steady pictures from latents as unsteady as sampled ones."""
    vae.encoder.requires_grad_(False)
    vae.decoder.requires_grad_(True)
    clips, frames = 3 * run.scale, 12

    def clip(amount: float, draw: Draw) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Frames in a row, at times cut to another scene: as they are, and as they come."""
        scene = Scene.sample(draw_subject(draw), draw.numbers)
        first = int(draw.numbers.integers(FRAMES - frames + 1))
        for place in range(first, first + frames):
            if draw.numbers.uniform() < CUT:
                scene = Scene.sample(draw_subject(draw), draw.numbers)
            yield render.frame(scene, place), render.frame(shaken(scene, amount, draw), place)

    def drawn(draw: Draw) -> tuple[Tensor, ...]:
        amounts = torch.rand(clips, generator=draw.noise)
        pairs = [pair for amount in amounts.tolist() for pair in clip(amount, draw)]
        steady, shaken = (pixels(list(pictures)) for pictures in zip(*pairs, strict=True))
        return steady, shaken, _shake(amounts.repeat_interleave(frames), draw)

    def loss(given: tuple[Tensor, ...]) -> Tensor:
        steady, shaken, shake = (t.to(run.device) for t in given)
        with torch.no_grad():
            latents = vae.encode(shaken) + shake
        error = vae.decode(latents, frames) - steady
        flicker = error.unflatten(0, (clips, frames)).diff(dim=1)
        return error.abs().mean() + 2 * error.pow(2).mean() + 2 * flicker.abs().mean()

    return fit(run, vae.decoder, drawn, loss, 1e-3, muon=3e-3)


@dataclass(frozen=True)
class _Pictures:
    """What a step of the image model learns from."""

    frames: Tensor  # [B, 3, H, W]
    captions: list[str]
    motions: Tensor  # [B], numbers of MOTIONS, −1 where the caption is empty
    at: Tensor  # [B], timesteps
    noise: Tensor  # [B, 4, h, w]


def _motions(asked: Tensor) -> Callable[[Tensor], Tensor]:
    """Every place is asked for the caption's motion [B], −1 where there is none.

    A still picture says nothing of how things move, so an image model learns to pass over the motion words,
    and nothing of them reaches a motion module. So they are kept readable where motion modules will sit.
    """

    def loss(logits: Tensor) -> Tensor:
        target = asked[:, None, None].expand(-1, *logits.shape[2:])
        return F.cross_entropy(logits, target, ignore_index=-1)

    return loss


def timesteps(draw: Draw, count: int) -> Tensor:
    """Three of four from around the middle of the schedule, where shapes come about (Esser et al. 2024)."""
    anywhere = draw.evenly(count)
    middle = torch.sigmoid(AROUND + SPREAD * torch.special.ndtri(anywhere))
    return (1000 * torch.where(torch.arange(count) % 4 == 0, anywhere, middle)).long()


def train_image(run: Run, vae: SmallVAE) -> tuple[SpaceTimeUNet, WordEncoder, dict]:
    torch.manual_seed(run.seed)
    device = run.device
    unet, words = SpaceTimeUNet(UNET).to(device), WordEncoder().to(device)
    probe = Probe(len(MOTIONS)).to(device)
    nn.init.zeros_(unet.out[2].weight)

    def drawn(draw: Draw) -> _Pictures:
        scenes = [Scene.sample(draw_subject(draw), draw.numbers) for _ in range(64 * run.scale)]
        captions = [draw_caption(scene.subject, draw) for scene in scenes]
        asked = [MOTIONS.index(s.subject.motion) if c else -1 for s, c in zip(scenes, captions, strict=True)]
        return _Pictures(
            pixels([_still(scene, draw) for scene in scenes]), captions, torch.tensor(asked),
            timesteps(draw, len(scenes)), draw.randn(len(scenes), *LATENT),
        )  # fmt: skip

    def loss(given: _Pictures) -> Tensor:
        at = given.at.to(device)
        with torch.no_grad():
            noised, target = diffuse(vae.encode(given.frames.to(device)), at, given.noise.to(device))
        heard: list[Tensor] = []
        options = {LAYERS: (probe.listen(_motions(given.motions.to(device)), heard),)}
        predicted = unet(noised, at, words.encode(given.captions), transformer_options=options)
        error = ((predicted - target).pow(2) * shape_weights(given.frames.to(device), at)).mean()
        return error + 0.02 * torch.stack(heard).mean()

    record = fit(run, nn.ModuleList([unet, words, probe]), drawn, loss, 1.2e-3, muon=4e-3)
    return unet, words, record
