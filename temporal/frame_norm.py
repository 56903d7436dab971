"""GroupNorm over all frames of a clip at once, as the image model ran while AnimateDiff v1 was trained.

The released code (Guo et al. 2023) normalised each ResBlock, and the output, over the frames of a clip
together; from v2 on, frame by frame. LVDM (He et al. 2022) has its transformers' norms so too. Hooks on the
single norms do this, and rest in calls that do not ask.
"""

from collections.abc import Iterator
from contextvars import ContextVar
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

from torch import Tensor, nn

from .slots import frame_count

ACROSS = "framewright_norm_across_frames"  # in transformer_options: kinds of norm, each with its Extent
RESBLOCKS, TRANSFORMERS = "resblocks", "transformers"  # the first with the output
_Clips = ContextVar[int]  # in a call, however few of their frames halvings of time leave; 0: frame by frame
_clips: dict[str, _Clips] = {
    kind: ContextVar(f"framewright_clips_in_{kind}", default=0) for kind in (RESBLOCKS, TRANSFORMERS)
}
_hooked: WeakKeyDictionary[nn.Module, list[Any]] = WeakKeyDictionary()


def add_norm_hooks(unet: nn.Module) -> None:
    """Make a latent-diffusion UNet's norms able to; harmless when repeated."""
    if unet in _hooked:
        return
    hooks = [
        unet.register_forward_pre_hook(_enter, with_kwargs=True),
        unet.register_forward_hook(_leave, always_call=True),
    ]
    for kind, norm in _norms(unet):
        told = _clips[kind]
        hooks += [
            norm.register_forward_pre_hook(partial(_join, told)),
            norm.register_forward_hook(partial(_part, told)),
        ]
    _hooked[unet] = hooks


def remove_norm_hooks(unet: nn.Module) -> None:
    """Take the hooks off again; harmless when repeated."""
    for hook in _hooked.pop(unet, ()):
        hook.remove()


def _norms(unet: Any) -> Iterator[tuple[str, nn.Module]]:
    for module in unet.modules():
        if hasattr(module, "in_layers") and hasattr(module, "out_layers"):
            yield RESBLOCKS, module.in_layers[0]
            yield RESBLOCKS, module.out_layers[0]
        elif hasattr(module, "transformer_blocks"):
            yield TRANSFORMERS, module.norm
    yield RESBLOCKS, unet.out[0]


def _enter(_: nn.Module, args: tuple, given: dict[str, Any]) -> None:
    options = given.get("transformer_options") or {}
    for kind, extent in options.get(ACROSS, ()):
        if extent.at_level(options):
            batch = args[0].shape[0]
            _clips[kind].set(batch // frame_count(batch, options))


def _leave(*_: Any) -> None:
    for told in _clips.values():
        told.set(0)


def _join(told: _Clips, _: nn.Module, args: tuple[Tensor]) -> tuple[Tensor] | None:
    """[B·F, C, h, w] to [B, C, F, h, w]."""
    clips = told.get()
    return (args[0].unflatten(0, (clips, -1)).transpose(1, 2),) if clips else None


def _part(told: _Clips, _: nn.Module, __: Any, out: Tensor) -> Tensor | None:
    return out.transpose(1, 2).flatten(0, 1) if told.get() else None
