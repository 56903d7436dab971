"""A worker of a long video: another process, that runs the graph up to the sampler and then makes segments.

It is a host of its own: it builds model and prompts from the graph as any host does, so that nothing of them
has to be sent. What goes between is a segment's latents, as safetensors, over a local connection that both
ends prove a key for.
"""

import os
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

import torch
from safetensors.torch import load, save
from torch import Tensor

from ..sampling.long_video import Job
from .host import Start
from .worker_pool import WorkerLost

# environment variables of a worker
FOLDER, KEY, PARENT = "FRAMEWRIGHT_WORKER", "FRAMEWRIGHT_WORKER_KEY", "FRAMEWRIGHT_WORKER_PARENT"
ADDRESS = "address"  # the file in a worker's folder that says where it listens
START_SECONDS = 600


class Video(Protocol):
    """What a worker serves."""

    def make(self, job: Job, told: Callable[..., None]) -> Tensor: ...

    def summary(self) -> bytes:
        """By which another process can tell that it is the same video."""


def serving() -> bool:
    """Whether this process is a worker."""
    return FOLDER in os.environ


def serve(video: Video) -> None:
    """Make what the process that started this one asks for, and end with it."""
    threading.Thread(target=_end_with_parent, args=(int(os.environ[PARENT]),), daemon=True).start()
    folder = Path(os.environ[FOLDER])
    with Listener(("127.0.0.1", 0), authkey=bytes.fromhex(os.environ[KEY])) as listener:
        part = folder / "part"
        part.write_text(str(listener.address[1]))
        part.replace(folder / ADDRESS)
        with listener.accept() as connection, suppress(EOFError):
            connection.send_bytes(video.summary())
            while True:
                job = _job(load(connection.recv_bytes()))
                segment = video.make(job, lambda *_: connection.send_bytes(b""))
                connection.send_bytes(save({"latents": segment.contiguous()}))
    os._exit(0)


def _end_with_parent(parent: int) -> None:
    if sys.platform == "win32":  # the parent of a virtual environment's python is a launcher
        import _winapi

        with suppress(OSError):  # which has ended already
            _winapi.WaitForSingleObject(
                _winapi.OpenProcess(_winapi.SYNCHRONIZE, False, parent), _winapi.INFINITE
            )
    else:
        while os.getppid() == parent:
            time.sleep(1)
    os._exit(1)


def packed(job: Job) -> bytes:
    numbers = {"segments": torch.tensor(job.segments), "frames": torch.tensor(job.frames)}
    return save({**numbers, "latents": job.latents.contiguous(), "given": job.given})


def made(answers: Iterable[bytes], stepped: Callable[[], None]) -> Tensor:
    """A segment's latents, of a worker's answers: nothing for each step, then the latents."""
    for answer in answers:
        if answer:
            return load(answer)["latents"]
        stepped()
    raise WorkerLost("it gave no latents")


def _job(given: dict[str, Tensor]) -> Job:
    segments, frames = (tuple(given[name].tolist()) for name in ("segments", "frames"))
    return Job(segments, frames, given["latents"], given["given"])


class WorkerProcess:
    """A worker's process, seen from the one that started it."""

    def __init__(self, start: Start, environment: Mapping[str, str], stop: threading.Event) -> None:
        """Raises WorkerLost where it does not come up, or is stopped before."""
        self._folder = TemporaryDirectory(prefix="framewright-", ignore_cleanup_errors=True)
        folder, key = Path(self._folder.name), secrets.token_hex(32)
        own = {FOLDER: str(folder), KEY: key, PARENT: str(os.getpid())}
        self._process = start({**os.environ, **environment, **own}, folder)
        try:
            self._connection = self._connected(folder, bytes.fromhex(key), stop)
            self.summary = self._connection.recv_bytes()
        except (OSError, EOFError, AuthenticationError) as error:
            end = self._end(error)
            self.close()
            raise WorkerLost(end) from error

    def _connected(self, folder: Path, key: bytes, stop: threading.Event) -> Connection:
        deadline = time.monotonic() + START_SECONDS
        while not (folder / ADDRESS).exists():
            if self._process.poll() is not None:
                raise EOFError(f"its process ended with code {self._process.returncode}")
            if time.monotonic() > deadline:
                raise EOFError(f"it did not begin to sample within {START_SECONDS} seconds")
            if stop.wait(0.1):
                raise EOFError("it was stopped")
        return Client(("127.0.0.1", int((folder / ADDRESS).read_text())), authkey=key)

    def make(self, job: Job, stepped: Callable[[], None]) -> Tensor:
        return made(self.answers(packed(job)), stepped)

    def answers(self, job: bytes) -> Iterator[bytes]:
        """What the worker says of a job as it goes on; raises WorkerLost where it ends before it is done."""
        try:
            self._connection.send_bytes(job)
            while not (answer := self._connection.recv_bytes()):
                yield answer
        except (OSError, EOFError) as error:
            raise WorkerLost(self._end(error)) from error
        yield answer

    def _end(self, error: BaseException) -> str:
        """How it ended, with the end of what it said."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(2)
        said = Path(self._folder.name) / "log"
        lines = said.read_text("utf-8", "replace").splitlines()[-8:] if said.exists() else []
        return "; ".join([str(error) or f"its process ended with code {self._process.poll()}", *lines])

    def close(self) -> None:
        if hasattr(self, "_connection"):
            self._connection.close()
        self._process.kill()
        self._process.wait()
        self._folder.cleanup()
