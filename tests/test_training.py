"""`demo train`: a recipe for every file that ships, and a record of the run that made it."""

import json
from pathlib import Path

import pytest
from framewright.demo import files
from framewright.demo.fit import Run
from framewright.demo.training import RECIPES, train
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
