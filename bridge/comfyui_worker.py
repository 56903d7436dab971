"""Another ComfyUI beside this one, started as this one was, to run a graph for it."""

import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import FramewrightError
from .client import Client
from .hosts import free_port

START_SECONDS = 300
_OWN = ("--port", "--database-url")  # options that no two servers share


def start(prompt: dict[str, Any], environment: Mapping[str, str], folder: Path) -> subprocess.Popen:
    """A server with the same folders, packs and options, that has the prompt in its queue.

    Where it ends before it answers, so does what is returned.
    """
    port, main = free_port(), Path(sys.argv[0]).resolve()
    command = [
        sys.executable,
        str(main),
        *_others(sys.argv[1:]),
        "--port",
        str(port),
        "--disable-auto-launch",
    ]
    command += ["--database-url", f"sqlite:///{folder / 'comfyui.db'}"]
    with (folder / "log").open("wb") as said:
        process = subprocess.Popen(
            command, cwd=main.parent, env=environment, stdin=subprocess.DEVNULL, stdout=said,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
    deadline = time.monotonic() + START_SECONDS
    client = Client(f"http://127.0.0.1:{port}", timeout=10.0)
    while process.poll() is None and time.monotonic() < deadline:
        try:
            client.system_stats()
        except FramewrightError:
            time.sleep(0.2)
            continue
        try:
            with client:
                client.queue(prompt)
        except FramewrightError:
            process.kill()
            raise
        break
    return process


def _others(arguments: list[str]) -> list[str]:
    kept = iter(arguments)
    others = []
    for word in kept:
        if word in _OWN:
            next(kept, None)
        elif word != "--auto-launch" and not word.startswith(tuple(f"{own}=" for own in _OWN)):
            others.append(word)
    return others
