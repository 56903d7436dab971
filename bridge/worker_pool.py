"""Segments of a long video shared out among workers, whatever these are."""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any, Protocol

from torch import Tensor

from ..errors import FramewrightError
from ..sampling.long_video import Job

log = logging.getLogger("framewright")
TRIES, TICK = 3, 0.5


class WorkerLost(Exception):
    """A worker has ended, or never began; the text says how."""


class Worker(Protocol):
    summary: bytes  # of the video that it makes

    def make(self, job: Job, stepped: Callable[[], None]) -> Tensor:
        """A segment's latents; raises WorkerLost where the worker ends before it has them."""

    def close(self) -> None: ...


# From a worker's number and what is set when the work is to stop; raises WorkerLost if it does not come up.
Open = Callable[[int, threading.Event], Worker]


class Pool:
    """`count` workers for segments that know nothing of each other; a lost worker's segment is made again.

    `same` tells from a worker's summary whether it makes the right video. `tick` is called twice a second,
    with the steps done since, and ends the work by raising.
    """

    def __init__(
        self, open: Open, count: int, same: Callable[[bytes], bool], tick: Callable[[int], None]
    ) -> None:
        self._open, self._same, self._tick = open, same, tick
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

    def __call__(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, Tensor]]:
        pending: set[Future[tuple[Job, Tensor]]] = {self._threads.submit(self._make, job) for job in jobs}
        while pending:
            done, pending = wait(pending, TICK, FIRST_COMPLETED)
            with self._lock:
                steps, self._steps = self._steps, 0
            self._tick(steps)
            for one in done:
                yield one.result()

    def _make(self, job: Job) -> tuple[Job, Tensor]:
        if not hasattr(self._thread, "number"):
            with self._lock:
                self._thread.number = self._threads_seen = self._threads_seen + 1
        number, lost, which = self._thread.number, "", ", ".join(map(str, job.segments))

        def stepped() -> None:
            with self._lock:
                self._steps += len(job.segments)

        for _ in range(TRIES):
            try:
                return job, self._worker(number).make(job, stepped)
            except WorkerLost as error:
                lost = str(error)
                with self._lock:
                    if (worker := self._workers.pop(number, None)) is not None:
                        worker.close()
                if self._stop.is_set():
                    break
                log.warning("A worker was lost; segment %s is tried again: %s", which, lost)
        raise FramewrightError(
            f"workers: segment {which} was tried {TRIES} times, each time its worker was lost: {lost}"
        )

    def _worker(self, number: int) -> Worker:
        with self._lock:
            worker = self._workers.get(number)
        if worker is None:
            worker = self._open(number, self._stop)
            if not self._same(worker.summary):
                worker.close()
                raise FramewrightError(
                    "workers: a worker made other noise, prompts or latents of the same graph, expected "
                    "nodes whose results depend on their inputs alone; set workers to 0"
                )
            with self._lock:
                self._workers[number] = worker
        return worker
