"""The built-in host's runs: validation, order, reuse, events, failures; and its picture and video nodes."""

import json
import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from framewright.embedded import comfy_api
from framewright.embedded.comfy_api import io, ui
from framewright.embedded.execute import Cache, Run, run
from framewright.embedded.folders import Folders
from framewright.embedded.nodes_files import NODES as FILE_NODES
from framewright.embedded.nodes_video import NODES as VIDEO_NODES
from framewright.embedded.progress import Interrupted, report
from framewright.embedded.registry import Registry
from framewright.embedded.video import Components, FileVideo, FrameVideo, write
from framewright.errors import FramewrightError
from PIL import Image

comfy_api.install()
CORE = [*FILE_NODES, *VIDEO_NODES]
CALLS: list[str] = []
MARK = {"value": 0.0}


class Make(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Make",
            display_name="Make Number",
            inputs=[
                io.Int.Input("seed", default=0, min=0, max=100),
                io.Float.Input("x", default=0.5, min=0.0, max=1.0, optional=True),
                io.Combo.Input("kind", options=["a", "b"], optional=True),
                io.Boolean.Input("on", optional=True),
            ],
            outputs=[io.Int.Output("number"), io.Float.Output("real")],
        )

    @classmethod
    def execute(cls, seed: int, x: float = 0.5, kind: str = "a", on: bool = False) -> io.NodeOutput:
        CALLS.append(f"make {seed} {x} {kind} {on}")
        return io.NodeOutput(seed, float(seed))


class Double(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Double",
            inputs=[io.MultiType.Input("number", [io.Int, io.Float]), io.Image.Input("image", optional=True)],
            outputs=[io.Int.Output("number")],
        )

    @classmethod
    def execute(cls, number: int, image: Any = None) -> io.NodeOutput:
        CALLS.append(f"double {number}")
        for step in (1, 2):
            report(step, 2)
        if number == 13:
            raise FramewrightError("number: 13 came, expected luck")
        if number == 14:
            raise KeyError("gone")
        return io.NodeOutput(number * 2)

    @classmethod
    def fingerprint_inputs(cls, **inputs: Any) -> float:
        return MARK["value"]


class Show(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Show",
            inputs=[io.AnyType.Input("value"), io.String.Input("text", default="", optional=True)],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, value: Any, text: str = "") -> io.NodeOutput:
        CALLS.append(f"show {value}")
        assert set(cls.hidden.prompt) >= {cls.hidden.unique_id}
        return io.NodeOutput(ui=ui.PreviewText(f"{cls.hidden.unique_id}: {value}{text}"))


REGISTRY = Registry([Make, Double, Show, *CORE])


def prompt(**inputs: Any) -> dict[str, Any]:
    return {
        "9": {"class_type": "Show", "inputs": {"value": ["5", 0]}, "_meta": {"title": "The End"}},
        "5": {"class_type": "Double", "inputs": {"number": ["1", 0]}},
        "1": {"class_type": "Make", "inputs": {"seed": 3, **inputs}, "_meta": {"title": "Mine"}},
        "7": {"class_type": "Make", "inputs": {"seed": 99}},  # feeds nothing
    }


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    CALLS.clear()
    MARK["value"] = 0.0
    (tmp_path / "input").mkdir()
    return Folders(tmp_path / "input", tmp_path / "output", tmp_path / "temp")


def test_order_and_result(folders: Folders) -> None:
    result = run(prompt(), REGISTRY, folders, Cache())
    assert CALLS == ["make 3 0.5 a False", "double 3", "show 6"]
    assert result == Run({"9": {"text": ("9: 6",)}}, ["1", "5", "9"], [])


def test_reuse(folders: Folders) -> None:
    cache = Cache()
    run(prompt(), REGISTRY, folders, cache)
    again = run(prompt(), REGISTRY, folders, cache)
    assert (again.executed, again.cached) == ([], ["1", "5", "9"])
    assert again.outputs == {"9": {"text": ("9: 6",)}}
    CALLS.clear()
    later = prompt()
    later["9"]["inputs"]["text"] = "!"
    assert run(later, REGISTRY, folders, cache).executed == ["9"]
    assert run(prompt(seed=4), REGISTRY, folders, cache).executed == ["1", "5", "9"]
    MARK["value"] = 1.0
    assert run(prompt(seed=4), REGISTRY, folders, cache).executed == ["5", "9"]
    MARK["value"] = math.nan
    for _ in range(2):
        assert run(prompt(seed=4), REGISTRY, folders, cache).executed == ["5", "9"]
    assert len(cache.made) == 3


def test_events(folders: Folders) -> None:
    heard: list[tuple[str, dict[str, Any]]] = []
    cache = Cache()
    run(prompt(), REGISTRY, folders, cache, lambda kind, data: heard.append((kind, data)))
    assert heard == [
        ("execution_cached", {"nodes": []}),
        ("executing", {"node": "1", "title": "Mine", "index": 0, "total": 3}),
        ("executing", {"node": "5", "title": "Double", "index": 1, "total": 3}),
        ("progress", {"node": "5", "value": 1, "max": 2}),
        ("progress", {"node": "5", "value": 2, "max": 2}),
        ("executing", {"node": "9", "title": "The End", "index": 2, "total": 3}),
        ("executed", {"node": "9", "output": {"text": ("9: 6",)}}),
    ]


def test_interrupt_keeps_what_is_done(folders: Folders) -> None:
    def stop(kind: str, data: dict[str, Any]) -> None:
        if kind == "progress":
            raise Interrupted

    cache = Cache()
    with pytest.raises(Interrupted):
        run(prompt(), REGISTRY, folders, cache, stop)
    assert run(prompt(), REGISTRY, folders, cache).executed == ["5", "9"]


def test_failures_name_the_node(folders: Folders) -> None:
    with pytest.raises(FramewrightError, match=r"^Double \(#5\): number: 13 came, expected luck$"):
        run(prompt(seed=13), REGISTRY, folders, Cache())
    with pytest.raises(RuntimeError, match=r"^Double \(#5\): KeyError: 'gone'$"):
        run(prompt(seed=14), REGISTRY, folders, Cache())


def test_no_gradients(folders: Folders) -> None:
    class Grad(io.ComfyNode):
        @classmethod
        def define_schema(cls) -> io.Schema:
            return io.Schema(node_id="Grad", is_output_node=True)

        @classmethod
        def execute(cls) -> io.NodeOutput:
            return io.NodeOutput(ui=ui.PreviewText(str(torch.is_inference_mode_enabled())))

    graph = {"1": {"class_type": "Grad", "inputs": {}}}
    assert run(graph, Registry([Grad]), folders, Cache()).outputs == {"1": {"text": ("True",)}}


@pytest.mark.parametrize(
    ("inputs", "made"),
    [
        ({"seed": "7"}, "make 7 0.5 a False"),
        ({"seed": 7.0, "x": 1}, "make 7 1.0 a False"),
        ({"kind": "b", "on": "true"}, "make 3 0.5 b True"),
        ({"on": {"__value__": False}, "unknown": 4}, "make 3 0.5 a False"),
    ],
)
def test_values_are_typed(inputs: dict[str, Any], made: str, folders: Folders) -> None:
    run(prompt(**inputs), REGISTRY, folders, Cache())
    assert CALLS[0] == made


def bad(node: str, **inputs: Any) -> dict[str, Any]:
    graph = prompt()
    graph[node]["inputs"].update(inputs)
    return graph


@pytest.mark.parametrize(
    ("graph", "said"),
    [
        (bad("1", seed=101), r"Make \(#1 'Mine'\): seed: 101 came, expected 0 to 100"),
        (bad("1", seed=-1), "seed: -1 came, expected 0 to 100"),
        (bad("1", seed=2.5), "seed: 2.5 came, expected a whole number"),
        (bad("1", seed=True), "seed: True came, expected a whole number"),
        (bad("1", seed="many"), "seed: 'many' came, expected a whole number"),
        (bad("1", x=math.nan), "x: nan came, expected a finite number"),
        (bad("1", x=None), "x: None came, expected a finite number"),
        (bad("1", kind="c"), "kind: 'c' came, expected one of: a, b"),
        (bad("1", on="maybe"), "on: 'maybe' came, expected true or false"),
        (bad("9", text=[1, 2, 3]), "text: .1, 2, 3. came, expected a text"),
        (bad("5", image="a.png"), r"Double \(#5\): image: 'a.png' came, expected a link .* makes IMAGE"),
        (bad("5", image=["1", 0]), r"image: INT came from Make \(#1 'Mine'\), expected IMAGE"),
        (bad("5", number=["1", 2]), r"number: output 2 of Make \(#1 'Mine'\) came, it has 2 outputs"),
        (bad("5", number=["9", 0]), "in a circle"),
        ({"1": {"class_type": "Make", "inputs": {"seed": 1}}}, "no output node"),
        ({"1": {"class_type": "Show", "inputs": {}}}, r"Show \(#1\): value: nothing came, expected \*"),
        ({"1": {"class_type": "KSampler", "inputs": {}}}, r"node KSampler \(#1\) needs ComfyUI.*Make.*Show"),
        ({"1": {"class_type": "LoadImage", "inputs": {"image": "no.png"}}, "2": {
            "class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}}, "there is no file 'no.png' in"),
        ({"1": {"class_type": "LoadVideo", "inputs": {"file": "../../x"}}, "2": {
            "class_type": "PreviewAny", "inputs": {"source": ["1", 0]}}}, "file: '../../x' lies outside"),
    ],
)  # fmt: skip
def test_refused_before_anything_runs(graph: dict[str, Any], said: str, folders: Folders) -> None:
    with pytest.raises(FramewrightError, match=said):
        run(graph, REGISTRY, folders, Cache())
    assert CALLS == []


def test_all_errors_at_once(folders: Folders) -> None:
    with pytest.raises(FramewrightError, match="(?s)seed: -1 came.*x: 2.0 came"):
        run(bad("1", seed=-1, x=2.0), REGISTRY, folders, Cache())


def save(images: torch.Tensor, folders: Folders, name: str) -> None:
    folders.input.mkdir(exist_ok=True)
    Image.fromarray((images.numpy() * 255).round().astype(np.uint8)).save(folders.input / name)


def render(folders: Folders, *nodes: tuple[str, dict[str, Any]], cache: Cache | None = None) -> Run:
    """Runs nodes numbered from 1."""
    graph = {str(i): {"class_type": kind, "inputs": inputs} for i, (kind, inputs) in enumerate(nodes, 1)}
    return run(graph, REGISTRY, folders, cache or Cache(), workflow={"nodes": [], "name": "w"})


def test_pictures_come_back_as_saved(folders: Folders) -> None:
    picture = torch.rand(6, 10, 4)
    save(picture, folders, "a.png")
    load = ("LoadImage", {"image": "a.png"})
    prefix = {"images": ["1", 0], "filename_prefix": "sub/take_%width%x%height%"}
    shown = [render(folders, load, ("SaveImage", prefix)).outputs["2"]["images"][0] for _ in range(2)]
    assert shown == [
        {"filename": f"take_10x6_{number}_.png", "subfolder": "sub", "type": "output"}
        for number in ("00001", "00002")
    ]
    with Image.open(folders.output / "sub" / "take_10x6_00001_.png") as file:
        assert json.loads(file.text["workflow"]) == {"nodes": [], "name": "w"}
        assert json.loads(file.text["prompt"])["1"] == {
            "class_type": "LoadImage",
            "inputs": {"image": "a.png"},
        }
        np.testing.assert_array_equal(np.asarray(file), (picture * 255).round().byte().numpy()[..., :3])


def test_picture_file_that_changed_is_loaded_again(folders: Folders) -> None:
    cache = Cache()
    nodes = [("LoadImage", {"image": "a.png"}), ("PreviewImage", {"images": ["1", 0]})]
    for value, ran in [(0.0, ["1", "2"]), (0.0, []), (1.0, ["1", "2"])]:
        save(torch.full((4, 4, 3), value), folders, "a.png")
        assert render(folders, *nodes, cache=cache).executed == ran


def loaded(folders: Folders, name: str) -> tuple[torch.Tensor, torch.Tensor]:
    cache = Cache()
    render(folders, ("LoadImage", {"image": name}), ("PreviewImage", {"images": ["1", 0]}), cache=cache)
    return next(made.values for made in cache.made.values() if len(made.values) == 2)


def test_load_image_masks_frames_and_depths(folders: Folders) -> None:
    rgba = torch.zeros(2, 3, 4)
    rgba[..., 3] = torch.tensor([[0.0, 1.0, 0.2]])
    save(rgba, folders, "alpha.png")
    images, mask = loaded(folders, "alpha.png")
    assert images.shape == (1, 2, 3, 3) and torch.allclose(mask[0, 0], torch.tensor([1.0, 0.0, 0.8]))
    Image.fromarray(np.full((2, 3), 32896, np.uint16)).save(folders.input / "deep.png")
    images, mask = loaded(folders, "deep.png")
    assert images.unique().item() == pytest.approx(32896 / 65535, abs=1e-6) and mask.shape == (1, 64, 64)
    still = [Image.new("RGB", (3, 2), (value, 0, 0)) for value in (0, 255)]
    still[0].save(folders.input / "two.png", save_all=True, append_images=still[1:])
    assert loaded(folders, "two.png")[0][:, 0, 0, 0].tolist() == [0.0, 1.0]


def test_load_image_refuses_what_is_no_picture(folders: Folders) -> None:
    (folders.input / "a.png").write_bytes(b"text")
    with pytest.raises(
        FramewrightError, match=r"LoadImage \(#1\): image: 'a.png' cannot be read as a picture"
    ):
        render(folders, ("LoadImage", {"image": "a.png"}), ("PreviewImage", {"images": ["1", 0]}))


@pytest.mark.parametrize("prefix", ["../out", "/etc/x", "a/../../b", ""])
def test_no_file_outside_the_folder(prefix: str, folders: Folders) -> None:
    save(torch.rand(4, 4, 3), folders, "a.png")
    with pytest.raises(FramewrightError, match="filename_prefix: .* leads outside the output folder"):
        render(
            folders,
            ("LoadImage", {"image": "a.png"}),
            ("SaveImage", {"images": ["1", 0], "filename_prefix": prefix}),
        )


def test_numbers_go_on_after_the_largest(folders: Folders) -> None:
    folders.output.mkdir()
    for name in ("t_00007_.png", "t_00009.mp4", "tt_00050_.png", "t_x_.png", "t_²_.png"):
        (folders.output / name).touch()
    assert folders.numbered("t", "output").counter == 10


def node(name: str) -> type[io.ComfyNode]:
    return REGISTRY.node(name)


@pytest.mark.parametrize("method", ["nearest-exact", "bilinear", "area", "bicubic", "lanczos"])
@pytest.mark.parametrize(
    ("size", "shape"), [((8, 0), (3, 8)), ((0, 6), (6, 15)), ((4, 4), (4, 4)), ((0, 0), (4, 10))]
)
def test_image_scale_sizes(method: str, size: tuple[int, int], shape: tuple[int, int]) -> None:
    image = torch.rand(2, 4, 10, 3)
    scaled = node("ImageScale").execute(image, method, *size, "disabled")[0]
    assert scaled.shape == (2, *shape, 3)
    if size == (4, 4):
        middle = node("ImageScale").execute(image, method, 4, 4, "center")[0]
        inner = image[:, :, 3:7] if method != "lanczos" else (image[:, :, 3:7] * 255).byte() / 255
        torch.testing.assert_close(middle, inner.float())


@pytest.mark.parametrize(
    ("start", "length", "frames"),
    [(0, 1, [0]), (2, 2, [2, 3]), (4, 9, [4]), (99, 1, [4]), (-2, 9, [3, 4]), (-99, 2, [0, 1])],
)
def test_image_from_batch(start: int, length: int, frames: list[int]) -> None:
    images = torch.arange(5.0).reshape(5, 1, 1, 1)
    assert node("ImageFromBatch").execute(images, start, length)[0].flatten().tolist() == frames


def clip(frames: int, height: int = 16, width: int = 32) -> torch.Tensor:
    """A soft picture that brightens from frame to frame, which H.264 keeps closely."""
    ramp = torch.linspace(0.2, 0.6, width).expand(frames, height, width)
    return (ramp + torch.linspace(0, 0.3, frames)[:, None, None]).unsqueeze(-1).expand(-1, -1, -1, 3)


def write_video(folders: Folders, **inputs: Any) -> Path:
    class Clip(io.ComfyNode):
        @classmethod
        def define_schema(cls) -> io.Schema:
            return io.Schema(node_id="Clip", outputs=[io.Image.Output(), io.Audio.Output()])

        @classmethod
        def execute(cls) -> io.NodeOutput:
            wave = torch.sin(torch.arange(22050) * 0.05).reshape(1, 1, -1) * 0.5
            return io.NodeOutput(clip(6), {"waveform": wave, "sample_rate": 22050})

    graph = {
        "1": {"class_type": "Clip", "inputs": {}},
        "2": {"class_type": "CreateVideo", "inputs": {"images": ["1", 0], "fps": 12, "audio": ["1", 1]}},
        "3": {"class_type": "SaveVideo", "inputs": {"video": ["2", 0], "filename_prefix": "v/x", **inputs}},
    }
    result = run(graph, Registry([Clip, *CORE]), folders, Cache(), workflow={"nodes": []})
    told = result.outputs["3"]
    assert told["animated"] == (True,) and told["images"][0]["subfolder"] == "v"
    return folders.output / "v" / told["images"][0]["filename"]


@pytest.mark.parametrize(
    ("inputs", "name"),
    [
        ({"format": "auto", "codec": "auto"}, "x_00001_.mp4"),
        ({"format": "mp4", "codec": "h264"}, "x_00001_.mp4"),
        ({"format": "mkv", "format.codec": "h264", "format.codec.encoding": "re-encode",
          "format.codec.encoding.crf": 10.0, "format.codec.encoding.color_space": "auto"}, "x_00001_.mkv"),
    ],
)  # fmt: skip
def test_video_round_trip(inputs: dict[str, Any], name: str, folders: Folders) -> None:
    path = write_video(folders, **inputs)
    assert path.name == name
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        texts = {key.lower(): value for key, value in container.metadata.items()}
        assert json.loads(texts["prompt"])["2"]["inputs"]["fps"] == 12 and json.loads(texts["workflow"]) == {
            "nodes": []
        }
    parts = node("GetVideoComponents").execute(FileVideo(path))
    images, audio, fps, depth, space = parts.args
    assert (fps, depth, space) == (12.0, 8, "sRGB")
    assert images.shape == (6, 16, 32, 3)
    torch.testing.assert_close(images, clip(6), atol=0.02, rtol=0)
    assert audio["sample_rate"] == 22050 and audio["waveform"].shape[:2] == (1, 1)
    assert audio["waveform"].shape[2] == pytest.approx(22050 * 6 / 12, abs=2048)  # sound ends with the frames
    assert 0.2 < audio["waveform"].std() < 0.5


def test_crf_matters(folders: Folders) -> None:
    nested = {"format": "mp4", "format.codec": "h264", "format.codec.encoding": "re-encode"}
    sizes = [
        write_video(
            folders,
            **nested,
            **{"format.codec.encoding.crf": crf, "format.codec.encoding.color_space": "auto"},
        )
        .stat()
        .st_size
        for crf in (1.0, 51.0)
    ]
    assert sizes[0] > sizes[1]


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({"format": "webm"}, "format: 'webm' came, expected one of: auto, mp4, mkv"),
        ({"format": "mp4", "format.codec": "av1"}, "format.codec: 'av1' came, expected one of: auto, h264"),
        ({}, "format: nothing came, expected COMBO"),
    ],
)
def test_video_choices(inputs: dict[str, Any], said: str, folders: Folders) -> None:
    with pytest.raises(FramewrightError, match=said):
        write_video(folders, **inputs)


def test_video_refuses(folders: Folders, tmp_path: Path) -> None:
    with pytest.raises(FramewrightError, match="frames are 33 x 16, H.264 takes even sizes"):
        write(FrameVideo(Components(clip(2, 16, 33), Fraction(8))), tmp_path / "x.mp4", {})
    (tmp_path / "x.mp4").write_bytes(b"text")
    with pytest.raises(FramewrightError, match="x.mp4 cannot be read"):
        FileVideo(tmp_path / "x.mp4").get_components()


@pytest.mark.parametrize(
    ("value", "text"), [("a", "a"), (2, "2"), (True, "true"), (None, "None"), ([1], "[\n    1\n]")]
)
def test_preview_any(value: Any, text: str) -> None:
    assert node("PreviewAny").execute(value).ui.as_dict() == {"text": (text,)}


def test_two_classes_of_one_id() -> None:
    with pytest.raises(ValueError, match="two node classes are called Make"):
        Registry([Make, type("Other", (Make,), {})])
