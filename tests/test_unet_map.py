"""The picture of a UNet: every block at its level, though only some are there."""

import pytest
from framewright.pictures.unet_map import _levels


def sites(inputs: list[int], outputs: list[int]) -> list[tuple[str, int]]:
    return [*(("input", one) for one in inputs), ("middle", 0), *(("output", one) for one in outputs)]


@pytest.mark.parametrize(
    ("inputs", "outputs", "levels"),
    [
        ([1, 2, 4, 5], list(range(6)), [0, 0, 1, 1, 1, 1, 1, 1, 0, 0, 0]),
        ([1, 3], list(range(4)), [0, 1, 1, 1, 1, 0, 0]),
        ([1, 2, 4, 5, 7, 8], list(range(3, 12)), [0, 0, 1, 1, 2, 2, 2, 2, 2, 2, 1, 1, 1, 0, 0, 0]),
        ([], [], [0]),
    ],
    ids=["two levels", "one block a level", "no coarsest level", "the middle alone"],
)
def test_levels(inputs: list[int], outputs: list[int], levels: list[int]) -> None:
    assert _levels(sites(inputs, outputs)) == levels
