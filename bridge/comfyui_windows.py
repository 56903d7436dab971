"""Context windows in ComfyUI: a context handler of ours, that runs several windows in one model call."""

from collections.abc import Callable
from typing import Any

import comfy.model_management as management
from comfy.context_windows import ContextHandlerABC
from torch import Tensor

from ..errors import FramewrightError
from ..sampling.windows import Windows, nearest_step
from ..temporal.slots import FRAMES, NUMBERS


class WindowHandler(ContextHandlerABC):
    """Called by the host wherever conditions are computed, so that every sampler and guider is covered."""

    def __init__(self, windows: Windows) -> None:
        super().__init__()
        self.windows = windows

    def should_use_context(
        self, model: Any, conds: list, x_in: Tensor, timestep: Tensor, model_options: dict[str, Any]
    ) -> bool:
        return x_in.shape[0] > self.windows.length

    def get_resized_cond(
        self, cond_in: list | None, x_in: Tensor, window: Tensor, device: Any = None
    ) -> list | None:
        """The conditions with everything that has a row for each frame cut down to the frames of `window`."""
        return None if cond_in is None else [_cut(cond, x_in.shape[0], window) for cond in cond_in]

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
        step = nearest_step(options.get("sample_sigmas"), float(timestep.flatten()[0]))
        in_window = {**options, FRAMES: self.windows.length}

        def call(x: Tensor, frames: Tensor) -> list[Tensor]:
            cut = [self.get_resized_cond(cond, x_in, frames) for cond in conds]
            times = timestep if timestep.shape[0] != x_in.shape[0] else timestep.index_select(0, frames)
            return calc_cond_batch(
                model, cut, x, times, {**model_options, "transformer_options": {**in_window, NUMBERS: frames}}
            )

        return self.windows.denoise(x_in, step, call, self._windows_a_call(model, conds, x_in))

    def _windows_a_call(self, model: Any, conds: list, x_in: Tensor) -> int:
        """As many windows as the host's own estimate says fit, with every condition, into free memory."""
        free = management.get_free_memory(x_in.device)
        shape = [self.windows.length * len(conds), *x_in.shape[1:]]
        return max(1, int(free / (model.memory_required(shape) * 1.5)))


def _cut(cond: dict[str, Any], total: int, frames: Tensor) -> dict[str, Any]:
    if cond.get("control") is not None:
        raise FramewrightError(
            "context windows: a ControlNet came with the conditioning; the host gives every window the hints "
            "of the first frames, so it is refused here until windows carry hints of their own"
        )

    def rows(value: Any) -> Any:
        if isinstance(value, Tensor) and value.ndim and value.shape[0] == total:
            return value.index_select(0, frames.to(value.device))
        if isinstance(getattr(value, "cond", None), Tensor) and value.cond.shape[0] == total:
            return value._copy_with(value.cond.index_select(0, frames.to(value.cond.device)))
        if isinstance(value, dict):
            return {key: rows(inner) for key, inner in value.items()}
        return value

    return {key: rows(value) for key, value in cond.items()}
