"""The built-in host's MODEL: a space-time UNet, its noise schedule, and what nodes have set on it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor

from ..bridge.host import InputPatch, Told
from ..controls.conditioning import CONCAT
from ..errors import FramewrightError
from ..sampling.chunks import in_chunks
from ..sampling.noise import is_full
from ..sampling.window_plan import Windows
from ..sampling.windows import StepWindows, denoise, nearest_step
from ..temporal.extent import LEVELS, Extent
from ..temporal.frame_norm import ACROSS, add_norm_hooks
from ..temporal.parts import sdpa
from ..temporal.patterns import Pattern
from ..temporal.reference import Reference
from ..temporal.self_attention import self_attention_patch
from ..temporal.slots import (
    CHUNK,
    FRAMES,
    NUMBERS,
    TOTAL,
    Chunk,
    Layers,
    Site,
    numbers_in_video,
    site_channels,
    transformer_sites,
)
from ..temporal.unet import SpaceTimeUNet
from .control import AppliedControl
from .sampling import Guider, sample
from .schedules import NoiseSchedule

WINDOWS_A_CALL = 8
TOLD = {"pooled_output", "control", "control_apply_to_uncond", CONCAT}  # what a CONDITIONING may hold here


@dataclass(frozen=True)
class EmbeddedModel:
    """Never changed: a node that sets something makes another, over the same network."""

    unet: SpaceTimeUNet
    schedule: NoiseSchedule
    options: dict[str, Any] = field(default_factory=dict)
    windows: StepWindows = StepWindows()
    chunk: int | None = None  # frames through the image model at once
    references: tuple[tuple[Reference, SpaceTimeUNet | None], ...] = ()

    def predict(
        self, x: Tensor, sigma: Tensor, conds: list[list], sigmas: Tensor | None = None
    ) -> list[Tensor]:
        """Denoised x [F, 4, h, w] at noise level sigma, once for each conditioning.

        `sigmas` is the whole schedule.
        """
        level = float(sigma.flatten()[0])
        windows = self.windows.at(level, x.shape[0], self.schedule.percent_to_sigma)

        def call(part: Tensor, frames: Tensor, told: dict[str, Any]) -> list[Tensor]:
            cut = cut_rows(conds, frames, x.shape[0])
            total = self.options.get(TOTAL, len(x))
            told = {**told, NUMBERS: numbers_in_video(frames, self.options), TOTAL: total}
            return self._denoise(part, sigma.flatten()[0], cut, told)

        def window(part: Tensor, frames: Tensor, length: int) -> list[Tensor]:
            return call(part, frames, {FRAMES: length})

        if windows is not None:
            step = nearest_step(sigmas, level) if windows.moves else 0
            return denoise(windows, x, step, window, WINDOWS_A_CALL)
        if self.chunk is not None and len(x) > self.chunk:
            every = numbers_in_video(torch.arange(len(x), device=x.device), self.options)
            return in_chunks(
                x, self.chunk, lambda part, at, together: call(part, at, {CHUNK: Chunk(together, every)})
            )
        return self._denoise(x, sigma, conds, {})

    def _denoise(self, x: Tensor, sigma: Tensor, conds: list[list], told: dict[str, Any]) -> list[Tensor]:
        controls = [_control_of(cond) for cond in conds]
        numbers = list(range(len(conds)))
        if all(control is controls[0] for control in controls):
            return self._call(x, sigma, conds, numbers, told)
        return [self._call(x, sigma, [conds[k]], [k], told)[0] for k in numbers]

    def _call(
        self, x: Tensor, sigma: Tensor, conds: list[list], numbers: list[int], told: dict[str, Any]
    ) -> list[Tensor]:
        """Of conditions with one ControlNet, or none; their `numbers` among all."""
        count, batch, control = len(conds), x.shape[0], _control_of(conds[0])
        context = torch.cat([_context(cond, batch).expand(batch, -1, -1) for cond in conds])
        levels = sigma.to(x).expand(batch)
        levels_at = self.schedule.percent_to_sigma
        options = {**self.options, "cond_or_uncond": numbers, "sigmas": levels, LEVELS: levels_at, **told}
        times = self.schedule.timestep(levels).float().repeat(count)
        scaled = self.schedule.calculate_input(levels, x).repeat(count, 1, 1, 1)
        with torch.no_grad():
            added = control and control.residuals(scaled, times, context, options, self.schedule)
            for reference, unet in self.references:
                alone = partial(self._pass, reference, unet, levels[:1], context)
                options = reference.joined(x, options, alone)
            taken = _with_maps(conds, scaled)
            outputs = self.unet(taken, times, context, control=added, transformer_options=options)
        return [self.schedule.calculate_denoised(levels, part, x) for part in outputs.chunk(count)]

    def _pass(
        self, reference: Reference, unet: SpaceTimeUNet | None, level: Tensor, contexts: Tensor, row: int,
        told: dict,
    ) -> None:  # fmt: skip
        """A reference through a network of its own, at its lowest level, or through ours at this one."""
        context = contexts[row : row + 1]
        if unet is not None:
            level = self.schedule.sigma_min.to(level).expand_as(level)
        latents, noise = reference.latents.to(context), reference.noise.to(context)
        picture = self.schedule.noise_scaling(level, noise, latents)
        scaled = self.schedule.calculate_input(level, picture)
        times = self.schedule.timestep(level).float()
        (unet or self.unet)(scaled, times, context, transformer_options=told)


def _with_maps(conds: list[list], x: Tensor) -> Tensor:
    """Latents x of all conditions with what goes beside them."""
    held = [cond[0][1][CONCAT] for cond in conds if CONCAT in cond[0][1]]
    if not held:
        return x
    if len(held) < len(conds):
        raise FramewrightError(
            "conditioning: one prompt with maps beside the latents and one without came, expected both "
            "outputs of Concatenate Maps"
        )
    return torch.cat([x, torch.cat(held).to(x)], dim=1)


def _control_of(cond: list) -> AppliedControl | None:
    return cond[0][1].get("control")


def cut_rows(conds: Sequence[list], frames: Tensor, total: int) -> list[list]:
    """CONDITIONINGs with a row for each of `total` frames, for these frames only; one for all as it is."""
    cut: dict[AppliedControl | None, AppliedControl | None] = {None: None}

    def told(more: dict[str, Any]) -> dict[str, Any]:
        one = more.get("control")
        if one not in cut:
            cut[one] = one.rows(frames.tolist(), total)
        more = {**more, CONCAT: rows(more[CONCAT])} if CONCAT in more else more
        return more if one is None else {**more, "control": cut[one]}

    def rows(given: Tensor) -> Tensor:
        _check_rows(given, total)
        return given.index_select(0, frames.to(given.device)) if given.shape[0] == total else given

    return [[[rows(given), told(more)] for given, more in cond] for cond in conds]


def _context(cond: list, batch: int) -> Tensor:
    if len(cond) != 1 or set(cond[0][1]) - TOLD:
        raise FramewrightError(
            "conditioning: combined or masked conditioning came; the built-in host takes one plain prompt, "
            "with ControlNets, the rest needs ComfyUI"
        )
    _check_rows(rows := cond[0][0], batch)
    return rows


def _check_rows(given: Tensor, frames: int) -> None:
    if len(given) not in (1, frames):
        raise FramewrightError(f"conditioning: prompts for {len(given)} frames came, expected for {frames}")


@dataclass(frozen=True)
class EmbeddedGuider:
    """The guider's handle."""

    guider: Guider

    @property
    def model(self) -> EmbeddedModel:
        return cast(EmbeddedModel, self.guider.model)

    def settings(self) -> Iterator[Tensor | str]:
        yield f"cfg {self.guider.cfg}"
        for cond in (self.guider.positive, self.guider.negative):
            for rows, more in cond:
                yield rows
                yield from more["control"].settings() if more.get("control") else ()
                yield from (more[CONCAT],) if CONCAT in more else ()

    def part(self, frames: Sequence[int], total: int, options: dict[str, Any]) -> "EmbeddedGuider":
        index = torch.tensor(frames)
        positive, negative = cut_rows((self.guider.positive, self.guider.negative), index, total)
        model = replace(self.model, options={**self.model.options, **options, TOTAL: total})
        return EmbeddedGuider(Guider(model, positive, negative, self.guider.cfg))

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
        return sample(self.guider, noise, sampler, sigmas, latents, mask, seed, told)


class EmbeddedHandle:
    def __init__(self, model: EmbeddedModel) -> None:
        self.model = model

    def clone(self) -> "EmbeddedHandle":
        return EmbeddedHandle(self.model)

    def sites(self) -> dict[Site, int]:
        return site_channels(self.model.unet)

    @property
    def input_channels(self) -> int:
        return self.model.unet.params.in_channels

    @property
    def latent_channels(self) -> int:
        return self.model.unet.params.out_channels

    def _set(self, key: str, value: Any) -> None:
        self.model = replace(self.model, options={**self.model.options, key: value})

    def tell_levels(self) -> None:
        """Every call is told."""

    def highest_sigma(self) -> float:
        return float(self.model.schedule.sigma_max)

    def noised(self, sigma: float, noise: Tensor, latents: Tensor) -> Tensor:
        full = is_full(sigma, self.highest_sigma())
        return self.model.schedule.noise_scaling(torch.tensor(sigma), noise, latents, full)

    def set_noise_levels(self, sigmas: Tensor) -> None:
        self.model = replace(self.model, schedule=NoiseSchedule(self.model.schedule.prediction, sigmas))

    def insert_layers(self, layers: Layers, places: Sequence[str], weights: Sequence[Any]) -> None:
        for where in places:
            self._set(where, (*self.model.options.get(where, ()), layers))

    def refuse_areas(self, what: str) -> None:
        """They are refused here whatever else there is."""

    def at_end(self, act: Callable[[], None]) -> None:
        """Nothing is called here, where a workflow's memory ends with it."""

    def norm_across_frames(self, kinds: Sequence[str], extent: Extent) -> None:
        add_norm_hooks(self.model.unet)
        self._set(ACROSS, (*self.model.options.get(ACROSS, ()), *((kind, extent) for kind in kinds)))

    def add_input_patch(self, patch: InputPatch) -> None:
        patches = self.model.options.get("patches", {})
        earlier = patches.get("input_block_patch", ())
        self._set("patches", {**patches, "input_block_patch": [*earlier, patch]})

    def latent_in(self, latents: Tensor) -> Tensor:
        return latents

    def set_attention(self, pattern: Pattern, extent: Extent) -> None:
        replaced = self.model.options.get("patches_replace", {}).get("attn1", {})
        sites = transformer_sites(self.model.unet)
        patches = {site: self_attention_patch(pattern, sdpa, extent, replaced.get(site)) for site in sites}
        self._set("patches_replace", {"attn1": patches})

    def add_reference(
        self, latents: Tensor, noise: Tensor, extent: Extent, unet: EmbeddedModel | None = None
    ) -> None:
        added = Reference(latents, noise, extent, sdpa), unet and unet.unet
        self.model = replace(self.model, references=(*self.model.references, added))

    def set_chunk(self, frames: int) -> None:
        self.model = replace(self.model, chunk=frames)

    def add_windows(self, windows: Windows, start: float = 0.0, end: float = 1.0) -> None:
        self.model = replace(self.model, windows=self.model.windows.then(windows, start, end))

    @property
    def in_parts(self) -> bool:
        return self.model.windows != StepWindows() or self.model.chunk is not None

    def encode_hints_once(self) -> None:
        """They are passed through at every step here, where hints are small."""
