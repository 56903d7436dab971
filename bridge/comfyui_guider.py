"""A GUIDER of ComfyUI, for parts of a video."""

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import comfy.model_management as management
import comfy.sample
import comfy.utils
import latent_preview
import torch
from torch import Tensor

from ..temporal.slots import TOTAL
from .comfyui_frame_control import FrameControl, check_frames
from .comfyui_sparse_control import SparseControl
from .comfyui_windows import cut_rows
from .host import Told


class ComfyGuider:
    """The handle of whatever guider derives from the host's own CFGGuider."""

    def __init__(self, guider: Any) -> None:
        self.guider = guider

    @property
    def model(self) -> Any:
        return self.guider.model_patcher

    def settings(self) -> Iterator[Tensor | str]:
        plain = {
            key: value for key, value in vars(self.guider).items() if isinstance(value, str | float | int)
        }
        yield f"{type(self.guider).__qualname__} {sorted(plain.items())}"
        for name, conds in sorted(self.guider.original_conds.items()):
            yield name
            for cond in conds:
                yield from _told(cond)

    def part(self, frames: Sequence[int], total: int, options: dict[str, Any]) -> "ComfyGuider":
        index, one = torch.tensor(frames), copy.copy(self.guider)
        one.model_patcher = self.guider.model_patcher.clone()
        one.model_options = one.model_patcher.model_options
        one.model_options["transformer_options"].update(options | {TOTAL: total})
        copies: dict[int, Any] = {}  # of ControlNets: conditions share them, and then a call of the model
        one.original_conds = {
            name: [_part(cond, total, index, copies) for cond in conds]
            for name, conds in self.guider.original_conds.items()
        }
        return ComfyGuider(one)

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
        return self.guider.sample(
            noise, comfy.sample.fix_empty_latent_channels(self.model, latents), sampler, sigmas,
            denoise_mask=mask, callback=told, disable_pbar=True, seed=seed,
        ).to("cpu", torch.float32)  # fmt: skip


def _told(cond: Any) -> Iterator[Tensor | str]:
    """The tensors, numbers and names in a condition, however deep; not what is new in every run."""
    if isinstance(cond, Tensor):
        yield cond
    elif isinstance(cond, str | float | int):
        yield repr(cond)
    elif isinstance(cond, dict):
        for key in sorted(cond, key=str):
            if key != "uuid":
                yield str(key)
                yield from _told(cond[key])
    elif isinstance(cond, list | tuple):
        for value in cond:
            yield from _told(value)
    elif isinstance(cond, FrameControl):
        yield from cond.weights.settings()
        yield from _told([cond.control, cond.previous_controlnet])
    elif hasattr(cond, "cond_hint_original"):  # a ControlNet
        yield from _told([cond.cond_hint_original, cond.strength, cond.timestep_percent_range])
        yield from _told(cond.at if isinstance(cond, SparseControl) else ())
        yield from _told(cond.previous_controlnet)


def _part(cond: dict[str, Any], total: int, frames: Tensor, copies: dict[int, Any]) -> dict[str, Any]:
    cut = cut_rows(cond, total, frames)
    if cond.get("control") is not None:
        check_frames(cond["control"], total)
        cut["control"] = _control(cond["control"], frames, copies)
    return cut


def _control(control: Any, frames: Tensor, copies: dict[int, Any]) -> Any:
    """A ControlNet and those before it, with the hints of these frames; one copy of each."""
    if id(control) not in copies:
        if isinstance(control, FrameControl):
            one = control.rows(_control(control.control, frames, copies), frames.tolist())
        else:
            one, hint = control.copy(), control.cond_hint_original
            if isinstance(hint, Tensor) and len(hint) > 1 and not isinstance(one, SparseControl):
                one.cond_hint_original = hint[frames % len(hint)]  # fewer hints begin anew, as in the host
        if control.previous_controlnet is not None:
            one.previous_controlnet = _control(control.previous_controlnet, frames, copies)
        copies[id(control)] = one
    return copies[id(control)]


def progress(guider: ComfyGuider, total: int) -> Any:
    """The host's bar, with the preview that its users have chosen."""
    bar = comfy.utils.ProgressBar(total)
    previewer = latent_preview.get_previewer(guider.model.load_device, guider.model.model.latent_format)

    def told(value: int, x0: Tensor | None) -> None:
        management.throw_exception_if_processing_interrupted()
        seen = previewer is not None and x0 is not None
        picture = previewer.decode_latent_to_preview_image("JPEG", x0) if seen else None
        bar.update_absolute(value, total, picture)

    return told
