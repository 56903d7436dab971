"""The built-in host's picture and video nodes: what they read, write and refuse."""

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from framewright.embedded import comfy_api
from framewright.embedded.comfy_api import io
from framewright.embedded.execute import Cache, Run, run
from framewright.embedded.folders import Folders
from framewright.embedded.nodes_files import NODES as FILE_NODES
from framewright.embedded.nodes_video import NODES as VIDEO_NODES
from framewright.embedded.registry import Registry
from framewright.embedded.video import Components, FileVideo, FrameVideo, write
from framewright.errors import FramewrightError
from PIL import Image

comfy_api.install()
CORE = [*FILE_NODES, *VIDEO_NODES]
REGISTRY = Registry(CORE)


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    (tmp_path / "input").mkdir()
    return Folders(tmp_path / "input", tmp_path / "output", tmp_path / "temp")


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


@pytest.mark.parametrize("name", [None, 5.5, {"image": "a.png"}, ["a"], "a\0.png", "a" * 300 + ".png"])
def test_what_names_no_file_is_one_error(name: Any, folders: Folders) -> None:
    with pytest.raises(FramewrightError, match=r"LoadImage \(#1\): image: "):
        render(folders, ("LoadImage", {"image": name}), ("PreviewImage", {"images": ["1", 0]}))


def test_damaged_pictures_and_videos_are_one_error(folders: Folders, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(folders.input / "a.gif")
    (folders.input / "a.gif").write_bytes((folders.input / "a.gif").read_bytes()[:40])
    with pytest.raises(FramewrightError, match="image: 'a.gif' cannot be read as a picture"):
        render(folders, ("LoadImage", {"image": "a.gif"}), ("PreviewImage", {"images": ["1", 0]}))
    path = tmp_path / "x.mp4"
    write(FrameVideo(Components(torch.rand(8, 64, 64, 3), Fraction(8))), path, {})
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 2000] = b"\xff" * 2000
    path.write_bytes(data)
    with pytest.raises(FramewrightError, match=r"x.mp4 cannot be read: .*Invalid data"):
        FileVideo(path).get_components()


def test_of_two_equal_nodes_that_save_one_does(folders: Folders) -> None:
    save(torch.rand(4, 4, 3), folders, "a.png")
    saves = "SaveImage", {"images": ["1", 0], "filename_prefix": "b"}
    done = render(folders, ("LoadImage", {"image": "a.png"}), saves, saves)
    assert [path.name for path in folders.output.glob("*.png")] == ["b_00001_.png"]
    assert done.outputs["2"] == done.outputs["3"] and done.cached == ["3"]


def test_a_clip_of_any_width_is_read_alike_each_time(folders: Folders) -> None:
    frames = torch.rand(3, 36, 52, 3, generator=torch.Generator().manual_seed(2))
    write(FrameVideo(Components(frames, Fraction(8))), folders.input / "odd.mp4", {})
    first = FileVideo(folders.input / "odd.mp4").get_components().images
    assert first.shape == frames.shape
    for _ in range(8):
        torch.rand(1000, 1000)  # other things lie in memory now
        assert torch.equal(FileVideo(folders.input / "odd.mp4").get_components().images, first)


def test_a_name_too_long_for_the_disk_is_one_error(folders: Folders) -> None:
    save(torch.rand(4, 4, 3), folders, "a.png")
    with pytest.raises(FramewrightError, match=r"SaveImage \(#2\): .*too long"):
        render(
            folders,
            ("LoadImage", {"image": "a.png"}),
            ("SaveImage", {"images": ["1", 0], "filename_prefix": "x" * 300}),
        )


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


def test_six_channels_of_sound_are_kept(tmp_path: Path) -> None:
    times = torch.arange(22050) / 22050
    loud = torch.tensor([0.1, 0.2, 0.3, 0.0, 0.4, 0.5])  # without the channel of low tones
    sound = {"waveform": (loud[:, None] * torch.sin(2764 * times))[None], "sample_rate": 22050}
    write(FrameVideo(Components(clip(12), Fraction(12), sound)), tmp_path / "x.mp4", {})
    heard = FileVideo(tmp_path / "x.mp4").get_components().audio
    assert heard is not None
    torch.testing.assert_close(heard["waveform"][0].std(1) * 2**0.5, loud, atol=0.03, rtol=0)


def test_of_several_sounds_the_last_one_is_taken(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "x.mkv"), "w") as container:
        picture = container.add_stream("ffv1", rate=8, width=32, height=16, pix_fmt="yuv420p")
        sounds = [container.add_stream("pcm_s16le", rate=8000, layout="mono") for _ in range(2)]
        for sound, loud in zip(sounds, (4000, 16000), strict=True):
            heard = av.AudioFrame.from_ndarray(np.full((1, 8000), loud, np.int16), "s16", "mono")
            heard.sample_rate = 8000
            container.mux([*sound.encode(heard), *sound.encode(None)])
        for _ in range(8):
            container.mux(picture.encode(av.VideoFrame(32, 16, "yuv420p")))
        container.mux(picture.encode(None))
    taken = FileVideo(tmp_path / "x.mkv").get_components().audio
    assert taken is not None and taken["waveform"].mean() == pytest.approx(16000 / 2**15, abs=1e-3)


def test_sound_that_no_file_takes_is_refused(tmp_path: Path) -> None:
    def written(channels: int, rate: int) -> None:
        sound = {"waveform": torch.zeros(1, channels, rate), "sample_rate": rate}
        write(FrameVideo(Components(clip(8), Fraction(8), sound)), tmp_path / "x.mp4", {})

    with pytest.raises(FramewrightError, match="audio: 3 channels came, expected 1, 2, 6"):
        written(3, 22050)
    with pytest.raises(FramewrightError, match="video: x.mp4 cannot be written"):
        written(1, 192000)
    assert not list(tmp_path.iterdir())


def test_a_clip_held_upright_comes_upright(tmp_path: Path) -> None:
    write(FrameVideo(Components(clip(6), Fraction(12))), tmp_path / "x.mp4", {})
    lying = FileVideo(tmp_path / "x.mp4").get_components().images
    given, one = (tmp_path / "x.mp4").read_bytes(), (1 << 16).to_bytes(4, "big")
    header, zero, minus = given.index(b"tkhd"), bytes(4), (-(1 << 16)).to_bytes(4, "big", signed=True)
    plain, turned = (one + zero * 3 + one), (zero + one + zero + minus + zero)  # rows of the track's matrix
    (tmp_path / "x.mp4").write_bytes(given[:header] + given[header:].replace(plain, turned, 1))
    upright = FileVideo(tmp_path / "x.mp4").get_components().images
    assert upright.shape == (6, 32, 16, 3)
    torch.testing.assert_close(upright, lying.rot90(-1, (1, 2)))


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
    ("value", "text"), [("a", "a"), (2, "2"), (True, "True"), (None, "None"), ([1], "[\n    1\n]")]
)
def test_preview_any(value: Any, text: str) -> None:
    assert node("PreviewAny").execute(value).ui.as_dict() == {"text": (text,)}
