"""The network that completes flow: what it is shown, and what the demo's one makes of held-out pictures."""

import numpy as np
import pytest
import torch
from framewright.bridge.flow import completion_of
from framewright.controls.flow import moved_on
from framewright.controls.flow_completion import CompletionParams, FlowCompletion, dotted, longest
from framewright.controls.stroke_flow import Completion, by_edges
from framewright.demo import render
from framewright.demo.fit import Draw
from framewright.demo.recipes_flow import Example, example, moving, sparse_flow
from framewright.demo.world import SIZE, Scene, Subject, subjects

NONE = np.empty((0, 2))
CIRCLE = Scene(
    Subject("red", "circle", "right", "striped"), x=24, y=32, angle=0, radius=10, phase=0, speed=2,
    tone=0.5, ground_phase=(0, 0),
)  # fmt: skip
HELD_OUT = [one for one in subjects() if one.held_out]


@pytest.fixture(scope="module")
def network() -> Completion:
    return completion_of("demo network")


def errors(completion: Completion, one: Example) -> tuple[float, float]:
    """Mean pixels of what moves, and of what rests."""
    found = completion(one.places.astype(float), NONE, one.picture)(one.moves)
    wrong = np.hypot(*np.moveaxis(found - one.flow, -1, 0))
    moves = one.flow.any(-1)
    return float(wrong[moves].mean()), float(wrong[~moves].mean()) if not moves.all() else 0.0


def test_what_is_known_is_told_beside_each_place_and_nowhere_else() -> None:
    motion, known = dotted(np.array([[10.0, 20.0], [0.0, 63.4]]), np.array([[1, -0.5], [0.0, 0.25]]), 64, 64)
    assert motion.shape == (2, 64, 64) and known.shape == (1, 64, 64)
    assert known.sum() == 25 + 9, "at a corner there is less about it"
    assert motion[:, 20, 10].tolist() == [1, -0.5] and motion[:, 63, 0].tolist() == [0, 0.25]
    assert not motion[:, ~known[0]].any()


def test_examples_are_of_things_that_are_told_of_truly() -> None:
    things = set()
    for number in range(40):
        one = example(Draw.of(5, number, 40))
        assert one.picture.shape == (SIZE, SIZE, 3) and 0 <= one.picture.min() <= one.picture.max() <= 1
        assert longest(one.moves) > 0.5
        things.add(len(np.unique(one.flow.reshape(-1, 2).round(3), axis=0)))
    assert {2, 3} <= things, "one thing that goes one way, and two"
    batch = sparse_flow([example(Draw.of(5, 0, 40)), example(Draw.of(5, 1, 40))])
    far = batch.motion.norm(dim=1).amax((1, 2))
    assert torch.allclose(far, torch.ones(2)), "lengths are told beside the longest"


@pytest.mark.parametrize("turns", [False, True])
def test_a_thing_moved_on_along_its_flow_is_where_it_is_then(turns: bool) -> None:
    draw = Draw.of(3, 0, 1)
    for shape in ("circle", "star", "stick figure"):
        scene = Scene.sample(Subject("red", shape, "right", "striped"), draw.numbers)
        jump = moving(scene, turns, draw)
        flow = render.flow(jump, 0, render.mask(jump, 0))
        went = moved_on(render.frame(jump, 0), flow)
        known = (went >= 0).all(-1)
        assert np.abs(went - render.frame(jump, 1))[known].mean() < 0.03
        ways = flow[flow.any(-1)]
        assert (np.ptp(ways, axis=0).max() > 0.5) == turns, "one way, or more than one"


def test_flow_has_the_picture_s_size_and_the_moves_length() -> None:
    torch.manual_seed(0)
    tiny = FlowCompletion(CompletionParams(widths=(8, 16), motion=4)).eval()
    picture = np.random.default_rng(0).random((48, 90, 3)).astype(np.float32)
    places, moves = np.array([[20.0, 20.0], [70.0, 40.0]]), np.array([[4.0, 0.0], [0.0, -2.0]])
    spread = tiny.spread(places, NONE, picture)
    assert spread(moves).shape == (48, 90, 2)
    assert np.allclose(spread(3 * moves), 3 * spread(moves), atol=1e-4)
    assert not spread(0 * moves).any()
    assert not tiny.spread(NONE, NONE, picture)(NONE).any()
    held = tiny.spread(places[:1], places[1:], picture)(moves[:1])
    told = tiny.spread(places, NONE, picture)(np.array([[4.0, 0.0], [0.0, 0.0]]))
    assert np.array_equal(held, told), "an anchor is a place that does not move"


def test_a_shape_goes_along_whole_and_its_ground_stays(network: Completion) -> None:
    inside = render.mask(CIRCLE, 0)
    flow = network(np.array([[24.0, 32.0]]), NONE, render.frame(CIRCLE, 0))(np.array([[6.0, -3.0]]))
    assert flow[inside > 0.9].mean(0).tolist() == pytest.approx([6, -3], abs=0.6)
    assert np.hypot(*flow[inside < 0.1].T).mean() < 0.3


def test_things_of_held_out_pictures_move_truer_than_by_edges(network: Completion) -> None:
    ones = [example(Draw.of(11, number, 60), HELD_OUT) for number in range(60)]
    found, spread = (np.mean([errors(by, one) for one in ones], 0) for by in (network, by_edges))
    assert found[0] < 0.65 * spread[0] and found[0] < 1.0
    assert found[1] < 0.3, "and what rests keeps its place"
