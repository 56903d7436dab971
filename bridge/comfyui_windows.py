"""Context windows in ComfyUI: a context handler of ours, that runs several windows in one model call."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import comfy.model_management as management
from comfy.context_windows import ContextHandlerABC
from torch import Tensor

from ..sampling.window_plan import Window, Windows
from ..sampling.windows import StepWindows, denoise, nearest_step
from ..temporal.slots import FRAMES, NUMBERS
from .comfyui_control import Hints, WindowControl

NONE = StepWindows()


class WindowHandler(ContextHandlerABC):
    """Called by the host wherever conditions are computed, so that every sampler and guider is covered."""

    def __init__(self, windows: StepWindows = NONE, hints_once: bool = False) -> None:
        """hints_once: ControlNets go through it also where there are no windows (see `comfyui_control`)."""
        super().__init__()
        self.windows, self.hints_once, self._hints = windows, hints_once, Hints()

    def __deepcopy__(self, memo: dict[int, Any]) -> "WindowHandler":
        return self  # one for all clones, so that what it holds can be let go

    def end(self, *_: Any) -> None:
        """Called when a render has ended."""
        self._hints.clear()

    def should_use_context(
        self, model: Any, conds: list, x_in: Tensor, timestep: Tensor, model_options: dict[str, Any]
    ) -> bool:
        controlled = any("control" in cond for one in conds for cond in one or ())
        return self.windows.at(_level(timestep), len(x_in)) is not None or (self.hints_once and controlled)

    def get_resized_cond(
        self, cond_in: list | None, x_in: Tensor, window: Tensor, device: Any = None
    ) -> list | None:
        """The conditions with everything that has a row for each frame cut down to the frames of `window`."""
        return None if cond_in is None else [cut_rows(cond, x_in.shape[0], window) for cond in cond_in]

    def execute(
        self,
        calc_cond_batch: Callable[..., list[Tensor]],
        model: Any,
        conds: list,
        x_in: Tensor,
        timestep: Tensor,
        model_options: dict[str, Any],
    ) -> list[Tensor]:
        options = model_options["transformer_options"]
        level = _level(timestep)
        windows = self.windows.at(level, len(x_in)) or Windows(len(x_in), 0)
        step = nearest_step(options.get("sample_sigmas"), level) if windows.moves else 0
        numbers = options.get(NUMBERS)  # where these frames are a part of a longer video
        controls, conds = self._controlled(conds, windows.plan(x_in.shape[0], step))

        def call(x: Tensor, frames: Tensor, length: int) -> list[Tensor]:
            management.throw_exception_if_processing_interrupted()
            for control in controls:
                control.frames = frames.tolist()
            cut = [self.get_resized_cond(cond, x_in, frames) for cond in conds]
            times = timestep if timestep.shape[0] != x_in.shape[0] else timestep.index_select(0, frames)
            told = {
                **options,
                FRAMES: length,
                NUMBERS: frames if numbers is None else numbers.to(frames.device)[frames],
            }
            return calc_cond_batch(model, cut, x, times, {**model_options, "transformer_options": told})

        return denoise(windows, x_in, step, call, self._windows_a_call(windows.length, model, conds, x_in))

    def _controlled(self, conds: list, plan: list[Window]) -> tuple[list[WindowControl], list]:
        """The conditions with their ControlNets, each in a form for this step's windows."""
        uses, made = Counter(frame for window in plan for frame in window.frames), {}

        def controlled(cond: dict[str, Any]) -> dict[str, Any]:
            control = cond.get("control")
            if control is None:
                return cond
            if id(control) not in made:
                made[id(control)] = WindowControl(control, self._hints, uses)
            return {**cond, "control": made[id(control)]}

        given = [None if one is None else [controlled(cond) for cond in one] for one in conds]
        return list(made.values()), given

    def _windows_a_call(self, length: int, model: Any, conds: list, x_in: Tensor) -> int:
        """As many windows as the host's own estimate says fit, with every condition, into free memory."""
        free = management.get_free_memory(x_in.device)
        shape = [length * len(conds), *x_in.shape[1:]]
        return max(1, int(free / (model.memory_required(shape) * 1.5)))


def _level(timestep: Tensor) -> float:
    return float(timestep.flatten()[0])


def cut_rows(cond: dict[str, Any], total: int, frames: Tensor) -> dict[str, Any]:
    def rows(value: Any) -> Any:
        if isinstance(value, Tensor) and value.ndim and value.shape[0] == total:
            return value.index_select(0, frames.to(value.device))
        if isinstance(getattr(value, "cond", None), Tensor) and value.cond.shape[0] == total:
            return value._copy_with(value.cond.index_select(0, frames.to(value.cond.device)))
        if isinstance(value, dict):
            return {key: rows(inner) for key, inner in value.items()}
        return value

    return {key: rows(value) for key, value in cond.items()}
