"""A sparse ControlNet as ComfyUI's own kind of object, beside any other in a chain."""

import weakref
from collections.abc import Callable, Sequence
from typing import Any

import comfy.controlnet
import comfy.model_management as management
import comfy.utils
from torch import Tensor

from ..controls.weights import Residuals
from ..temporal.sparse_control import SparseControlNet, rows_shown
from .comfyui_host_windows import numbered


class SparseControl(comfy.controlnet.ControlNet):
    """Told its frames by `set_frames`; what it makes of its pictures is kept for a render."""

    sparse = True

    def __init__(self, net: SparseControlNet | None) -> None:
        super().__init__(net, load_device=management.get_torch_device())
        self.at: tuple[int, ...] = ()
        self._base: Any = None  # of the model that it runs beside: a weak reference, as renders may break off
        self._features: dict[tuple[int, ...], Tensor] = {}  # by the size of the latents

    @property
    def sees_latents(self) -> bool:
        return self.control_model.sees_latents

    def set_frames(self, at: Sequence[int], vae: Any) -> "SparseControl":
        """Which frames of the video its pictures are, and the VAE where it sees latents."""
        self.at, self.vae = tuple(at), vae
        return self

    def get_control(
        self, x_noisy: Tensor, t: Tensor, cond: dict[str, Any], batched_number: int, options: dict[str, Any]
    ) -> Residuals | None:
        before = None
        if self.previous_controlnet is not None:
            before = self.previous_controlnet.get_control(x_noisy, t, cond, batched_number, options)
        if self.timestep_range is not None:
            first, last = self.timestep_range
            if not last <= t[0] <= first:
                return before
        options = numbered(options)
        rows = rows_shown(self.at, len(x_noisy), options)
        features = self._seen(x_noisy)[rows.to(x_noisy.device)]
        context = cond.get("crossattn_controlnet", cond["c_crossattn"])
        times = self.model_sampling_current.timestep(t)
        made = self.control_model(features, times.float(), context.to(features), options)
        return self.control_merge(made, before, output_dtype=None)

    def _seen(self, x: Tensor) -> Tensor:
        size = tuple(x.shape[-2:])
        if size not in self._features:
            ratio = self.vae.spacial_compression_encode() if self.sees_latents else self.control_model.ratio
            height, width = (side * ratio for side in size)
            shown = comfy.utils.common_upscale(
                self.cond_hint_original, width, height, self.upscale_algorithm, "center"
            )
            if self.sees_latents:
                used = management.loaded_models(only_currently_used=True)
                shown = self._base().process_latent_in(self.vae.encode(shown.movedim(1, -1)))
                management.load_models_gpu(used)  # which the VAE may have put off the device
            self._features[size] = self.control_model.embed(shown.to(x.device, self._dtype))
        return self._features[size]

    @property
    def _dtype(self) -> Any:
        """What the model is computed in."""
        return self._base().manual_cast_dtype or self._base().get_dtype()

    def pre_run(self, model: Any, percent_to_timestep_function: Callable[[float], float]) -> None:
        super().pre_run(model, percent_to_timestep_function)
        self._base = weakref.ref(model)
        self._features.clear()

    def cleanup(self) -> None:
        super().cleanup()
        self._base = None
        self._features.clear()

    def copy(self) -> "SparseControl":
        one = SparseControl(None)
        one.control_model, one.control_model_wrapped = self.control_model, self.control_model_wrapped
        self.copy_to(one)
        return one.set_frames(self.at, self.vae)
