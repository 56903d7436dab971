"""What nodes ask of the host they run in: ComfyUI (this folder) or the built-in one (`embedded`)."""

import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

from ..controls.weights import ControlWeights
from ..errors import FramewrightError
from ..sampling.window_plan import Windows
from ..temporal.checkpoint import Reader
from ..temporal.extent import Extent
from ..temporal.keyed_text import layer_name
from ..temporal.parts import Parts
from ..temporal.patterns import Pattern
from ..temporal.slots import Layers, Site
from ..temporal.sparse_control import SparseControlNet

InputPatch = Callable[[Tensor, dict[str, Any]], Tensor]  # (activations, transformer_options)
Start = Callable[[Mapping[str, str], Path], subprocess.Popen]  # (environment, folder of its own)
SomeExtent = TypeVar("SomeExtent", bound=Extent)
Told = Callable[[int, Tensor, Tensor, int], None]  # (step, x0, x, steps)


class ModelHandle(Protocol):
    """A MODEL, whichever host it is of.

    Every change is made on a clone; `model` is what the socket carries.
    """

    model: Any

    def clone(self) -> "ModelHandle": ...

    def sites(self) -> dict[Site, int]:
        """Places for temporal layers, with their channels."""

    @property
    def input_channels(self) -> int:
        """Channels that the network takes, latents and whatever is beside them."""

    @property
    def latent_channels(self) -> int:
        """Channels of the latents that it samples."""

    def tell_levels(self) -> None:
        """Let calls be told the noise levels of parts of sampling, which an Extent looks for."""

    def highest_sigma(self) -> float:
        """The noise level that its schedule begins with."""

    def noised(self, sigma: float, noise: Tensor, latents: Tensor) -> Tensor:
        """What a sampler begins with at a level: latents, as the network takes them, under noise."""

    def insert_layers(self, layers: Layers, places: Sequence[str], weights: Sequence[Any]) -> None:
        """A layer set to call at places of these kinds (see `temporal.slots`).

        `weights` are the host's handles of those that it needs.
        """

    def set_noise_levels(self, sigmas: Tensor) -> None:
        """Sample by other sigmas [1000] (`sampling.noise_levels`); what the network predicts stays."""

    def refuse_areas(self, what: str) -> None:
        """Raise while sampling where a prompt is for an area: such a call holds a part of the picture.

        `what` came, which is for all of it.
        """

    def at_end(self, act: Callable[[], None]) -> None:
        """Call `act` when a render has ended."""

    def norm_across_frames(self, kinds: Sequence[str], extent: Extent) -> None:
        """Let the image model's norms of these kinds run over all frames at once (`temporal.frame_norm`).

        That is at the extent's noise levels, not at strength 0.
        """

    def add_input_patch(self, patch: InputPatch) -> None:
        """Call `patch` after every input block."""

    def latent_in(self, latents: Tensor) -> Tensor:
        """A VAE's latents as the network takes them."""

    def set_attention(self, pattern: Pattern, extent: Extent) -> None: ...

    def add_reference(self, latents: Tensor, noise: Tensor, extent: Extent, unet: Any = None) -> None:
        """Let every frame read a picture's features: latents [1, C, h, w] of a VAE, under noise like them.

        They are this MODEL's at the noise level of each step, or those of another, `unet`, at its lowest.
        """

    def add_windows(self, windows: Windows, start: float = 0.0, end: float = 1.0) -> None:
        """Sample in windows between these parts (0..1) of sampling, where no later call says otherwise."""

    def set_chunk(self, frames: int) -> None:
        """Pass at most so many frames at a time through the image model, outside of windows."""

    @property
    def in_parts(self) -> bool:
        """Whether it samples a video in windows or chunks."""

    def encode_hints_once(self) -> None:
        """Pass each ControlNet's hints through its encoder once a render, not at every step."""


DRAWS_NOISE = "sampler: one that draws noise on its way came, expected another, such as euler or ddim"


def check_range(steps: tuple[float, float]) -> None:
    """FramewrightError where a part of the sampling ends before it starts."""
    if steps[0] > steps[1]:
        raise FramewrightError(
            f"start_percent: {steps[0]:g} came, expected at most end_percent, {steps[1]:g}"
        )


def during(extent: SomeExtent, steps: tuple[float, float], handle: ModelHandle) -> SomeExtent:
    """The extent between these parts (0..1) of a MODEL's sampling; raises where a block is none of it."""
    check_range(steps)
    sites = handle.sites()
    for layer in extent.layers:
        if layer not in sites and layer not in {side for side, _ in sites}:
            there = ", ".join(map(layer_name, sites))
            raise FramewrightError(
                f"layer_strength: {layer_name(layer)} came, expected one of this model's: {there}"
            )
    handle.tell_levels()
    return replace(extent, steps=steps)


class GuiderHandle(Protocol):
    """A GUIDER, whichever host it is of: a model with its prompts, ready to sample."""

    @property
    def model(self) -> Any: ...

    def settings(self) -> Iterator[Tensor | str]:
        """What its predictions depend on beside the model: numbers, names, and the prompts' tensors."""

    def part(self, frames: Sequence[int], total: int, options: dict[str, Any]) -> "GuiderHandle":
        """The same for some frames of a video of `total`, with more transformer_options.

        Of whatever in the prompts has a row for each frame, theirs stay.
        """

    def sample(
        self,
        noise: Tensor,
        latents: Tensor,
        sampler: Any,
        sigmas: Tensor,
        mask: Tensor | None,
        seed: int,
        told: Told,
    ) -> Tensor:
        """Latents [F, C, h, w] on the CPU; `told` hears of every step."""


class Host(Protocol):
    def guider(self, guider: Any) -> GuiderHandle: ...

    def cfg_guider(self, model: Any, positive: list, negative: list, cfg: float) -> GuiderHandle:
        """Classifier-free guidance of a MODEL by two CONDITIONINGs."""

    def without_noise(self, sampler: Any) -> Any:
        """A SAMPLER that raises, here or on its way, where it draws noise there."""

    def progress(self, guider: GuiderHandle, total: int) -> Callable[[int, Tensor | None], None]:
        """Shows how many of all steps are done, with the picture that the latents are coming to."""

    def bar(self, total: int) -> Callable[[int], None]:
        """Shows how many parts of other work are done; raises where the user has had enough."""

    def tell(self, line: str, node: str) -> None:
        """Shows a line of text on the node of that id, beside what it gives to pipelines."""

    def handle(self, model: Any) -> ModelHandle: ...

    def worker(self, prompt: dict[str, Any]) -> Start:
        """What starts a process of the same host that runs a prompt."""

    def parts(self) -> Parts: ...

    def weights(self, module: nn.Module) -> Any:
        """The host's handle of weights that layers bring along, by which it loads and unloads them."""

    def loaded(self, module: nn.Module) -> AbstractContextManager[torch.device]:
        """A whole network that is no part of a MODEL, on the device on which the host computes."""

    def demo_model(self) -> tuple[Any, Any, Any]:
        """MODEL, word encoder and VAE of the shapes world."""

    def demo_control(self, name: str) -> Any:
        """A CONTROL_NET of the shapes world."""

    def sparse_control(self, net: SparseControlNet) -> Any:
        """The CONTROL_NET that a sparse ControlNet is."""

    def apply_control(
        self,
        conds: Sequence[list],
        control: Any,
        hints: Tensor,
        strength: float,
        between: tuple[float, float],
        weights: ControlWeights | None,
        vae: Any = None,
        at: Sequence[int] = (),
    ) -> list[list]:
        """CONDITIONINGs with a ControlNet and its hints [F or 1, H, W, 3], after those that they have.

        A sparse one has a hint for each of the frames `at`.
        """

    def video(self, frames: Any, fps: float) -> Any:
        """A VIDEO of frames that are decoded as they are gone through (`video.StreamedFrames`)."""

    def motion_files(self) -> dict[str, Path]:
        """Motion modules that the user has, by the name that a node lists."""

    def lora_files(self) -> dict[str, Path]:
        """Motion LoRAs, likewise."""

    def control_files(self) -> dict[str, Path]:
        """What lies beside ControlNets, likewise."""

    def depth_models(self) -> dict[str, Path]:
        """Folders of depth models, likewise."""

    def onnx_files(self) -> dict[str, Path]:
        """ONNX models, likewise."""

    def output_folder(self) -> Path: ...

    def save_path(self, prefix: str) -> Path:
        """Where the next safetensors file of a prefix goes, in the output folder."""

    @property
    def read_pickle(self) -> Reader | None:
        """The host's own safe reader of pickled weights, where it has one."""


_current: list[Host] = []


def use(chosen: Host) -> None:
    """Run all nodes of this process in `chosen`; without this it is ComfyUI."""
    _current[:] = [chosen]


def host() -> Host:
    if not _current:
        from .comfyui import ComfyHost

        use(ComfyHost())
    return _current[0]
