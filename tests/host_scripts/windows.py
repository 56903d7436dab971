"""Windows beside the host's own, and ControlNets under them, in the host's own sampling; random weights."""

import itertools
from collections import Counter
from types import SimpleNamespace

import prologue

prologue.setup()

import comfy.context_windows as theirs  # noqa: E402
import comfy.controlnet  # noqa: E402
import comfy.hooks  # noqa: E402
import comfy.sample  # noqa: E402
import comfy.samplers  # noqa: E402
import tiny  # noqa: E402
import torch  # noqa: E402
from comfy.cldm.cldm import ControlNet  # noqa: E402
from comfy.patcher_extension import WrappersMP  # noqa: E402
from comfy.t2i_adapter.adapter import Adapter_light  # noqa: E402
from framewright.bridge.comfyui_guider import ComfyGuider  # noqa: E402
from framewright.bridge.comfyui_model import ComfyModel  # noqa: E402
from framewright.bridge.comfyui_windows import cut_rows  # noqa: E402
from framewright.bridge.motion import apply_motion  # noqa: E402
from framewright.bridge.windows import add_windows, run_in_chunks  # noqa: E402
from framewright.errors import FramewrightError  # noqa: E402
from framewright.sampling.window_plan import Windows  # noqa: E402
from framewright.temporal.motion_settings import MotionSettings  # noqa: E402
from tiny import CPU, SHAPE, sampled  # noqa: E402

FRAMES, SMALL = 10, {"steps": 2, "size": 8}
answer: dict[str, object] = {}

# The windows of schedules that both have.
for ours, name in (("standard", "static_standard"), ("looped", "uniform_looped"), ("batched", "batched")):
    function, same = getattr(theirs, f"create_windows_{name}"), True
    for length, share, frames, stride, closed, step in itertools.product(
        (4, 16), (0, 0.25, 1), (17, 33, 64, 100), (1, 2, 3), (False, True), (0, 1, 2, 7)
    ):
        if ours != "looped" and (stride > 1 or closed):
            continue
        overlap = min(int(share * length), length - 1)
        settings = SimpleNamespace(
            context_length=length, context_overlap=overlap, context_stride=stride, closed_loop=closed,
            _step=step,
        )  # fmt: skip
        expected = [tuple(int(f) for f in window) for window in function(frames, settings, {})]
        plan = Windows(length, overlap, ours, "pyramid", stride, closed).plan(frames, step)
        same = same and [window.frames for window in plan] == expected
    answer[f"{ours}_windows_are_the_hosts"] = same

model = tiny.sd15()
positive = [[torch.randn(1, 5, 64, generator=torch.Generator().manual_seed(1)), {}]]
negative = [[torch.randn(1, 5, 64, generator=torch.Generator().manual_seed(2)), {}]]
longer = [[torch.randn(1, 9, 64, generator=torch.Generator().manual_seed(3)), {}]]


def close(a: torch.Tensor, b: torch.Tensor, bound: float = 1e-5) -> bool:
    return float((a - b).abs().max() / b.abs().max()) <= bound


def in_windows(base, *settings: object, **named: object):
    return add_windows(base, Windows(*settings, **named), 0.0, 1.0)


# The frames of schedules that both have, with a motion module.
moving = apply_motion(model, tiny.motion())
for fuse, name in (("pyramid", "pyramid"), ("uniform mean", "flat"), ("relative", "relative"),
                   ("overlap linear", "overlap-linear")):  # fmt: skip
    handler = theirs.IndexListContextHandler(
        context_schedule=theirs.get_matching_context_schedule("standard_static"),
        fuse_method=theirs.get_matching_fuse_method(name), context_length=8, context_overlap=4,
    )  # fmt: skip
    handler.causal_window_fix = False  # of newer hosts: a frame more than a window, for other models
    host_windows = moving.clone()
    host_windows.model_options["context_handler"] = handler
    mine = sampled(in_windows(moving, 8, 4, "standard", fuse), positive, negative, 22, **SMALL)
    try:
        expected = sampled(host_windows, positive, negative, 22, **SMALL)
    except RuntimeError as error:  # 0.3.64 compares noise levels of all steps with those of all frames
        answer[f"{fuse}: the host's own windows"] = str(error)
        continue
    answer[f"{fuse}_frames_are_the_hosts"] = close(mine, expected)

# ControlNets: without temporal layers, windows must give what the host gives for all frames at once.
torch.manual_seed(5)
network = ControlNet(**{**SHAPE, "dtype": torch.float32}, hint_channels=3, device="cpu")
tiny._fill(network)
control = comfy.controlnet.ControlNet(network.eval(), load_device=CPU)
hints = torch.rand(FRAMES, 3, 48, 48)


def controlled(conditioning, hint, strength=1.0, percent=(0.0, 1.0), given=None, after=None):
    made = (given or control).copy().set_cond_hint(hint, strength, percent)
    made.set_previous_controlnet(after)
    told = {"control": made, "control_apply_to_uncond": True}
    return [[tokens, {**more, **told}] for tokens, more in conditioning]


def both(cond):
    """The same ControlNet on the negative prompt."""
    told = {name: cond[0][1][name] for name in ("control", "control_apply_to_uncond")}
    return [[negative[0][0], told]]


first = controlled(positive, hints)
cases = {
    "one": (first, both(first)),
    "on the positive prompt alone": (controlled(positive, hints), negative),
    "prompts of two lengths": (second := controlled(longer, hints), both(second)),
    "one hint for all": (third := controlled(positive, hints[:1]), both(third)),
    "fewer hints than frames": (fourth := controlled(positive, hints[:5]), both(fourth)),
    "more hints than frames": (hinted := controlled(positive, torch.rand(14, 3, 48, 48)), both(hinted)),
    "part of sampling": (fifth := controlled(positive, hints, 0.7, (0.0, 0.4)), both(fifth)),
    "two": (
        sixth := controlled(positive, hints.flip(0), 0.5, after=first[0][1]["control"]), both(sixth),
    ),
}  # fmt: skip
adapter = Adapter_light(channels=[32, 64], nums_rb=1, cin=192)
tiny._fill(adapter)
adapter = comfy.controlnet.T2IAdapter(adapter.eval(), 3, 8, "nearest-exact", device=CPU)
cases["T2I-Adapter"] = (seventh := controlled(positive, hints, given=adapter), both(seventh))

# Prompts over time and in regions, the masks of which may be of each frame.
draw = torch.Generator().manual_seed(4)
over_time = [[torch.randn(FRAMES, 5, 64, generator=draw), {}]]
left = (torch.arange(64) < 32).float().expand(1, 64, 64)
moving_mask = torch.stack([left[0].roll(6 * frame, 1) for frame in range(FRAMES)])
cases["a prompt for each frame"] = (over_time, negative)
cases["with a ControlNet"] = (eighth := controlled(over_time, hints), both(eighth))
masks = {
    "regions": left,
    "regions that move": moving_mask,
    "masks of more frames": torch.cat([moving_mask, moving_mask[:4].flip(2)]),
    "masks of fewer frames": moving_mask[:5],
}
for name, mask in masks.items():
    here, there = ({"mask": part, "mask_strength": 1.0} for part in (mask, 1 - mask))
    cases[name] = ([[over_time[0][0], here], [longer[0][0], there]], negative)

plain = sampled(model, positive, negative, FRAMES, **SMALL)
for name, (yes, no) in cases.items():
    whole = sampled(model, yes, no, FRAMES, **SMALL)
    answer[f"{name}: it does something"] = not close(whole, plain, 1e-4)
    for schedule in ("standard", "looped", "batched") if name == "one" else ("uniform",):
        cut = in_windows(model, 5, 2, schedule)
        answer[f"{name}: {schedule}"] = close(sampled(cut, yes, no, FRAMES, **SMALL), whole)

# A plan's segment keeps the maps and masks of its own frames, however many there are.
for name in ("more hints than frames", "fewer hints than frames", "masks of more frames", "one hint for all"):
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(*cases[name])
    guider.set_cfg(3.0)
    segment = ComfyGuider(guider).part([5, 6, 7], FRAMES, {})
    yes, no = (segment.guider.original_conds[one][0].get("control") for one in ("positive", "negative"))
    answer[f"{name}: its conditions share their ControlNet"] = yes is no
    noise = comfy.sample.prepare_noise(torch.zeros(FRAMES, 4, 8, 8), 9)[5:8]
    made = segment.sample(
        noise, torch.zeros(3, 4, 8, 8), comfy.samplers.sampler_object("euler"),
        comfy.samplers.KSampler(model, 2, CPU, "euler", "karras").sigmas, None, 9, lambda *_: None,
    )  # fmt: skip
    answer[f"{name}: in a segment"] = close(made, sampled(model, *cases[name], FRAMES, **SMALL)[5:8])

beside, lone = torch.arange(14.0).view(14, 1, 1, 1), torch.rand(FRAMES, 12)
told = cut_rows({"noise_concat": beside, "mask": lone}, FRAMES, torch.tensor([5, 6, 7]))
answer["maps beside the latents"] = told["noise_concat"].flatten().tolist() == [5, 6, 7]
answer["a mask without a batch"] = torch.equal(told["mask"], lone)

try:
    video = torch.zeros(1, 4, 9, 8, 8)
    in_windows(model, 5, 2).model_options["context_handler"].should_use_context(
        None, [], video, torch.tensor([1.0]), {}
    )
    answer["latents of whole videos"] = False
except FramewrightError as error:
    answer["latents of whole videos"] = "[1, 4, 9, 8, 8] came" in str(error)

each = [[[row[None], {}]] for row in over_time[0][0]]
alone = torch.cat([sampled(model, prompt, negative, FRAMES, **SMALL)[[i]] for i, prompt in enumerate(each)])
answer["each frame is its own prompt's"] = close(sampled(model, over_time, negative, FRAMES, **SMALL), alone)

# Each frame once a step, and each hint through the encoder once a render.
seen: Counter[str] = Counter()
network.middle_block.register_forward_hook(lambda _, given, out: seen.update(frames=len(out)))
network.input_hint_block.register_forward_hook(lambda _, given, out: seen.update(hints=len(out)))
yes, no = cases["one"]
windowed = in_windows(model, 5, 4)
for _ in range(2):
    seen.clear()
    sampled(windowed, yes, no, FRAMES, **SMALL)
    answer[f"evaluations {dict(seen)}"] = dict(seen) == {
        "frames": 2 * FRAMES * SMALL["steps"],
        "hints": FRAMES,
    }
handler = windowed.model_options["context_handler"]
answer["hints are let go"] = len(handler._hints._rows) == 0

# Windows in the motion module alone: all frames at once, and yet each hint is encoded once.
inside = apply_motion(model, tiny.motion(), MotionSettings(views=Windows(8, 4)))
bare = inside.clone()
del bare.model_options["context_handler"]
expected = sampled(bare, yes, no, FRAMES, **SMALL)
seen.clear()
answer["temporal windows"] = close(sampled(inside, yes, no, FRAMES, **SMALL), expected)
answer[f"hints under temporal windows {seen['hints']}"] = seen["hints"] == FRAMES

# All of that a few frames at a time, with prompts in regions that move and over time.
chunked = run_in_chunks(inside, 4)
seen.clear()
answer["chunks"] = close(sampled(chunked, yes, no, FRAMES, **SMALL), expected, 1e-4)
answer[f"evaluations in chunks {dict(seen)}"] = dict(seen) == {
    "frames": 2 * FRAMES * SMALL["steps"],
    "hints": FRAMES,
}
for name in ("two", "T2I-Adapter", "a prompt for each frame", "regions that move"):
    whole = sampled(inside, *cases[name], FRAMES, **SMALL)
    answer[f"chunks, {name}"] = close(sampled(chunked, *cases[name], FRAMES, **SMALL), whole, 1e-4)
for name, base in (
    ("inner", tiny.inner()),
    ("lvdm", tiny.lvdm()),
    ("make_your_video", tiny.make_your_video()),
):
    other = apply_motion(model, base, norms="frame by frame")
    whole = sampled(other, positive, negative, 8, **SMALL)
    answer[f"chunks, {name}"] = close(
        sampled(run_in_chunks(other, 3), positive, negative, 8, **SMALL), whole, 1e-4
    )
try:
    across = apply_motion(model, tiny.motion(), norms="across frames")
    sampled(run_in_chunks(across, 3), positive, negative, 8, **SMALL)
except FramewrightError as error:
    answer["norms across frames are refused"] = "need all frames at once" in str(error)

# The host runs as many conditions together as fit at the moment; chunks must not notice.
factor = model.model.memory_usage_factor


def needs_more_or_less(*_):
    """Every second call of the model is said to need more memory than there is."""
    model.model.memory_usage_factor = 1e18 if model.model.memory_usage_factor == factor else factor


every_second = model.model.diffusion_model.register_forward_pre_hook(needs_more_or_less)
answer["chunks in memory that comes and goes"] = close(
    sampled(run_in_chunks(moving, 4), positive, negative, 8, **SMALL),
    sampled(moving, positive, negative, 8, **SMALL), 1e-4,
)  # fmt: skip
every_second.remove()
model.model.memory_usage_factor = factor

# A hook changes weights that all chunks share, here of a layer after the last place where they meet.
weight = model.model.diffusion_model.out[2].weight
change = torch.randn(weight.shape, generator=torch.Generator().manual_seed(6)) * 0.3
hook = comfy.hooks.create_hook_lora({"diffusion_model.out.2.diff": change}, 1.0, 1.0)
hooked = comfy.hooks.set_hooks_for_conditioning(positive, hook)
whole = sampled(moving, hooked, negative, 8, **SMALL)
answer["a hook does something"] = not close(whole, sampled(moving, positive, negative, 8, **SMALL), 1e-2)
answer["chunks, a hook"] = close(sampled(run_in_chunks(moving, 4), hooked, negative, 8, **SMALL), whole, 1e-4)
parts = zip((hooked, positive), ((0.0, 0.6), (0.6, 1.0)), strict=True)
by_turns = [one for prompt, part in parts for one in comfy.hooks.set_timesteps_for_conditioning(prompt, part)]
answer["chunks, a hook for some steps"] = close(
    sampled(run_in_chunks(moving, 4), by_turns, negative, 8, **SMALL),
    sampled(moving, by_turns, negative, 8, **SMALL), 1e-4,
)  # fmt: skip
try:
    sampled(run_in_chunks(moving, 4), [*hooked, *positive], negative, 8, **SMALL)
    answer["chunks, hooks side by side"] = False
except FramewrightError as error:
    answer["chunks, hooks side by side"] = "with other hooks came side by side" in str(error)

# The host's negative beside a prompt for an area has its uuid; in little memory it is a call of its own.
area = {"area": (8, 8, 0, 0), "control": cases["one"][0][0][1]["control"], "control_apply_to_uncond": True}
for_area = [[positive[0][0], area]]
model.model.memory_usage_factor = 1e18
answer["a prompt for an area, one condition at a time"] = close(
    sampled(in_windows(model, 5, 2), for_area, negative, FRAMES, **SMALL),
    sampled(model, for_area, negative, FRAMES, **SMALL),
)
model.model.memory_usage_factor = factor

# Prompts for another number of frames, even for as many as a window or a chunk has.
for name, used in (
    ("windows", in_windows(model, 5, 2)),
    ("chunks", run_in_chunks(moving, 5)),
):
    try:
        sampled(used, [[over_time[0][0][:5], {}]], negative, FRAMES, **SMALL)
        answer[f"prompts for others in {name}"] = False
    except FramewrightError as error:
        answer[f"prompts for others in {name}"] = "prompts for 5 frames came, expected for 10" in str(error)

# Room is made for what a call holds, not for the whole video.
asked: list[int] = []


def hearing(executor, model, noise_shape, *more, **named):
    asked.append(noise_shape[0])
    return executor(model, noise_shape, *more, **named)


early = add_windows(moving, Windows(8, 4), 0.0, 0.5)
for used in (in_windows(moving, 8, 4), run_in_chunks(model, 4), early, run_in_chunks(early, 6), moving):
    heard = used.clone()
    heard.add_wrapper_with_key(WrappersMP.PREPARE_SAMPLING, "test", hearing)
    sampled(heard, positive, negative, 8 if used is moving else 20, **SMALL | {"steps": 1})
answer[f"room for {asked}"] = asked == [8, 4, 20, 8, 8]

# Where another node has set windows, the host's own among them, ours are refused, and motion goes on.
for name, change in (
    ("windows", lambda one: in_windows(one, 8, 4)),
    ("chunks", lambda one: run_in_chunks(one, 4)),
):
    try:
        change(host_windows)
        answer[f"{name} beside the host's own"] = False
    except FramewrightError as error:
        answer[f"{name} beside the host's own"] = "context windows of another node" in str(error)
views = apply_motion(host_windows, tiny.motion(), MotionSettings(views=Windows(8, 4)))
answer["views beside the host's own"] = isinstance(
    views.model_options["context_handler"], theirs.IndexListContextHandler
)

# With a motion module, several windows in a call are as one at a time, and hints matter.
many = sampled(in_windows(moving, 8, 4), yes, no, FRAMES, **SMALL)
one = in_windows(moving, 8, 4)
one.model_options["context_handler"]._windows_a_call = lambda *_: 1
answer["together as alone"] = torch.equal(many, sampled(one, yes, no, FRAMES, **SMALL))
answer["again the same"] = torch.equal(many, sampled(in_windows(moving, 8, 4), yes, no, FRAMES, **SMALL))
answer["with motion"] = not close(
    many, sampled(in_windows(moving, 8, 4), positive, negative, FRAMES, **SMALL), 1e-4
)

# Windows that hold for a part of sampling only.
early = add_windows(moving, Windows(8, 4), 0.0, 0.5)
late = add_windows(early, Windows(6, 2), 0.5, 1.0)
calls: list[int] = []


def counting(apply, given):
    calls.append(given["input"].shape[0] // len(given["cond_or_uncond"]))
    return apply(given["input"], given["timestep"], **given["c"])


late.model_options["context_handler"]._windows_a_call = lambda *_: 1
late.set_model_unet_function_wrapper(counting)
sampled(late, positive, negative, 20, steps=6, size=8)
answer["two kinds of windows"] = set(calls) == {8, 6} and calls == sorted(calls, reverse=True)
every = [
    ("standard", name) for name in ("euler_ancestral", "dpmpp_2m", "dpmpp_sde", "dpm_2", "uni_pc", "lcm")
]
for schedule, sampler in (*every, ("uniform", "euler"), ("random", "euler"), ("looped", "dpm_2")):
    made = sampled(in_windows(moving, 8, 4, schedule), positive, negative, 20, sampler, **SMALL)
    answer[f"{schedule}, {sampler}"] = bool(made.isfinite().all() and made.std() > 0)
kept = sampled(in_windows(moving, 8, 2, keep=(0,)), positive, negative, 20, **SMALL)
answer["kept frames"] = not torch.equal(
    kept, sampled(in_windows(moving, 8, 2), positive, negative, 20, **SMALL)
)
answer["highest_sigma"] = 14 < ComfyModel(model).highest_sigma() < 15

prologue.answer(answer)
