"""The built-in host, as nodes see it."""

from pathlib import Path

import torch

from ..bridge.host import Motion
from ..demo import files
from ..demo.text import WordEncoder
from ..demo.vae import FrameVAE, SmallVAE
from ..temporal.motion import MotionModel
from ..temporal.parts import Parts
from ..temporal.unet import SpaceTimeUNet
from .model import EmbeddedHandle, EmbeddedModel
from .schedules import NoiseSchedule

FRAMES_AT_ONCE = 32  # through the VAE


class EmbeddedHost:
    def __init__(self, models: Path | None = None) -> None:
        self._models = models

    def handle(self, model: EmbeddedModel) -> EmbeddedHandle:
        return EmbeddedHandle(model)

    def parts(self) -> Parts:
        return Parts()

    def motion(self, model: MotionModel, name: str) -> Motion:
        return Motion(model, name, weights=None)

    def demo_model(self) -> tuple[EmbeddedModel, WordEncoder, FrameVAE]:
        unet = files.load("image", SpaceTimeUNet(files.UNET))
        vae = FrameVAE(files.load("vae", SmallVAE()), lambda _: (torch.device("cpu"), FRAMES_AT_ONCE))
        return EmbeddedModel(unet, NoiseSchedule("v")), files.load("text", WordEncoder()), vae

    def motion_files(self) -> dict[str, Path]:
        found = {"demo": files.FOLDER / "motion.safetensors"}
        if self._models:
            found |= {path.name: path for path in sorted(self._models.glob("*.safetensors"))}
        return found
