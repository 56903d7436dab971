"""ControlNets whose strength differs by frame, place, layer and step, in the host's own sampling."""

import tempfile
from pathlib import Path

import prologue

prologue.setup()

import comfy.context_windows as theirs  # noqa: E402
import comfy.controlnet  # noqa: E402
import tiny  # noqa: E402
import torch  # noqa: E402
from comfy.cldm.cldm import ControlNet  # noqa: E402
from comfy.t2i_adapter.adapter import Adapter, Adapter_light  # noqa: E402
from framewright.bridge.concat_maps import concat_maps  # noqa: E402
from framewright.bridge.control import Strengths, control_video  # noqa: E402
from framewright.bridge.host import host  # noqa: E402
from framewright.bridge.pose_guider import guide_poses  # noqa: E402
from framewright.bridge.windows import add_windows, run_in_chunks  # noqa: E402
from framewright.errors import FramewrightError  # noqa: E402
from framewright.sampling.window_plan import Windows  # noqa: E402
from framewright.temporal.condition_encoder import ConditionEncoder  # noqa: E402
from framewright.temporal.extent import Extent  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from tiny import CPU, SHAPE, sampled  # noqa: E402

from nodes import ControlNetApplyAdvanced  # noqa: E402

FRAMES, SMALL = 6, {"steps": 3, "size": 8}
answer: dict[str, object] = {}

model = tiny.sd15()
torch.manual_seed(5)
network = ControlNet(**{**SHAPE, "dtype": torch.float32}, hint_channels=3, device="cpu")
tiny._fill(network)
control = comfy.controlnet.ControlNet(network.eval(), load_device=CPU)
hints = torch.rand(FRAMES, 64, 64, 3)
prompts = [[[torch.randn(1, 5, 64, generator=torch.Generator().manual_seed(seed)), {}]] for seed in (1, 2)]


def frames_of(conds, used=model):
    return sampled(used, *conds, FRAMES, **SMALL)


def controlled(given=prompts, strength: float = 1.0, fit: str = "hold", maps=hints, **settings):
    return control_video(given, control, maps, FRAMES, fit, Strengths(strength, **settings))


def close(a: torch.Tensor, b: torch.Tensor, bound: float = 1e-5) -> bool:
    return float((a - b).abs().max() / b.abs().max()) <= bound


plain, full = frames_of(prompts), frames_of(controlled())
host_s = ControlNetApplyAdvanced().apply_controlnet(*prompts, control, hints, 1.0, 0.0, 1.0)
answer["as the host's own node"] = torch.equal(full, frames_of(host_s))
answer["it does something"] = not close(full, plain, 1e-3)
answer["no strength is the prompts as they were"] = controlled(strength=0.0) == prompts
for name, none in {
    "frames": {"frames": [0.0]},
    "steps": {"steps": [(0.0, 0.0)]},
    "layers": {"layers": {"input": 0.0, "middle": 0.0}},
    "mask": {"mask": torch.zeros(1, 64, 64)},
}.items():
    answer[f"{name}: none"] = close(frames_of(controlled(**none)), plain)
every = {"frames": [1.0], "steps": [(0.5, 1.0)], "layers": {"middle": 1.0}, "mask": torch.ones(1, 8, 8)}
answer["all of everything"] = close(frames_of(controlled(**every)), full)
answer["by frame is strength"] = close(
    frames_of(controlled(frames=[0.4])), frames_of(controlled(strength=0.4))
)

some = controlled(frames=[1.0, 0.0, 1.0, 0.0, 0.0, 1.0])
made = frames_of(some)
for frame, on in enumerate((1, 0, 1, 0, 0, 1)):
    answer[f"frame {frame}"] = close(made[frame], (full if on else plain)[frame])
half = torch.zeros(FRAMES, 64, 64)
half[:3] = 1
masked = frames_of(controlled(mask=half))
answer["a mask for each frame"] = close(masked[:3], full[:3]) and close(masked[3:], plain[3:])
early = frames_of(controlled(steps=[(0.0, 1.0), (1.0, 0.0)]))
answer["by step"] = not close(early, plain) and not close(early, full)
part = frames_of(controlled(between=(0.0, 0.4), frames=[1.0]))
answer["for a part of sampling"] = close(part, frames_of(controlled(between=(0.0, 0.4))))

for name, settings in {
    "frames": {"frames": [1.0, 0.2, 0.7, 0.0, 1.0, 0.5]},
    "mask": {"mask": torch.rand(FRAMES, 9, 9, generator=torch.Generator().manual_seed(3))},
}.items():
    conds = controlled(**settings)
    whole = frames_of(conds)
    answer[f"{name}: in windows"] = close(
        frames_of(conds, add_windows(model, Windows(4, 2), 0.0, 1.0)), whole
    )
    answer[f"{name}: in chunks"] = close(frames_of(conds, run_in_chunks(model, 4)), whole)
    answer[f"{name}: again"] = torch.equal(frames_of(conds), whole)

chain = controlled(controlled(strength=0.4, frames=[1.0]), strength=0.6, frames=[1.0])
answer["a chain"] = close(frames_of(chain), full)
answer["one before goes on"] = close(frames_of(controlled(controlled(), frames=[0.0])), full)
held = torch.cat([hints[:2], hints[1:2].expand(4, -1, -1, -1)])
answer["fewer maps are held"] = torch.equal(
    frames_of(controlled(maps=hints[:2], frames=[1.0])), frames_of(controlled(maps=held, frames=[1.0]))
)
try:
    frames_of(control_video(prompts, control, hints, 4, "hold", Strengths(1.0, frames=[1.0, 0.5])))
    answer["strengths for another number of frames"] = False
except FramewrightError as error:
    answer["strengths for another number of frames"] = "for 4 frames" in str(error)

twice = torch.cat([hints, hints.flip(0)])  # as many as a call of two conditions has rows
answer["further maps are left out"] = close(
    frames_of(control_video(prompts, control, twice, 0, "hold", Strengths(1.0))), full
)
ends = control_video(
    prompts, control, hints[:2], FRAMES, "hold",
    Strengths(1.0, mask=torch.stack([torch.zeros(8, 8), torch.ones(8, 8)])), at=[1, 4],
)  # fmt: skip
made, bare = (
    frames_of(ends),
    frames_of(control_video(prompts, control, hints[1:2], 1, "hold", Strengths(1.0))),
)
answer["a mask for each map"] = close(made[:4], plain[:4]) and close(made[4], bare[4])

# Each window of the host's own has its frames' maps.
handler = theirs.IndexListContextHandler(
    context_schedule=theirs.get_matching_context_schedule("batched"),
    fuse_method=theirs.get_matching_fuse_method("flat"), context_length=3, context_overlap=0,
)  # fmt: skip
handler.causal_window_fix = False  # of newer hosts: a frame more than a window, for other models
cut = model.clone()
cut.model_options["context_handler"] = handler
# As many steps as frames but one: 0.3.64 compares the noise levels of all steps with those of all frames.
told, expected = (sampled(one, *controlled(), FRAMES, size=8, steps=FRAMES - 1) for one in (cut, model))
answer["maps in the host's own windows"] = close(told, expected)

light = Adapter_light(channels=[32, 64], nums_rb=1, cin=192)
tiny._fill(light)
light = comfy.controlnet.T2IAdapter(light.eval(), 3, 8, "nearest-exact", device=CPU)
one = control_video(prompts, light, hints[:1], FRAMES, "hold", Strengths(1.0, frames=[1, 1, 1, 0, 0, 0]))
made, every = (
    frames_of(one),
    frames_of(control_video(prompts, light, hints[:1], FRAMES, "hold", Strengths(1.0))),
)
answer["an adapter's one map by frame"] = close(made[:3], every[:3]) and close(made[3:], plain[3:])
answer["an adapter's one map does something"] = not close(every, plain, 1e-4)
for layer in ("output", ("input", 99)):
    try:
        frames_of(controlled(layers={layer: 0.0}))
        answer[f"a layer {layer} is refused"] = False
    except FramewrightError as error:
        answer[f"a layer {layer} is refused"] = "layer_strength: " in str(error)

# A pose guider, whose file may be a pickle in a host that reads those safely.
guider = ConditionEncoder(SHAPE["model_channels"], (4, 6, 8, 10), host().parts())
tiny._fill(guider)
guider.conv_out.weight.data *= 100  # so that it is seen in the result
folder = Path(tempfile.mkdtemp())
save_file(guider.state_dict(), folder / "guider.safetensors")
torch.save(guider.state_dict(), folder / "guider.pth")


def guided(strength: float = 1.0, file: str = "guider.safetensors"):
    return guide_poses(model, folder / file, hints, Extent(strength), (0.0, 1.0))


led = frames_of(prompts, guided())
answer["a pose guider leads"] = not close(led, plain, 1e-3)
answer["without strength it does not"] = torch.equal(frames_of(prompts, guided(0.0)), plain)
answer["from a pickle"] = torch.equal(frames_of(prompts, guided(file="guider.pth")), led)
answer["guided in windows"] = close(
    frames_of(prompts, add_windows(guided(), Windows(4, 2), 0.0, 1.0)), led, 1e-4
)
answer["guided in chunks"] = close(frames_of(prompts, run_in_chunks(guided(), 4)), led, 1e-4)

# FollowYourPose's pose encoder is a T2I-Adapter, which the core's own loader reads.
encoder = Adapter([32, 64, 128, 128], nums_rb=2, cin=192, ksize=1, sk=True, use_conv=False, xl=False)
tiny._fill(encoder)
poses, deep = comfy.controlnet.load_t2i_adapter(encoder.state_dict()), tiny.sd15(shape=tiny.FOUR_LEVELS)


def posed(maps):
    return control_video(prompts, poses, maps, FRAMES, "hold", Strengths(1.0))


led, other = frames_of(posed(hints), deep), hints.clone()
other[2] = 0
changed = (frames_of(posed(other), deep) - led).abs().amax((1, 2, 3))
answer["an adapter leads"] = not close(led, frames_of(prompts, deep), 1e-3)
answer["by each frame's own map"] = float(changed[2]) > 1e-3 > 1e-5 > float(changed[[0, 1, 3, 4, 5]].max())
answer["adapted in windows"] = close(
    frames_of(posed(hints), add_windows(deep, Windows(4, 2), 0.0, 1.0)), led, 1e-4
)

# Maps beside the latents, of a model whose first convolution takes 14 channels.
wide = tiny.sd15(shape={**SHAPE, "in_channels": 14})
latent = {"samples": torch.zeros(FRAMES, 4, 8, 8)}


def beside(maps):
    return concat_maps(wide, *prompts, latent, maps, 2, 5)


shown = frames_of(beside(hints), wide)
changed = (frames_of(beside(other), wide) - shown).abs().amax((1, 2, 3))
answer["maps are seen by their frame and its neighbours"] = (
    float(changed[[5]]) < 1e-5 < float(changed[:5].min())
)
answer["concatenated in windows"] = close(
    frames_of(beside(hints), add_windows(wide, Windows(4, 2), 0.0, 1.0)), shown, 1e-4
)
answer["concatenated in chunks"] = close(frames_of(beside(hints), run_in_chunks(wide, 4)), shown, 1e-4)
first = wide.model.diffusion_model.input_blocks[0][0]
kept = first.weight.data.clone()
first.weight.data[:, 4:] = 0
answer["their weights are those after the latents'"] = not close(frames_of(beside(hints), wide), shown, 1e-3)
first.weight.data[:] = kept
try:
    concat_maps(model, *prompts, latent, hints, 2, 5)
    answer["a model that takes none"] = False
except FramewrightError as error:
    answer["a model that takes none"] = "one that takes 4 channels came, expected one trained with 14" in str(
        error
    )

prologue.answer(answer)
