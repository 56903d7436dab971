"""Prompts over time: how they are read, what each frame gets, and that every part of a video gets its own."""

from pathlib import Path
from typing import Any

import pytest
import torch
from framewright.bridge.prompts import scheduled
from framewright.embedded.core import registry
from framewright.embedded.execute import Cache, run
from framewright.embedded.folders import Folders
from framewright.errors import FramewrightError
from framewright.sampling.long_plan import long_plan
from framewright.sampling.prompt_schedule import Key, blend, read_prompts, shares
from framewright.tests.graphs import Prompt, long_video, text_to_video
from safetensors.torch import load_file

TWO = [Key(0, "a circle"), Key(16, "a square: blue")]


@pytest.mark.parametrize(
    "text",
    [
        "16: a square: blue\n\n 0 :a circle ",
        '{"0": "a circle", "16": "a square: blue"}',
        '"0": "a circle",\n"16": "a square: blue",',
        "a circle\na square: blue",
        "\ufeff0: a circle\n16: a square: blue",
        '\ufeff{"0": "a circle", "16": "a square: blue"}',
    ],
)
def test_three_ways_to_write_the_same(text: str) -> None:
    assert read_prompts(text, 17) == TWO


def test_lines_without_numbers_are_the_prompts_of_the_first_level_of_a_hierarchy() -> None:
    keys = long_plan("hierarchy", 65, 9).levels[0][0].frames
    assert [key.frame for key in read_prompts("\n".join("abcdefghi"), 65)] == list(keys)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (" \n", "empty"),
        ("0: a\n0: b", "two prompts came for frame 0"),
        ("0: a\n17: b", "frame 17 came, expected 0 to 16"),
        ("0: a\nand more", "'and more' has no frame number"),
        ("0-7: a\n8-15: b", "'0-7' came before a prompt"),
        ("0.5: a", "'0.5' came before a prompt"),
        (f"{'9' * 5000}: a", "'9{20}' came before a prompt"),
        ('{"one": "a"}', "frame number"),
        ('{"0": 3}', "frame number"),
        ('{"0": "a" "b"}', "JSON"),
        ("\n".join("abcdefghijklmnopqr"), "18 prompts came for 17 frames"),
    ],
)
def test_what_cannot_be_read_is_named(text: str, said: str) -> None:
    with pytest.raises(FramewrightError, match=said):
        read_prompts(text, 17)


def test_frames_are_as_much_of_a_prompt_as_they_are_near() -> None:
    share = shares([2, 6], 9, "linear")
    assert share[:, 1].tolist() == [0, 0, 0, 0.25, 0.5, 0.75, 1, 1, 1]
    assert torch.equal(share.sum(1), torch.ones(9))
    assert shares([2, 6], 9, "hold")[:, 1].tolist() == [0] * 6 + [1] * 3
    with pytest.raises(FramewrightError, match="interpolation"):
        shares([0], 2, "cubic")


def test_shorter_prompts_are_repeated_to_the_same_attention() -> None:
    short, longer, query = torch.randn(1, 4, 8), torch.randn(1, 6, 8), torch.randn(1, 3, 8)
    rows = blend(torch.eye(2), [short, longer])
    assert rows.shape == (2, 12, 8)
    for row, own in zip(rows, (short, longer), strict=True):
        read = torch.nn.functional.scaled_dot_product_attention
        torch.testing.assert_close(read(query, row[None], row[None]), read(query, own, own))


class Clip:
    """A CLIP whose hooks split sampling in two, and that counts."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def tokenize(self, text: str) -> str:
        return text

    def encode_from_tokens_scheduled(self, text: str) -> list[list[Any]]:
        self.texts.append(text)
        value = torch.full((1, 2, 3), float(len(text)))
        return [
            [value, {"pooled_output": value[:, 0], "start_percent": 0.0}],
            [2 * value, {"pooled_output": value[:, 0], "start_percent": 0.5}],
        ]


def test_every_part_of_a_hooked_prompt_is_blended_and_each_prompt_encoded_once() -> None:
    clip = Clip()
    first, second = scheduled(clip, [Key(0, "a"), Key(2, "abc"), Key(4, "a")], 5, "linear")
    assert first[0][:, 0, 0].tolist() == [1, 2, 3, 2, 1] and second[0][:, 1, 2].tolist() == [2, 4, 6, 4, 2]
    assert first[1]["pooled_output"][:, 0].tolist() == [1, 2, 3, 2, 1] and second[1]["start_percent"] == 0.5
    assert sorted(clip.texts) == ["a", "abc"]


def _scheduled(graph: Prompt, text: str, latent: str) -> Prompt:
    inputs = {"clip": ["model", 1], "latent": [latent, 0], "text": text, "interpolation": "hold"}
    return {**graph, "prompt": {"class_type": "FramewrightPromptSchedule", "inputs": inputs}}


def render(graph: Prompt, folder: Path) -> None:
    run(graph, registry(), Folders(folder, folder, folder / "temp"), Cache())


def _segments(folder: Path) -> list[torch.Tensor]:
    return [next(iter(load_file(path).values())) for path in sorted(folder.rglob("*.safetensors"))]


def test_the_key_frames_of_a_plan_have_prompts_of_their_own(tmp_path: Path) -> None:
    """All alike are one prompt; another from frame 20 on changes the segments that hold it."""
    one, red = long_video(0), "a red circle moving right"
    graphs = {
        "plain": one,
        "alike": _scheduled(one, f"0: {red}\n20: {red}", "frames"),
        "other": _scheduled(one, f"0: {red}\n20: a blue star moving left", "frames"),
    }
    made = {}
    for name, graph in graphs.items():
        render(graph, tmp_path / name)
        made[name] = _segments(tmp_path / name)
    assert len(made["plain"]) == 4
    for plain, alike in zip(made["plain"], made["alike"], strict=True):
        torch.testing.assert_close(plain, alike, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(made["plain"][0], made["other"][0], atol=1e-2)


@pytest.mark.parametrize("frames", [8, 16])
def test_prompts_for_other_frames_are_refused_in_windows_too(frames: int, tmp_path: Path) -> None:
    """Also where they are for as many as a window holds, or as two."""
    graph = _scheduled(text_to_video(frames=12), "0: a red circle", "latent")
    graph["few"] = {**graph["latent"], "inputs": {**graph["latent"]["inputs"], "frames": frames}}
    graph["prompt"]["inputs"]["latent"] = ["few", 0]
    with pytest.raises(FramewrightError, match=f"prompts for {frames} frames came, expected for 12"):
        render(graph, tmp_path)


def test_prompts_for_other_frames_are_refused(tmp_path: Path) -> None:
    graph = _scheduled(text_to_video(frames=4), "0: a red circle", "latent")
    graph["few"] = {**graph["latent"], "inputs": {**graph["latent"]["inputs"], "frames": 3}}
    graph["prompt"]["inputs"]["latent"] = ["few", 0]
    with pytest.raises(FramewrightError, match="prompts for 3 frames came, expected for 4"):
        render(graph, tmp_path)
