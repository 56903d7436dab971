"""What nodes do with motion modules, in whichever host they run."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from ..errors import FramewrightError
from ..sampling.noise_levels import Betas
from ..temporal.camera import CameraInput, load_camera
from ..temporal.camera_path import CameraPath
from ..temporal.checkpoint import FAMILY, MotionFile, describe, fill, load_motion
from ..temporal.extent import Extent
from ..temporal.families import base_of
from ..temporal.frame_norm import RESBLOCKS, TRANSFORMERS
from ..temporal.known_frames import KnownFrames
from ..temporal.motion import MotionModel, TemporalLayers
from ..temporal.motion_lora import load_lora
from ..temporal.motion_settings import AppliedMotion, MotionSettings
from ..temporal.new_layers import NewLayerParams, NewLayers
from ..temporal.parts import Parts
from ..temporal.slots import Site
from ..temporal.transformer import LowRank
from .host import during, host

AS_TRAINED = MotionSettings()
NORMS = ("as trained", "frame by frame", "across frames")
# Families that were trained with the last, as their released code has it, and which of the image model's
# norms that went for.
NORMED_ACROSS = {
    "AnimateDiff v1": (RESBLOCKS,),
    "FollowYourPose": (RESBLOCKS,),
    "HotshotXL": (RESBLOCKS,),
    "LVDM": (RESBLOCKS, TRANSFORMERS),
    "LVDM, unconditional": (RESBLOCKS,),
    "PIA": (RESBLOCKS,),
    "Tune-A-Video": (RESBLOCKS,),
}
NOISE_LEVELS = ("as trained", "the model's")
# Families that were trained with other noise levels than the image model, as their released code has it.
_EVEN = Betas("variances")
NOISED = {
    "AnimateDiff SDXL": Betas(last=0.02),
    "AnimateDiff v1": _EVEN,
    "AnimateDiff v2 (or AnimateAnyone)": _EVEN,
    "AnimateDiff v3": _EVEN,
    "AnimateLCM": _EVEN,
    "PIA": _EVEN,
}


@dataclass(frozen=True)
class Motion:
    """A loaded motion module with the motion LoRAs stacked on it, the FRAMEWRIGHT_MOTION socket's value.

    `weights` are the host's handles, of the module and of each LoRA.
    """

    file: MotionFile
    name: str
    weights: tuple[Any, ...]
    low_rank: tuple[Callable[[Site, str], LowRank], ...] = ()
    camera: CameraInput | None = None

    @property
    def model(self) -> TemporalLayers:
        return self.file.model


def open_motion(path: Path, name: str) -> Motion:
    file = load_motion(path, host().parts(), host().read_pickle)
    return Motion(file, name, (host().weights(file.model),))


def build_layers(model: Any, params: NewLayerParams) -> Motion:
    """Untrained temporal layers for every site of MODEL, the same ones each time.

    Their first values are torch's own: a host's layers hold what is in memory until a file fills them.
    """
    sites = host().handle(model).sites()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)  # the CPU's alone
        untrained = NewLayers(sites, params, Parts()).state_dict()
    layers = fill(NewLayers(sites, params, host().parts()), untrained)
    file = describe(layers, "temporal layers of this pack, untrained", layers.state_dict())
    return Motion(file, "new layers", (host().weights(layers),))


def save_layers(motion: Motion, prefix: str) -> Path:
    """Write a motion module's weights to the next free file of the prefix in the output folder."""
    path = host().save_path(prefix)
    tensors = {key: value.cpu().contiguous() for key, value in motion.file.tensors().items()}
    own = motion.model.metadata() if isinstance(motion.model, NewLayers) else {FAMILY: motion.file.family}
    save_file(tensors, path, {"format": "pt", **own})
    return path


def add_lora(motion: Motion, path: Path, strength: float) -> Motion:
    """The motion module with one more LoRA on it; raises where it does not fit."""
    if not isinstance(motion.model, MotionModel):
        raise FramewrightError(f"motion: {motion.name} came, expected a module of the AnimateDiff type")
    lora = load_lora(path, host().parts(), host().read_pickle)
    lora.check(motion.model, path.name)
    return replace(
        motion,
        name=f"{motion.name} + {path.stem}",
        weights=(*motion.weights, host().weights(lora)),
        low_rank=(*motion.low_rank, lora.bind(motion.model, strength)),
    )


def control_camera(motion: Motion, file: Path, path: CameraPath, strength: float) -> Motion:
    """The motion module with a camera that goes the path; raises where the file is none or does not fit."""
    if not isinstance(motion.model, MotionModel):
        raise FramewrightError(f"motion: {motion.name} came, expected a module of the AnimateDiff type")
    if motion.camera is not None:
        raise FramewrightError(f"motion: {motion.name} came, which has a camera; expected one without")
    control = load_camera(file, host().parts(), host().read_pickle)
    control.check(motion.model, file.name)
    camera = CameraInput(control, motion.model, path, strength)
    return replace(
        motion, name=f"{motion.name} + {file.stem}", weights=(*motion.weights, host().weights(control)),
        camera=camera,
    )  # fmt: skip


def apply_motion(
    model: Any,
    motion: Motion,
    settings: MotionSettings = AS_TRAINED,
    steps: tuple[float, float] = (0.0, 1.0),
    norms: str = NORMS[0],
    noise_levels: str = NOISE_LEVELS[0],
) -> Any:
    """A clone of MODEL with the motion module's layers; raises where they do not fit.

    `steps` are the parts (0..1) of the sampler's way between which they act. `norms`: how the image model's
    norms take the frames; AnimateDiff v1, say, was trained with them across frames. `noise_levels`: those of
    the family's training, or the MODEL's.
    """
    handle = host().handle(model).clone()
    sites = handle.sites()
    if any(sites.get(site) != channels for site, channels in motion.model.channels.items()):
        raise FramewrightError(
            f"motion: {motion.name} is for {motion.file.base}, the model that came is {base_of(sites)}"
        )
    if settings.pattern is not None and settings.pattern.reads_known:
        raise FramewrightError(
            "pattern: one came that reads the frames that a long video knows, which a motion module is given "
            "otherwise; expected it at Apply Attention Pattern"
        )
    if noise_levels == "as trained" and settings.strength and motion.file.family in NOISED:
        handle.set_noise_levels(NOISED[motion.file.family].sigmas())
    settings = during(settings, steps, handle)
    paced = motion.file.known_conv is not None
    layers = AppliedMotion(motion.model, settings, motion.low_rank, motion.camera, paced)
    handle.insert_layers(layers, motion.model.places, motion.weights)
    if motion.camera is not None:
        handle.at_end(motion.camera.forget)
        handle.refuse_areas("a camera")
    if settings.mask is not None:
        handle.refuse_areas("a mask")
    if motion.file.known_conv is not None:
        handle.add_input_patch(KnownFrames(motion.file.known_conv, settings))
    if settings.views is not None:  # as under Context Windows
        handle.encode_hints_once()
    extent = Extent(settings.strength, steps=settings.steps)  # hosts copy it with every MODEL
    if norms == "across frames" or (norms == "as trained" and motion.file.family in NORMED_ACROSS):
        handle.norm_across_frames(NORMED_ACROSS.get(motion.file.family, (RESBLOCKS,)), extent)
    return handle.model
