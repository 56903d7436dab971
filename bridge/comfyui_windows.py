"""Context windows in ComfyUI: a context handler of ours, that runs several windows in one model call."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import comfy.model_management as management
import torch
from comfy.conds import CONDNoiseShape
from comfy.context_windows import ContextHandlerABC
from torch import Tensor

from ..controls.conditioning import CONCAT
from ..errors import FramewrightError
from ..sampling.chunks import Together, in_chunks
from ..sampling.window_plan import Frames, Windows
from ..sampling.windows import StepWindows, denoise, nearest_step
from ..temporal.slots import CHUNK, FRAMES, NUMBERS, TOTAL, Chunk, numbers_in_video
from .comfyui_control import Hints, WindowControl
from .comfyui_frame_control import check_frames


@dataclass(frozen=True)
class Manner:
    """How a model's frames are cut up, step by step.

    hints_once: ControlNets go through the handler also where there are no windows (see `comfyui_control`).
    chunk: how many frames go through the image model at once where there are none.
    """

    windows: StepWindows = StepWindows()
    hints_once: bool = False
    chunk: int | None = None


class WindowHandler(ContextHandlerABC):
    """Called by the host wherever conditions are computed, so that every sampler and guider is covered."""

    def __init__(self, manner: Manner = Manner()) -> None:
        super().__init__()
        self.manner, self._hints = manner, Hints()

    def __deepcopy__(self, memo: dict[int, Any]) -> "WindowHandler":
        return self  # one for all clones, so that what it holds can be let go

    def end(self, *_: Any) -> None:
        """Called when a render has ended."""
        self._hints.clear()

    def most(self, frames: int) -> int:
        """The most frames of so many that go through the model in one call, where windows do not share it."""
        chunk = min(frames, self.manner.chunk or frames)
        return self.manner.windows.most(frames, chunk)

    def should_use_context(
        self, model: Any, conds: list, x_in: Tensor, timestep: Tensor, model_options: dict[str, Any]
    ) -> bool:
        if x_in.ndim != 4:
            raise FramewrightError(
                f"model: latents of {list(x_in.shape)} came, expected [frames, channels, height, width]; for "
                "models of whole videos there are the core's own context windows"
            )
        windowed = self._windows(model, x_in, timestep) is not None
        controlled = any("control" in cond for one in conds for cond in one or ())
        return windowed or self._chunked(x_in) or (self.manner.hints_once and controlled)

    def _windows(self, model: Any, x_in: Tensor, timestep: Tensor) -> Windows | None:
        return self.manner.windows.at(_level(timestep), len(x_in), model.model_sampling.percent_to_sigma)

    def _chunked(self, x_in: Tensor) -> bool:
        return self.manner.chunk is not None and len(x_in) > self.manner.chunk

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
        windows = self._windows(model, x_in, timestep)

        def call(conds: list, x: Tensor, frames: Tensor, told: dict[str, Any]) -> list[Tensor]:
            management.throw_exception_if_processing_interrupted()
            cut = [self.get_resized_cond(cond, x_in, frames) for cond in conds]
            times = timestep if timestep.shape[0] != x_in.shape[0] else timestep.index_select(0, frames)
            told = {TOTAL: len(x_in), **options, **told, NUMBERS: numbers_in_video(frames, options)}
            return calc_cond_batch(model, cut, x, times, {**model_options, "transformer_options": told})

        if windows is None and self._chunked(x_in):
            # Each GPU has one thread there, in which chunks would wait for one another.
            if "multigpu_clones" in model_options:
                raise FramewrightError(
                    "model: one that several GPUs share came, expected one of a single GPU for Frame Chunks"
                )
            if any(_hooks_at(cond, level) > 1 for cond in conds):
                raise FramewrightError(
                    "conditioning: prompts with other hooks came side by side, which change weights while "
                    "Frame Chunks wait for one another; expected the same hooks for all, or no Frame Chunks"
                )
            every = numbers_in_video(torch.arange(len(x_in), device=x_in.device), options)

            def chunk(place: int, x: Tensor, frames: Tensor, together: Together) -> list[Tensor]:
                one = [cond if number == place else None for number, cond in enumerate(conds)]
                own = self._controlled(one, [tuple(frames.tolist())], len(x_in))
                own.show(frames)
                return [call(own.conds, x, frames, {CHUNK: Chunk(together, every)})[place]]

            # One condition after another: the host, left to it, runs as many together as fit at the moment,
            # which need not be the same of every chunk, and hooks change weights that all chunks share.
            size = cast(int, self.manner.chunk)
            made = [in_chunks(x_in, size, partial(chunk, place)) for place in range(len(conds))]
            return [one for (one,) in made]
        windows = windows or Windows(len(x_in), 0)
        step = nearest_step(options.get("sample_sigmas"), level) if windows.moves else 0
        held = [window.frames for window in windows.plan(len(x_in), step)]
        controlled = self._controlled(conds, held, len(x_in))

        def window(x: Tensor, frames: Tensor, length: int) -> list[Tensor]:
            controlled.show(frames)
            together = options.get(FRAMES, length)  # a plan's segments side by side, which no windows cut
            return call(controlled.conds, x, frames, {FRAMES: together})

        at_once = self._windows_a_call(windows.length, model, controlled.conds, x_in)
        return denoise(windows, x_in, step, window, at_once)

    def _controlled(self, conds: list, held: Sequence[Frames], total: int) -> "_Controlled":
        """The conditions with their ControlNets, each in a form for the windows that hold these frames."""
        uses, made = Counter(frame for frames in held for frame in frames), {}

        def controlled(cond: dict[str, Any]) -> dict[str, Any]:
            control = cond.get("control")
            if control is None:
                return cond
            if id(control) not in made:
                check_frames(control, total)
                made[id(control)] = WindowControl(control, self._hints, uses)
            return {**cond, "control": made[id(control)]}

        given = [None if one is None else [controlled(cond) for cond in one] for one in conds]
        return _Controlled(list(made.values()), given)

    def _windows_a_call(self, length: int, model: Any, conds: list, x_in: Tensor) -> int:
        """As many windows as the host's own estimate says fit, with every condition, into free memory."""
        patcher = model.current_patcher
        free = getattr(patcher, "get_free_memory", management.get_free_memory)(x_in.device)
        shape = [length * len(conds), *x_in.shape[1:]]
        return max(1, int(free / (model.memory_required(shape) * 1.5)))


@dataclass(frozen=True)
class _Controlled:
    controls: list[WindowControl]
    conds: list

    def show(self, frames: Tensor) -> None:
        """Which frames the next call holds."""
        for control in self.controls:
            control.frames = frames.tolist()


def at_once(
    executor: Any, model: Any, noise_shape: Sequence[int], conds: Any, model_options: Any = None, **more: Any
) -> Any:
    """The host's preparing of a render, which sees to room for as many frames as a call holds."""
    handler, (frames, *size) = (model_options or {}).get("context_handler"), noise_shape
    most = handler.most(frames) if isinstance(handler, WindowHandler) else frames
    return executor(model, [most, *size], conds, model_options=model_options, **more)


def _hooks_at(cond: list[dict[str, Any]] | None, level: float) -> int:
    """How many groups of hooks, none being one too, the prompts of a condition have at this noise level."""
    return len(
        {
            id(one.get("hooks"))
            for one in cond or ()
            if one.get("timestep_end", level) <= level <= one.get("timestep_start", level)
        }
    )


def _level(timestep: Tensor) -> float:
    return float(timestep.flatten()[0])


def cut_rows(cond: dict[str, Any], total: int, frames: Tensor) -> dict[str, Any]:
    """A condition with the rows of these frames of all that has one for each of `total`.

    Masks, and what goes in beside the noise, may have more, or fewer that begin anew, as in the host.
    FramewrightError for prompts of another number, which the host would begin anew in every part.
    """
    prompts = cond.get("cross_attn")
    if isinstance(prompts, Tensor) and len(prompts) not in (1, total):
        raise FramewrightError(f"conditioning: prompts for {len(prompts)} frames came, expected for {total}")

    def cut(value: Tensor) -> Tensor:
        return value if len(value) == 1 else value[frames.to(value.device) % len(value)]

    def rows(value: Any) -> Any:
        if isinstance(value, Tensor) and value.ndim and value.shape[0] == total:
            return cut(value)
        if isinstance(inner := getattr(value, "cond", None), Tensor) and inner.ndim:
            by_frame = inner.shape[0] == total or isinstance(value, CONDNoiseShape)
            return value._copy_with(cut(inner)) if by_frame else value
        if isinstance(value, dict):
            return {key: rows(inner) for key, inner in value.items()}
        return value

    def part(key: str, value: Any) -> Any:
        if key == "mask":
            return value if value.ndim == 2 else cut(value)
        return cut(value) if key == CONCAT else rows(value)

    return {key: part(key, value) for key, value in cond.items()}
