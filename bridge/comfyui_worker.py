"""Another ComfyUI beside this one, started as this one was, to run a graph for it."""

import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any

from ..errors import FramewrightError
from .client import Client
from .hosts import free_port

START_SECONDS = 300
# options that no two servers share (each empties its folder of temporary files), or that only one with users
# needs; each worker is given a GPU of its own
_OWN = {"--port", "--database-url", "--temp-directory", "--listen", "--tls-keyfile", "--tls-certfile",
        "--auto-launch", "--cuda-device", "--default-device"}  # fmt: skip


def start_worker(
    prompt: dict[str, Any], arguments: Sequence[str], environment: Mapping[str, str], folder: Path
) -> subprocess.Popen:
    """A server with the folders, packs and options of `arguments`, that has the prompt in its queue.

    It ends where the graph does, which is only where that fails: a worker goes on until it is killed.
    """
    port = free_port()
    command = [sys.executable, arguments[0], *_others(arguments[1:])]
    command += ["--port", str(port), "--disable-auto-launch", "--temp-directory", str(folder)]
    command += ["--database-url", f"sqlite:///{folder / 'comfyui.db'}"]
    log = folder / "log"
    with log.open("wb") as said:
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT
        )
    deadline = time.monotonic() + START_SECONDS
    client = Client(f"http://127.0.0.1:{port}", timeout=10.0)
    while process.poll() is None and time.monotonic() < deadline:
        try:
            client.system_stats()
        except FramewrightError:
            time.sleep(0.2)
            continue
        Thread(target=_run, args=(client, prompt, process, log), daemon=True).start()
        break
    return process


def _run(client: Client, prompt: dict[str, Any], process: subprocess.Popen, log: Path) -> None:
    with client:
        try:
            client.follow(client.queue(prompt))
        except FramewrightError as error:
            with suppress(OSError), log.open("a") as said:  # gone, where the worker was ended from here
                said.write(str(error))
    process.kill()


def _others(arguments: Sequence[str]) -> list[str]:
    """Options, each with its values, that the worker shares."""
    others, kept = [], True
    for word in arguments:
        if word.startswith("--"):
            kept = word.split("=")[0] not in _OWN
        if kept:
            others.append(word)
    return others
