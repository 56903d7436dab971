"""Context windows against the host's own, and long-video plans; the last line is JSON.

python benchmarks/windows.py

Needs a ComfyUI, found as everywhere (COMFYUI_PATH, or ~/comfy/ComfyUI*); the newest is taken. There, one tiny
model of the SD1.5 layout with a motion module and ControlNets is sampled by both (`windows_in_host.py`). The
plans run here, on the demo model, with worker processes of one thread each.
"""

import json
import math
import sys
import time
import types
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.modules["framewright"] = package = types.ModuleType("framewright")
package.__path__ = [str(ROOT)]

import torch  # noqa: E402
from framewright.bridge.host import host, use  # noqa: E402
from framewright.bridge.hosts import Host, find_hosts, run_in_host  # noqa: E402
from framewright.bridge.long_video import LongVideo, PlanRule  # noqa: E402
from framewright.bridge.motion import apply_motion, open_motion  # noqa: E402
from framewright.bridge.worker_pool import Pool  # noqa: E402
from framewright.bridge.worker_process import WorkerProcess  # noqa: E402
from framewright.bridge.workers import graph_to  # noqa: E402
from framewright.demo.files import MOTION_FILES  # noqa: E402
from framewright.embedded import folders  # noqa: E402
from framewright.embedded.core import registry  # noqa: E402
from framewright.embedded.folders import Folders  # noqa: E402
from framewright.embedded.host import EmbeddedHost  # noqa: E402
from framewright.embedded.samplers import SAMPLERS  # noqa: E402
from framewright.embedded.sampling import Guider  # noqa: E402
from framewright.embedded.schedules import schedule_sigmas  # noqa: E402
from framewright.embedded.workflow import load, to_prompt  # noqa: E402
from framewright.sampling.long_plan import long_plan  # noqa: E402
from framewright.sampling.long_video import Job, make_video  # noqa: E402
from framewright.sampling.noise import VideoNoise  # noqa: E402

INSIDE = Path(__file__).with_name("windows_in_host.py")
MEMORY_FRAMES = (16, 128, 1024)
PLAN_FRAMES, SEGMENT, SHARED = 1024, 16, 4


class Nothing:
    """A store for segments that are not to be kept."""

    def load(self, number: int) -> None:
        return None

    def save(self, number: int, latents: torch.Tensor) -> None: ...


def against_the_host(comfyui: Host) -> dict[str, float]:
    told = run_in_host(comfyui, INSIDE, timeout=1800)
    print(f"ComfyUI {comfyui.version}: frames differ by {told['frames_differ']:.1e} of their range")
    print(f"tensor operations a step spent on windowing: {told['operations']}")
    print(
        f"{'controlnets':>11} {'calls a step':>14} {'evaluations':>14} {'ControlNet s':>16} {'whole s':>16}"
    )
    for row in told["rows"]:
        pairs = [
            " / ".join(f"{row[f'{who}_{what}']:.3g}" for who in ("ours", "host"))
            for what in ("calls", "evaluations", "controlnet_seconds", "seconds")
        ]
        print(f"{row['controlnets']:11} {pairs[0]:>14} {pairs[1]:>14} {pairs[2]:>16} {pairs[3]:>16}")
    print(f"floating-point operations with one ControlNet: {told['flops']}")
    controlled = told["rows"][1:]
    return {
        "windowing_ops": told["operations"]["ours"],
        "model_calls": told["rows"][0]["ours_calls"],
        "controlnet_time_ratio": max(
            row["ours_controlnet_seconds"] / row["host_controlnet_seconds"] for row in controlled
        ),
        "step_time_ratio": max(row["ours_seconds"] / row["host_seconds"] for row in told["rows"]),
        "temporal_only_flops_ratio": told["flops"]["temporal only"] / told["flops"]["whole model"],
    }


def memory_slope(comfyui: Host) -> float:
    """The exponent with which peak memory grows in frames, latents aside."""
    peaks = {}
    for frames in MEMORY_FRAMES:
        whole, latents = (
            run_in_host(comfyui, INSIDE, frames, predicts, timeout=1800)["megabytes"] for predicts in (1, 0)
        )
        peaks[frames] = whole - latents
        print(f"{frames:5} frames: peak memory {whole:.1f} MB, {latents:.1f} MB of it the sampler's latents")
    return math.log(peaks[1024] / peaks[128]) / math.log(1024 / 128)


def graph() -> dict[str, Any]:
    """The shipped graph of a hierarchy, with so many frames, and two steps of one condition.

    The motion module is the one that takes frames for neighbours however far apart they are.
    """
    info = registry().object_info()
    changes = [
        f"FramewrightEmptyFrames.frames={PLAN_FRAMES}",
        "BasicScheduler.steps=2",
        "CFGGuider.cfg=1",
        "Motion by segments.name=demo",
        "FramewrightSampleLongVideo.segments_at_once=1",
    ]
    page = load(ROOT / "workflows" / "long_video_hierarchy.json")
    return to_prompt(page, info, assignments=changes)


def long_video(prompt: Mapping[str, Any]) -> LongVideo:
    """The same as the graph's, which is what its workers make sure of."""
    inputs = {one["class_type"]: one["inputs"] for one in prompt.values()}
    model, words, _ = host().demo_model()
    name, plan = (inputs[f"Framewright{node}"] for node in ("LoadMotionModule", "LongVideoPlan"))
    model = apply_motion(model, open_motion(MOTION_FILES[name["name"]], name["name"]))
    texts = [one["inputs"]["text"] for one in prompt.values() if one["class_type"] == "FramewrightDemoPrompt"]
    positive, negative = ([[words.encode([text]), {}]] for text in sorted(texts, reverse=True))
    return LongVideo(
        PlanRule(plan["kind"], plan["length"], plan["overlap"]),
        VideoNoise(inputs["RandomNoise"]["noise_seed"]), Guider(model, positive, negative, 1.0),
        SAMPLERS["euler"], schedule_sigmas("karras", model.schedule, 2),
        {"samples": torch.zeros(PLAN_FRAMES, 4, 16, 16)},
    )  # fmt: skip


def seconds(kind: str, count: int) -> float:
    """How long `count` workers of one thread take for a plan, from where all of them are up."""
    prompt = graph()
    video = long_video(prompt)
    key = next(key for key, one in prompt.items() if one["class_type"] == "FramewrightSampleLongVideo")
    start = host().worker(graph_to(prompt, key))

    def one_thread(number: int, stop: Event) -> WorkerProcess:
        return WorkerProcess(start, {"OMP_NUM_THREADS": "1"}, stop)

    plan = long_plan(kind, PLAN_FRAMES, SEGMENT, SHARED)
    with Pool(one_thread, count, video.is_that_of, lambda _: None) as workers:
        list(workers([Job((n,), (0, 1), video.latents[:2], video.given[:2]) for n in range(count)]))
        began = time.monotonic()
        make_video(plan, video.latents, video.given, Nothing(), workers)
        taken = time.monotonic() - began
    print(
        f"{kind}: {PLAN_FRAMES} frames, {plan.serial_depth} of {len(plan.segments)} segments one after "
        f"another, {count} workers: {taken:.1f} s"
    )
    return taken


def main() -> None:
    found = find_hosts()
    if not found:
        sys.exit("no ComfyUI found; set COMFYUI_PATH")
    told = {**against_the_host(found[0]), "memory_slope": memory_slope(found[0])}
    use(EmbeddedHost())
    with TemporaryDirectory() as folder, folders.use(Folders(*[Path(folder)] * 3)), torch.no_grad():
        seconds("extension", 1)
        told["two_worker_speedup"] = seconds("hierarchy", 1) / seconds("hierarchy", 2)
    print(json.dumps({name: round(value, 3) for name, value in told.items()}))


if __name__ == "__main__":
    main()
