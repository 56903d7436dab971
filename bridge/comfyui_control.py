"""ControlNets under context windows: each frame once a step, with its own hint, however many windows hold it.

A ControlNet knows nothing of the frames beside one, so what it gives for a frame is the same in every window.
A hint is resized, and passed through the ControlNet's hint encoder, once a render. Nothing of the host's is
changed: the ControlNet that computes is a shallow copy, over the same weights, with the hints of its frames.
Sparse ControlNets alone look at all frames of a window, and compute each window by itself.
"""

import copy
from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from .comfyui_frame_control import FrameControl, with_maps
from .comfyui_sparse_control import SparseControl

Residuals = dict[str, list[Tensor | None]]


class Hints:
    """What the hint encoders of a render's ControlNets gave, by ControlNet, size and hint."""

    def __init__(self) -> None:
        self._rows: WeakKeyDictionary[Any, dict[tuple, Tensor]] = WeakKeyDictionary()
        self._parts: WeakKeyDictionary[Any, tuple[Any, list[Any]]] = WeakKeyDictionary()

    def clear(self) -> None:
        self._rows.clear()
        self._parts.clear()

    def parts(self, control: Any) -> tuple[Any, list[Any]]:
        """A chain without its sparse ControlNets, and these; the same objects at every step."""
        if control not in self._parts:
            self._parts[control] = _parted(control)
        return self._parts[control]

    def of(self, control: Any, size: tuple[int, ...]) -> dict[tuple, Tensor]:
        """[1, C, h, w] by (size, number of the hint); to be added to."""
        return self._rows.setdefault(control, {})


class _Encoder(nn.Module):
    """A ControlNet's hint encoder, in the place of which it stands, for hints that may be known."""

    def __init__(
        self, encoder: nn.Module, known: dict[tuple, Tensor], keys: list[tuple], members: int
    ) -> None:
        super().__init__()
        self._encoder, self._known, self._keys, self._members = [encoder], known, keys, members

    def forward(self, hint: Tensor, emb: Tensor, context: Tensor) -> Tensor:
        if not all(key in self._known for key in self._keys):
            count = len(self._keys)
            made = self._encoder[0](hint[:count], emb[:count], context[:count])
            self._known.update(zip(self._keys, made.split(1), strict=True))
        return torch.cat([self._known[key] for key in self._keys]).repeat(self._members, 1, 1, 1)


def _for_frames(control: Any, frames: list[int], members: int, x: Tensor, hints: Hints) -> Any:
    """A shallow copy of a ControlNet, and of those before it, that has the hints of `frames` alone."""
    if isinstance(control, FrameControl):
        link = control.rows(_for_frames(control.control, frames, members, x, hints), frames)
    else:
        link = _with_known(control, frames, members, x, hints)
    if control.previous_controlnet is not None:
        link.previous_controlnet = _for_frames(control.previous_controlnet, frames, members, x, hints)
    return link


def _with_known(control: Any, frames: list[int], members: int, x: Tensor, hints: Hints) -> Any:
    """A shallow copy of one that encodes no hint twice."""
    size, rows = tuple(x.shape[-2:]), [frame % control.cond_hint_original.shape[0] for frame in frames]
    link = with_maps(control, rows)
    encoder = getattr(getattr(control, "control_model", None), "input_hint_block", None)
    if encoder is None:
        return link
    known, keys = hints.of(control, size), [(size, row) for row in rows]
    if all(key in known for key in keys):  # the hint itself is not looked at again
        height, width = (side * control.compression_ratio for side in size)
        link.cond_hint = x.new_zeros(1).expand(len(x), 3, height, width)
    link.control_model = copy.copy(control.control_model)
    link.control_model._modules = dict(control.control_model._modules)
    link.control_model.input_hint_block = _Encoder(encoder, known, keys, members)
    return link


@dataclass
class _Held:
    """Residuals [conditions, frames, …] of frames that windows will ask for again, and how often."""

    left: Counter[int]
    frames: list[int] = field(default_factory=list)
    residuals: Residuals | None = None

    def add(self, frames: list[int], made: Residuals, members: int) -> None:
        def joined(old: Tensor | None, new: Tensor | None) -> Tensor | None:
            if new is None:
                return None
            new = new.expand(members * len(frames), *new.shape[1:]).unflatten(0, (members, -1))
            return new if old is None else torch.cat([old, new], dim=1)

        held = self.residuals or {key: [None] * len(parts) for key, parts in made.items()}
        self.residuals = {
            key: [joined(*pair) for pair in zip(held[key], parts, strict=True)] for key, parts in made.items()
        }
        self.frames = self.frames + frames

    def rows(self, frames: list[int]) -> Residuals:
        """Residuals [conditions · frames, …] in this order."""
        places = {frame: place for place, frame in enumerate(self.frames)}
        return self._each(lambda part, at: part[:, at].flatten(0, 1), [places[frame] for frame in frames])

    def drop(self, frames: list[int]) -> None:
        """Forget what no further window asks for."""
        self.left.subtract(frames)
        kept = [place for place, frame in enumerate(self.frames) if self.left[frame] > 0]
        if len(kept) < len(self.frames):
            self.residuals = self._each(lambda part, at: part[:, at], kept)
            self.frames = [self.frames[place] for place in kept]

    def _each(self, pick: Any, places: list[int]) -> Residuals:
        return {
            key: [None if part is None else pick(part, places) for part in parts]
            for key, parts in (self.residuals or {}).items()
        }


@dataclass(frozen=True)
class _Made:
    """Stands for ControlNets before one, and gives what they gave."""

    residuals: Residuals | None

    def get_control(self, *_: Any) -> Residuals | None:
        return self.residuals


def _is_sparse(control: Any) -> bool:
    return isinstance(control.control if isinstance(control, FrameControl) else control, SparseControl)


def _parted(control: Any) -> tuple[Any, list[Any]]:
    """A chain without its sparse ControlNets, None where nothing is left, and these in order."""
    if control is None:
        return None, []
    before, sparse = _parted(control.previous_controlnet)
    if _is_sparse(control):
        return before, [*sparse, control]
    if before is control.previous_controlnet:
        return control, sparse
    link = copy.copy(control)
    link.previous_controlnet = before
    return link, sparse


def _for_window(control: Any, frames: list[int], before: Any) -> Any:
    """A shallow copy of a sparse ControlNet for these frames, after what was made before it."""
    rows = isinstance(control, FrameControl)
    link = control.rows(control.control, frames) if rows else copy.copy(control)
    link.previous_controlnet = before
    return link


class WindowControl:
    """Stands for a ControlNet, with those before it, in the conditions of one step's windows.

    `uses`: how many windows hold each frame. `frames` [W·L] are those of the call to come.
    """

    def __init__(self, control: Any, hints: Hints, uses: Counter[int]) -> None:
        self._given, self._hints, self._uses = control, hints, uses
        self._control, self._sparse = hints.parts(control)
        self._held: dict[tuple, _Held] = {}
        self.frames: list[int] = []

    def get_instance_for_device(self, device: Any) -> "WindowControl":
        """What the host asks for where it has several GPUs."""
        own = self._given.get_instance_for_device(device)
        if own is self._given:
            return self
        other = WindowControl(own, self._hints, self._uses)
        other.frames = self.frames
        return other

    def get_control(
        self, x_noisy: Tensor, t: Tensor, cond: dict[str, Any], batched_number: int, options: dict[str, Any]
    ) -> Residuals | None:
        """What the host calls for a batch of conditions of these frames, [conditions · frames, …]."""
        given = (x_noisy, t, cond, batched_number, options)
        made = None if self._control is None else self._by_frame(*given)
        for control in self._sparse:
            made = _for_window(control, self.frames, _Made(made)).get_control(*given)
        return made

    def _by_frame(
        self, x_noisy: Tensor, t: Tensor, cond: dict[str, Any], batched_number: int, options: dict[str, Any]
    ) -> Residuals | None:
        # Beside a prompt for an area the host's negative prompt has its uuid too.
        key = (*options["cond_or_uncond"], *options["uuids"], *x_noisy.shape[1:])
        held = self._held.setdefault(key, _Held(Counter(self._uses)))
        new = [frame for frame in dict.fromkeys(self.frames) if frame not in held.frames]
        if new:
            places = [self.frames.index(frame) for frame in new]
            batch = len(x_noisy)

            def picked(value: Any) -> Any:
                if not isinstance(value, Tensor) or value.ndim == 0 or value.shape[0] != batch:
                    return value
                return value.unflatten(0, (batched_number, -1))[:, places].flatten(0, 1)

            x = picked(x_noisy)
            control = _for_frames(self._control, new, batched_number, x, self._hints)
            given = {name: picked(value) for name, value in cond.items()}
            made = control.get_control(x, picked(t), given, batched_number, options)
            if made is None:  # outside of its part of sampling
                return None
            held.add(new, made, batched_number)
        rows = held.rows(self.frames)
        held.drop(self.frames)
        return rows
