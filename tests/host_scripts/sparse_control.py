"""Sparse ControlNets in the host's own sampling: from files, in windows and chunks, beside the core's."""

import prologue

prologue.setup()

import comfy.context_windows as theirs  # noqa: E402
import comfy.controlnet  # noqa: E402
import comfy.sample  # noqa: E402
import comfy.samplers  # noqa: E402
import tiny  # noqa: E402
import torch  # noqa: E402
from comfy.cldm.cldm import ControlNet  # noqa: E402
from framewright.bridge.comfyui_guider import ComfyGuider  # noqa: E402
from framewright.bridge.comfyui_model import ComfyModel  # noqa: E402
from framewright.bridge.comfyui_sparse_control import SparseControl  # noqa: E402
from framewright.bridge.control import Strengths, control_video  # noqa: E402
from framewright.bridge.host import host  # noqa: E402
from framewright.bridge.motion import apply_motion  # noqa: E402
from framewright.bridge.windows import add_windows, run_in_chunks  # noqa: E402
from framewright.errors import FramewrightError  # noqa: E402
from framewright.sampling.window_plan import Windows  # noqa: E402
from framewright.temporal.builder import UNetParams  # noqa: E402
from framewright.temporal.extent import Extent  # noqa: E402
from framewright.temporal.motion import MotionParams  # noqa: E402
from framewright.temporal.motion_settings import MotionSettings  # noqa: E402
from framewright.temporal.parts import Parts  # noqa: E402
from framewright.temporal.pose_guider import PoseInput  # noqa: E402
from framewright.temporal.slots import NUMBERS  # noqa: E402
from framewright.temporal.sparse_control import SparseControlNet, SparseParams, rows_shown  # noqa: E402
from tiny import CPU, SHAPE, sampled  # noqa: E402

from nodes import ControlNetApplyAdvanced  # noqa: E402

FRAMES, SMALL, AT = 6, {"steps": 3, "size": 8}, [0, 4]
answer: dict[str, object] = {}


class Vae:
    """What a ControlNet that sees latents asks of the host's VAE."""

    def spacial_compression_encode(self) -> int:
        return 8

    encoded = 0  # pictures

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        self.encoded += len(pixels)
        grey = torch.nn.functional.avg_pool2d(pixels.movedim(-1, 1).mean(1, keepdim=True), 8)
        return grey.repeat(1, 4, 1, 1) / 0.18215


model, vae = tiny.sd15(), Vae()
torch.manual_seed(5)
UNET = UNetParams(
    model_channels=32, channel_mult=(1, 2), attention_levels=(0, 1), context_dim=64, num_heads=4
)
MOTION = MotionParams((32, 64), mid_block=False, positions=8, attentions=1, up_blocks=False)


def random(widths: tuple[int, ...] | None = None, parts: Parts | None = None) -> SparseControlNet:
    net = SparseControlNet(SparseParams(UNET, MOTION, widths), parts or host().parts())
    torch.manual_seed(6)
    tiny._fill(net)
    for parameter in net.motion.parameters():
        parameter.data *= 4  # so that frames reach each other
    return net.eval()


pictures = torch.rand(2, 64, 64, 3)
prompts = [[[torch.randn(1, 5, 64, generator=torch.Generator().manual_seed(seed)), {}]] for seed in (1, 2)]
net = random()
control = host().sparse_control(net)


def controlled(given=prompts, strength: float = 1.0, used=control, at=AT, shown=pictures, **settings):
    return control_video(given, used, shown, FRAMES, "hold", Strengths(strength, **settings), vae, at)


def frames_of(conds, used=model):
    return sampled(used, *conds, FRAMES, **SMALL)


def led_by_poses(used):
    torch.manual_seed(7)
    guided = used.clone()
    features = torch.randn(FRAMES, SHAPE["model_channels"], 8, 8)
    ComfyModel(guided).add_input_patch(PoseInput(features, Extent()))
    return guided


def close(a: torch.Tensor, b: torch.Tensor, bound: float = 1e-5) -> bool:
    return bool(a.isfinite().all()) and float((a - b).abs().max() / b.abs().max()) <= bound


plain, full = frames_of(prompts), frames_of(controlled())
answer["it does something"] = not close(full, plain, 1e-3)
answer["nothing stays behind"] = torch.equal(frames_of(prompts), plain)
answer["again the same"] = torch.equal(frames_of(controlled()), full)
answer["each picture is encoded once a render"] = vae.encoded == 2 * len(pictures)
other = frames_of(controlled(shown=pictures * torch.tensor([1.0, 0.0]).view(2, 1, 1, 1)))
answer["every frame is reached"] = bool(((other - full).abs().amax((1, 2, 3)) > 1e-4).all())
answer["no strength is the prompts as they were"] = controlled(strength=0.0) == prompts
answer["no part of sampling"] = close(frames_of(controlled(between=(0.0, 0.0))), plain)

# What the host hands to its UNet is the network's own, as the built-in host runs it too.
conds = controlled()
link = conds[0][0][1]["control"]
link.pre_run(model.model, lambda _: 0.0)
link.timestep_range = None
x, options = torch.randn(2 * FRAMES, 4, 8, 8), {"cond_or_uncond": [0, 1]}
context = torch.cat([prompts[k][0][0].repeat(FRAMES, 1, 1) for k in (0, 1)])
sigma = torch.full((2 * FRAMES,), 2.0)
with torch.no_grad():
    made = link.get_control(x, sigma, {"c_crossattn": context}, 2, options)
    times = model.model.model_sampling.timestep(sigma).float()
    plainly = random(parts=Parts())
    latents = vae.encode(pictures) * 0.18215
    features = plainly.embed(latents)[rows_shown(AT, 2 * FRAMES, options)]
    expected = plainly(features, times, context, options)
answer["the network's numbers"] = all(
    close(a, b) for place in expected for a, b in zip(made[place], expected[place], strict=True)
)
link.cleanup()

windowed = frames_of(controlled(), add_windows(model, Windows(FRAMES, 2), 0.0, 1.0))
answer["in one window"] = close(windowed, full)
answer["in chunks"] = close(frames_of(controlled(), run_in_chunks(model, 4)), full)
apart = frames_of(controlled(), add_windows(model, Windows(3, 0, "batched"), 0.0, 1.0))
answer["windows are videos of their own"] = not close(apart, full, 1e-4)
ends = comfy.samplers.CFGGuider(model)
ends.set_conds(*controlled())
ends.set_cfg(3.0)
part = ComfyGuider(ends).part([3, 4, 5], FRAMES, {NUMBERS: torch.tensor([3, 4, 5])})
noise = comfy.sample.prepare_noise(torch.zeros(FRAMES, 4, 8, 8), 9)[3:]
sampler = comfy.samplers.KSampler(model, 3, CPU, "euler", "karras")
alone = part.sample(
    noise, torch.zeros(3, 4, 8, 8), comfy.samplers.sampler_object("euler"), sampler.sigmas, None, 9,
    lambda *_: None,
)  # fmt: skip
answer["as a plan's part of the video"] = close(alone, apart[3:])

network = ControlNet(**{**SHAPE, "dtype": torch.float32}, hint_channels=3, device="cpu")
tiny._fill(network)
canny = comfy.controlnet.ControlNet(network.eval(), load_device=CPU)
maps = torch.rand(FRAMES, 64, 64, 3)


def edged(given):
    return control_video(given, canny, maps, FRAMES, "hold", Strengths(1.0))


first, last = frames_of(edged(controlled())), frames_of(controlled(edged(prompts)))
answer["beside the core's ControlNet"] = close(first, last) and not close(first, full, 1e-3)
for name, chain in {"before": edged(controlled()), "after": controlled(edged(prompts))}.items():
    answer[f"{name} it in windows"] = close(
        frames_of(chain, add_windows(model, Windows(FRAMES, 2), 0.0, 1.0)), first
    )
    answer[f"{name} it in chunks"] = close(frames_of(chain, run_in_chunks(model, 4)), first)
seen: list[int] = []
network.input_hint_block.register_forward_hook(lambda _, given, out: seen.append(len(out)))
frames_of(edged(controlled()), add_windows(model, Windows(4, 2), 0.0, 1.0))
answer[f"its hints once each, {sum(seen)}"] = sum(seen) == FRAMES
twice = controlled(controlled(strength=0.4), strength=0.6)
answer["a chain of its own"] = close(frames_of(twice), full)
answer["a chain of its own in windows"] = close(
    frames_of(twice, add_windows(model, Windows(FRAMES, 2), 0.0, 1.0)), full
)

some = {"frames": [1.0, 0.0, 1.0, 0.0, 0.0, 1.0]}
led = frames_of(controlled(**some))
for frame, on in enumerate((1, 0, 1, 0, 0, 1)):
    answer[f"frame {frame}"] = close(led[frame], (full if on else plain)[frame])
answer["strengths in windows"] = close(
    frames_of(controlled(**some), add_windows(model, Windows(FRAMES, 2), 0.0, 1.0)), led
)
answer["strengths in chunks"] = close(frames_of(controlled(**some), run_in_chunks(model, 4)), led)

# One that sees pictures needs no VAE, and half its weights are enough.
sketched = SparseControl(random((4, 6, 8, 10)))
seen = control_video(prompts, sketched, pictures, FRAMES, "hold", Strengths(1.0), None, AT)
answer["pictures as they are"] = not close(frames_of(seen), plain, 1e-5)
half = SparseControl(random().half())
answer["half weights"] = close(frames_of(controlled(used=half)), full, 0.02)
for name, call, message in (
    ("latents without a VAE", lambda: control_video(prompts, control, pictures, 6, "hold", Strengths(1.0)),
     "vae: none came"),
    ("a picture after the end",
     lambda: frames_of(control_video(prompts, control, pictures, 0, "hold", Strengths(1.0), vae, [0, 7])),
     "at frame 7 came for a video of 6"),
    ("through the core's own node",
     lambda: frames_of(ControlNetApplyAdvanced().apply_controlnet(*prompts, control, pictures, 1.0, 0, 1)),
     "at_frames: none came"),
):  # fmt: skip
    try:
        call()
        answer[name] = False
    except FramewrightError as error:
        answer[name] = message in str(error)

# In the host's own windows a call's frames are known too. As many steps as frames but one: 0.3.64 compares
# the noise levels of all steps with those of all frames.
handler = theirs.IndexListContextHandler(
    context_schedule=theirs.get_matching_context_schedule("batched"),
    fuse_method=theirs.get_matching_fuse_method("flat"), context_length=3, context_overlap=0,
)  # fmt: skip
handler.causal_window_fix = False  # of newer hosts: a frame more than a window, for other models
moving, each = tiny.motion(), [1.0, 0.5, 0.0, 0.7, 1.0, 0.2]
for name, (conds, used) in {
    "pictures": (controlled(), model),
    "a ControlNet's strengths": (controlled(frames=each), model),
    "a motion module's strengths": (prompts, apply_motion(model, moving, MotionSettings(frames=each))),
    "a camera": (prompts, apply_motion(model, tiny.camera(moving))),
    "a pose guider": (prompts, led_by_poses(model)),
}.items():
    cut = used.clone()
    cut.model_options["context_handler"] = handler
    ours = add_windows(used, Windows(3, 0, "batched"), 0.0, 1.0)
    told, expected = (sampled(one, *conds, FRAMES, size=8, steps=FRAMES - 1) for one in (cut, ours))
    answer[f"the host's own windows: {name}"] = close(told, expected)
    bare = sampled(model, *prompts, FRAMES, size=8, steps=FRAMES - 1)
    answer[f"the host's own windows: {name}, something is done"] = not close(told, bare, 1e-4)

prologue.answer(answer)
