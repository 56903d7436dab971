"""How each demo model is trained: data from the shapes world, a loss, and the shipped files' step counts."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..temporal.motion import MotionModel
from ..temporal.motion_settings import AppliedMotion, MotionSettings
from ..temporal.slots import FRAMES as CALL_FRAMES
from ..temporal.slots import LAYERS, POSITIONS, Site
from ..temporal.unet import SpaceTimeUNet
from . import render
from .files import MOTION, UNET
from .fit import Draw, fit
from .text import WordEncoder
from .vae import SmallVAE
from .world import FRAMES, MOTIONS, Scene, Subject, subjects

UNSTEADY = 0.2  # most noise on the decoder's latents, which have deviation 1
CUT = 0.03  # of the decoder's frames begin another scene
NOISE_ALONE = 0.35  # of the motion model's clips
MISLED, MISLED_FROM = 0.6, 850  # of its clips at this timestep or a noisier one
SHOWN = (4,) * 8 + (8,) * 6 + (16,) * 6  # frames of each clip seen at once, over the course of the motion run
STEPS = {"vae": 2200, "decoder": 2000, "image": 4500, "motion": 3000}

_TRAINED_ON = [s for s in subjects() if not s.held_out]


def _subject(draw: Draw) -> Subject:
    return _TRAINED_ON[draw.numbers.integers(len(_TRAINED_ON))]


def _caption(subject: Subject, draw: Draw) -> str:
    """Mostly the caption; at times without its ground, and for one in ten the empty prompt of guidance."""
    chance = draw.numbers.uniform()
    return "" if chance < 0.1 else subject.caption(with_ground=chance > 0.25)


def _pixels(pictures: list[np.ndarray]) -> Tensor:
    """Pictures [H, W, 3] in 0..1 to [F, 3, H, W] in −1..1."""
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous() * 2 - 1


def _still(scene: Scene, draw: Draw) -> np.ndarray:
    return render.frame(scene, int(draw.numbers.integers(FRAMES)))


def alphas_cumprod() -> Tensor:
    """The host's noise schedule for latent diffusion: 1000 scaled-linear betas (Rombach et al. 2022)."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    return torch.cumprod(1 - betas, 0).float()


def diffuse(latents: Tensor, steps: Tensor, draw: Draw, seen: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Noised latents and the v to predict (Salimans & Ho 2022), for timesteps [B].

    `seen`: latents that the noise shows in the place of those to predict.
    """
    alpha = alphas_cumprod().to(latents)[steps].view(-1, 1, 1, 1)
    shown = latents if seen is None else seen
    noised = alpha.sqrt() * shown + (1 - alpha).sqrt() * draw.randn_like(latents)
    return noised, (alpha.sqrt() * noised - latents) / (1 - alpha).sqrt()


class MotionProbe(nn.Module):
    """Asks the features of every site for the caption's motion.

    A still picture says nothing of how things move, so an image model learns to pass over the motion words,
    and nothing of them reaches a motion module. Trained beside the image model and then thrown away, this
    linear probe keeps them readable where motion modules will sit.
    """

    def __init__(self, motion: MotionModel) -> None:
        super().__init__()
        self.reads = nn.ModuleDict({
            _name(site): nn.Sequential(nn.GroupNorm(32, c, affine=False), nn.Conv2d(c, len(MOTIONS), 1))
            for site, c in motion.channels.items()
        })  # fmt: skip

    def listen(self, wanted: Tensor, heard: list[Tensor]):  # noqa: ANN201 - a layer set, see temporal.slots
        """A layer set that changes nothing and adds each site's loss against motions [B] (−1: not asked)."""

        def layers(site: Site, h: Tensor, _: dict) -> Tensor:
            logits = self.reads[_name(site)](h)
            target = wanted[:, None, None].expand(-1, *h.shape[2:])
            heard.append(F.cross_entropy(logits, target, ignore_index=-1))
            return h

        return layers


def _name(site: Site) -> str:
    return f"{site[0]}_{site[1]}"


def train_vae(seed: int, folder: Path, steps: int, device: str) -> tuple[SmallVAE, dict]:
    torch.manual_seed(seed)
    vae = SmallVAE().to(device)

    def loss(draw: Draw) -> Tensor:
        scenes = [Scene.sample(_subject(draw), draw.numbers) for _ in range(24)]
        pixels = _pixels([_still(scene, draw) for scene in scenes]).to(device)
        mean, logvar = vae.moments(pixels)
        restored = vae.decoder(mean + (0.5 * logvar).exp() * draw.randn_like(mean), frames=1)
        divergence = 0.5 * (mean**2 + logvar.exp() - 1 - logvar).mean()
        error = restored - pixels
        return error.abs().mean() + 2 * error.pow(2).mean() + 2e-4 * divergence

    record = fit("vae", vae, loss, steps, 2e-3, seed, folder)
    draw = Draw.of(seed, steps, steps)
    with torch.no_grad():
        scenes = [Scene.sample(_subject(draw), draw.numbers) for _ in range(512)]
        latents = vae.encode(_pixels([_still(scene, draw) for scene in scenes]).to(device))
        vae.mean.copy_(latents.mean((0, 2, 3), keepdim=True))
        vae.std.copy_(latents.std((0, 2, 3), keepdim=True))
    return vae, record


def _shaken(scene: Scene, amount: float, draw: Draw) -> Scene:
    """The scene as an unsteady model would draw it in one frame; `amount` 0..1."""
    x, y, angle, radius, tone, *phase = draw.numbers.normal(size=7) * amount
    return replace(
        scene, x=scene.x + 0.5 * x, y=scene.y + 0.5 * y, angle=scene.angle + 0.08 * angle,
        radius=scene.radius * (1 + 0.04 * radius), tone=scene.tone + 0.015 * tone,
        ground_phase=(scene.ground_phase[0] + 0.3 * phase[0], scene.ground_phase[1] + 0.3 * phase[1]),
    )  # fmt: skip


def _unsteady(latents: Tensor, amounts: Tensor, draw: Draw) -> Tensor:
    """Latents with noise that is as often broad as fine; amounts [B] are at most 1."""
    noise = draw.randn_like(latents)
    for cells in (2, 4, 8):
        coarse = draw.randn_like(latents[..., :cells, :cells])
        noise = noise + F.interpolate(coarse, latents.shape[-2:], mode="bilinear")
    return latents + (UNSTEADY / 2) * amounts.view(-1, 1, 1, 1).to(latents) * noise


def train_decoder(seed: int, folder: Path, steps: int, device: str, vae: SmallVAE) -> tuple[SmallVAE, dict]:
    """The decoder further, over clips: steady pictures from latents as unsteady as sampled ones."""
    vae.encoder.requires_grad_(False)
    vae.decoder.requires_grad_(True)
    clips, frames = 3, 12

    def clip(amount: float, draw: Draw) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Frames in a row, at times cut to another scene: as they are, and as they come."""
        scene = Scene.sample(_subject(draw), draw.numbers)
        first = int(draw.numbers.integers(FRAMES - frames + 1))
        for place in range(first, first + frames):
            if draw.numbers.uniform() < CUT:
                scene = Scene.sample(_subject(draw), draw.numbers)
            yield render.frame(scene, place), render.frame(_shaken(scene, amount, draw), place)

    def loss(draw: Draw) -> Tensor:
        amounts = torch.rand(clips, generator=draw.noise)
        pairs = [pair for amount in amounts.tolist() for pair in clip(amount, draw)]
        steady, shaken = (_pixels(list(pictures)).to(device) for pictures in zip(*pairs, strict=True))
        with torch.no_grad():
            latents = _unsteady(vae.encode(shaken), amounts.repeat_interleave(frames), draw)
        error = vae.decode(latents, frames) - steady
        flicker = error.unflatten(0, (clips, frames)).diff(dim=1)
        return error.abs().mean() + 2 * error.pow(2).mean() + 2 * flicker.abs().mean()

    return vae, fit("decoder", vae.decoder, loss, steps, 1e-3, seed, folder)


def train_image(
    seed: int, folder: Path, steps: int, device: str, vae: SmallVAE
) -> tuple[SpaceTimeUNet, WordEncoder, dict]:
    torch.manual_seed(seed)
    unet, words = SpaceTimeUNet(UNET).to(device), WordEncoder().to(device)
    probe = MotionProbe(MotionModel(MOTION)).to(device)
    nn.init.zeros_(unet.out[2].weight)

    def loss(draw: Draw) -> Tensor:
        scenes = [Scene.sample(_subject(draw), draw.numbers) for _ in range(64)]
        captions = [_caption(scene.subject, draw) for scene in scenes]
        with torch.no_grad():
            latents = vae.encode(_pixels([_still(scene, draw) for scene in scenes]).to(device))
        at = torch.randint(0, 1000, (len(scenes),), generator=draw.noise).to(device)
        noised, target = diffuse(latents, at, draw)
        asked = [MOTIONS.index(s.subject.motion) if c else -1 for s, c in zip(scenes, captions, strict=True)]
        heard: list[Tensor] = []
        options = {LAYERS: (probe.listen(torch.tensor(asked, device=device), heard),)}
        predicted = unet(noised, at, words.encode(captions), transformer_options=options)
        return F.mse_loss(predicted, target) + 0.02 * torch.stack(heard).mean()

    record = fit("image", nn.ModuleList([unet, words, probe]), loss, steps, 1.2e-3, seed, folder)
    return unet, words, record


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
        pace = draw.numbers.uniform(-1, 1)
        pictures += [render.frame(scene, half + pace * (place - half)) for place in places]
    return pictures


def train_motion(
    seed: int, folder: Path, steps: int, device: str, vae: SmallVAE, unet: SpaceTimeUNet, words: WordEncoder
) -> tuple[MotionModel, dict]:
    torch.manual_seed(seed)
    motion, seen = MotionModel(MOTION).to(device), 64
    for site in motion.channels:
        nn.init.zeros_(motion.at(site).proj_out.weight)
        nn.init.zeros_(motion.at(site).proj_out.bias)
    unet.requires_grad_(False)
    words.requires_grad_(False)

    layers = AppliedMotion(motion, MotionSettings())

    def loss(draw: Draw) -> Tensor:
        shown = SHOWN[int(draw.progress * len(SHOWN))]
        clips = seen // shown
        scenes = [_played(Scene.sample(_subject(draw), draw.numbers), draw) for _ in range(clips)]
        captions = [_caption(scene.subject, draw) for scene in scenes]
        places = np.sort(draw.numbers.permutation(FRAMES)[:shown])
        # Mostly high noise, where it is decided what moves where. Sampling begins with noise alone, but the
        # last timestep still shows a trace of the clip; so some clips are noise alone, others misled.
        chance = torch.rand(clips, generator=draw.noise) ** 1.5
        alone = torch.rand(clips, generator=draw.noise) < NOISE_ALONE * (1 - 0.5 * draw.progress)
        at = (999 * (1 - chance.masked_fill(alone, 0))).long()
        misled = (torch.rand(clips, generator=draw.noise) < MISLED) & (at >= MISLED_FROM) & ~alone
        with torch.no_grad():
            pictures = [render.frame(scene, place) for scene in scenes for place in places]
            latents = vae.encode(_pixels(pictures).to(device))
            shows = latents.masked_fill(alone.repeat_interleave(shown).view(-1, 1, 1, 1).to(device), 0)
            if misled.any():
                chosen = [scene for scene, lied in zip(scenes, misled, strict=True) if lied]
                traces = vae.encode(_pixels(_trace(chosen, places, draw)).to(device))
                shows[misled.repeat_interleave(shown).to(device)] = traces
            context = words.encode(captions).repeat_interleave(shown, 0)
        at = at.repeat_interleave(shown).to(device)
        noised, target = diffuse(latents, at, draw, shows)
        options = {LAYERS: (layers,), CALL_FRAMES: shown, POSITIONS: torch.from_numpy(places).to(device)}
        # Of sequences this short the plain attention is the fastest on a CPU, forward and back.
        with torch.autocast(device, torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
            predicted = unet(noised, at, context, transformer_options=options)
        return F.mse_loss(predicted.float(), target)

    record = fit("motion", motion, loss, steps, 1e-3, seed, folder)
    return motion, record
