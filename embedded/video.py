"""VIDEO values of the built-in host: frames in memory, or a file; and writing either."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch

from ..errors import FramewrightError

FORMATS = {"mp4": "mp4", "mkv": "matroska"}
LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1"}  # of sound, by channels
BT709 = 1  # FFmpeg's number of the matrix, which ComfyUI writes too


_ALIGNED = 32
_FULL_RANGE = ("yuvj420p", "yuvj422p", "yuvj444p", "rgb24", "rgba", "pal8")


@dataclass(frozen=True)
class Components:
    """Frames [F, H, W, 3] in 0..1, frames a second, and sound as {"waveform": [1, C, T], "sample_rate"}."""

    images: torch.Tensor
    frame_rate: Fraction
    audio: dict[str, Any] | None = None


@dataclass(frozen=True)
class FrameVideo:
    """A video that was made from frames."""

    components: Components
    bit_depth: int = 8

    def get_components(self) -> Components:
        return self.components

    def in_turn(self) -> Components:
        """The same, with frames that need only stand being gone through."""
        return self.components

    def get_dimensions(self) -> tuple[int, int]:
        return self.components.images.shape[2], self.components.images.shape[1]

    def get_bit_depth(self) -> int:
        return self.bit_depth


class StreamedVideo(FrameVideo):
    """A video whose frames are made as they are gone through."""

    def get_components(self) -> Components:
        return replace(self.components, images=self.components.images.whole())


@dataclass(frozen=True)
class FileVideo:
    """A video file; it is read when its frames are asked for."""

    path: Path

    def get_dimensions(self) -> tuple[int, int]:
        with self._open() as container:
            return container.streams.video[0].width, container.streams.video[0].height

    def get_bit_depth(self) -> int:
        with self._open() as container:
            return max(part.bits for part in container.streams.video[0].format.components)

    def get_components(self) -> Components:
        with self._open() as container:
            rate = Fraction(container.streams.video[0].average_rate or 1)
        return Components(self.pictures()[..., :3], rate, self._sound())

    def pictures(self) -> torch.Tensor:
        """All frames [F, H, W, 3], or with transparency as a fourth channel."""
        with self._open() as container:
            stream = container.streams.video[0]
            read = _Reader(stream.time_base)
            frames = [read(frame) for frame in container.decode(stream)]
        if not frames:
            raise FramewrightError(f"video: {self.path.name} has no frame that can be read")
        return torch.from_numpy(np.stack(frames))

    def in_turn(self) -> Components:
        return self.get_components()

    def _sound(self) -> dict[str, Any] | None:
        with self._open() as container:
            decodable = [one for one in container.streams.audio if one.codec_context is not None]
            if not decodable:
                return None
            stream = decodable[-1]  # as the host takes it
            resampler = av.audio.resampler.AudioResampler(format="fltp")
            parts = [
                part.to_ndarray() for frame in container.decode(stream) for part in resampler.resample(frame)
            ]
            if not parts:
                return None
            return {
                "waveform": torch.from_numpy(np.concatenate(parts, axis=1)).unsqueeze(0),
                "sample_rate": stream.rate,
            }

    @contextmanager
    def _open(self) -> Iterator[Any]:
        """Its container, for a `with` block; FramewrightError for what cannot be read there."""
        try:
            with av.open(str(self.path)) as container:
                if not container.streams.video:
                    raise FramewrightError(f"video: {self.path.name} has no pictures, expected a video file")
                yield container
        except (av.error.FFmpegError, OSError) as error:
            raise FramewrightError(f"video: {self.path.name} cannot be read: {error}") from error


Video = FrameVideo | FileVideo


class _Reader:
    """Frames [H, W, 3 or 4] in 0..1, upright; as in newer hosts, only full-range ones go through bytes.

    FFmpeg's conversion to floats looks beyond the right edge of frames whose width is no multiple of 32, at
    whatever lies there. So these are made larger first, by their own last pixels.
    """

    def __init__(self, time_base: Fraction) -> None:
        self._time_base, self._graph = time_base, None

    def __call__(self, frame: av.VideoFrame) -> np.ndarray:
        name = frame.format.name
        alpha = name == "pal8" or any(part.is_alpha for part in frame.format.components)
        if name in _FULL_RANGE:
            pixels = frame.to_ndarray(format="rgba" if alpha else "rgb24").astype(np.float32) / 255
        else:
            whole = self._larger(frame) if frame.width % _ALIGNED else frame
            pixels = whole.to_ndarray(format="gbrapf32le" if alpha else "gbrpf32le")
            pixels = pixels[: frame.height, : frame.width]
        return np.rot90(pixels, round(frame.rotation / 90))

    def _larger(self, frame: av.VideoFrame) -> av.VideoFrame:
        if self._graph is None:
            width, height = (-(-side // _ALIGNED) * _ALIGNED for side in (frame.width, frame.height))
            self._graph = av.filter.Graph()
            self._graph.link_nodes(
                self._graph.add_buffer(
                    width=frame.width, height=frame.height, format=frame.format.name,
                    time_base=self._time_base,
                ),
                self._graph.add("pad", f"{width}:{height}:0:0"),
                self._graph.add(
                    "fillborders",
                    f"left=0:right={width - frame.width}:top=0:bottom={height - frame.height}:mode=smear",
                ),
                self._graph.add("buffersink"),
            ).configure()  # fmt: skip
        self._graph.push(frame)
        return self._graph.pull()


def write(video: Video, path: Path, metadata: dict[str, Any], crf: float | None = None) -> None:
    """The video as an H.264 file in the container of its suffix, with `metadata` as JSON texts."""
    parts, ten_bit = video.in_turn(), video.get_bit_depth() >= 10
    height, width = parts.images.shape[1:3]
    if width % 2 or height % 2:
        raise FramewrightError(f"video: frames are {width} x {height}, H.264 takes even sizes only")
    if parts.audio is not None and (channels := parts.audio["waveform"].shape[1]) not in LAYOUTS:
        raise FramewrightError(f"audio: {channels} channels came, expected {', '.join(map(str, LAYOUTS))}")
    try:
        _write(parts, ten_bit, path, metadata, crf)
    except BaseException as error:
        path.unlink(missing_ok=True)  # the part that was written is no video
        if isinstance(error, av.error.FFmpegError):
            raise FramewrightError(f"video: {path.name} cannot be written: {error}") from error
        raise


def _write(parts: Components, ten_bit: bool, path: Path, metadata: dict[str, Any], crf: float | None) -> None:
    count, height, width = parts.images.shape[:3]
    options = {"movflags": "use_metadata_tags+faststart"} if path.suffix == ".mp4" else {}
    with av.open(str(path), mode="w", format=FORMATS[path.suffix[1:]], options=options) as container:
        for key, value in metadata.items():
            container.metadata[key] = json.dumps(value)
        stream = container.add_stream("h264", rate=Fraction(round(parts.frame_rate * 1000), 1000))
        stream.width, stream.height = width, height
        stream.pix_fmt = "yuv420p10le" if ten_bit else "yuv420p"
        stream.options = {} if crf is None else {"crf": str(crf)}
        _mark_colours(stream.codec_context)
        sound = None
        if parts.audio is not None:
            layout = LAYOUTS[parts.audio["waveform"].shape[1]]
            sound = container.add_stream("aac", rate=int(parts.audio["sample_rate"]), layout=layout)
        for image in parts.images:
            container.mux(stream.encode(_frame(image, ten_bit, stream.pix_fmt)))
        container.mux(stream.encode(None))
        if sound is not None:
            seconds = count / parts.frame_rate
            samples = parts.audio["waveform"][0, :, : int(np.ceil(seconds * sound.rate))]
            block = av.AudioFrame.from_ndarray(
                samples.float().cpu().contiguous().numpy(), format="fltp", layout=sound.layout.name
            )
            block.sample_rate = sound.rate
            block.pts = 0
            container.mux(sound.encode(block))
            container.mux(sound.encode(None))


def _frame(image: torch.Tensor, ten_bit: bool, pix_fmt: str) -> av.VideoFrame:
    top, kind, name = (65535, np.uint16, "rgb48le") if ten_bit else (255, np.uint8, "rgb24")
    pixels = (image[..., :3].float() * top).clamp(0, top).cpu().numpy().astype(kind)
    frame = av.VideoFrame.from_ndarray(pixels, format=name).reformat(format=pix_fmt, dst_colorspace=BT709)
    _mark_colours(frame)
    return frame


def _mark_colours(target: Any) -> None:
    """Says that pixels are sRGB in BT.709, so that players need not guess."""
    reformatter = av.video.reformatter
    target.color_primaries = reformatter.ColorPrimaries.BT709
    target.color_trc = reformatter.ColorTrc.IEC61966_2_1
    target.colorspace = BT709
    target.color_range = reformatter.ColorRange.MPEG
