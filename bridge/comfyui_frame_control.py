"""A ControlNet of ComfyUI with a map a frame, and a strength by frame, place, layer and step."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import comfy.controlnet
from torch import Tensor

from ..controls.conditioning import add_control
from ..controls.weights import ControlWeights, Residuals, part_done
from .comfyui_host_windows import host_window
from .comfyui_sparse_control import SparseControl


class FrameControl(comfy.controlnet.ControlBase):
    """Stands where the ControlNet that it holds would, and multiplies what that one gives.

    The host gives a call the maps from the first on, and where there are as many as a call has rows, the
    conditions in it share them out; this one sees to it that each frame of a call has its own.
    """

    def __init__(self, control: Any, weights: ControlWeights) -> None:
        super().__init__()
        self.control, self.weights = control, weights
        self._sigma_at: Callable[[float], float] | None = None
        self._placed: dict[tuple[int, ...], Any] = {}  # the held one, by the maps that it has in a call

    def rows(self, control: Any, frames: Sequence[int]) -> "FrameControl":
        """For these frames alone, with `control`, which is the held one for these frames."""
        one = copy.copy(self)
        one.control, one.weights, one._placed = control, self.weights.rows(frames), {}
        return one

    def _for(self, frames: Sequence[int]) -> Any:
        """The held one with the maps of these frames."""
        if isinstance(self.control, SparseControl) or len(maps := self.control.cond_hint_original) == 1:
            return self.control  # one looks for its own frames, and one map is every frame's
        rows = tuple(frame % len(maps) for frame in frames)
        if rows == tuple(range(len(maps))):
            return self.control
        if rows not in self._placed:
            self._placed[rows] = with_maps(self.control, rows)
        return self._placed[rows]

    def get_control(
        self, x_noisy: Tensor, t: Tensor, cond: dict[str, Any], batched_number: int, options: dict[str, Any]
    ) -> Residuals | None:
        given = (x_noisy, t, cond, batched_number, options)
        before = None if self.previous_controlnet is None else self.previous_controlnet.get_control(*given)
        held = host_window(options)
        frames = range(len(x_noisy) // batched_number) if held is None else held
        made = self._for(frames).get_control(*given)
        if made is None:
            return before
        part = part_done(float(t.flatten()[0]), self._sigma_at) if self._sigma_at else 0.0
        weights = self.weights if held is None else self.weights.rows(held)
        made = {place: [_for_each(one, len(x_noisy)) for one in parts] for place, parts in made.items()}
        return self.control_merge(weights(made, part, batched_number), before, output_dtype=None)

    def pre_run(self, model: Any, percent_to_timestep_function: Callable[[float], float]) -> None:
        super().pre_run(model, percent_to_timestep_function)
        self._sigma_at = percent_to_timestep_function
        self.control.pre_run(model, percent_to_timestep_function)

    def cleanup(self) -> None:
        super().cleanup()
        self.control.cleanup()
        self._placed.clear()

    def get_models(self) -> list:
        return [*super().get_models(), *self.control.get_models()]

    def get_extra_hooks(self) -> list:
        return [*super().get_extra_hooks(), *self.control.get_extra_hooks()]

    def inference_memory_requirements(self, dtype: Any) -> float:
        return super().inference_memory_requirements(dtype) + self.control.inference_memory_requirements(
            dtype
        )

    def copy(self) -> "FrameControl":
        one = FrameControl(self.control.copy(), self.weights)
        self.copy_to(one)
        return one

    def deepclone_multigpu(self, load_device: Any, autoregister: bool = False) -> "FrameControl":
        one = FrameControl(self.control.deepclone_multigpu(load_device), self.weights)
        self.copy_to(one)
        if autoregister:
            self.multigpu_clones[load_device] = one
        return one


def with_maps(control: Any, rows: Sequence[int]) -> Any:
    """A shallow copy of a ControlNet, over the same weights, that has these of its maps."""
    one = copy.copy(control)
    one.cond_hint, one.cond_hint_original = None, control.cond_hint_original[list(rows)]
    if hasattr(one, "control_input"):
        one.control_input = None  # which a T2I-Adapter makes of its map alone
    return one


def check_frames(control: Any, frames: int) -> None:
    """FramewrightError where a ControlNet, or one before it, has weights for another number of frames."""
    while control is not None:
        if isinstance(control, FrameControl):
            control.weights.check(frames)
        control = control.previous_controlnet


def _for_each(residual: Tensor | None, batch: int) -> Tensor | None:
    """What is the same for a whole batch, as T2I adapters give it of one map, for each of its rows."""
    if residual is None or len(residual) != 1:
        return residual
    return residual.expand(batch, *residual.shape[1:])


def apply_control(
    conds: Sequence[list],
    control: Any,
    hints: Tensor,
    strength: float,
    between: tuple[float, float],
    weights: ControlWeights | None,
    vae: Any = None,
    at: Sequence[int] = (),
) -> list[list]:
    """As the host's own Apply ControlNet does, but for the weights and sparse ControlNets' frames."""

    def after(before: Any) -> Any:
        shown = hints[..., :3].movedim(-1, 1)
        one = control.copy().set_cond_hint(shown, strength, between, vae=vae)
        one = one.set_frames(at, vae) if isinstance(one, SparseControl) else one
        if weights is not None or (len(shown) > 1 and not isinstance(one, SparseControl)):
            one = FrameControl(one, weights or ControlWeights())
        return one.set_previous_controlnet(before)

    return add_control(conds, after)
