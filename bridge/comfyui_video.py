"""ComfyUI's VIDEO of frames, over frames that are decoded as it goes through them."""

from fractions import Fraction
from typing import Any

from comfy_api.input_impl import VideoFromComponents
from comfy_api.util import VideoComponents


class StreamedVideo(VideoFromComponents):
    """Its `save_to` is the host's own, and takes one frame after another."""

    def __init__(self, frames: Any, fps: float) -> None:
        super().__init__(VideoComponents(images=frames, frame_rate=Fraction(fps)))
        self._frames, self._rate = frames, Fraction(fps)

    def get_components(self) -> VideoComponents:
        return VideoComponents(images=self._frames.whole(), frame_rate=self._rate)

    def get_dimensions(self) -> tuple[int, int]:
        return self._frames.shape[2], self._frames.shape[1]
