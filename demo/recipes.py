"""How each demo model is trained: data from the shapes world, a loss, and the shipped files' step counts."""

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

UNSTEADY = 0.12  # most noise on the decoder's latents, which have deviation 1
NOISE_ALONE = 0.35  # of the motion model's clips
SHOWN = (4,) * 11 + (16,) * 9  # frames of each clip seen at once, over the course of the motion run
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


def diffuse(latents: Tensor, steps: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
    """Noised latents and the v to predict (Salimans & Ho 2022), for timesteps [B]."""
    alpha = alphas_cumprod().to(latents)[steps].view(-1, 1, 1, 1)
    noise = draw.randn_like(latents)
    return alpha.sqrt() * latents + (1 - alpha).sqrt() * noise, alpha.sqrt() * noise - (
        1 - alpha
    ).sqrt() * latents


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
        restored = vae.decoder(mean + (0.5 * logvar).exp() * draw.randn_like(mean))
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


def train_decoder(seed: int, folder: Path, steps: int, device: str, vae: SmallVAE) -> tuple[SmallVAE, dict]:
    """The decoder further, with the latents as they are: also from latents as unsteady as sampled ones."""
    vae.encoder.requires_grad_(False)
    vae.decoder.requires_grad_(True)

    def loss(draw: Draw) -> Tensor:
        scenes = [Scene.sample(_subject(draw), draw.numbers) for _ in range(24)]
        pixels = _pixels([_still(scene, draw) for scene in scenes]).to(device)
        with torch.no_grad():
            latents = vae.encode(pixels)
            unsteady = UNSTEADY * torch.rand(len(scenes), 1, 1, 1, generator=draw.noise).to(device)
            latents = latents + unsteady * draw.randn_like(latents)
        error = vae.decode(latents) - pixels
        return error.abs().mean() + 2 * error.pow(2).mean()

    return vae, fit("decoder", vae.decoder, loss, steps, 2e-3, seed, folder)


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
    """The scene as the motion model sees it: nearly always staged, closely at first.

    Where every place is as likely as any other, pure noise says nothing of where a motion leads, and the
    words for it go unused; clips that cross the middle halfway make them worth reading.
    """
    close = draw.progress < 0.55
    if not close and draw.numbers.uniform() < 0.08:
        return scene
    return scene.staged(draw.numbers, 0.1 if close else 0.2)


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
        with torch.no_grad():
            pictures = [render.frame(scene, place) for scene in scenes for place in places]
            latents = vae.encode(_pixels(pictures).to(device))
            context = words.encode(captions).repeat_interleave(shown, 0)
        # Mostly high noise, where it is decided what moves where.
        chance = torch.rand(clips, generator=draw.noise) ** 1.5
        # Sampling begins with noise alone, but the last timestep still shows a trace of the clip, from which
        # a model would rather learn the way things move than from the words. So some clips are noise alone.
        alone = torch.rand(clips, generator=draw.noise) < NOISE_ALONE
        at = (999 * (1 - chance.masked_fill(alone, 0))).long().to(device).repeat_interleave(shown)
        noised, target = diffuse(latents, at, draw)
        trace = alphas_cumprod()[at.cpu()].sqrt() * alone.repeat_interleave(shown)
        noised = noised - trace.to(latents).view(-1, 1, 1, 1) * latents
        options = {LAYERS: (layers,), CALL_FRAMES: shown, POSITIONS: torch.from_numpy(places).to(device)}
        # Of sequences this short the plain attention is the fastest on a CPU, forward and back.
        with torch.autocast(device, torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
            predicted = unet(noised, at, context, transformer_options=options)
        return F.mse_loss(predicted.float(), target)

    record = fit("motion", motion, loss, steps, 1e-3, seed, folder)
    return motion, record
