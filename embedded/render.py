"""A workflow file rendered by the built-in host, with progress in the terminal."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from .core import registry
from .execute import Cache, run
from .folders import Folders
from .workflow import load, page_of, to_prompt


def render(workflow: Path, assignments: Sequence[str], inputs: Path, out: Path) -> tuple[str, list[Path]]:
    """Run a workflow; returns the host's name and the files made, in `out`."""
    nodes, page = registry(), load(workflow)
    prompt = to_prompt(page, nodes.object_info(), assignments=assignments)
    with tempfile.TemporaryDirectory() as temp, _Bars() as bars:
        folders = Folders(input=inputs, output=out, temp=Path(temp))
        done = run(prompt, nodes, folders, Cache(), bars, page_of(page, assignments))
    return "the built-in host", list(dict.fromkeys(_saved(done.outputs, out)))


def _saved(outputs: dict[str, dict[str, Any]], out: Path) -> list[Path]:
    files = [
        file
        for shown in outputs.values()
        for value in shown.values()
        if isinstance(value, list)
        for file in value
    ]
    return [
        out / file["subfolder"] / file["filename"]
        for file in files
        if isinstance(file, dict) and file.get("type") == "output"
    ]


class _Bars:
    """A progress bar for each node that tells its steps."""

    def __init__(self) -> None:
        self._bar: tqdm | None = None
        self._title = ""

    def __enter__(self) -> "_Bars":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def __call__(self, kind: str, data: dict[str, Any]) -> None:
        if kind == "executing":
            self.__exit__()
            self._title = str(data.get("title") or data.get("node"))
        elif kind == "progress":
            if self._bar is None:
                self._bar = tqdm(total=data["max"], desc=self._title)
            self._bar.update(data["value"] - self._bar.n)
