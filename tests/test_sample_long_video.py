"""Sample Long Video on the demo model: what begins anew, what is held, what shares calls, what is refused."""

import json
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from framewright.bridge.host import use
from framewright.bridge.long_video import LongVideo, PlanRule, sample_long_video
from framewright.bridge.motion import apply_motion, open_motion
from framewright.bridge.windows import add_windows, run_in_chunks
from framewright.demo.files import MOTION_FILES
from framewright.embedded import folders
from framewright.embedded.core import registry
from framewright.embedded.execute import Cache, run
from framewright.embedded.folders import Folders
from framewright.embedded.host import EmbeddedHost
from framewright.embedded.samplers import SAMPLERS
from framewright.embedded.sampling import Guider
from framewright.embedded.schedules import schedule_sigmas
from framewright.errors import FramewrightError
from framewright.sampling.noise import VideoNoise
from framewright.sampling.window_plan import Windows
from framewright.temporal.motion_settings import MotionSettings
from framewright.temporal.patterns import PATTERNS
from framewright.tests.graphs import long_video
from torch import Tensor


def demo_video(
    out: Path, kind: str = "hierarchy", frames: int = 25, steps: int = 2, seed: int = 3,
    latent: dict | None = None, text: str = "a red circle moving right", motion: str = "demo known frames",
    **settings: Any,
) -> tuple[Tensor, str]:  # fmt: skip
    use(host := EmbeddedHost())
    image, words, _ = host.demo_model()
    model = apply_motion(image, open_motion(MOTION_FILES[motion], motion))
    positive, negative = ([[words.encode([one]), {}]] for one in (text, ""))
    sigmas = schedule_sigmas("karras", model.schedule, steps)
    with folders.use(Folders(output=out)):
        long = LongVideo(
            PlanRule(kind, 9, 3), VideoNoise(seed), Guider(model, positive, negative, 3.0),
            SAMPLERS["euler"], sigmas, latent or {"samples": torch.zeros(frames, 4, 8, 8)}, **settings,
        )  # fmt: skip
        return sample_long_video(long, "video")


def test_a_changed_plan_prompt_or_model_is_noticed_and_said(tmp_path: Path) -> None:
    first, line = demo_video(tmp_path)
    assert line.startswith("4 segments, kept in")
    again, line = demo_video(tmp_path)
    assert torch.equal(first, again) and line.startswith("4 of 4 segments were finished by an earlier run")
    for change in (
        {"kind": "extension"}, {"seed": 4}, {"text": "a blue circle moving right"}, {"steps": 3},
        {"known_noise": 0.1},
    ):  # fmt: skip
        other, line = demo_video(tmp_path, **change)
        assert not torch.equal(first, other) and line.startswith("the plan is another than in the ")
    other, line = demo_video(tmp_path, motion="demo")
    assert not torch.equal(first, other) and line.startswith("the model is another than in the earlier run")
    assert torch.equal(demo_video(tmp_path)[0], first)


def test_another_model_is_noticed_where_the_first_segment_is_known(tmp_path: Path) -> None:
    mask = torch.ones(25, 1, 8, 8)
    mask[:9] = 0
    known = {"samples": torch.zeros(25, 4, 8, 8), "noise_mask": mask}
    assert demo_video(tmp_path, "extension", latent=known)[1].startswith("4 segments, kept in")
    assert demo_video(tmp_path, "extension", latent=known, motion="demo")[1].startswith(
        "the model is another"
    )


def test_what_is_set_on_the_model_for_later_is_noticed(tmp_path: Path) -> None:
    """The first prediction does not tell it, so the nodes before do; their ids and titles do not matter."""

    def rendered(prompt: dict[str, Any]) -> str:
        done = run(prompt, registry(), Folders(output=tmp_path), Cache())
        return done.outputs["long"]["text"][0]

    prompt = long_video(0)
    assert rendered(prompt).startswith("4 segments, kept in")
    renamed = json.loads(json.dumps(prompt).replace('"moving"', '"renamed"'))
    assert rendered(renamed).startswith("4 of 4 segments were finished by an earlier run")
    prompt["moving"]["inputs"]["end_percent"] = 0.5
    assert rendered(prompt).startswith("the plan is another than in the 1 earlier")


def test_a_known_frame_is_held_and_shapes_the_rest(tmp_path: Path) -> None:
    start = torch.randn(25, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    mask = torch.ones(25, 1, 8, 8)
    mask[0] = 0
    for kind in ("hierarchy", "extension"):
        held, _ = demo_video(tmp_path, kind, latent={"samples": start, "noise_mask": mask})
        assert torch.equal(held[0], start[0])
        free, _ = demo_video(tmp_path, kind, latent={"samples": start * 0})
        assert not torch.allclose(held[1:9], free[1:9], atol=0.05)


def test_segments_that_share_calls_make_the_same_video(tmp_path: Path) -> None:
    alone, _ = demo_video(tmp_path)
    for together in (2, 3):
        shared, line = demo_video(tmp_path, together=together)
        assert line.startswith("the plan is another")
        torch.testing.assert_close(shared, alone, atol=1e-4, rtol=0)


def test_the_pattern_of_known_frames_is_not_a_modules() -> None:
    use(host := EmbeddedHost())
    motion = open_motion(MOTION_FILES["demo"], "demo")
    with pytest.raises(FramewrightError, match="pattern: one came that reads the frames that a long video"):
        apply_motion(host.demo_model()[0], motion, MotionSettings(pattern=PATTERNS["known frames"]))


def test_a_model_in_windows_takes_one_segment_at_once(tmp_path: Path) -> None:
    use(host := EmbeddedHost())
    for change in (lambda m: add_windows(m, Windows(4, 2), 0.0, 1.0), lambda m: run_in_chunks(m, 4)):
        model = change(host.demo_model()[0])
        with pytest.raises(FramewrightError, match="segments_at_once: 2 came for a model that samples in"):
            LongVideo(
                PlanRule("hierarchy", 9, 3), VideoNoise(3), Guider(model, [], [], 3.0), SAMPLERS["euler"],
                torch.tensor([1.0, 0.0]), {"samples": torch.zeros(9, 4, 8, 8)}, together=2,
            )  # fmt: skip


def test_noise_on_known_frames_is_on_what_is_given_alone(tmp_path: Path) -> None:
    start = torch.randn(25, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    mask = torch.ones(25, 1, 8, 8)
    mask[:2] = 0
    given = {"samples": start, "noise_mask": mask}
    plain, shaken = (
        demo_video(tmp_path, "extension", latent=given, known_noise=much)[0] for much in (0.0, 0.3)
    )
    assert torch.equal(shaken[:2], start[:2]) and torch.equal(plain[:2], start[:2])
    assert 0.01 < (shaken - plain).abs().mean() < 1


class FakeVideo:
    """Never asked."""


@pytest.mark.parametrize("name", ["", "../up", "a/b", "a\\b", ".hidden", "x" * 101])
def test_a_name_that_leaves_the_output_folder_is_refused(tmp_path: Path, name: str) -> None:
    with folders.use(Folders(output=tmp_path)), pytest.raises(FramewrightError, match="name: "):
        sample_long_video(FakeVideo(), name)  # type: ignore[arg-type]


def test_samplers_are_known_again_by_what_they_are(tmp_path: Path) -> None:
    """Their settings may be functions, which differ from run to run in where they lie in memory."""

    def sampler(until: float) -> SimpleNamespace:
        def tau(level: float) -> float:
            return until * level

        return SimpleNamespace(
            sampler_function=SAMPLERS["euler"], extra_options={"tau_func": tau, "scale": partial(max, 1)}
        )

    def fingerprint(until: float) -> str:
        use(host := EmbeddedHost())
        return LongVideo(
            PlanRule("hierarchy", 9, 3), VideoNoise(3), Guider(host.demo_model()[0], [], [], 3.0),
            sampler(until), torch.tensor([1.0, 0.0]), {"samples": torch.zeros(9, 4, 8, 8)},
        ).fingerprint()  # fmt: skip

    assert fingerprint(0.5) == fingerprint(0.5) != fingerprint(0.7)
