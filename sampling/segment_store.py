"""Finished segments of a long video on disk, so that a run that was ended goes on where it was."""

import hashlib
import os
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ..errors import FramewrightError

_LATENTS = "latents"


class SegmentStore:
    """One safetensors file a segment, in the folder of a plan; a file is there whole or not at all."""

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self.folder, self._plan = folder, fingerprint
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FramewrightError(f"name: the folder {folder} cannot be made: {error.strerror}") from error

    def _path(self, number: int) -> Path:
        return self.folder / f"segment_{number:05}.safetensors"

    def finished(self) -> int:
        """How many segments are there."""
        return len(list(self.folder.glob("segment_*.safetensors")))

    def load(self, number: int) -> Tensor | None:
        """Latents [F, C, h, w] of a segment, None where it is not finished; raises where it is damaged."""
        path = self._path(number)
        if not path.exists():
            return None
        try:
            with safe_open(path, framework="pt") as file:
                latents, written = file.get_tensor(_LATENTS), file.metadata() or {}
            if written != self._metadata(latents):
                raise ValueError("its content is not what was written for this plan")
        except (OSError, ValueError, SafetensorError) as error:
            raise FramewrightError(
                f"name: segment {number} in {path} is damaged ({error}); delete the file to have it made "
                f"again, the other {self.finished() - 1} finished segments are kept"
            ) from error
        return latents

    def save(self, number: int, latents: Tensor) -> None:
        """Write a segment; raises where that cannot be done, and then leaves nothing of it."""
        latents = latents.cpu().contiguous()
        part = self.folder / f".{self._path(number).name}.{os.getpid()}"
        try:
            with part.open("wb") as file:
                file.write(save({_LATENTS: latents}, self._metadata(latents)))
                file.flush()
                os.fsync(file.fileno())
            part.replace(self._path(number))
        except OSError as error:
            part.unlink(missing_ok=True)
            raise FramewrightError(
                f"name: segment {number} cannot be written to {self.folder}: {error.strerror}; the "
                f"{self.finished()} segments finished before it are kept"
            ) from error

    def _metadata(self, latents: Tensor) -> dict[str, str]:
        return {"plan": self._plan, "sha256": hashlib.sha256(latents.numpy().tobytes()).hexdigest()}
