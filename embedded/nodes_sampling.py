"""Core nodes for sampling and for a VAE, under the core's ids and sockets."""

from dataclasses import dataclass
from typing import Any

from comfy_api.v0_0_2 import io
from torch import Tensor

from ..errors import FramewrightError
from .progress import report
from .samplers import SAMPLERS, SEEDS, Sampler, sampler_named
from .sampling import Guider, Model, prepare_noise, sample
from .schedules import SCHEDULES, check_schedule, schedule_sigmas

Latent = dict[str, Any]
CATEGORY = "model/sampling"
FIRST_SAMPLER, FIRST_SCHEDULE = next(iter(SAMPLERS)), next(iter(SCHEDULES))


def _refused(sampler_name: str = FIRST_SAMPLER, scheduler: str = FIRST_SCHEDULE) -> bool | str:
    """What a node's `validate_inputs` answers: a name that this host lacks is refused before a run."""
    try:
        sampler_named(sampler_name)
        check_schedule(scheduler)
    except FramewrightError as error:
        return str(error)
    return True


@dataclass(frozen=True)
class _RandomNoise:
    """What a NOISE socket carries."""

    seed: int

    def generate_noise(self, latent: Latent) -> Tensor:
        return prepare_noise(latent["samples"], self.seed, latent.get("batch_index"))


def _run(
    noise: Any, guider: Guider, sampler: Sampler, sigmas: Tensor, latent: Latent
) -> tuple[Latent, Latent]:
    """The LATENT sampled, and the last x0 that the model predicted; what else the LATENT has stays."""
    last = None

    def callback(step: int, x0: Tensor, x: Tensor, total: int) -> None:
        nonlocal last
        last = x0
        report(step + 1, total)

    samples = sample(
        guider, noise.generate_noise(latent), sampler, sigmas, latent["samples"], latent.get("noise_mask"),
        noise.seed, callback,
    )  # fmt: skip
    return {**latent, "samples": samples}, {**latent, "samples": samples if last is None else last}


class KSampler(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="KSampler",
            display_name="KSampler",
            category=CATEGORY,
            inputs=[
                io.Model.Input("model"),
                io.Int.Input("seed", default=0, min=0, max=SEEDS - 1, control_after_generate=True),
                io.Int.Input("steps", default=20, min=1, max=10000),
                io.Float.Input("cfg", default=8.0, min=0.0, max=100.0, step=0.1, round=0.01),
                io.Combo.Input("sampler_name", options=list(SAMPLERS)),
                io.Combo.Input("scheduler", options=list(SCHEDULES)),
                io.Conditioning.Input("positive"),
                io.Conditioning.Input("negative"),
                io.Latent.Input("latent_image"),
                io.Float.Input("denoise", default=1.0, min=0.0, max=1.0, step=0.01),
            ],
            outputs=[io.Latent.Output()],
        )

    @classmethod
    def validate_inputs(cls, sampler_name: str, scheduler: str) -> bool | str:
        return _refused(sampler_name, scheduler)

    @classmethod
    def execute(
        cls, model: Model, seed: int, steps: int, cfg: float, sampler_name: str, scheduler: str,
        positive: list, negative: list, latent_image: Latent, denoise: float,
    ) -> io.NodeOutput:  # fmt: skip
        sigmas = schedule_sigmas(scheduler, model.schedule, steps, denoise)
        guider = Guider(model, positive, negative, cfg)
        sampler = sampler_named(sampler_name)
        return io.NodeOutput(_run(_RandomNoise(seed), guider, sampler, sigmas, latent_image)[0])


class RandomNoise(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RandomNoise",
            category=f"{CATEGORY}/noise",
            inputs=[io.Int.Input("noise_seed", default=0, min=0, max=SEEDS - 1, control_after_generate=True)],
            outputs=[io.Noise.Output()],
        )

    @classmethod
    def execute(cls, noise_seed: int) -> io.NodeOutput:
        return io.NodeOutput(_RandomNoise(noise_seed))


class BasicScheduler(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="BasicScheduler",
            category=f"{CATEGORY}/schedulers",
            inputs=[
                io.Model.Input("model"),
                io.Combo.Input("scheduler", options=list(SCHEDULES)),
                io.Int.Input("steps", default=20, min=1, max=10000),
                io.Float.Input("denoise", default=1.0, min=0.0, max=1.0, step=0.01),
            ],
            outputs=[io.Sigmas.Output()],
        )

    @classmethod
    def validate_inputs(cls, scheduler: str) -> bool | str:
        return _refused(scheduler=scheduler)

    @classmethod
    def execute(cls, model: Model, scheduler: str, steps: int, denoise: float) -> io.NodeOutput:
        return io.NodeOutput(schedule_sigmas(scheduler, model.schedule, steps, denoise))


class KSamplerSelect(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="KSamplerSelect",
            category=f"{CATEGORY}/samplers",
            inputs=[io.Combo.Input("sampler_name", options=list(SAMPLERS))],
            outputs=[io.Sampler.Output()],
        )

    @classmethod
    def validate_inputs(cls, sampler_name: str) -> bool | str:
        return _refused(sampler_name=sampler_name)

    @classmethod
    def execute(cls, sampler_name: str) -> io.NodeOutput:
        return io.NodeOutput(sampler_named(sampler_name))


class CFGGuider(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CFGGuider",
            display_name="CFG Guider",
            category=f"{CATEGORY}/guiders",
            inputs=[
                io.Model.Input("model"),
                io.Conditioning.Input("positive"),
                io.Conditioning.Input("negative"),
                io.Float.Input("cfg", default=8.0, min=0.0, max=100.0, step=0.1, round=0.01),
            ],
            outputs=[io.Guider.Output()],
        )

    @classmethod
    def execute(cls, model: Model, positive: list, negative: list, cfg: float) -> io.NodeOutput:
        return io.NodeOutput(Guider(model, positive, negative, cfg))


class SamplerCustomAdvanced(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SamplerCustomAdvanced",
            category=f"{CATEGORY}/custom",
            inputs=[
                io.Noise.Input("noise"),
                io.Guider.Input("guider"),
                io.Sampler.Input("sampler"),
                io.Sigmas.Input("sigmas"),
                io.Latent.Input("latent_image"),
            ],
            outputs=[
                io.Latent.Output(display_name="output"),
                io.Latent.Output(display_name="denoised_output"),
            ],
        )

    @classmethod
    def execute(
        cls, noise: Any, guider: Guider, sampler: Sampler, sigmas: Tensor, latent_image: Latent
    ) -> io.NodeOutput:
        return io.NodeOutput(*_run(noise, guider, sampler, sigmas, latent_image))


class VAEDecode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="VAEDecode",
            display_name="VAE Decode",
            category="model/latent",
            inputs=[io.Latent.Input("samples"), io.Vae.Input("vae")],
            outputs=[io.Image.Output()],
        )

    @classmethod
    def execute(cls, samples: Latent, vae: Any) -> io.NodeOutput:
        return io.NodeOutput(vae.decode(samples["samples"]))


class VAEEncode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="VAEEncode",
            display_name="VAE Encode",
            category="model/latent",
            inputs=[io.Image.Input("pixels"), io.Vae.Input("vae")],
            outputs=[io.Latent.Output()],
        )

    @classmethod
    def execute(cls, pixels: Tensor, vae: Any) -> io.NodeOutput:
        return io.NodeOutput({"samples": vae.encode(pixels[..., :3])})


NODES = [
    KSampler, RandomNoise, BasicScheduler, KSamplerSelect, CFGGuider, SamplerCustomAdvanced,
    VAEDecode, VAEEncode,
]  # fmt: skip
