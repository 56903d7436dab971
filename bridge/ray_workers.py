"""Workers on a Ray cluster: an actor each, on a GPU of its own where the cluster has any.

An actor starts the process that a worker on this machine is, so each machine of the cluster has the host and
this pack at the same place. Which cluster it is, Ray takes from the environment variable RAY_ADDRESS or from
this machine, never from a workflow; where there is none, it begins one on this machine.
"""

import pickle
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from torch import Tensor

from ..errors import FramewrightError
from ..sampling.long_video import Job
from .host import Start
from .worker_pool import TICK, Pool, WorkerLost
from .worker_process import made, packed

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = __name__.removesuffix(".bridge.ray_workers")  # which each host gives another name
CLOSE_SECONDS = 5


@contextmanager
def ray_pool(
    start: Start, count: int, same: Callable[[bytes], bool], tick: Callable[[int], None]
) -> Iterator[Pool]:
    """`count` actors; raises where Ray is not installed, or its cluster cannot be reached."""
    try:
        import ray
    except ImportError as error:
        raise FramewrightError(
            "backend: a Ray cluster came, expected the package ray to be installed (pip install ray)"
        ) from error
    ours = not ray.is_initialized()
    try:
        if ours:
            ray.init(log_to_driver=False, include_dashboard=False)
        actor = ray.remote(**_share(ray.cluster_resources()))(_actor())
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise FramewrightError(f"backend: the Ray cluster cannot be reached: {error}") from error
    try:
        with Pool(lambda _, stop: RayWorker(ray, actor, start, stop), count, same, tick) as pool:
            yield pool
    finally:
        if ours:
            ray.shutdown()


def _share(cluster: dict[str, float]) -> dict[str, int]:
    return {"num_gpus": 1, "num_cpus": 0} if cluster.get("GPU") else {"num_cpus": 1}


def _actor() -> type:
    """The actor's class; within a function, so that Ray sends its code and not its name."""

    class Actor:
        def __init__(self, package: str, root: str, start: bytes) -> None:
            import importlib
            import pickle
            import sys
            import types

            if package not in sys.modules:
                sys.modules[package] = types.ModuleType(package)
                sys.modules[package].__path__ = [root]
            self._process = importlib.import_module(f"{package}.bridge.worker_process")
            self._start, self._worker = pickle.loads(start), None

        def begin(self) -> bytes:
            import threading

            self._worker = self._process.WorkerProcess(self._start, {}, threading.Event())
            return self._worker.summary

        def make(self, job: bytes) -> Iterator[bytes]:
            """Nothing for each step, then the segment."""
            yield from self._worker.answers(job)

        def close(self) -> None:
            if self._worker is not None:
                self._worker.close()

    return Actor


class RayWorker:
    """An actor, seen from here."""

    def __init__(self, ray: Any, actor: Any, start: Start, stop: threading.Event) -> None:
        self._ray = ray
        self._actor = actor.options(max_concurrency=2).remote(PACKAGE, str(ROOT), pickle.dumps(start))
        begun = self._actor.begin.remote()
        while not ray.wait([begun], timeout=TICK)[0]:
            if stop.is_set():
                self.close()
                raise WorkerLost("it was stopped")
        self.summary = self._got(begun)

    def make(self, job: Job, stepped: Callable[[], None]) -> Tensor:
        given = self._ray.put(packed(job))
        answers = self._actor.make.options(num_returns="streaming").remote(given)
        return made(map(self._got, answers), stepped)

    def _got(self, answer: Any) -> bytes:
        try:
            return self._ray.get(answer)
        except self._ray.exceptions.RayTaskError as error:
            raise error.cause from error
        except self._ray.exceptions.RayError as error:
            raise WorkerLost(str(error).strip()) from error

    def close(self) -> None:
        with suppress(self._ray.exceptions.RayError):
            self._ray.get(self._actor.close.remote(), timeout=CLOSE_SECONDS)
        self._ray.kill(self._actor)
