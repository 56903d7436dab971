"""Strengths of ControlNets by frame, place, layer and step, and maps fitted to a video."""

import pytest
import torch
from framewright.controls.weights import ControlWeights, fit_frames, fit_rows, part_done
from framewright.errors import FramewrightError
from framewright.temporal.keyed_text import part_values


def residuals(frames: int) -> dict[str, list[torch.Tensor | None]]:
    return {
        "output": [torch.ones(2 * frames, 3, 8, 8), None, torch.ones(2 * frames, 3, 4, 4)],
        "middle": [torch.ones(2 * frames, 3, 2, 2)],
    }


def test_every_frame_has_its_strength_in_every_condition_of_the_batch() -> None:
    out = ControlWeights(frames=torch.tensor([0.0, 0.5, 2.0]))(residuals(3), 0.0, 2)
    for one in (out["output"][0], out["output"][2], out["middle"][0]):
        assert one is not None
        assert one[:, 0, 0, 0].tolist() == [0, 0.5, 2, 0, 0.5, 2]
    assert out["output"][1] is None


@pytest.mark.parametrize("masks", [1, 3])
def test_a_mask_says_where(masks: int) -> None:
    mask = torch.zeros(masks, 16, 16)
    mask[:, :, 8:] = 1
    out = ControlWeights(mask=mask).rows([0, 0, 0])(residuals(3), 0.0, 2)
    for one in (out["output"][0], out["output"][2], out["middle"][0]):
        assert one is not None
        half = one.shape[-1] // 2
        assert not one[..., :half].any() and (one[..., half:] == 1).all()


def test_layers_by_side_and_by_block() -> None:
    out = ControlWeights(layers={"input": 0.5, ("input", 2): 0.25, "middle": 0.0})(residuals(1), 0.0, 2)
    values = [None if one is None else float(one.mean()) for one in (*out["output"], *out["middle"])]
    assert values == [0.5, None, 0.25, 0.0]


def test_steps_in_straight_lines() -> None:
    weights = ControlWeights(steps=((0.0, 1.0), (0.5, 0.0)))
    values = [float(weights(residuals(1), part, 2)["middle"][0].mean()) for part in (0, 0.25, 0.5, 0.9)]
    assert values == pytest.approx([1, 0.5, 0, 0])


def test_rows_are_those_of_the_frames() -> None:
    weights = ControlWeights(frames=torch.arange(4.0), mask=torch.arange(4.0).view(4, 1, 1))
    some = weights.rows([3, 1, 1])
    assert some.frames is not None and some.mask is not None
    assert some.frames.tolist() == [3, 1, 1] and some.mask.flatten().tolist() == [3, 1, 1]
    assert next(iter(ControlWeights().rows([0]).settings())) == "[] ()"


def test_strengths_for_another_number_of_frames_are_an_error() -> None:
    with pytest.raises(FramewrightError, match="strengths or masks for 4 frames.*which has 3"):
        ControlWeights(frames=torch.ones(4))(residuals(3), 0.0, 2)
    with pytest.raises(FramewrightError, match="strengths or masks for 3 frames.*which has 6"):
        ControlWeights(frames=torch.ones(3))(residuals(6), 0.0, 2)
    for weights in (ControlWeights(frames=torch.ones(4)), ControlWeights(mask=torch.ones(4, 2, 2))):
        with pytest.raises(FramewrightError, match="strengths or masks for 4 frames.*which has 6 or more"):
            weights.rows([2, 5])


@pytest.mark.parametrize("layer", ["output", ("output", 0), ("input", 99), ("middle", 1)])
def test_a_layer_that_a_controlnet_lacks_is_an_error(layer: str | tuple[str, int]) -> None:
    with pytest.raises(
        FramewrightError, match="layer_strength: (output( 0)?|input 99|middle 1) came, expected"
    ):
        ControlWeights(layers={layer: 0.0})(residuals(3), 0.0, 2)


def test_how_much_of_sampling_is_done() -> None:
    for part in (0.0, 0.3, 0.77, 1.0):
        assert part_done(10 * (1 - part), lambda p: 10 * (1 - p)) == pytest.approx(part, abs=1e-5)


FITTED = {
    ("hold", 3, 5): [0, 1, 2, 2, 2],
    ("hold", 5, 3): [0, 1, 2],
    ("repeat", 3, 5): [0, 1, 2, 0, 1],
    ("spread", 3, 5): [0, 0, 1, 2, 2],
    ("spread", 5, 3): [0, 2, 4],
    ("spread", 3, 1): [0],
    ("hold", 1, 3): [0, 0, 0],
}


@pytest.mark.parametrize("how", FITTED)
def test_fewer_or_more_maps_than_frames(how: tuple[str, int, int]) -> None:
    assert fit_rows(how[1], how[2], how[0]) == FITTED[how]
    maps = torch.arange(float(how[1])).view(-1, 1, 1, 1)
    assert fit_frames(maps, how[2], how[0]).flatten().tolist() == FITTED[how]


def test_maps_blended_between() -> None:
    maps = torch.tensor([0.0, 2.0, 10.0]).view(-1, 1, 1, 1)
    assert fit_frames(maps, 5, "interpolate").flatten().tolist() == [0, 1, 2, 6, 10]
    assert fit_frames(maps[:1], 3, "interpolate").flatten().tolist() == [0, 0, 0]
    with pytest.raises(FramewrightError, match="fit: 'stretch' came, expected one of hold"):
        fit_rows(3, 5, "stretch")


def test_strengths_by_part_of_sampling_as_people_write_them() -> None:
    assert part_values("0.5: 0.3, 0: 1", "step_strength") == [(0.0, 1.0), (0.5, 0.3)]
    assert part_values(" ", "step_strength") == []
    for text, came in {
        "half: 1": "'half' came as a part",
        "1.5: 1": "'1.5'",
        "0.5: 1, .5: 0": "two values came for .5",
        "0.5": "'0.5' came, expected",
    }.items():
        with pytest.raises(FramewrightError, match=f"step_strength: {came}"):
            part_values(text, "step_strength")


def test_an_adapter_s_features_go_in_last_block_first() -> None:
    features = [
        None,
        torch.ones(2, 4, 2, 2),
        None,
        torch.ones(2, 4, 8, 8),
    ]  # the host takes the last one first
    out = ControlWeights(layers={("input", 0): 0.25, ("input", 2): 0.5})({"input": features}, 0.0, 2)
    assert [None if one is None else float(one.mean()) for one in out["input"]] == [None, 0.5, None, 0.25]
