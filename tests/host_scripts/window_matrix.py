"""Context windows under every sampler, guider and number of frames, in the host's own sampling.

Without temporal layers a frame does not depend on those beside it: whatever the windows, the frames must be
those of all frames at once.
"""

import prologue

prologue.setup()

import comfy.samplers  # noqa: E402
import tiny  # noqa: E402
import torch  # noqa: E402
from comfy_extras.nodes_custom_sampler import Guider_DualCFG  # noqa: E402
from comfy_extras.nodes_perpneg import Guider_PerpNeg  # noqa: E402
from framewright.bridge.windows import add_windows  # noqa: E402
from framewright.sampling.window_plan import SCHEDULES, Windows  # noqa: E402
from torch import Tensor  # noqa: E402

LENGTH, OVERLAP, FRAMES, SIZE = 8, 4, 20, 8
SAMPLERS = ("euler", "euler_ancestral", "dpmpp_2m", "dpmpp_sde", "dpm_2", "uni_pc", "lcm")

model, answer = tiny.sd15(), {}
draw = torch.Generator().manual_seed(1)
yes, no, other = ([[torch.randn(1, 5, 64, generator=draw), {}]] for _ in range(3))
over_time = [[torch.randn(FRAMES, 5, 64, generator=draw), {}]]


def guided(kind: type, conds: tuple, scales: tuple):
    """What samples with a guider of this kind, by a model, a sampler's name and the number of frames."""

    def render(base, sampler: str = "euler", frames: int = FRAMES, steps: int = 3) -> Tensor:
        guider = kind(base)
        guider.set_conds(*conds)
        guider.set_cfg(*scales)
        noise = torch.randn(frames, 4, SIZE, SIZE, generator=torch.Generator().manual_seed(9))
        sigmas = comfy.samplers.calculate_sigmas(base.get_model_object("model_sampling"), "karras", steps)
        chosen = comfy.samplers.sampler_object(sampler)
        return guider.sample(noise, torch.zeros_like(noise), chosen, sigmas, disable_pbar=True, seed=9)

    return render


cfg = guided(comfy.samplers.CFGGuider, (yes, no), (3.0,))
guiders = {
    "prompts over time": guided(comfy.samplers.CFGGuider, (over_time, no), (3.0,)),
    "DualCFG": guided(Guider_DualCFG, (yes, other, no), (3.0, 2.0)),
    "PerpNeg": guided(Guider_PerpNeg, (yes, no, other), (3.0, 0.5)),
}


def close(made: Tensor, whole: Tensor) -> bool:
    return bool(made.isfinite().all()) and float((made - whole).abs().max() / whole.abs().max()) <= 1e-4


def in_windows(length: int, overlap: int, schedule: str):
    return add_windows(model, Windows(length, overlap, schedule), 0.0, 1.0)


windowed = {schedule: in_windows(LENGTH, OVERLAP, schedule) for schedule in SCHEDULES}
for sampler in SAMPLERS:
    whole = cfg(model, sampler)
    for schedule, cut in windowed.items():
        answer[f"{sampler}, {schedule}"] = close(cfg(cut, sampler), whole)
for name, render in guiders.items():
    whole = render(model)
    for schedule, cut in windowed.items():
        answer[f"{name}, {schedule}"] = close(render(cut), whole)
for frames in (1, 2, LENGTH - 1, LENGTH, LENGTH + 1, 33, 100, 300):
    whole = cfg(model, frames=frames, steps=1)
    for overlap in (0, OVERLAP, LENGTH - 1):
        for schedule in SCHEDULES:
            made = cfg(in_windows(LENGTH, overlap, schedule), frames=frames, steps=1)
            answer[f"{frames} frames, {overlap} shared, {schedule}"] = close(made, whole)

prologue.answer(answer)
