"""`demo train`: a recipe for every file that ships, and a record of the run that made it."""

import json
from pathlib import Path

import pytest
import torch
from framewright.demo import files
from framewright.demo import fit as fit_module
from framewright.demo.fit import Draw, Run, fit
from framewright.demo.training import RECIPES, train
from framewright.errors import FramewrightError
from safetensors.torch import load_file


def one_step(name: str, folder: Path) -> Run:
    return Run(name, 1, 1, folder)


def test_every_record_that_ships_is_of_a_recipe() -> None:
    assert {path.stem for path in files.FOLDER.glob("*.json")} == set(RECIPES)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_makes_the_tensors_that_ship(name: str, tmp_path: Path) -> None:
    made, record = RECIPES[name].make(one_step(name, tmp_path))
    assert record["steps"] == 1
    for file, tensors in made.items():
        shipped = load_file(files.FOLDER / f"{file}.safetensors")
        assert {key: t.shape for key, t in tensors.items()} == {key: t.shape for key, t in shipped.items()}


def test_training_writes_the_model_and_the_record(tmp_path: Path) -> None:
    assert train(one_step("guider", tmp_path), tmp_path) == [tmp_path / "guider.safetensors"]
    assert json.loads((tmp_path / "guider.json").read_text())["seed"] == 1


def test_a_run_is_taken_up_where_it_began_alike_and_leaves_others_alone(tmp_path: Path) -> None:
    torch.manual_seed(0)
    start = torch.nn.Linear(2, 1).state_dict()

    def run(seed: int, steps: int, target: float, until: int | None = None) -> tuple[dict, int]:
        model, asked = torch.nn.Linear(2, 1), list[int]()
        model.load_state_dict(start)

        def drawn(draw: Draw) -> torch.Tensor:
            if asked and len(asked) - 1 == until:
                raise KeyboardInterrupt
            asked.append(1)
            return draw.randn(8, 2)

        record = fit(
            Run("tiny", seed, steps, tmp_path), model, drawn,
            lambda x: (model(x) - target).square().mean(), 0.1,
        )  # fmt: skip
        return record, len(asked) - 1  # one is drawn to see how the run begins

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit_module, "CHECKPOINT_SECONDS", -1)
        with pytest.raises(KeyboardInterrupt):
            run(1, 9, 2.0, until=5)
    assert run(2, 9, 2.0)[1] == 9 and run(1, 4, 2.0)[1] == 4, "runs of their own"
    assert run(1, 9, 2.0)[1] == 4, "goes on after five"
    assert run(1, 9, 2.0)[1] == 0, "is done"
    with pytest.raises(FramewrightError, match="it began with a loss of .*, expected .* Delete it"):
        run(1, 9, -5.0)
