"""Patterns and motion modules beside core nodes that patch attention, beside hooks, and in low memory."""

from dataclasses import replace

import prologue

prologue.setup()

import comfy.hooks  # noqa: E402
import comfy.model_management  # noqa: E402
import tiny  # noqa: E402
import torch  # noqa: E402
from comfy.model_sampling import rescale_zero_terminal_snr_sigmas  # noqa: E402
from comfy_extras.nodes_freelunch import FreeU, FreeU_V2  # noqa: E402
from comfy_extras.nodes_hypertile import HyperTile  # noqa: E402
from comfy_extras.nodes_model_advanced import ModelSamplingDiscrete  # noqa: E402
from comfy_extras.nodes_pag import PerturbedAttentionGuidance  # noqa: E402
from comfy_extras.nodes_sag import SelfAttentionGuidance  # noqa: E402
from framewright.bridge.attention import apply_pattern  # noqa: E402
from framewright.bridge.motion import apply_motion  # noqa: E402
from framewright.bridge.reference import apply_reference  # noqa: E402
from framewright.bridge.windows import add_windows  # noqa: E402
from framewright.embedded.ranges import ranged  # noqa: E402
from framewright.errors import FramewrightError  # noqa: E402
from framewright.nodes.frames import ContactSheet  # noqa: E402
from framewright.sampling.noise_levels import Betas  # noqa: E402
from framewright.sampling.window_plan import Windows  # noqa: E402
from framewright.temporal.extent import Extent  # noqa: E402
from framewright.temporal.patterns import PATTERNS  # noqa: E402
from tiny import CPU, sampled  # noqa: E402

torch.manual_seed(5)
positive, negative = ([[torch.randn(1, 5, 64), {}]] for _ in range(2))
answer: dict = {}
still, motion = tiny.sd15(), tiny.motion()
for name, parameter in still.model.named_parameters():
    if ".attn1." in name:
        parameter.data *= 8  # so that what attention reads is seen in the result
moving = apply_motion(still, motion)


def rendered(model, given=positive) -> torch.Tensor:
    torch.manual_seed(7)  # HyperTile draws its tiles from torch's own generator
    return sampled(model, given, negative, frames=4, steps=2, size=16)


def differs(a: torch.Tensor, b: torch.Tensor) -> bool:
    return bool(torch.isfinite(a).all()) and float((a - b).abs().max()) > 1e-4


def same(a: torch.Tensor, b: torch.Tensor) -> bool:
    return bool(torch.isfinite(a).all()) and torch.allclose(a, b, atol=1e-4)


def reading(model, pattern: str):
    return apply_pattern(model, PATTERNS[pattern], Extent(), (0.0, 1.0))


def core(node, *values):
    """A core node as a function of MODEL, declared in either of the host's two ways."""
    run = node.execute if hasattr(node, "execute") else node().patch

    def patched(model):
        given = run(model, *values)
        return given.result[0] if hasattr(given, "result") else given[0]

    return patched


def with_adapter(model):
    """What IP-Adapter-style packs do: more keys and values in the cross-attention."""
    patched, picture = model.clone(), torch.randn(1, 3, 64, generator=torch.Generator().manual_seed(1))

    def more(n, context, value, options):
        added = picture.expand(context.shape[0], -1, -1)
        return n, torch.cat([context, added], 1), torch.cat([value, added], 1)

    patched.set_model_attn2_patch(more)
    return patched


once = rendered(moving)
answer["a_pattern_acts"] = differs(rendered(reading(moving, "full")), once)
answer["spatial_is_the_models_own"] = same(rendered(reading(moving, "spatial")), once)
for name, patch in {
    "PAG": core(PerturbedAttentionGuidance, 3.0),
    "SAG": core(SelfAttentionGuidance, 0.5, 2.0),
    "FreeU": core(FreeU, 1.1, 1.2, 0.9, 0.2),
    "FreeU_V2": core(FreeU_V2, 1.3, 1.4, 0.9, 0.2),
    "HyperTile": core(HyperTile, 64, 2, 1, False),
    "adapter": with_adapter,
}.items():
    alone = rendered(patch(moving))
    answer[f"{name}_acts"] = differs(alone, once)
    answer[f"{name}_then_spatial"] = same(rendered(reading(patch(moving), "spatial")), alone)
    answer[f"{name}_after_spatial"] = same(rendered(patch(reading(moving, "spatial"))), alone)
    answer[f"{name}_then_full"] = differs(rendered(reading(patch(moving), "full")), alone)
    answer[f"{name}_after_full"] = differs(rendered(patch(reading(moving, "full"))), alone)

    if name != "HyperTile":  # which cuts up the frames that a reference reads whole
        pictured = apply_reference(moving, {"samples": torch.ones(1, 4, 16, 16)}, Extent(0.5), (0.0, 1.0))
        answer[f"{name}_beside_a_reference"] = differs(rendered(patch(pictured)), rendered(pictured))

# A LoRA on one prompt only, by the host's hooks.
key = "diffusion_model.middle_block.2.out_layers.3.weight"  # which comes after layers of ours


def hooked(strength: float) -> list:
    hook = comfy.hooks.WeightHook(strength_model=strength, strength_clip=0.0)
    weight = still.model.get_parameter(key)
    change = torch.randn(weight.shape, generator=torch.Generator().manual_seed(2)) * 0.2
    hook.weights, hook.need_weight_init = {key: ("diff", (change,))}, False
    group = comfy.hooks.HookGroup()
    group.add(hook)
    return [[positive[0][0], {"hooks": group}]]


answer["hook_acts"] = differs(rendered(moving, hooked(1.0)), once)
answer["hook_of_nothing"] = same(rendered(moving, hooked(0.0)), once)
answer["hook_still_moves"] = differs(rendered(moving, hooked(1.0)), rendered(still, hooked(1.0)))
answer["after_hooks"] = torch.equal(rendered(moving), once)

# Low memory: weights stay where they are and are cast when called.
tuned = moving.clone()
tuned.add_patches({key: ("diff", (torch.randn_like(still.model.get_parameter(key)) * 0.2,))}, 1.0)


def called(model, memory: int) -> torch.Tensor:
    comfy.model_management.unload_all_models()
    patchers = [model, *motion.weights]
    for patcher in patchers:
        patcher.patch_model(CPU, lowvram_model_memory=memory)
    given = torch.Generator().manual_seed(3)
    x = torch.randn(4, 4, 16, 16, generator=given)
    options = {**model.model_options["transformer_options"], "cond_or_uncond": [0]}
    with torch.no_grad():
        out = model.model.apply_model(
            x, torch.full((4,), 3.0), c_crossattn=positive[0][0].expand(4, -1, -1),
            transformer_options=options,
        )  # fmt: skip
    answer[f"low_memory_{memory}"] = bool(model.model.model_lowvram) == (memory > 0)
    for patcher in patchers:
        patcher.unpatch_model(CPU)
    return out


answer["lowvram_same"] = same(called(tuned, 0), called(tuned, 64))
answer["lowvram_moves"] = differs(called(tuned, 64), called(still, 64))

# The noise levels of a family's training, beside what the core sets of them.
v3 = replace(motion, file=replace(motion.file, family="AnimateDiff v3"))
levels = Betas("variances").sigmas()
for name, given, expected in (
    ("eps", still, levels),
    ("v_prediction", core(ModelSamplingDiscrete, "v_prediction", False)(still), levels),
    ("lcm", core(ModelSamplingDiscrete, "lcm", False)(still), levels[19::20]),
    (
        "zsnr",
        core(ModelSamplingDiscrete, "v_prediction", True)(still),
        rescale_zero_terminal_snr_sigmas(levels),
    ),
):
    before, after = (one.get_model_object("model_sampling") for one in (given, apply_motion(given, v3)))
    answer[f"levels_{name}"] = torch.allclose(after.sigmas, expected.float(), rtol=1e-4)
    answer[f"kind_{name}"] = type(after) is type(before) and not torch.allclose(after.sigmas, before.sigmas)
for name, change in (
    ("windows", lambda model: add_windows(model, Windows(3, 1), 0.0, 0.4)),
    ("pattern", lambda model: apply_pattern(model, PATTERNS["first frame"], Extent(), (0.0, 0.4))),
):  # fmt: skip
    either = change(apply_motion(still, v3)), apply_motion(change(still), v3)
    first, last = (sampled(one, positive, negative, frames=4, steps=8, size=16) for one in either)
    answer[f"levels_of_{name}"] = torch.equal(first, last)
answer["levels_act"] = differs(rendered(apply_motion(still, v3)), once)
answer["levels_rest"] = torch.equal(rendered(apply_motion(still, v3, noise_levels="the model's")), once)
answer["levels_gone"] = torch.equal(rendered(moving), once)

# Networks with less than the usual parts.
distilled = tiny.sd15(shape={**tiny.SHAPE, "transformer_depth_middle": -2})  # no middle block at all
answer["no_middle"] = bool(rendered(reading(distilled, "full")).isfinite().all())
other = still.clone()
other.add_object_patch("diffusion_model", torch.nn.Linear(1, 1))
video = still.clone()
video.add_object_patch("diffusion_model", with_frames := torch.nn.Module())
with_frames.input_blocks = torch.nn.Module()
with_frames.input_blocks.time_stack = torch.nn.Identity()
for name, model, told in (
    ("middle", distilled, "the model that came is"), ("UNet", other, "a Linear came"),
    ("own frames", video, "layers over frames of its own"),
):  # fmt: skip
    try:
        apply_motion(model, motion)
        answer[f"motion_without_{name}"] = False
    except FramewrightError as error:
        answer[f"motion_without_{name}"] = told in str(error)
try:
    apply_reference(other, {"samples": torch.zeros(1, 4, 16, 16)}, Extent(), (0.0, 1.0))
    answer["reference_without_UNet"] = False
except FramewrightError as error:
    answer["reference_without_UNet"] = "a Linear came" in str(error)
for wrong in ({"columns": 0}, {"columns": "many"}, {"columns": 2.5}):
    try:
        ranged(ContactSheet).execute(images=torch.zeros(1, 8, 8, 3), **wrong)
        answer[f"linked {wrong}"] = False
    except FramewrightError as error:
        answer[f"linked {wrong}"] = str(error).startswith("columns: ")
prologue.answer(answer)
