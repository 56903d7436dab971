"""Training goes on where it was stopped, to the same weights."""

from pathlib import Path

import pytest
import torch
from framewright.demo import fit as fitting
from framewright.demo.fit import Draw, fit


class Stopped(Exception):
    pass


def train(folder: Path, stop_at: int | None = None, seed: int = 3, steps: int = 12) -> tuple[dict, dict]:
    torch.manual_seed(seed)
    model, seen = torch.nn.Linear(4, 2), []

    def loss(draw: Draw) -> torch.Tensor:
        seen.append(draw)
        if len(seen) - 1 == stop_at:
            raise Stopped
        x = torch.from_numpy(draw.numbers.normal(size=(8, 4))).float()
        return (model(x) - x[:, :2] + 0.1 * draw.randn_like(x[:, :2])).pow(2).mean()

    record = fit("tiny", model, loss, steps, 1e-2, seed, folder)
    return model.state_dict(), {**record, "calls": len(seen)}


def test_a_stopped_run_ends_as_one_that_was_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "CHECKPOINT_SECONDS", 0)
    whole, _ = train(tmp_path / "whole")
    with pytest.raises(Stopped):
        train(tmp_path / "cut", stop_at=7)
    resumed, record = train(tmp_path / "cut")
    assert record["calls"] == 5
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)


def test_a_checkpoint_of_another_run_is_not_taken_up(tmp_path: Path) -> None:
    train(tmp_path, seed=3)
    _, record = train(tmp_path, seed=4)
    assert record["calls"] == 12 and record["seed"] == 4


def test_draws_depend_on_seed_and_step_alone() -> None:
    x = torch.zeros(3)
    assert torch.equal(Draw.of(1, 5, 9).randn_like(x), Draw.of(1, 5, 9).randn_like(x))
    assert not torch.equal(Draw.of(1, 5, 9).randn_like(x), Draw.of(1, 6, 9).randn_like(x))
    assert Draw.of(1, 5, 9).numbers.uniform() != Draw.of(2, 5, 9).numbers.uniform()
