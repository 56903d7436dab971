"""What the recipes for motion train: their own layers, from the weights they begin with, and nothing else."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from framewright.controls.flow_completion import FlowCompletion
from framewright.demo import files, fit, hints, render
from framewright.demo.data import NEAR, SETTLED, covered, pixels, shape_weights
from framewright.demo.files import MOTION, UNET
from framewright.demo.fit import Draw, Run
from framewright.demo.probe import Probe
from framewright.demo.recipes import timesteps
from framewright.demo.recipes_control import Led, bent, train_control, train_follow
from framewright.demo.recipes_flow import train_completion
from framewright.demo.recipes_known import train_known
from framewright.demo.recipes_motion import Frozen, train_drift, train_motion, weighed
from framewright.demo.recipes_sparse import train_sparse
from framewright.demo.text import WordEncoder
from framewright.demo.vae import SmallVAE
from framewright.demo.world import FRAMES, Scene, Subject, subjects
from framewright.temporal.control_net import ControlNet, encoder_weights
from framewright.temporal.families import KNOWN_CONV
from framewright.temporal.motion import MotionModel
from framewright.temporal.unet import SpaceTimeUNet
from torch import Tensor


@pytest.fixture(scope="module")
def frozen() -> Frozen:
    unet = files.load("image", SpaceTimeUNet(UNET))
    return Frozen(files.load("vae", SmallVAE()), unet, files.load("text", WordEncoder()), "cpu")


@pytest.fixture
def motion() -> MotionModel:
    return files.load("motion", MotionModel(MOTION))


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr(fit, "AVERAGED", 0.0)  # the weights of the last step, not their average
    return Run("tiny", 1, 2, tmp_path)


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> float:
    """The part of the tensors that are others now; all are finite."""
    assert all(bool(tensor.isfinite().all()) for tensor in after.values())
    return sum(not torch.equal(before[key], after[key]) for key in before) / len(before)


def copied(module: torch.nn.Module) -> dict[str, Tensor]:
    return {key: tensor.clone() for key, tensor in module.state_dict().items()}


def test_a_motion_module_begins_at_rest_and_its_image_model_stays(run: Run, frozen: Frozen) -> None:
    before = copied(frozen.unet)
    motion, record = train_motion(run, frozen)
    assert record["steps"] == 2
    outputs = [motion.at(site).proj_out.weight.detach().abs().max() for site in motion.channels]
    assert all(0 < float(output) < 0.01 for output in outputs)
    assert changed(before, frozen.unet.state_dict()) == 0


def test_an_error_that_changes_from_frame_to_frame_counts_four_times() -> None:
    errors = torch.tensor([[1.0, 1.0], [1.0, -1.0]])
    assert weighed(errors).item() == pytest.approx((1 + 0) / 2 + 4 * (0 + 1) / 2)


def test_a_shape_is_found_by_its_colour() -> None:
    rng = np.random.default_rng(2)
    scenes = [Scene.sample(subject, rng) for subject in subjects()[::7]]
    frames = pixels([render.frame(scene, 4) for scene in scenes])
    true = torch.from_numpy(np.stack([render.mask(scene, 4) for scene in scenes]))[:, None]
    found = covered(frames)
    assert (found == (true > 0.5)).float().mean() > 0.99
    assert found.flatten(1).any(1).all()


def test_a_shape_and_what_is_around_it_count_more_once_it_can_be_seen() -> None:
    scene = Scene(
        Subject("red", "square", "still", "striped"), x=32, y=32, angle=0, radius=8, phase=0, speed=2,
        tone=0.5, ground_phase=(0, 0),
    )  # fmt: skip
    frames = pixels([render.frame(scene, 0)] * 2)
    seen, hidden = shape_weights(frames, torch.tensor([SETTLED - 1, SETTLED]))
    assert hidden.eq(1).all() and set(seen.unique().tolist()) == {1.0, NEAR}
    near = F.interpolate(seen[None], scale_factor=4)[0] > 1
    shape = covered(frames)[0] > 0
    assert near[shape].all() and shape.sum() < near.sum() < 4 * shape.sum()


def test_timesteps_lie_around_the_middle_and_reach_everywhere() -> None:
    drawn = torch.cat([timesteps(Draw.of(1, step, 9), 64) for step in range(200)])
    assert drawn.min() < 20 and 980 < drawn.max() < 1000
    middle = ((drawn > 300) & (drawn < 800)).float().mean()
    assert 0.55 < middle < 0.75, "half of them, were each as likely"


def test_a_probe_learns_what_activations_hold_and_leaves_them() -> None:
    torch.manual_seed(0)
    probe, site = Probe(1), ("input", 1)
    h = torch.randn(4, MotionModel(MOTION).channels[site], 8, 8)
    sets = probe.listen(lambda logits: (logits - h[:, :1]).pow(2).mean(), heard := [])
    optimizer = torch.optim.Adam(probe.parameters(), 0.05)
    for _ in range(60):
        assert sets(site, h, {}, "") is h
        optimizer.zero_grad()
        heard[-1].backward()
        optimizer.step()
    assert heard[-1] < 0.2 * heard[0]


def test_known_frames_join_a_motion_module_that_keeps_its_layers(
    run: Run, frozen: Frozen, motion: MotionModel
) -> None:
    known, _ = train_known(run, frozen, motion)
    tensors = known.tensors()
    assert tensors[KNOWN_CONV].any() and tensors[KNOWN_CONV].abs().max() < 0.01
    tables = [key for key in tensors if key.endswith(".pe")]
    assert tables and all(tensors[key].shape[1] == files.KNOWN.positions for key in tables)
    near = [
        torch.allclose(tensor, tensors[key], atol=0.05)
        for key, tensor in motion.state_dict().items()
        if key not in tables
    ]
    assert all(near)


def test_a_motion_lora_leaves_the_module_as_it_is(run: Run, frozen: Frozen, motion: MotionModel) -> None:
    before = copied(motion)
    lora, _ = train_drift(run, frozen, motion)
    assert changed(before, motion.state_dict()) == 0
    assert any(bool(tensor.any()) for key, tensor in lora.tensors().items() if "up" in key)


@pytest.mark.parametrize("control", [*files.CONTROLS, files.NEXT])
def test_a_control_net_learns_and_its_image_model_stays(control: str, run: Run, frozen: Frozen) -> None:
    before = copied(frozen.unet)
    net, record = train_control(run, control, frozen)
    assert record["steps"] == 2
    assert all(bool(tensor.isfinite().all()) for tensor in net.state_dict().values())
    outputs = [tensor.abs().max() for key, tensor in net.state_dict().items() if "zero_convs" in key]
    assert len(outputs) > 5 and all(float(output) > 0 for output in outputs), "they begin at zero"
    assert changed(before, frozen.unet.state_dict()) == 0


@pytest.mark.parametrize("control", ["stroke", "canny"])
def test_a_control_is_learned_over_whole_clips_beside_a_motion_module_that_stays(
    control: str, run: Run, frozen: Frozen, motion: MotionModel
) -> None:
    net = files.load(control, ControlNet(files.CONTROL))
    before, module = copied(net), copied(motion)
    train_follow(run, control, net, frozen, motion)
    assert changed(before, net.state_dict()) > 0.9
    assert changed(module, motion.state_dict()) == 0


def test_frames_that_are_shown_are_learned_beside_a_motion_module_that_stays(
    run: Run, frozen: Frozen, motion: MotionModel
) -> None:
    before = copied(motion)
    net, record = train_sparse(run, frozen, motion)
    assert record["steps"] == 2 and changed(before, motion.state_dict()) == 0
    seen = encoder_weights(frozen.unet.state_dict(), list(net.state_dict()))
    assert changed(seen, {key: net.state_dict()[key] for key in seen}) > 0.9
    assert all(bool(net.motion.at(site).proj_out.weight.any()) for site in net.motion.channels)


def test_flow_completion_learns_all_of_its_weights(run: Run) -> None:
    torch.manual_seed(run.seed)
    before = FlowCompletion(files.COMPLETION).state_dict()
    net, record = train_completion(run)
    assert record["steps"] == 2 and changed(before, net.state_dict()) == 1


def test_a_shape_is_led_along_a_way_and_spins_on_it() -> None:
    rng = np.random.default_rng(3)
    scene = Scene.sample(Subject("red", "star", "spinning", "plain"), rng)
    way = bent(np.array([scene.x, scene.y]), Draw(rng, torch.Generator(), 0.0))
    one = Led.along(scene, way)
    assert way.shape == (FRAMES, 2) and way[-1].tolist() == pytest.approx([scene.x, scene.y])
    assert [(one.pose(at).x, one.pose(at).y) for at in (0, FRAMES - 1)] == [tuple(way[0]), tuple(way[-1])]
    assert one.pose(8).angle == scene.pose(8).angle != scene.pose(0).angle


def test_a_frame_moved_on_is_the_next_one_but_for_what_comes_into_sight() -> None:
    scene = Scene(
        Subject("red", "circle", "right", "striped"), x=30, y=32, angle=0, radius=10, phase=0, speed=3,
        tone=0.5, ground_phase=(0, 0),
    )  # fmt: skip
    hint = hints.moved_hint(scene, 5, render.frame(scene, 4))
    known = hint[..., 0] >= 0
    assert 0 < (~known).sum() < 3 * 24, "a crescent behind it"
    assert np.abs(hint - render.frame(scene, 5))[known].mean() < 0.01
