"""Noise levels of training: those of diffusers' schedulers, and where a motion module brings them."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from diffusers import DDIMScheduler
from framewright.bridge.attention import apply_pattern
from framewright.bridge.host import use
from framewright.bridge.motion import NOISED, apply_motion, open_motion
from framewright.bridge.windows import add_windows
from framewright.demo.files import MOTION_FILES
from framewright.embedded.host import EmbeddedHost
from framewright.embedded.model import EmbeddedModel
from framewright.sampling.noise_levels import Betas
from framewright.sampling.window_plan import Windows
from framewright.temporal.extent import Extent
from framewright.temporal.families import MOTION
from framewright.temporal.motion_settings import MotionSettings
from framewright.temporal.patterns import PATTERNS
from framewright.tests.stage import Stage
from torch import Tensor


@pytest.mark.parametrize(
    ("betas", "kind"),
    [(Betas(), "scaled_linear"), (Betas("variances"), "linear"), (Betas(last=0.02), "scaled_linear")],
)
def test_levels_are_those_of_diffusers(betas: Betas, kind: str) -> None:
    theirs = DDIMScheduler(
        beta_start=betas.first, beta_end=betas.last, beta_schedule=kind
    ).alphas_cumprod.double()
    torch.testing.assert_close(betas.sigmas(), ((1 - theirs) / theirs).sqrt(), atol=0, rtol=1e-4)


def test_they_are_of_families_that_there_are() -> None:
    assert NOISED.keys() <= {family.name for family in MOTION}


def test_a_module_brings_those_of_its_training() -> None:
    use(host := EmbeddedHost())
    model, demo = host.demo_model()[0], open_motion(MOTION_FILES["demo"], "demo")
    other = replace(demo, file=replace(demo.file, family="AnimateDiff v3"))
    settings, half = MotionSettings(), (0.0, 0.5)
    moved = apply_motion(model, other, settings, half)
    assert float(moved.schedule.sigma_max) == pytest.approx(25.15, abs=0.01)
    assert moved.schedule.prediction == model.schedule.prediction == "v"
    for kept in (
        apply_motion(model, demo, settings, half),
        apply_motion(model, other, settings, half, noise_levels="the model's"),
        apply_motion(model, other, replace(settings, strength=0.0), half),
    ):
        assert float(kept.schedule.sigma_max) == pytest.approx(14.61, abs=0.01)


def test_parts_of_sampling_are_of_the_levels_that_are_sampled_whichever_node_came_first() -> None:
    stage = Stage(4)
    demo = open_motion(MOTION_FILES["demo"], "demo")
    older = replace(demo, file=replace(demo.file, family="AnimateDiff v3"))
    some = (Extent(), (0.0, 0.4))

    def sampled(*changes: Callable[[EmbeddedModel], EmbeddedModel]) -> Tensor:
        model = stage.model
        for change in changes:
            model = change(model)
        return stage.sampled(model, frames=4, steps=8)

    def read(model: EmbeddedModel) -> EmbeddedModel:
        return apply_pattern(model, PATTERNS["first frame"], *some)

    def window(model: EmbeddedModel) -> EmbeddedModel:
        return add_windows(model, Windows(3, 1), 0.0, 0.4)

    def move(model: EmbeddedModel) -> EmbeddedModel:
        return apply_motion(model, older)

    for change in (read, window):
        assert torch.equal(sampled(change, move), sampled(move, change))
