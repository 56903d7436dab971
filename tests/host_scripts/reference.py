"""A picture read by every frame's self-attention, in the host's own sampling."""

import prologue

prologue.setup()

import comfy.samplers  # noqa: E402
import tiny  # noqa: E402
import torch  # noqa: E402
from comfy.ldm.modules.attention import BasicTransformerBlock  # noqa: E402
from comfy_extras.nodes_hypertile import HyperTile  # noqa: E402
from framewright.bridge.attention import apply_pattern  # noqa: E402
from framewright.bridge.motion import apply_motion  # noqa: E402
from framewright.bridge.reference import apply_reference  # noqa: E402
from framewright.bridge.windows import add_windows, run_in_chunks  # noqa: E402
from framewright.errors import FramewrightError  # noqa: E402
from framewright.sampling.window_plan import Windows  # noqa: E402
from framewright.temporal.extent import Extent  # noqa: E402
from framewright.temporal.patterns import PATTERNS  # noqa: E402
from tiny import sampled  # noqa: E402

FRAMES, SMALL = 6, {"steps": 3, "size": 16}
answer: dict[str, object] = {}
torch.manual_seed(5)
positive, negative = ([[torch.randn(1, 5, 64), {}]] for _ in range(2))
picture = {"samples": torch.randn(1, 4, 16, 16)}
still, other = tiny.sd15(), tiny.sd15()
for name, parameter in [*still.model.named_parameters(), *other.model.named_parameters()]:
    if ".attn1." in name:
        parameter.data *= 8  # so that what attention reads is seen in the result
moving = apply_motion(still, tiny.motion())


def frames_of(model) -> torch.Tensor:
    return sampled(model, positive, negative, FRAMES, **SMALL)


def reading(model, strength: float = 1.0, steps=(0.0, 1.0), unet=None, layers=None):
    return apply_reference(model, picture, Extent(strength, layers or {}), steps, unet)


def close(a: torch.Tensor, b: torch.Tensor) -> bool:
    return bool(a.isfinite().all()) and torch.allclose(a, b, atol=1e-4)


plain, whole = frames_of(still), frames_of(reading(still))
answer["it does something"] = not close(plain, whole)
answer["nothing stays behind"] = torch.equal(frames_of(still), plain)
answer["no strength"] = torch.equal(frames_of(reading(still, 0.0)), plain)
answer["no steps"] = torch.equal(frames_of(reading(still, steps=(1.0, 1.0))), plain)
answer["no layers"] = close(
    frames_of(reading(still, layers=dict.fromkeys(("input", "middle", "output"), 0.0))), plain
)
half = frames_of(reading(still, 0.5))
answer["half is between"] = not close(half, plain) and not close(half, whole)
answer["again the same"] = torch.equal(frames_of(reading(still)), whole)

windowed = add_windows(reading(still), Windows(4, 2), 0.0, 1.0)
answer["in windows"] = close(frames_of(windowed), whole)
answer["in chunks"] = close(frames_of(run_in_chunks(reading(still), 4)), whole)
in_motion = frames_of(reading(moving))
answer["with a motion module"] = not close(in_motion, frames_of(moving)) and not close(in_motion, whole)
answer["motion module in chunks"] = close(frames_of(run_in_chunks(reading(moving), 4)), in_motion)
pattern = apply_pattern(still, PATTERNS["first frame"], Extent(), (0.0, 1.0))
answer["with a pattern"] = not close(frames_of(reading(pattern)), frames_of(pattern))
patterned = apply_pattern(reading(still), PATTERNS["first frame"], Extent(), (0.0, 1.0))
answer["in any order"] = torch.equal(frames_of(reading(pattern)), frames_of(patterned))

clean = frames_of(reading(still, unet=other))
answer["a reference UNet"] = not close(clean, whole) and not close(clean, plain)
answer["is the host's to load"] = any(
    other.model is patcher.model
    for patchers in reading(still, unet=other).additional_models.values()
    for patcher in patchers
)
answer["two pictures"] = not close(frames_of(reading(reading(still))), whole)

same_weights = reading(still, unet=still.clone())
answer["of the same weights nothing is loaded twice"] = not same_weights.additional_models


def with_negative_alone(model):
    """As Self-Attention Guidance and other core nodes call a model beside the sampler's own calls."""

    def also(told):
        (alone,) = comfy.samplers.calc_cond_batch(
            told["model"], [told["uncond"]], told["input"], told["sigma"], told["model_options"]
        )
        return told["denoised"] + (alone - told["uncond_denoised"])

    guided = model.clone()
    guided.set_model_sampler_post_cfg_function(also, disable_cfg1_optimization=True)
    return guided


answer["a negative prompt alone reads nothing"] = close(frames_of(with_negative_alone(reading(still))), whole)

# What the published form says of one block: keys and values of the frame and of the picture.
counts: list[tuple[int, int]] = []
block = next(m for m in still.model.diffusion_model.modules() if isinstance(m, BasicTransformerBlock))
block.attn1.to_k.register_forward_hook(lambda module, given, made: counts.append(tuple(given[0].shape[:2])))
frames_of(reading(still))
answer["one picture and then all frames with it"] = counts == [(1, 256), (2 * FRAMES, 512)] * SMALL["steps"]

run = getattr(HyperTile, "execute", None) or HyperTile().patch  # declared in either of the host's two ways
given = run(reading(still), 32, 2, 0, False)
tiled = given.result[0] if hasattr(given, "result") else given[0]
small = apply_reference(still, {"samples": torch.zeros(1, 4, 8, 8)}, Extent(), (0.0, 1.0))
with_lora = still.clone()
weight = "diffusion_model.out.2.weight"
with_lora.add_patches({weight: ("diff", (torch.ones_like(still.model.state_dict()[weight]),))})
answer["a reference UNet of the same weights"] = (
    frames_of(reading(still, unet=still.clone())).isfinite().all().item()
)
shared = reading(with_lora, unet=still)
for name, model in {"tiles": tiled, "size": small, "shared weights": shared}.items():
    try:
        frames_of(model)
        answer[f"error of {name}"] = False
    except FramewrightError as error:
        answer[f"error of {name}"] = str(error)

prologue.answer(answer)
