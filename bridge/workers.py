"""Segments of a long video made by other processes, each of which runs the graph up to the sampler.

A worker is a host of its own: it builds model and prompts from the graph as any host does, so that nothing of
them has to be sent. What goes between is a segment's latents, as safetensors, over a local connection that
both ends prove a key for.
"""

import logging
import os
import secrets
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import torch
from safetensors.torch import load, save
from torch import Tensor

from ..errors import FramewrightError
from ..sampling.long_video import Job
from .host import Start, host

log = logging.getLogger("framewright")
FOLDER, KEY = "FRAMEWRIGHT_WORKER", "FRAMEWRIGHT_WORKER_KEY"  # environment variables of a worker
ADDRESS = "address"  # the file in a worker's folder that says where it listens
TRIES, TICK, START_SECONDS = 3, 0.5, 600


class Video(Protocol):
    """What a worker serves."""

    def make(self, job: Job, told: Callable[..., None]) -> Tensor: ...

    def fingerprint(self) -> str: ...


class WorkerLost(Exception):
    """A worker's process has ended, or never began; the text says how."""


def serving() -> bool:
    """Whether this process is a worker."""
    return FOLDER in os.environ


def serve(video: Video) -> None:
    """Make what the process that started this one asks for, and end with it."""
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    folder = Path(os.environ[FOLDER])
    with Listener(("127.0.0.1", 0), authkey=bytes.fromhex(os.environ[KEY])) as listener:
        part = folder / "part"
        part.write_text(str(listener.address[1]))
        part.replace(folder / ADDRESS)
        with listener.accept() as connection, suppress(EOFError):
            connection.send_bytes(video.fingerprint().encode())
            while True:
                job = _job(load(connection.recv_bytes()))
                made = video.make(job, lambda *_: connection.send_bytes(b""))
                connection.send_bytes(save({"latents": made.contiguous()}))
    os._exit(0)


def _end_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _packed(job: Job) -> bytes:
    numbers = torch.tensor((job.number, *job.frames))
    return save({"numbers": numbers, "latents": job.latents.contiguous(), "given": job.given})


def _job(given: dict[str, Tensor]) -> Job:
    number, *frames = given["numbers"].tolist()
    return Job(number, tuple(frames), given["latents"], given["given"])


class Worker:
    """A worker's process, seen from the one that started it."""

    def __init__(
        self, start: Start, environment: Mapping[str, str], fingerprint: str, stop: threading.Event
    ) -> None:
        """Raises WorkerLost where it does not come up, or is stopped before.

        FramewrightError where it would make another video.
        """
        self._folder = TemporaryDirectory(prefix="framewright-", ignore_cleanup_errors=True)
        folder, key = Path(self._folder.name), secrets.token_hex(32)
        self._process = start({**os.environ, **environment, FOLDER: str(folder), KEY: key}, folder)
        try:
            self._connection = self._connected(folder, bytes.fromhex(key), stop)
            told = self._connection.recv_bytes().decode()
        except (OSError, EOFError, AuthenticationError) as error:
            end = self._end(error)
            self.close()
            raise WorkerLost(end) from error
        if told != fingerprint:
            self.close()
            raise FramewrightError(
                "workers: a worker process made other noise, prompts or latents of the same graph, expected "
                "nodes whose results depend on their inputs alone; set workers to 0"
            )

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
        """A segment's latents; raises WorkerLost where the worker ends before it has them."""
        try:
            self._connection.send_bytes(_packed(job))
            while not (answer := self._connection.recv_bytes()):
                stepped()
        except (OSError, EOFError) as error:
            raise WorkerLost(self._end(error)) from error
        return load(answer)["latents"]

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


class Pool:
    """`count` workers for segments that know nothing of each other; a lost worker's segment is made again.

    `tick` is called twice a second with the steps done since, and ends the work by raising.
    """

    def __init__(self, start: Start, count: int, fingerprint: str, tick: Callable[[int], None]) -> None:
        self._start, self._count, self._fingerprint, self._tick = start, count, fingerprint, tick
        self._threads = ThreadPoolExecutor(count, "framewright worker")
        self._thread, self._workers = threading.local(), dict[int, Worker]()  # a worker of each thread's own
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._steps, self._threads_seen = 0, -1

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, *_: Any) -> None:
        self._stop.set()
        with self._lock:
            for worker in self._workers.values():
                worker.close()
        self._threads.shutdown(cancel_futures=True)

    def __call__(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Tensor]]:
        pending: set[Future[tuple[int, Tensor]]] = {self._threads.submit(self._make, job) for job in jobs}
        while pending:
            done, pending = wait(pending, TICK, FIRST_COMPLETED)
            with self._lock:
                steps, self._steps = self._steps, 0
            self._tick(steps)
            for one in done:
                yield one.result()

    def _make(self, job: Job) -> tuple[int, Tensor]:
        if not hasattr(self._thread, "number"):
            with self._lock:
                self._thread.number = self._threads_seen = self._threads_seen + 1
        number, lost = self._thread.number, ""
        for _ in range(TRIES):
            try:
                return job.number, self._worker(number).make(job, self._stepped)
            except WorkerLost as error:
                lost = str(error)
                with self._lock:
                    if (worker := self._workers.pop(number, None)) is not None:
                        worker.close()
                if self._stop.is_set():
                    break
                log.warning("A worker was lost; segment %d is tried again: %s", job.number, lost)
        raise FramewrightError(
            f"workers: segment {job.number} was tried {TRIES} times, each time its worker was lost: {lost}"
        )

    def _worker(self, number: int) -> Worker:
        with self._lock:
            worker = self._workers.get(number)
        if worker is None:
            worker = Worker(self._start, _share(number, self._count), self._fingerprint, self._stop)
            with self._lock:
                self._workers[number] = worker
        return worker

    def _stepped(self) -> None:
        with self._lock:
            self._steps += 1


def _share(number: int, count: int) -> dict[str, str]:
    """A worker's part of the machine: a GPU where there are several, else its part of the cores."""
    if torch.cuda.is_available():
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(torch.cuda.device_count()))))
        return {"CUDA_VISIBLE_DEVICES": visible.split(",")[number % torch.cuda.device_count()]}
    return {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // count))}


def graph_to(prompt: Mapping[str, Any], key: str) -> dict[str, Any]:
    """The part of a prompt that a node needs, with the node itself, as a prompt that a host runs."""
    needed, ahead = {}, [key]
    while ahead:
        if (one := ahead.pop()) not in needed:
            needed[one] = prompt[one]
            ahead += [value[0] for value in prompt[one]["inputs"].values() if isinstance(value, list)]
    return {**needed, "framewright_end": {"class_type": "PreviewAny", "inputs": {"source": [key, 0]}}}


def processes(
    prompt: Mapping[str, Any], key: str, count: int
) -> Callable[[str, Callable[[int], None]], Pool]:
    """What makes a pool of processes, each of which runs a prompt up to the node `key`."""
    start = host().worker(graph_to(prompt, key))
    return lambda fingerprint, tick: Pool(start, count, fingerprint, tick)
