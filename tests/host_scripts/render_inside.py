"""Renders inside the host, with its own sampling, and tells what a client could not see."""

import prologue

prologue.setup()

import sys  # noqa: E402

import torch  # noqa: E402

import nodes  # noqa: E402


def functions() -> dict:
    """Every function and class of the host and of torch.nn, and every function on those classes."""
    found = {}
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] not in ("comfy", "nodes") and not name.startswith("torch.nn"):
            continue
        for attribute, value in list(vars(module).items()):
            if callable(value):
                found[name, attribute] = value
            if isinstance(value, type) and value.__module__ == name:
                found |= {(name, attribute, inner): v for inner, v in vars(value).items() if callable(v)}
    return found


BEFORE = functions()

from framewright.bridge.comfyui_model import ComfyModel  # noqa: E402
from framewright.bridge.host import host  # noqa: E402
from framewright.bridge.motion import apply_motion  # noqa: E402
from framewright.nodes.attention import ApplyAttentionPattern  # noqa: E402
from framewright.nodes.motion import LoadMotionModule  # noqa: E402
from framewright.sampling.window_plan import Windows  # noqa: E402
from framewright.temporal.builder import UNetParams  # noqa: E402
from framewright.temporal.motion_settings import AppliedMotion, MotionSettings  # noqa: E402
from framewright.temporal.parts import Parts  # noqa: E402
from framewright.temporal.patterns import PATTERNS  # noqa: E402
from framewright.temporal.slots import FRAMES, LAYERS  # noqa: E402
from framewright.temporal.unet import SpaceTimeUNet  # noqa: E402


def windowed(model, windows: Windows):
    handle = ComfyModel(model).clone()
    handle.add_windows(windows)
    return handle.model


import tiny  # noqa: E402
from tiny import sampled  # noqa: E402

answer: dict = {}
model, words, vae = host().demo_model()
positive, negative = [[words.encode(["a red circle moving right"]), {}]], [[words.encode([""]), {}]]
motion = LoadMotionModule.execute("demo")[0]
first = apply_motion(model, motion)
second = windowed(ApplyAttentionPattern.execute(first, PATTERNS["full"])[0], Windows(4, 2))

# Two graphs over one loaded model: the second, run between two runs of the first, changes nothing in it.
before = sampled(first, positive, negative)
between = sampled(second, positive, negative)
plain = sampled(model, positive, negative)
answer["first_again"] = torch.equal(before, sampled(first, positive, negative))
answer["plain_again"] = torch.equal(plain, sampled(model, positive, negative))
answer["graphs_differ"] = not torch.equal(before, between) and not torch.equal(before, plain)

# Samplers that call the model between steps, under windows.
for name in ("euler_ancestral", "dpmpp_2m", "dpmpp_sde", "dpm_2", "lcm"):
    answer[f"finite_{name}"] = bool(torch.isfinite(sampled(second, positive, negative, sampler=name)).all())


# The host's own UNet in the SD1.5 layout, small, with motion modules of random weights in its blocks.
sd15 = tiny.sd15()
base, random = sd15.model, tiny.motion()
layers, moving = random.model, apply_motion(sd15, random)
keys = set(base.state_dict())

still = sampled(sd15, positive, negative, size=8)
once = sampled(moving, positive, negative, size=8)
answer["host_unet_moves"] = float((once - still).abs().max()) > 1e-4
answer["host_unet_still_again"] = torch.equal(still, sampled(sd15, positive, negative, size=8))
answer["host_unet_again"] = torch.equal(once, sampled(moving.clone(), positive, negative, size=8))
moving.eject_model()
for injection in moving.get_injections("framewright"):
    injection.eject(moving)
    injection.eject(moving)
answer["keys_after_eject"] = set(base.state_dict()) == keys
one = windowed(moving, Windows(8, 4))
many = sampled(one, positive, negative, frames=20, size=8)
one.model_options["context_handler"]._windows_a_call = lambda *_: 1
answer["windows_together_as_alone"] = torch.equal(many, sampled(one, positive, negative, frames=20, size=8))
try:
    sampled(moving, positive, negative, frames=9, size=8)
    answer["too_many_frames"] = "no error"
except Exception as error:
    answer["too_many_frames"] = str(error)

# Our own UNet takes the host's weights as they are, and gives its numbers, with and without motion modules.
moving.eject_model()
ours = SpaceTimeUNet(UNetParams(
    model_channels=32, channel_mult=(1, 2), num_res_blocks=2, attention_levels=(0, 1), context_dim=64,
    head_channels=8,
), Parts())  # fmt: skip
for module in ours.modules():
    if hasattr(module, "heads"):
        module.heads = 4
ours.load_state_dict(base.diffusion_model.state_dict())
x, t, context = torch.randn(8, 4, 8, 8), torch.full((8,), 321.0), torch.randn(8, 5, 64)
with torch.no_grad():
    theirs = base.diffusion_model(x, t, context=context, transformer_options={})
    answer["unet_difference"] = float((ours(x, t, context) - theirs).abs().max() / theirs.abs().max())
    patches = {k: v for k, v in moving.model_options["transformer_options"].items() if k == "patches"}
    options = {LAYERS: (AppliedMotion(layers, MotionSettings()),), FRAMES: 8, **patches}
    moving.inject_model()
    theirs = base.diffusion_model(x, t, context=context, transformer_options=dict(options))
    moving.eject_model()
    mine = ours(x, t, context, transformer_options=dict(options))
    answer["motion_difference"] = float((mine - theirs).abs().max() / theirs.abs().max())
    for made in (tiny.inner, tiny.lvdm, tiny.make_your_video):
        given = apply_motion(sd15, made(), norms="frame by frame")
        options, name = {**given.model_options["transformer_options"], FRAMES: 8}, made.__name__
        given.inject_model()
        inner = given.model.diffusion_model(x, t, context=context, transformer_options=dict(options))
        given.eject_model()
        mine = ours(x, t, context, transformer_options={k: v for k, v in options.items() if k != "patches"})
        answer[f"{name}_acts"] = float((inner - theirs).abs().max()) > 1e-4
        answer[f"{name}_difference"] = float((mine - inner).abs().max() / inner.abs().max())

after = functions()
answer["changed"] = [str(key) for key, value in BEFORE.items() if after.get(key) is not value]
answer["functions"] = len(BEFORE)
answer["node_module"] = nodes.__name__
prologue.answer(answer)
