"""What is judged is rendered as the workflows render it."""

import json
from pathlib import Path

import pytest
from framewright.demo import evaluate, evaluate_control

WORKFLOWS = Path(__file__).parent.parent / "workflows"


@pytest.mark.parametrize(
    ("workflow", "cfg"),
    [
        ("text_to_video", evaluate.CFG),
        ("long_video_windows", evaluate.LONG_CFG),
        ("long_video_temporal_windows", evaluate.LONG_CFG),
        ("demo_canny", evaluate_control.CFG),
    ],
)
def test_sampled_as_in_the_workflow(workflow: str, cfg: float) -> None:
    nodes = json.loads((WORKFLOWS / f"{workflow}.json").read_text())["nodes"]
    asked = [node["widgets_values"][2:6] for node in nodes if node["type"] == "KSampler"]
    assert asked
    assert all(one == [evaluate.STEPS, cfg, evaluate.SAMPLER, evaluate.SCHEDULER] for one in asked)
