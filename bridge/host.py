"""What nodes ask of the host they run in: ComfyUI (this folder) or the built-in one (`embedded`)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ..errors import FramewrightError
from ..sampling.windows import Windows
from ..temporal.motion import MotionModel
from ..temporal.parts import Parts
from ..temporal.patterns import Pattern
from ..temporal.slots import Site


@dataclass(frozen=True)
class Motion:
    """A loaded motion model, as the FRAMEWRIGHT_MOTION socket carries it.

    `weights` is the host's own handle.
    """

    model: MotionModel
    name: str
    weights: Any


class ModelHandle(Protocol):
    """A MODEL, whichever host it is of.

    Every change is made on a clone; `model` is what the socket carries.
    """

    model: Any

    def clone(self) -> "ModelHandle": ...

    def sites(self) -> dict[Site, int]:
        """Places for temporal layers, with their channels."""

    def insert_layers(self, motion: Motion) -> None: ...

    def set_attention(self, pattern: Pattern) -> None: ...

    def set_windows(self, windows: Windows) -> None: ...


class Host(Protocol):
    def handle(self, model: Any) -> ModelHandle: ...

    def parts(self) -> Parts: ...

    def motion(self, model: MotionModel, name: str) -> Motion: ...

    def demo_model(self) -> tuple[Any, Any, Any]:
        """MODEL, word encoder and VAE of the shapes world."""

    def motion_files(self) -> dict[str, Path]:
        """Motion modules that the user has, by the name that a node lists."""


_current: list[Host] = []


def use(chosen: Host) -> None:
    """Run all nodes of this process in `chosen`; without this it is ComfyUI."""
    _current[:] = [chosen]


def host() -> Host:
    if not _current:
        from .comfyui import ComfyHost

        use(ComfyHost())
    return _current[0]


def apply_motion(model: Any, motion: Motion) -> Any:
    """A clone of MODEL with the motion model's layers; raises where they do not fit."""
    handle = host().handle(model).clone()
    sites = handle.sites()
    wanted = {site: motion.model.at(site).norm.num_channels for site in motion.model.sites}
    if any(sites.get(site) != channels for site, channels in wanted.items()):
        raise FramewrightError(
            f"motion: {motion.name} is for a model with {_widths(wanted)} channels, "
            f"the model that came has {_widths(sites)}"
        )
    handle.insert_layers(motion)
    return handle.model


def _widths(sites: dict[Site, int]) -> str:
    """Channels a UNet's input blocks have, the fine ones first."""
    widths = dict.fromkeys(channels for (kind, _), channels in sorted(sites.items()) if kind == "input")
    return ", ".join(map(str, widths)) or "no known"
