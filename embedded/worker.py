"""Another built-in host beside this one, to run a graph for it."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

RUN = Path(__file__).resolve().parent.parent / "run.py"


def start_worker(
    prompt: dict[str, Any], inputs: Path, outputs: Path, environment: Mapping[str, str], folder: Path
) -> subprocess.Popen:
    """A process that runs the prompt, with the same folders; `folder` is its own."""
    graph = folder / "graph.json"
    graph.write_text(json.dumps(prompt))
    command = [sys.executable, str(RUN), str(graph), "--input", str(inputs), "--out", str(outputs)]
    with (folder / "log").open("wb") as said:
        return subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT
        )
