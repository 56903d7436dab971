"""The pack in every real ComfyUI found: the built-in host's frames, and nothing of the host touched."""

import json
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch
from framewright.bridge.client import Client
from framewright.bridge.hosts import Host, Server, run_in_host
from framewright.demo import render as shapes
from framewright.demo.world import Scene, Subject
from framewright.embedded import samplers
from framewright.embedded.assignments import set_inputs
from framewright.embedded.core import registry
from framewright.embedded.execute import Cache, run
from framewright.embedded.folders import Folders
from framewright.embedded.registry import Registry
from framewright.embedded.workflow import load, to_prompt
from framewright.tests.graphs import long_video
from safetensors.torch import load_file

ROOT = Path(__file__).resolve().parent.parent
# Those that take an artist's files have twins on the demo model.
WORKFLOWS = [
    path for path in sorted((ROOT / "workflows").glob("*.json")) if "LoadDemoModel" in path.read_text("utf-8")
]
VIDEOS = ("VAEDecode", "FramewrightSampleAlongStrokes")
# Fewer steps than shipped but in one graph; the comparison is the same.
STEPS, WHOLE = 4, "text_to_video"


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Video files such as users have, by pixel format: 20 frames of 96×80."""
    made = {}
    scene = Scene.sample(Subject("red", "circle", "right", "striped"), np.random.default_rng(0))
    for pixels in ("yuv420p", "yuvj420p"):
        made[pixels] = tmp_path_factory.mktemp("clips") / "your_clip.mp4"
        with av.open(made[pixels], "w") as file:
            stream = file.add_stream("h264", rate=8)
            stream.width, stream.height, stream.pix_fmt = 96, 80, pixels
            for frame in shapes.frames(scene, 20):
                picture = cv2.resize((frame * 255).astype(np.uint8), (96, 80))
                file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            file.mux(stream.encode())
    return made


@pytest.fixture
def clip(host: Host, clips: dict[str, Path]) -> Path:
    """Of full range for hosts before 0.33, which read others in 8 bits; newer ones, and ours, use floats."""
    newer = tuple(map(int, host.version.split("."))) >= (0, 33)
    return clips["yuv420p" if newer else "yuvj420p"]


def tapped(workflow: Path, info: dict) -> dict:
    """The workflow's prompt with every decoded video also written as the tensor it is."""
    page = load(workflow)
    prompt = to_prompt(page, info)
    if workflow.stem != WHOLE:
        timed = [key for key, node in prompt.items() if node["class_type"] in ("KSampler", "BasicScheduler")]
        prompt = set_inputs(prompt, [f"{key}.steps={STEPS}" for key in timed], info)
    for key in [key for key, node in prompt.items() if node["class_type"] in VIDEOS]:
        prompt[f"tap{key}"] = {
            "class_type": "TestTensor",
            "inputs": {"images": [key, 0], "name": f"tap{key}"},
        }
    return prompt


@pytest.fixture(scope="session")
def embedded_frames(tmp_path_factory: pytest.TempPathFactory):
    """The frames of a workflow's decoded videos in the built-in host, rendered once for a version's noise.

    Before 0.12 ComfyUI drew the noise between steps from the seed itself, not from the one after it.
    """
    shipped = registry()
    from framewright.tests.tensor_node import Tensor  # needs the declarations that a registry brings

    nodes = Registry([*map(shipped.node, shipped), Tensor])
    info, known = nodes.object_info(), {}

    class OlderNoise(samplers._Noise):
        def __init__(self, seed: int) -> None:
            super().__init__(seed - 1)

    def frames(workflow: Path, clip: Path, version: str) -> dict[str, torch.Tensor]:
        text, older = workflow.read_text("utf-8"), tuple(map(int, version.split("."))) < (0, 12)
        older &= any(name in text for name in ("lcm", "ancestral"))
        if (workflow, older) not in known or "LoadVideo" in text:
            out = tmp_path_factory.mktemp("embedded")
            with pytest.MonkeyPatch.context() as patch:
                if older:
                    patch.setattr(samplers, "_Noise", OlderNoise)
                run(tapped(workflow, info), nodes, Folders(clip.parent, out, out / "temp"), Cache())
            made = {path.stem: load_file(path)["images"] for path in out.glob("*.safetensors")}
            known[workflow, older] = made
        return known[workflow, older]

    return frames


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=[path.stem for path in WORKFLOWS])
def test_a_shipped_workflow_gives_the_built_in_hosts_frames(
    workflow: Path, host_server: Server, embedded_frames, clip: Path, tmp_path: Path
) -> None:
    expected = embedded_frames(workflow, clip, host_server.host.version)
    with Client(host_server.url) as client:
        client.upload(clip)
        prompt = tapped(workflow, client.object_info())
        client.follow(client.queue(prompt))
    assert expected
    for name, frames in expected.items():
        theirs = load_file(host_server.folder / "output" / f"{name}.safetensors")["images"]
        assert theirs.shape == frames.shape
        assert float((theirs - frames).abs().max()) <= 1e-3


def test_inside_the_host(host: Host) -> None:
    told = run_in_host(host, Path(__file__).parent / "host_scripts" / "render_inside.py")
    assert told["changed"] == [] and told["functions"] > 3000, "a function of the host was replaced"
    wrong = [name for name, value in told.items() if value is False]
    assert not wrong
    assert "9 frames came" in told["too_many_frames"] and "positions for 8" in told["too_many_frames"]
    differences = [
        told[f"{name}_difference"] for name in ("unet", "motion", "inner", "lvdm", "make_your_video")
    ]
    assert max(differences) <= 1e-5


def test_motion_modules_with_all_that_the_host_has(host: Host) -> None:
    told = run_in_host(host, Path(__file__).parent / "host_scripts" / "motion_matrix.py")
    assert not [name for name, value in told.items() if value is False]
    assert told["error_half weights"] < 0.01 and told["error_bfloat16"] < 0.2


def test_beside_core_nodes_hooks_and_in_low_memory(host: Host) -> None:
    told = run_in_host(host, Path(__file__).parent / "host_scripts" / "beside_core_nodes.py")
    assert len(told) > 30 and not [name for name, value in told.items() if value is False]


def test_windows_and_controlnets_under_them(host: Host) -> None:
    told = run_in_host(host, Path(__file__).parent / "host_scripts" / "windows.py")
    assert len(told) > 35 and not [name for name, value in told.items() if value is False]


def test_windows_under_every_sampler_guider_and_number_of_frames(host: Host) -> None:
    told = run_in_host(host, Path(__file__).parent / "host_scripts" / "window_matrix.py")
    assert len(told) == 5 * (7 + 3 + 8 * 3) and not [name for name, value in told.items() if value is False]


def test_layers_that_get_their_weights_late(host: Host) -> None:
    told = run_in_host(host, Path(__file__).parent / "host_scripts" / "dynamic_vram.py")
    assert not [name for name, value in told.items() if value is False]
    assert told["has dynamic VRAM"] or tuple(map(int, host.version.split("."))) < (0, 33)
    assert len(told) > 14 or not told["has dynamic VRAM"]


def test_pictures_are_read_as_newer_hosts_read_them(host: Host) -> None:
    """Since 0.33 by FFmpeg; before by Pillow, which gives JPEG other colours."""
    told = run_in_host(host, Path(__file__).parent / "host_scripts" / "pictures.py")
    newer = tuple(map(int, host.version.split("."))) >= (0, 33)
    others = [name for name, same in told.items() if not same]
    assert len(told) == 13 and (not others if newer else "a.png" not in others)


def test_the_hosts_error_is_ours(host_server: Server) -> None:
    """A refusal reaches a client of ComfyUI with its own words."""
    from framewright.errors import FramewrightError
    from framewright.tests.graphs import text_to_video

    with Client(host_server.url) as client, pytest.raises(FramewrightError, match="unknown word 'crimson'"):
        client.follow(client.queue(json.loads(json.dumps(text_to_video(text="a crimson circle")))))


def test_a_worker_of_the_host_makes_the_frames_of_the_host(host_server: Server) -> None:
    made, preview = [], host_server.folder / "temp" / "preview.png"
    preview.parent.mkdir(exist_ok=True)
    preview.write_bytes(b"")
    for workers in (0, 1):
        prompt = long_video(workers)
        prompt["long"]["inputs"]["name"] = f"by {workers} workers"
        with Client(host_server.url) as client:
            client.follow(client.queue(prompt))
        folder = host_server.folder / "output" / f"by {workers} workers"
        made.append([load_file(path)["latents"] for path in sorted(folder.rglob("segment_*"))])
    assert len(made[0]) == len(made[1]) == 4
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(*made, strict=True))
    assert preview.exists()


def test_controlnets_with_strengths_of_their_own(host: Host) -> None:
    told = run_in_host(host, Path(__file__).parent / "host_scripts" / "frame_control.py")
    assert len(told) > 25 and not [name for name, value in told.items() if value is False]


def test_some_frames_that_lead_all_others(host: Host) -> None:
    told = run_in_host(host, Path(__file__).parent / "host_scripts" / "sparse_control.py")
    assert len(told) > 25 and not [name for name, value in told.items() if value is False]


def test_a_picture_that_every_frame_reads(host: Host) -> None:
    told = run_in_host(host, Path(__file__).parent / "host_scripts" / "reference.py")
    assert len(told) > 17 and not [name for name, value in told.items() if value is False]
    assert "another node cuts them up (HyperTile" in told["error of tiles"]
    assert "latents of 8×8 came for a video of 16×16" in told["error of size"]
    assert "the checkpoint of model came with other LoRAs" in told["error of shared weights"]
