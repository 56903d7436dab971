"""The built-in host, as nodes see it."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..bridge.host import Start
from ..demo import files
from ..demo.text import WordEncoder
from ..demo.vae import DOWNSCALE, FrameVAE, SmallVAE
from ..temporal.control_net import ControlNet
from ..temporal.parts import Parts
from ..temporal.sparse_control import SparseControlNet
from ..temporal.unet import SpaceTimeUNet
from .control import EmbeddedControlNet, EmbeddedSparseControl, apply_control
from .folders import current
from .model import EmbeddedGuider, EmbeddedHandle, EmbeddedModel
from .progress import report
from .samplers import Sampler, without_noise
from .sampling import Guider
from .schedules import NoiseSchedule
from .video import Components, StreamedVideo
from .worker import start_worker

LOG = logging.getLogger("framewright")

FRAMES_AT_ONCE = 32  # through the VAE


class EmbeddedHost:
    read_pickle = None  # none that is safe in every torch that the pack runs with

    def __init__(self, models: Path | None = None, device: str = "cpu") -> None:
        self._models, self._device = models, torch.device(device)

    def handle(self, model: EmbeddedModel) -> EmbeddedHandle:
        return EmbeddedHandle(model)

    def guider(self, guider: Guider) -> EmbeddedGuider:
        return EmbeddedGuider(guider)

    def cfg_guider(self, model: EmbeddedModel, positive: list, negative: list, cfg: float) -> EmbeddedGuider:
        return EmbeddedGuider(Guider(model, positive, negative, cfg))

    def without_noise(self, sampler: Sampler) -> Sampler:
        return without_noise(sampler)

    def progress(self, guider: Any, total: int) -> Callable[[int, Tensor | None], None]:
        return lambda value, _: report(value, total)

    def bar(self, total: int) -> Callable[[int], None]:
        return lambda value: report(value, total)

    def tell(self, line: str, node: str) -> None:
        LOG.info("node %s: %s", node, line)

    def worker(self, prompt: dict[str, Any]) -> Start:
        return partial(start_worker, prompt, current().input.resolve(), current().output.resolve())

    def parts(self) -> Parts:
        return Parts(device=self._device)

    def weights(self, module: nn.Module) -> None:
        """They are where they are."""

    @contextmanager
    def loaded(self, module: nn.Module) -> Iterator[torch.device]:
        yield self._device

    def demo_model(self) -> tuple[EmbeddedModel, WordEncoder, FrameVAE]:
        unet = files.load("image", SpaceTimeUNet(files.UNET)).to(self._device)
        net = files.load("vae", SmallVAE()).to(self._device)
        vae = FrameVAE(net, lambda _: (self._device, FRAMES_AT_ONCE))
        words = files.load("text", WordEncoder()).to(self._device)
        return EmbeddedModel(unet, NoiseSchedule("v")), words, vae

    def demo_control(self, name: str) -> EmbeddedControlNet | EmbeddedSparseControl:
        if name == files.SPARSELY:
            return self.sparse_control(files.load(name, SparseControlNet(files.SPARSE)).to(self._device))
        return EmbeddedControlNet(files.load(name, ControlNet(files.CONTROL)).to(self._device), DOWNSCALE)

    def sparse_control(self, net: SparseControlNet) -> EmbeddedSparseControl:
        return EmbeddedSparseControl(net)

    apply_control = staticmethod(apply_control)

    def video(self, frames: Any, fps: float) -> StreamedVideo:
        return StreamedVideo(Components(frames, Fraction(fps)))

    def motion_files(self) -> dict[str, Path]:
        return {**files.MOTION_FILES, **self._own_files()}

    def output_folder(self) -> Path:
        return current().output

    def save_path(self, prefix: str) -> Path:
        place = current().numbered(prefix, "output")
        return place.folder / f"{place.stem}_{place.counter:05}_.safetensors"

    def lora_files(self) -> dict[str, Path]:
        return {"demo drift": files.FOLDER / "drift.safetensors", **self._own_files()}

    def control_files(self) -> dict[str, Path]:
        return self._own_files("controlnet/*.safetensors")

    def depth_models(self) -> dict[str, Path]:
        found = self._models.glob("depth/*/config.json") if self._models else ()
        return {path.parent.name: path.parent for path in sorted(found)}

    def onnx_files(self) -> dict[str, Path]:
        return self._own_files("onnx/*.onnx")

    def _own_files(self, pattern: str = "*.safetensors") -> dict[str, Path]:
        found = sorted(self._models.glob(pattern)) if self._models else ()
        return {path.name: path for path in found}
