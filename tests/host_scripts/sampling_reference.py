"""Samples a tiny network with ComfyUI's own samplers, for tests/test_embedded_sampling.py to compare with.

Run inside a checkout; the answer is safetensors with a tensor for each case, the noises, and the descriptions
of nodes as bytes of JSON. Importing this file needs no ComfyUI: the test has network and cases from it.
"""

import json
from dataclasses import dataclass
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SAMPLERS = ("euler", "euler_ancestral", "dpmpp_2m", "lcm", "ddim")
SCHEDULES = ("simple", "sgm_uniform", "karras", "normal")
NODES = {
    "nodes": ("KSampler", "VAEDecode", "VAEEncode"),
    "comfy_extras.nodes_custom_sampler": (
        "RandomNoise", "BasicScheduler", "KSamplerSelect", "CFGGuider", "SamplerCustomAdvanced",
    ),
}  # fmt: skip
SEED, STEPS, SHAPE = 7, 5, (3, 4, 8, 8)
BATCH_INDEX = [2, 0, 2]


@dataclass(frozen=True)
class Case:
    sampler: str
    schedule: str
    denoise: float
    cfg: float
    masked: bool = False
    prediction: str = "v"


MASKED = product(SAMPLERS, (1.0, 0.6))
CASES = [
    *(Case(*values) for values in product(SAMPLERS, SCHEDULES, (1.0, 0.6), (1.0, 5.0))),
    *(Case(sampler, "karras", denoise, 5.0, masked=True) for sampler, denoise in MASKED),
    *(Case(sampler, "normal", 1.0, 2.0, prediction="eps") for sampler in SAMPLERS),
]


def waves(*shape: int, pace: float) -> Tensor:
    """Numbers in −1..1 that are the same in every version of torch."""
    count = torch.Size(shape).numel()
    return torch.sin(torch.arange(count, dtype=torch.float64) * pace).float().reshape(shape)


def latents() -> Tensor:
    return 2 * waves(*SHAPE, pace=0.37)


def mask() -> Tensor:
    """Of twice the latents' size, for fewer frames than there are."""
    return (waves(2, 2 * SHAPE[2], 2 * SHAPE[3], pace=0.11) + 1) / 2


def prompts() -> tuple[list, list]:
    return [[waves(1, 3, 8, pace=1.3), {}]], [[waves(1, 3, 8, pace=0.7), {}]]


class TinyNetwork(nn.Module):
    """One convolution, a prompt and a time, bounded, in place of a UNet."""

    def __init__(self, **_: object) -> None:
        super().__init__()
        self.weight = nn.Parameter(0.2 * waves(4, 4, 3, 3, pace=1.7), requires_grad=False)
        self.dtype = torch.float32

    def forward(self, x: Tensor, timesteps: Tensor, context: Tensor, *_: object, **__: object) -> Tensor:
        told = context.mean(1)[:, :4] + torch.cos(timesteps / 300)[:, None]
        return torch.tanh(F.conv2d(x, self.weight, padding=1) + told[:, :, None, None])


def reference() -> dict[str, Tensor]:
    import comfy.k_diffusion.sampling
    import comfy.model_base
    import comfy.model_patcher
    import comfy.sample
    import comfy.samplers
    import comfy.supported_models_base

    def patcher(prediction: str) -> object:
        kinds = comfy.model_base.ModelType
        kind = kinds.EPS if prediction == "eps" else kinds.V_PREDICTION
        config = comfy.supported_models_base.BASE({"dtype": torch.float32})
        model = comfy.model_base.BaseModel(config, kind, unet_model=TinyNetwork)
        return comfy.model_patcher.ModelPatcher(model, torch.device("cpu"), torch.device("cpu"))

    models = {prediction: patcher(prediction) for prediction in ("v", "eps")}
    levels = models["v"].get_model_object("model_sampling")
    out = {
        "noise": comfy.sample.prepare_noise(latents(), SEED),
        "noise by index": comfy.sample.prepare_noise(latents(), SEED, BATCH_INDEX),
        "noise of a step": comfy.k_diffusion.sampling.default_noise_sampler(latents(), SEED)(None, None),
        "sigmas": levels.sigmas,
        "timesteps": levels.timestep(levels.sigmas * 1.0007),
        "percents": torch.tensor([levels.percent_to_sigma(p / 10) for p in range(11)], dtype=torch.float64),
    }
    for case in CASES:
        model = models[case.prediction]
        positive, negative = prompts()
        start = torch.zeros(SHAPE) if case.denoise == 1 and not case.masked else latents()
        out[str(case)] = comfy.sample.sample(
            model, out["noise"].clone(), STEPS, case.cfg, case.sampler, case.schedule, positive, negative,
            start, denoise=case.denoise, noise_mask=mask() if case.masked else None, disable_pbar=True,
            seed=SEED,
        )  # fmt: skip
    return out


def descriptions() -> dict[str, dict[str, dict]]:
    """Inputs and outputs of nodes as `/object_info` tells them: the core's, and ours by the core's `io`."""
    import importlib

    from framewright.embedded import nodes_sampling

    def described(node: type) -> dict:
        if hasattr(node, "GET_NODE_INFO_V1"):
            info = node.GET_NODE_INFO_V1()
            return {"input": info["input"], "output": info["output"], "output_name": info["output_name"]}
        names = getattr(node, "RETURN_NAMES", node.RETURN_TYPES)
        return {"input": node.INPUT_TYPES(), "output": node.RETURN_TYPES, "output_name": names}

    core = {
        name: described(getattr(importlib.import_module(module), name))
        for module, names in NODES.items() for name in names
    }  # fmt: skip
    ours = {node.define_schema().node_id: described(node) for node in nodes_sampling.NODES}
    return {"core": core, "ours": ours}


if __name__ == "__main__":
    from prologue import answer, setup

    setup()
    from safetensors.torch import save

    torch.set_num_threads(1)
    tensors = {name: tensor.contiguous() for name, tensor in reference().items()}
    tensors["nodes"] = torch.tensor(list(json.dumps(descriptions()).encode()), dtype=torch.uint8)
    answer(save(tensors))
