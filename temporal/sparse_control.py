"""Sparse ControlNets: pictures at a few frames of a video, which temporal layers carry to all others.

SparseCtrl (Guo et al. 2023), in the key layout of its release and of diffusers. It sees no noise: its first
convolution runs on zeros, and what it is shown comes with a mask of the frames that are given.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import FramewrightError
from .builder import UNetParams
from .checkpoint import Reader, check_keys, dtype_of, fill, motion_params, position_tables, read_tensors
from .condition_encoder import ConditionEncoder, encoder_widths
from .control_net import ControlEncoder
from .key_layouts import animatediff_keys, latent_diffusion_key, strip_prefix
from .motion import MotionModel, MotionParams
from .motion_settings import AppliedMotion, MotionSettings
from .parts import Parts
from .slots import CHUNK, LAYERS, NUMBERS, TOTAL, Site, frame_count, frames_in_call, run_layers

WHAT = "sparse ControlNet"
_HEADS, _POSITIONS, _GROUPS = 8, 32, 32  # what files do not tell, as SparseCtrl was released
_EMBEDDING, _MOTION = "controlnet_cond_embedding.", ".motion_modules."
_PICTURES_AT_ONCE = 4
_RESNET = re.compile(r"down_blocks\.(\d+)\.resnets\.(\d+)\.conv1\.weight")


@dataclass(frozen=True)
class SparseParams:
    """`widths` are those of the condition encoder; without them the net is shown latents."""

    unet: UNetParams
    motion: MotionParams
    widths: tuple[int, ...] | None = None


class SparseControlNet(ControlEncoder):
    """The encoder of a UNet with temporal layers, that is shown some frames and no noise."""

    def __init__(self, params: SparseParams, parts: Parts | None = None) -> None:
        parts = parts or Parts()
        super().__init__(params.unet, parts)
        channels, latents = params.unet.model_channels, params.unet.in_channels
        self.sees_latents = params.widths is None
        self.ratio = 1 if params.widths is None else 2 ** (len(params.widths) - 1)  # of pictures to latents
        self.controlnet_cond_embedding = (
            parts.conv2d(latents + 1, channels, 3)
            if params.widths is None
            else ConditionEncoder(channels, params.widths, parts, inputs=4)
        )
        self.motion = MotionModel(params.motion, parts)
        self._layers = AppliedMotion(self.motion, MotionSettings())

    def embed(self, shown: Tensor) -> Tensor:
        """Pictures [G, 3, H, W] in 0..1, or latents, to features [G + 1, C, h, w]: the last of none."""
        taken = self.params.in_channels if self.sees_latents else 3
        if shown.shape[1] != taken:
            raise FramewrightError(
                f"{WHAT}: latents or pictures of {shown.shape[1]} channels came, expected {taken}: the VAE "
                "and base model that it was made for"
            )
        given = torch.cat([shown, torch.ones_like(shown[:, :1])], dim=1)
        parts = torch.cat([given, torch.zeros_like(given[:1])]).split(_PICTURES_AT_ONCE)
        return torch.cat([self.controlnet_cond_embedding(part) for part in parts])

    def forward(
        self, features: Tensor, timesteps: Tensor, context: Tensor, options: dict[str, Any]
    ) -> dict[str, list[Tensor]]:
        """Residuals by place, of what `embed` gave for each frame [B·F, C, h, w]."""
        self._check(len(features), context, options)
        emb = self.embedding(timesteps, features.dtype)
        silence = features.new_zeros(1, self.params.in_channels, *features.shape[-2:])
        own = {**options, LAYERS: (self._layers,)}

        def moved(site: Site, h: Tensor) -> Tensor:
            return run_layers(site, h, own)

        return self.residuals(self.input_blocks[0](silence) + features, emb, context, moved)

    def _check(self, batch: int, context: Tensor, options: dict[str, Any]) -> None:
        attends = self.params.middle_attention or self.params.attention_levels
        if attends and context.shape[-1] != self.params.context_dim:
            raise FramewrightError(
                f"{WHAT}: prompts of {context.shape[-1]} channels came, expected {self.params.context_dim}: "
                "the base model that it was made for"
            )
        chunk = options.get(CHUNK)
        frames = frame_count(batch, options) if chunk is None else len(chunk.numbers)
        if frames > self.motion.length:
            raise FramewrightError(
                f"frames: {frames} frames came, the {WHAT} has positions for {self.motion.length}; add "
                "Context Windows before the sampler"
            )


def rows_shown(at: Sequence[int], batch: int, options: dict[str, Any]) -> Tensor:
    """Which row of `embed`'s features each row of a call's batch is shown, for pictures at these frames.

    Raises where there is none, or where the video is known to end before one of them.
    """
    if not at:
        raise FramewrightError(
            f"at_frames: none came; a {WHAT} has to be told them, by Apply Control to Video"
        )
    numbers = frames_in_call(batch, options).tolist()
    total = options.get(TOTAL) or (math.inf if NUMBERS in options else len(numbers))
    if max(at) >= total:
        raise FramewrightError(
            f"at_frames: a picture at frame {max(at)} came for a video of {total} frames, expected 0 to "
            f"{total - 1}"
        )
    places = {frame: row for row, frame in enumerate(at)}
    rows = torch.tensor([places.get(number, len(at)) for number in numbers])
    return rows.repeat(batch // len(rows))


def load_sparse_control(path: Path, parts: Parts, read_pickle: Reader | None = None) -> SparseControlNet:
    """The sparse ControlNet of a file; raises one error where it holds none."""
    given = {strip_prefix(key): value for key, value in read_tensors(path, read_pickle, WHAT).items()}
    motion, _ = animatediff_keys({key: value for key, value in given.items() if _MOTION in key})
    tensors = {key: value for key, value in given.items() if _MOTION not in key}
    shown = {
        key.removeprefix(_EMBEDDING): value for key, value in tensors.items() if key.startswith(_EMBEDDING)
    }
    if not motion or not shown or "conv_in.weight" not in tensors:
        raise FramewrightError(
            f"{WHAT}: {path.name} holds none; expected {_EMBEDDING[:-1]}, conv_in and motion_modules among "
            f"its keys, as in SparseCtrl's files{'' if motion else _instead(tensors)}"
        )
    if not any(key.endswith("pos_encoder.pe") for key in motion):
        motion |= position_tables(motion, _POSITIONS)
    unet = _unet(tensors, path.name)
    layers = replace(motion_params(motion, path.name), attentions=1, up_blocks=False)
    params = SparseParams(unet, layers, encoder_widths(shown, inputs=4))
    held = {latent_diffusion_key(key, unet.num_res_blocks): value for key, value in tensors.items()}
    held |= {f"motion.{key}": value for key, value in motion.items()}
    parts = replace(parts, dtype=dtype_of(held)) if parts.casts else parts
    expected = SparseControlNet(params, replace(parts, device="meta")).state_dict()
    check_keys(path.name, expected, held, WHAT)
    return fill(SparseControlNet(params, parts), held)


def _instead(tensors: Mapping[str, Tensor]) -> str:
    if any(key.startswith(("input_hint_block.", _EMBEDDING)) for key in tensors):
        return "; it is a ControlNet without temporal layers, which the core's Load ControlNet Model takes"
    return ""


def _unet(tensors: Mapping[str, Tensor], name: str) -> UNetParams:
    """The shape of the encoder, from its keys in diffusers' layout."""
    resnets: dict[tuple[int, int], int] = {}
    for key, value in tensors.items():
        if found := _RESNET.fullmatch(key):
            resnets[int(found[1]), int(found[2])] = value.shape[0] if value.ndim else 0
    levels = range(len({level for level, _ in resnets}))
    if not resnets or any((level, 0) not in resnets for level in levels):
        raise FramewrightError(
            f"{WHAT}: {name} has resnets in down_blocks {sorted({level for level, _ in resnets})}, expected "
            "every level from 0"
        )
    first = tensors["conv_in.weight"]
    widths = [*first.shape[:1], *resnets.values()]
    if first.ndim != 4 or any(not width or width % _GROUPS for width in widths):
        raise FramewrightError(
            f"{WHAT}: {name} has convolutions of {', '.join(map(str, widths))} channels, expected multiples "
            f"of {_GROUPS}"
        )
    reads = "attentions.0.transformer_blocks.0.attn2.to_k.weight"
    attends = [level for level in levels if f"down_blocks.{level}.{reads}" in tensors]
    contexts = [value.shape[-1] for key, value in tensors.items() if key.endswith(reads) and value.ndim]
    return UNetParams(
        in_channels=first.shape[1],
        model_channels=len(first),
        channel_mult=tuple(resnets[level, 0] / len(first) for level in levels),
        num_res_blocks=sum(level == 0 for level, _ in resnets),
        attention_levels=tuple(attends),
        middle_attention=f"mid_block.{reads}" in tensors,
        context_dim=contexts[0] if contexts else 0,
        num_heads=_HEADS,
        norm_groups=_GROUPS,
    )
