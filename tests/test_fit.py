"""Training goes on where it was stopped, to the same weights."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from framewright.demo import fit as fitting
from framewright.demo.fit import Draw, Run, fit
from framewright.errors import FramewrightError


class Stopped(Exception):
    pass


def train(
    folder: Path, stop_at: int | None = None, seed: int = 3, steps: int = 12, device: str = "cpu",
    muon: float | None = None, target: float = 0.0,
) -> tuple[dict, dict]:  # fmt: skip
    """What it made, and its record with the number of steps done now."""
    torch.manual_seed(seed)
    model, calls = torch.nn.Linear(4, 2), []

    def drawn(draw: Draw) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.from_numpy(draw.numbers.normal(size=(8, 4))).float(), draw.randn(8, 2)

    def loss(given: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        calls.append(given)
        if len(calls) - 2 == stop_at:  # the first one is to see how the run begins
            raise Stopped
        x, noise = given
        return (model(x) - x[:, :2] - target + 0.1 * noise).pow(2).mean()

    record = fit(Run("tiny", seed, steps, folder, device), model, drawn, loss, 1e-2, muon)
    return model.state_dict(), {**record, "done": len(calls) - 1}


@pytest.mark.parametrize("muon", [None, 0.1])
def test_a_stopped_run_ends_as_one_that_was_not(
    muon: float | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitting, "CHECKPOINT_SECONDS", 0)
    whole, _ = train(tmp_path / "whole", muon=muon)
    with pytest.raises(Stopped):
        train(tmp_path / "cut", stop_at=7, muon=muon)
    resumed, record = train(tmp_path / "cut", muon=muon)
    assert record["done"] == 5
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)


def test_muon_turns_the_step_of_a_matrix_alone(tmp_path: Path) -> None:
    (by_adam, _), (by_muon, _) = train(tmp_path, steps=1), train(tmp_path / "muon", steps=1, muon=0.1)
    assert torch.equal(by_adam["bias"], by_muon["bias"])
    torch.manual_seed(3)
    start = torch.nn.Linear(4, 2).weight.detach()
    adam, muon = (torch.linalg.svdvals(after["weight"] - start) for after in (by_adam, by_muon))
    assert muon[1] / muon[0] > 0.6 > adam[1] / adam[0]  # about as long in every direction


def test_a_run_is_taken_up_where_it_began_alike_and_leaves_others_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitting, "CHECKPOINT_SECONDS", 0)

    def done(**settings: float) -> int:
        return train(tmp_path, **settings)[1]["done"]

    with pytest.raises(Stopped):
        train(tmp_path, stop_at=5)
    assert done(seed=4) == 12 and done(steps=4) == 4, "runs of their own"
    assert done() == 7, "goes on"
    assert done() == 0, "is done"
    with pytest.raises(FramewrightError, match="it began with a loss of .*, expected .* Delete it"):
        train(tmp_path, target=5.0)


def test_steps_drawn_ahead_by_other_processes_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitting, "_cores", lambda: 2)
    cv2.setNumThreads(2)
    cv2.GaussianBlur(np.zeros((2000, 2000, 3), np.float32), (31, 31), 0)  # OpenCV has its threads now
    here, _ = train(tmp_path / "here")
    ahead, _ = train(tmp_path / "ahead", device="meta")  # any device but the CPU has its steps drawn ahead
    assert all(torch.equal(here[key], ahead[key]) for key in here)


def test_numbers_drawn_evenly_leave_no_gap() -> None:
    drawn = [Draw.of(1, step, 9).evenly(8) for step in range(300)]
    for numbers in drawn:
        assert numbers.sort().values.diff().max() < 0.126 and numbers.min() >= 0 and numbers.max() < 1
    first = torch.stack(drawn)[:, 0]
    assert first.mean() == pytest.approx(0.5, abs=0.05) and first.std() == pytest.approx(12**-0.5, abs=0.03)


def test_draws_depend_on_seed_and_step_alone() -> None:
    assert torch.equal(Draw.of(1, 5, 9).randn(3), Draw.of(1, 5, 9).randn(3))
    assert not torch.equal(Draw.of(1, 5, 9).randn(3), Draw.of(1, 6, 9).randn(3))
    assert Draw.of(1, 5, 9).numbers.uniform() != Draw.of(2, 5, 9).numbers.uniform()
