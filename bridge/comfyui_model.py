"""The model handle over ComfyUI's ModelPatcher, by its own extension points only."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import torch
from comfy.model_sampling import ModelSamplingDiscrete, rescale_zero_terminal_snr_sigmas
from comfy.patcher_extension import CallbacksMP, PatcherInjection, WrappersMP
from torch import Tensor

from ..errors import FramewrightError
from ..sampling.noise import is_full
from ..sampling.window_plan import Windows
from ..temporal.extent import LEVELS, Extent
from ..temporal.frame_norm import ACROSS, add_norm_hooks, remove_norm_hooks
from ..temporal.patterns import Pattern
from ..temporal.reference import FOLLOWED, Reference
from ..temporal.self_attention import reads_more, self_attention_patch, takes_more
from ..temporal.slots import (
    CROSS,
    PLACES,
    Layers,
    Site,
    Slot,
    after_cross,
    after_self,
    insert_slots,
    remove_slots,
    run_slot,
    site_channels,
    transformer_sites,
)
from ..temporal.unet import SpaceTimeUNet
from .comfyui_host_windows import numbered
from .comfyui_parts import attention
from .comfyui_windows import Manner, WindowHandler, at_once
from .host import InputPatch

KEY = "framewright"


class _Shared:
    """A layer set or patch that stays one object through the host's deep copies of its options."""

    def __init__(self, called: Callable[..., Tensor]) -> None:
        self._called = called
        if takes_more(called):
            reads_more(self)

    def __call__(self, *given: Any) -> Tensor:
        return self._called(*given)

    def __deepcopy__(self, memo: dict[int, Any]) -> "_Shared":
        return self


class _Numbered(_Shared):
    """Called with transformer_options, which it gets with the numbers of the call's frames."""

    def __call__(self, *given: Any) -> Tensor:
        return self._called(*(numbered(one) if isinstance(one, dict) else one for one in given))


class ComfyModel:
    def __init__(self, model: Any) -> None:
        self.model = model

    def clone(self) -> "ComfyModel":
        return ComfyModel(self.model.clone())

    @property
    def _unet(self) -> Any:
        unet = self.model.get_model_object("diffusion_model")
        if not hasattr(unet, "input_blocks"):
            raise FramewrightError(
                f"model: one with a {type(unet).__name__} came, expected one with a latent-diffusion UNet, "
                "such as SD 1.5 or SDXL"
            )
        if any(hasattr(module, "time_stack") for module in unet.modules()):
            raise FramewrightError(
                "model: Stable Video Diffusion or another with layers over frames of its own came, expected "
                "an image model"
            )
        return unet

    @property
    def _options(self) -> dict[str, Any]:
        return self.model.model_options["transformer_options"]

    def sites(self) -> dict[Site, int]:
        return site_channels(self._unet)

    @property
    def input_channels(self) -> int:
        return self._unet.input_blocks[0][0].in_channels

    @property
    def latent_channels(self) -> int:
        return self.model.model.latent_format.latent_channels

    def tell_levels(self) -> None:
        if LEVELS not in self.model.wrappers.get(WrappersMP.PREPARE_SAMPLING, {}):
            self.model.add_wrapper_with_key(WrappersMP.PREPARE_SAMPLING, LEVELS, _telling)

    def highest_sigma(self) -> float:
        return float(self.model.get_model_object("model_sampling").sigma_max)

    def noised(self, sigma: float, noise: Tensor, latents: Tensor) -> Tensor:
        schedule, full = self.model.get_model_object("model_sampling"), is_full(sigma, self.highest_sigma())
        return schedule.noise_scaling(torch.tensor([sigma]), noise, latents, full)

    def set_noise_levels(self, sigmas: Tensor) -> None:
        sampling = copy.deepcopy(self.model.get_model_object("model_sampling"))
        if not isinstance(sampling, ModelSamplingDiscrete):
            raise FramewrightError(
                f"noise_levels: as trained came for a model that samples by {type(sampling).__name__}, "
                "expected the model's"
            )
        if sampling.zsnr:
            sigmas = rescale_zero_terminal_snr_sigmas(sigmas)
        every = len(sigmas) // len(sampling.sigmas)  # a distilled model, LCM, knows some of them alone
        sampling.set_sigmas(sigmas[every - 1 :: every])
        self.model.add_object_patch("model_sampling", sampling)

    def insert_layers(self, layers: Layers, places: Sequence[str], weights: Sequence[Any]) -> None:
        earlier = {where: len(self._options.get(where, ())) for where in PLACES}
        for where in places:
            self._options[where] = (*self._options.get(where, ()), _Numbered(layers))
        self.model.set_additional_models(f"{KEY}_{sum(earlier.values())}", list(weights))
        if isinstance(self._unet, SpaceTimeUNet):
            return
        if not any(earlier.values()):
            self.model.set_injections(KEY, [PatcherInjection(_inject, _eject)])
            self.model.set_model_forward_timestep_embed_patch((Slot, run_slot))
        if CROSS in places and not earlier[CROSS]:
            self.model.set_model_patch(after_self, "middle_patch")
            self.model.set_model_attn2_output_patch(after_cross)

    def refuse_areas(self, what: str) -> None:
        def checked(executor: Any, model: Any, conds: list, *more: Any) -> Any:
            if any("area" in cond for one in conds for cond in one or ()):
                raise FramewrightError(
                    f"conditioning: a prompt for an area came beside {what} of the whole picture; "
                    "expected one of Conditioning (Set Mask), its set_cond_area default"
                )
            return executor(model, conds, *more)

        self.model.add_wrapper_with_key(WrappersMP.CALC_COND_BATCH, f"{KEY}_{what}", _Shared(checked))

    def at_end(self, act: Callable[[], None]) -> None:
        self.model.add_callback(CallbacksMP.ON_CLEANUP, lambda *_: act())

    def norm_across_frames(self, kinds: Sequence[str], extent: Extent) -> None:
        self._options[ACROSS] = (*self._options.get(ACROSS, ()), *((kind, extent) for kind in kinds))
        self.model.set_injections(f"{KEY}_norms", [PatcherInjection(_hook, _unhook)])

    def add_input_patch(self, patch: InputPatch) -> None:
        self.model.set_model_input_block_patch(_Numbered(patch))

    def latent_in(self, latents: Tensor) -> Tensor:
        if self.model.model.latent_format.latent_dimensions != 2:
            raise FramewrightError(
                f"model: {type(self.model.model).__name__}, a model of whole videos, came, expected an image "
                "model"
            )
        return self.model.model.process_latent_in(latents)

    def set_attention(self, pattern: Pattern, extent: Extent) -> None:
        replaced = self._options.get("patches_replace", {}).get("attn1", {})
        for site in transformer_sites(self._unet):
            patch = self_attention_patch(pattern, attention, extent, replaced.get(site))
            self.model.set_model_attn1_replace(_Numbered(patch), *site)

    def add_reference(self, latents: Tensor, noise: Tensor, extent: Extent, unet: Any = None) -> None:
        self.sites()  # which raises where there are none
        reference = Reference(self.latent_in(latents), noise, extent, attention)
        number = len(self.model.wrappers.get(WrappersMP.APPLY_MODEL, {}))
        if unet is not None and unet.model is not self.model.model:
            self.model.set_additional_models(f"{KEY}_reference_{number}", [unet])
        wrapper = _Shared(_referring(reference, unet))
        self.model.add_wrapper_with_key(WrappersMP.APPLY_MODEL, f"{KEY}_{number}", wrapper)
        if FOLLOWED not in self.model.wrappers.get(WrappersMP.OUTER_SAMPLE, {}):
            self.model.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, FOLLOWED, _following)

    def add_windows(self, windows: Windows, start: float = 0.0, end: float = 1.0) -> None:
        manner = self._handler.manner
        self._set_handler(replace(manner, windows=manner.windows.then(windows, start, end)))

    def set_chunk(self, frames: int) -> None:
        self._set_handler(replace(self._handler.manner, chunk=frames))

    def encode_hints_once(self) -> None:
        if isinstance(self.model.model_options.get("context_handler"), WindowHandler | None):
            self._set_handler(replace(self._handler.manner, hints_once=True))

    @property
    def in_parts(self) -> bool:
        handler = self.model.model_options.get("context_handler")
        if isinstance(handler, WindowHandler):
            return replace(handler.manner, hints_once=False) != Manner()
        return handler is not None  # the host's own windows

    @property
    def _handler(self) -> WindowHandler:
        earlier = self.model.model_options.get("context_handler")
        if not isinstance(earlier, WindowHandler | None):
            raise FramewrightError(
                "model: one with the context windows of another node came, expected one without"
            )
        return earlier or WindowHandler()

    def _set_handler(self, manner: Manner) -> None:
        handler = WindowHandler(manner)
        self.model.model_options["context_handler"] = handler
        if KEY not in self.model.wrappers.get(WrappersMP.PREPARE_SAMPLING, {}):
            self.model.add_wrapper_with_key(WrappersMP.PREPARE_SAMPLING, KEY, at_once)
        self.model.add_callback(CallbacksMP.ON_CLEANUP, handler.end)


def _telling(
    executor: Any, model: Any, noise_shape: Sequence[int], conds: Any, model_options: Any = None, **more: Any
) -> Any:
    """The host's preparing of a render, whose model by now samples as it is going to."""
    schedule = model.get_model_object("model_sampling")
    told = lru_cache(lambda part: float(schedule.percent_to_sigma(part)))
    model_options["transformer_options"][LEVELS] = told
    return executor(model, noise_shape, conds, model_options=model_options, **more)


def _following(executor: Any, *given: Any, **more: Any) -> Any:
    """A guider's sampling; tells which prompts it follows, as nodes may call the model with others alone."""
    guider = executor.class_obj
    followed = {cond["uuid"] for cond in guider.conds.get("positive", ()) if "uuid" in cond}
    guider.model_options["transformer_options"][FOLLOWED] = followed
    return executor(*given, **more)


def _referring(reference: Reference, unet: Any) -> Callable[..., Tensor]:
    """The host's call of a model (its APPLY_MODEL wrapper), after one of the reference alone."""

    def wrapper(
        executor: Any,
        x: Tensor,
        sigma: Tensor,
        c_concat: Tensor | None = None,
        c_crossattn: Tensor | None = None,
        control: Any = None,
        transformer_options: dict[str, Any] | None = None,
        **more: Any,
    ) -> Tensor:
        main = executor.class_obj
        if unet is not None and unet.model is main and unet.patches_uuid != main.current_patcher.patches_uuid:
            raise FramewrightError(
                "reference_model: the checkpoint of model came with other LoRAs, and the two would share "
                "their weights; expected another checkpoint, or the same LoRAs"
            )

        def alone(row: int, options: dict[str, Any]) -> None:
            def one(value: Any) -> Any:
                ours = isinstance(value, Tensor) and value.ndim and len(value) == len(x)
                return value[row : row + 1] if ours else value

            base = main if unet is None else unet.model
            schedule, call = base.model_sampling, executor if unet is None else base.apply_model
            level = one(sigma) if unet is None else schedule.sigma_min.to(sigma).reshape(1)
            latents, noise = reference.latents.to(x), reference.noise.to(x)
            picture = schedule.noise_scaling(level.reshape(-1, 1, 1, 1), noise, latents)
            given = {key: one(value) for key, value in more.items()}
            if unet is not None:  # whatever else the host or another pack wraps is about our model
                options = {
                    key: value for key, value in options.items() if key not in ("wrappers", "callbacks")
                }
            call(picture, level, one(c_concat), one(c_crossattn), None, options, **given)

        options = reference.joined(x, transformer_options or {}, alone)
        return executor(x, sigma, c_concat, c_crossattn, control, options, **more)

    return wrapper


def _hook(patcher: Any) -> None:
    add_norm_hooks(patcher.model.diffusion_model)


def _unhook(patcher: Any) -> None:
    remove_norm_hooks(patcher.model.diffusion_model)


def _inject(patcher: Any) -> None:
    insert_slots(patcher.model.diffusion_model)


def _eject(patcher: Any) -> None:
    remove_slots(patcher.model.diffusion_model)
