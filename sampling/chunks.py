"""All frames of a video through an image model a few at a time, while temporal layers see them all.

An image model's own layers know nothing of the frames beside one. So they run chunk after chunk, each chunk
in a thread of its own, of which one works at a time; where temporal layers sit, the chunks wait for each
other, and these run once, on all frames.
"""

import contextvars
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor

from ..errors import FramewrightError

# (activations [conditions · frames of the chunk, …], what changes those of all frames) to those of the chunk
Together = Callable[[Tensor, int, Callable[[Tensor], Tensor]], Tensor]
# (x of the chunk, its frames' numbers, Together) to tensors like x
Call = Callable[[Tensor, Tensor, Together], Sequence[Tensor]]


def in_chunks(x: Tensor, size: int, call: Call) -> list[Tensor]:
    """What `call` gives for x [F, …], of which it gets at most `size` frames at a time."""
    numbers = torch.arange(len(x), device=x.device).split(size)
    meeting = _Meeting(len(numbers))

    def chunk(place: int) -> Sequence[Tensor]:
        return call(x.index_select(0, numbers[place]), numbers[place], meeting.at(place))

    made = meeting.run([lambda place=place: chunk(place) for place in range(len(numbers))])
    return [torch.cat(parts) for parts in zip(*made, strict=True)]


# Threads are kept: torch makes its plans of convolutions anew in each, and lets none of them go.
_idle: list[ThreadPoolExecutor] = []


def _thread() -> ThreadPoolExecutor:
    try:
        return _idle.pop()
    except IndexError:
        return ThreadPoolExecutor(1, "frame chunk")


class _Stopped(Exception):
    """Another call has failed."""


class _Meeting:
    """Calls that do the same: each works until where all of them meet, then the next one does."""

    def __init__(self, count: int) -> None:
        self._turns = [threading.Semaphore(0) for _ in range(count)]
        self._parts: list[Tensor | None] = [None] * count
        self._error: BaseException | None = None

    def run(self, calls: Sequence[Callable[[], Any]]) -> list[Any]:
        """What the calls give; the error of the first that fails."""
        made: list[Any] = [None] * len(calls)
        modes = _modes()

        def work(place: int) -> None:
            try:
                self._wait(place)
                with ExitStack() as entered:
                    for mode in modes:
                        entered.enter_context(mode())
                    made[place] = calls[place]()
            except _Stopped:
                return
            except BaseException as error:
                self._fail(error)
            else:
                self._pass_on(place)

        threads = [_thread() for _ in calls]
        try:
            working = [
                thread.submit(contextvars.copy_context().run, work, place)
                for place, thread in enumerate(threads)
            ]
            self._turns[0].release()
            wait(working)
        except BaseException as error:  # such as Ctrl+C, while the calls go on
            self._fail(error)
            raise
        _idle.extend(threads)
        if self._error is not None:
            raise self._error
        return made

    def _fail(self, error: BaseException) -> None:
        self._error = error
        for turn in self._turns:
            turn.release()

    def at(self, place: int) -> Together:
        def together(part: Tensor, conditions: int, change: Callable[[Tensor], Tensor]) -> Tensor:
            self._parts[place] = part.unflatten(0, (conditions, -1))
            if place == len(self._turns) - 1:
                self._change(change)
            self._pass_on(place)
            self._wait(place)
            mine, self._parts[place] = self._parts[place], None
            assert mine is not None
            return mine.flatten(0, 1)

        return together

    def _change(self, change: Callable[[Tensor], Tensor]) -> None:
        """Parts [conditions, frames, …] to what `change` makes of all of them together."""
        parts = [part for part in self._parts if part is not None]
        if len(parts) < len(self._parts) or len({part.shape[0] for part in parts}) > 1:
            raise FramewrightError(
                "frame chunks: the host ran other conditions together in one chunk than in another; "
                "expected one prompt, or larger chunks"
            )
        joined = torch.cat(parts, dim=1)
        changed = change(joined.flatten(0, 1)).unflatten(0, joined.shape[:2])
        self._parts[:] = changed.split([part.shape[1] for part in parts], dim=1)

    def _pass_on(self, place: int) -> None:
        self._turns[(place + 1) % len(self._turns)].release()

    def _wait(self, place: int) -> None:
        self._turns[place].acquire()
        if self._error is not None:
            raise _Stopped


def _modes() -> list[Callable[[], Any]]:
    """What torch keeps by thread: whether it records gradients, and the GPU that it works on."""
    inference, gradients = torch.is_inference_mode_enabled(), torch.is_grad_enabled()
    modes: list[Callable[[], Any]] = [
        lambda: torch.inference_mode(inference),
        lambda: torch.set_grad_enabled(gradients),
    ]
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        device, stream = torch.cuda.current_device(), torch.cuda.current_stream()
        modes += [lambda: torch.cuda.device(device), lambda: torch.cuda.stream(stream)]
    return modes
