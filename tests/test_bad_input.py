"""Whatever is wrong with a workflow or a file is one error that says what came and what was expected."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from framewright.demo import files as demo_files
from framewright.embedded.core import registry
from framewright.embedded.execute import Cache, run
from framewright.embedded.folders import Folders
from framewright.embedded.host import EmbeddedHost
from framewright.embedded.workflow import load
from framewright.errors import FramewrightError
from framewright.tests.graphs import Prompt, text_to_video
from safetensors.torch import load_file, save_file


def render(prompt: Prompt, folder: Path) -> dict:
    nodes = registry(EmbeddedHost(folder))
    return run(prompt, nodes, Folders(folder, folder / "out", folder / "temp"), Cache()).outputs


def change(node: str, **inputs: object) -> Callable[[Prompt], None]:
    return lambda prompt: prompt[node]["inputs"].update(inputs)


BROKEN: dict[str, tuple[Callable[[Prompt], object], str]] = {
    "a node that is not there": (
        lambda p: p["decode"].update(class_type="VAEDecodeNice"), "VAEDecodeNice.*needs ComfyUI"),
    "a link to nowhere": (change("decode", samples=["nobody", 0]), "nobody"),
    "a link to an output that is not there": (change("decode", samples=["sampler", 7]), "7"),
    "a link of another type": (change("decode", samples=["model", 2]), "VAE.*LATENT|LATENT.*VAE"),
    "a cycle": (change("moving", model=["windows", 0]), "cycle|circle|loop"),
    "no frames": (change("latent", frames=0), "frames.*0"),
    "less than no frames": (change("latent", frames=-3), "frames.*-3"),
    "a width that does not divide": (change("latent", width=66), r"width: 66 came, expected a multiple of 4"),
    "an unknown word": (change("prompt", text="a crimson circle"), "unknown word 'crimson'.*red, yellow"),
    "too many words": (change("prompt", text="a red " * 8), "16 words came.*at most 12"),
    "an unknown sampler": (change("sampler", sampler_name="magic"), "magic"),
    "a motion module that is not there": (change("motion", name="mine.safetensors"), "mine.safetensors"),
    "an overlap as long as the window": (change("windows", overlap=8), "overlap: 8 came, expected 0 to 7"),
    "a missing input": (lambda p: p["sampler"]["inputs"].pop("seed"), "seed"),
    "a block that the model lacks": (
        change("moving", layer_strength="output 9: 0"), "layer_strength: output 9 came, expected .*input 1"),
    "an end before the start": (
        change("moving", start_percent=0.8, end_percent=0.2), "start_percent: 0.8 came, expected .*0.2"),
    "a pattern that ends before it starts": (
        change("reading", start_percent=0.8, end_percent=0.2), "start_percent: 0.8 came"),
    "words for a number": (change("sampler", steps="many"), "steps.*many"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_graph_is_one_error(case: str, tmp_path: Path) -> None:
    prompt, (harm, message) = text_to_video(), BROKEN[case]
    harm(prompt)
    with pytest.raises(FramewrightError, match=message):
        render(prompt, tmp_path)


def test_more_frames_than_positions_names_both_and_the_way_out(tmp_path: Path) -> None:
    prompt = text_to_video(frames=17, steps=1)
    prompt["sampler"]["inputs"]["model"] = ["moving", 0]
    with pytest.raises(FramewrightError, match="17 frames came.*positions for 16.*Context Windows"):
        render(prompt, tmp_path)


@pytest.mark.parametrize(
    "text",
    ["[" * 10**5, '{"a": ' + "9" * 5000 + "}", "", "{", '{"nodes": [', "[1, 2]", '"hello"', '{"a": 1}'],
)
def test_a_file_that_is_no_workflow_is_one_error(text: str, tmp_path: Path) -> None:
    path = tmp_path / "broken.json"
    path.write_text(text)
    with pytest.raises(FramewrightError):
        render(load(path), tmp_path)


def test_a_workflow_that_is_not_there_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(FramewrightError, match=r"absent\.json"):
        load(tmp_path / "absent.json")


def _motion() -> dict[str, torch.Tensor]:
    return load_file(demo_files.FOLDER / "motion.safetensors")


def _truncated(path: Path) -> None:
    save_file(_motion(), path)
    path.write_bytes(path.read_bytes()[:-1000])


def _cut_header(path: Path) -> None:
    save_file(_motion(), path)
    path.write_bytes(path.read_bytes()[:100])


def _pickled(path: Path) -> None:
    torch.save(_motion(), path)


def _old_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps({"weights": [1.0]}))


def _without(part: str) -> Callable[[Path], None]:
    return lambda path: save_file({k: v for k, v in _motion().items() if part not in k}, path)


def _not_finite(path: Path) -> None:
    tensors = _motion()
    next(iter(tensors.values())).view(-1)[0] = np.nan
    save_file(tensors, path)


def _reshaped(path: Path) -> None:
    tensors = _motion()
    key = next(key for key in tensors if key.endswith("ff.net.2.weight"))
    save_file({**tensors, key: tensors[key][:, :-1].contiguous()}, path)


def _wider(path: Path) -> None:
    from framewright.temporal.motion import MotionModel, MotionParams

    save_file(MotionModel(MotionParams(channels=(32, 64), res_blocks=1)).state_dict(), path)


BAD_FILES: dict[str, tuple[Callable[[Path], None], str]] = {
    "empty": (lambda path: path.write_bytes(b""), "not a whole safetensors file"),
    "text": (lambda path: path.write_text("hello, I am a model"), "not a whole safetensors file"),
    "truncated": (_truncated, "not a whole safetensors file"),
    "cut in its header": (_cut_header, "not a whole safetensors file"),
    "a zip of pickles": (_pickled, "is a pickle"),
    "a bare pickle": (_old_pickle, "is a pickle"),
    "a level missing": (_without("down_blocks.1"), r"down_blocks \[0, 2\], expected every level from 0"),
    "every up block missing": (_without("up_blocks"), "lacks [0-9]+ keys of its kind"),
    "every second attention missing": (_without("attention_blocks.1"), "lacks [0-9]+ keys"),
    "a block missing": (_without("up_blocks.1.motion_modules.0"), "lacks 2[0-9] keys"),
    "a position table missing": (
        _without("down_blocks.0.motion_modules.0.temporal_transformer.transformer_blocks.0.attention_blocks.0.pos"),
        "lacks 1 keys"),
    "something else": (
        lambda path: save_file({"weight": torch.zeros(3)}, path), "holds 1 tensors .*no known family"),
    "a LoRA": (
        lambda path: save_file({"unet.mid.to_q_lora.down.weight": torch.zeros(3)}, path),
        "family motion LoRA: Load Motion LoRA takes it"),
    "not finite": (_not_finite, "not finite"),
    "of another shape": (_reshaped, "expected"),
    "for another model": (_wider, "32, 64 channels.*64, 96, 128"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_bad_motion_module_is_one_error_that_names_the_file(case: str, tmp_path: Path) -> None:
    make, message = BAD_FILES[case]
    make(tmp_path / "bad.safetensors")
    prompt = text_to_video()
    prompt["motion"]["inputs"]["name"] = "bad.safetensors"
    with pytest.raises(FramewrightError, match=message) as caught:
        render(prompt, tmp_path)
    assert "bad.safetensors" in str(caught.value)


def test_missing_demo_files_are_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from framewright.demo.vae import SmallVAE

    with pytest.raises(FramewrightError, match=r"vae\.safetensors is not in"):
        demo_files.load("vae", SmallVAE(), tmp_path)
    (tmp_path / "vae.safetensors").write_bytes(b"nothing")
    with pytest.raises(FramewrightError, match="is not the file expected"):
        demo_files.load("vae", SmallVAE(), tmp_path)


def test_latents_that_are_not_finite_are_named_and_never_become_a_black_video() -> None:
    from framewright.embedded.samplers import euler
    from framewright.embedded.sampling import Guider, sample
    from framewright.embedded.schedules import schedule_sigmas

    model, words, _ = EmbeddedHost().demo_model()
    prompt = [[words.encode([""]), {}]]
    latent = torch.zeros(2, 4, 16, 16)
    latent[1, 0, 0, 0] = float("nan")
    with pytest.raises(FramewrightError, match="not finite"):
        sigmas = schedule_sigmas("karras", model.schedule, 2)
        sample(Guider(model, prompt, prompt, 1.0), torch.zeros_like(latent), euler, sigmas, latent)


def test_the_whole_graph_renders(tmp_path: Path) -> None:
    """What the broken graphs are made from is itself sound: prompt to video file, through windows."""
    outputs = render(json.loads(json.dumps(text_to_video(frames=12))), tmp_path)
    assert len(outputs["save"]["images"]) == 12
    assert (tmp_path / "out" / "clip_00001_.mp4").stat().st_size > 500
