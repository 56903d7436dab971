"""The same frames where the host's layers get their weights late, and layers that begin with none."""

import prologue

prologue.setup()

import sys  # noqa: E402

import tiny  # noqa: E402
import torch  # noqa: E402
from framewright.bridge.control import Strengths, control_video  # noqa: E402
from framewright.bridge.host import host  # noqa: E402
from framewright.bridge.motion import add_lora, apply_motion, build_layers, open_motion  # noqa: E402
from framewright.bridge.pose_guider import guide_poses  # noqa: E402
from framewright.demo import files  # noqa: E402
from framewright.temporal.extent import Extent  # noqa: E402
from framewright.temporal.new_layers import NewLayerParams  # noqa: E402
from framewright.temporal.space_time import MIXES  # noqa: E402
from tiny import sampled  # noqa: E402

answer: dict = {}
sd15, (demo, words, vae) = tiny.sd15(), host().demo_model()
told = [[words.encode(["a red circle moving right"]), {}]], [[words.encode([""]), {}]]
maps, everywhere = torch.rand(8, 64, 64, 3), Extent()
COMPLETE = {"conv": True, "rank": 4, "attention": True, "positions": "sinusoidal", "affine": True}


def controlled(name: str) -> torch.Tensor:
    prompts = control_video(told, host().demo_control(name), maps, 8, "hold", Strengths(1.0), vae)
    return sampled(demo, *prompts)


def frames() -> dict[str, torch.Tensor]:
    """What each kind of file or layer of the pack makes of a video."""
    motion = open_motion(files.MOTION_FILES["demo"], "demo")
    known = open_motion(files.MOTION_FILES["demo known frames"], "known")
    drifting = add_lora(motion, files.FOLDER / "drift.safetensors", 1.0)
    guided = guide_poses(demo, files.GUIDER_FILES["demo"], maps, everywhere, (0.0, 1.0))
    again, _, decoder = host().demo_model()
    models = {"demo model": again, "motion": apply_motion(demo, motion), "known": apply_motion(demo, known),
              "motion LoRA": apply_motion(demo, drifting), "pose guider": guided}  # fmt: skip
    made = {name: sampled(model, *told) for name, model in models.items()}
    made |= {f"{name} ControlNet": controlled(name) for name in ("stroke", files.SPARSELY)}
    made["vae"] = decoder.decode(made["motion"])
    there = {one.__name__: one() for one in (tiny.inner, tiny.lvdm, tiny.make_your_video)}
    there["camera"] = tiny.camera(tiny.motion())
    return made | {name: sampled(apply_motion(sd15, one), *told, size=8) for name, one in there.items()}


def untrained() -> list[torch.Tensor]:
    """What is rendered with new layers of every way of mixing."""
    every = [NewLayerParams(**COMPLETE, mixing=mixing, frames=8) for mixing in MIXES]
    return [sampled(apply_motion(sd15, build_layers(sd15, params)), *told, size=8) for params in every]


at_once, still = frames(), sampled(sd15, *told, size=8)
torch.use_deterministic_algorithms(True, warn_only=True)  # new memory holds NaN
answer["untrained layers change nothing"] = all(torch.equal(one, still) for one in untrained())

memory = sys.modules.get("comfy.memory_management")
answer["has dynamic VRAM"] = int(hasattr(memory, "aimdo_enabled"))
if hasattr(memory, "aimdo_enabled"):
    memory.aimdo_enabled = True  # main.py's doing on most GPUs
    for name, later in frames().items():
        answer[f"{name} with dynamic VRAM"] = torch.equal(at_once[name], later)
    answer["and then"] = all(torch.equal(one, still) for one in untrained())
first, second = (build_layers(sd15, NewLayerParams()).model.state_dict() for _ in range(2))
answer["the same layers each time"] = all(torch.equal(first[key], second[key]) for key in first)
prologue.answer(answer)
