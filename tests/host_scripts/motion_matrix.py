"""Motion modules in the host, with its samplers, guiders, precisions, patches and loading."""

from dataclasses import replace

import prologue

prologue.setup()

import comfy.model_management  # noqa: E402
import comfy.samplers  # noqa: E402
import tiny  # noqa: E402
import torch  # noqa: E402
from comfy_extras.nodes_custom_sampler import Guider_DualCFG  # noqa: E402
from comfy_extras.nodes_perpneg import Guider_PerpNeg  # noqa: E402
from framewright.bridge.attention import apply_pattern  # noqa: E402
from framewright.bridge.comfyui_model import ComfyModel  # noqa: E402
from framewright.bridge.image import animate_image  # noqa: E402
from framewright.bridge.motion import apply_motion  # noqa: E402
from framewright.errors import FramewrightError  # noqa: E402
from framewright.sampling.window_plan import Windows  # noqa: E402
from framewright.temporal.extent import Extent  # noqa: E402
from framewright.temporal.motion_settings import MotionSettings, Positions  # noqa: E402
from framewright.temporal.patterns import PATTERNS  # noqa: E402
from tiny import sampled  # noqa: E402


class Vae:
    """Pixels as latents."""

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        return torch.cat([pixels, pixels[..., :1]], -1).movedim(-1, 1)


torch.manual_seed(5)
positive, negative, second = ([[torch.randn(1, 5, 64), {}]] for _ in range(3))
answer: dict = {}
still = tiny.sd15()
base, motion = still.model, tiny.motion()
moving = apply_motion(still, motion)


def rendered(model, sampler: str = "euler") -> torch.Tensor:
    return sampled(model, positive, negative, sampler=sampler, size=8)


def differs(a: torch.Tensor, b: torch.Tensor) -> bool:
    return bool(torch.isfinite(a).all()) and float((a - b).abs().max()) > 1e-4


def guided(guider: comfy.samplers.CFGGuider, *conds) -> torch.Tensor:
    guider.set_conds(*conds)
    guider.set_cfg(*[3.0] * (1 if type(guider) is comfy.samplers.CFGGuider else 2))
    latent = torch.zeros(8, 4, 8, 8)
    sigmas = torch.tensor([14.0, 3.0, 0.8, 0.0])
    noise = torch.randn(latent.shape, generator=torch.Generator().manual_seed(3))
    return guider.sample(noise, latent, comfy.samplers.sampler_object("euler"), sigmas, seed=1)


once = rendered(moving)
plain = rendered(still)

for name in ("euler", "dpmpp_2m", "dpmpp_sde", "dpm_2", "uni_pc", "lcm"):
    with_motion = rendered(moving, name)
    answer[f"moves_{name}"] = differs(with_motion, rendered(still, name))
    answer[f"again_{name}"] = torch.equal(with_motion, rendered(moving, name))

for kind, conds in (
    (comfy.samplers.CFGGuider, (positive, negative)),
    (Guider_DualCFG, (positive, second, negative)),
    (Guider_PerpNeg, (positive, negative, second)),
):
    answer[f"moves_{kind.__name__}"] = differs(guided(kind(moving), *conds), guided(kind(still), *conds))

for name, dtype, cast in (
    ("half weights", torch.float16, torch.float32), ("bfloat16", torch.bfloat16, None),
):  # fmt: skip
    there = tiny.sd15(dtype, cast)
    low = rendered(apply_motion(there, tiny.motion(dtype=dtype)))
    answer[f"moves_{name}"] = differs(low, rendered(there))
    answer[f"error_{name}"] = float((low - once).norm() / once.norm())

# Settings stay with every later clone, and each does something.
settings = {
    "strength": MotionSettings(strength=0.4),
    "layers": MotionSettings(layers={"input": 0.0}),
    "frames": MotionSettings(frames=[0.0, 1.0]),
    "mask": MotionSettings(mask=torch.arange(16.0).view(1, 1, 16).expand(1, 16, 16) / 16),
    "positions": MotionSettings(positions=Positions(stretch=0.5)),
    "pattern": MotionSettings(pattern=PATTERNS["causal temporal (MagicVideo)"]),
    "views": MotionSettings(views=Windows(4, 2)),
}
for name, setting in settings.items():
    changed = apply_motion(still, motion, setting)
    first = rendered(changed)
    later = changed.clone()
    later.set_model_sampler_cfg_function(lambda args: args["uncond"] + 3.0 * (args["cond"] - args["uncond"]))
    answer[f"{name}_acts"] = differs(first, once) and differs(first, plain)
    answer[f"{name}_stays"] = torch.allclose(first, rendered(later), atol=1e-5)
half_way = apply_motion(still, motion, steps=(0.0, 0.5))
answer["steps_act"] = differs(rendered(half_way), once)
over_frames = apply_motion(still, motion, norms="across frames")
answer["norms_act"] = differs(rendered(over_frames), once)
two = apply_motion(moving, tiny.motion())
answer["two_modules"] = differs(rendered(two), once)

# Temporal layers inside the transformers and after the ResBlocks.
for made in (tiny.inner, tiny.lvdm, tiny.make_your_video):
    name, inside = made.__name__, apply_motion(still, made())
    answer[f"{name}_acts"] = differs(rendered(inside), plain)
    answer[f"{name}_stays"] = torch.equal(rendered(inside), rendered(inside.clone()))
    answer[f"{name}_beside_motion"] = differs(rendered(apply_motion(inside, motion)), once)
    answer[f"{name}_gone"] = torch.equal(rendered(still), plain)

# A camera path.
camera = tiny.camera(motion)
filmed = apply_motion(still, camera)
answer["camera_acts"] = differs(rendered(filmed), once)
answer["camera_stays"] = torch.equal(rendered(filmed), rendered(filmed.clone()))
answer["camera_keeps_nothing"] = not camera.camera._features
answer["camera_gone"] = torch.equal(rendered(moving), once)

# A picture to begin from, through a convolution that the module brings.
with_conv = replace(motion, file=replace(motion.file, input_conv=torch.randn(32, 9, 3, 3) * 0.1))
picture = animate_image(moving, with_conv, Vae(), torch.rand(1, 8, 8, 3), [1.0, 0.5])
begun = rendered(picture)
answer["picture_acts"] = differs(begun, once)
answer["picture_stays"] = torch.equal(begun, rendered(picture.clone()))
in_windows = ComfyModel(picture).clone()
in_windows.add_windows(Windows(4, 2))
answer["picture_in_windows"] = differs(rendered(in_windows.model), begun)
answer["picture_gone"] = torch.equal(once, rendered(moving))

# What is for the whole picture, where a prompt's calls hold a part of it.
here = [[positive[0][0], {"area": (4, 4, 0, 4)}]]
answer["an area"] = differs(sampled(moving, here, negative, size=8), once)
masked = apply_motion(still, motion, settings["mask"])
for name, model in (("mask", masked), ("camera", filmed), ("picture", picture)):
    try:
        sampled(model, here, negative, size=8)
        answer[f"an area beside a {name}"] = False
    except FramewrightError as error:
        answer[f"an area beside a {name}"] = f"a {name} of the whole picture" in str(error)

# A pattern with a range, a LoRA on the image model, loading and unloading.
read = apply_pattern(moving, PATTERNS["full"], Extent(0.5, {"input": 0.0}), (0.0, 0.6))
answer["pattern_acts"] = differs(rendered(read), once)
key = "diffusion_model.middle_block.0.out_layers.3.weight"
original = base.get_parameter(key).clone()
tuned = moving.clone()
tuned.add_patches({key: ("diff", (torch.randn_like(original) * 0.05,))}, 1.0)
lora = rendered(tuned)
answer["lora_acts"] = differs(lora, once)
answer["lora_gone"] = torch.equal(once, rendered(moving))
comfy.model_management.unload_all_models()
answer["weights_restored"] = torch.equal(original, base.get_parameter(key))
answer["keys_restored"] = set(base.state_dict()) == set(tiny.sd15().model.state_dict())
answer["norms_restored"] = not any(m._forward_pre_hooks for m in base.diffusion_model.modules())
answer["again_after_unload"] = torch.equal(once, rendered(moving))
answer["lora_again"] = torch.equal(lora, rendered(tuned))
answer["plain_again"] = torch.equal(plain, rendered(still))
prologue.answer(answer)
