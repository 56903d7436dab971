"""Where the built-in host reads and writes files."""

from __future__ import annotations

import contextlib
import contextvars
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import FramewrightError


@dataclass(frozen=True)
class Numbered:
    """Where the next file of a prefix goes: `folder / f"{stem}_{counter:05}_.png"`."""

    folder: Path
    stem: str
    counter: int
    subfolder: str


@dataclass(frozen=True)
class Folders:
    """The host's folders."""

    input: Path = Path("input")
    output: Path = Path("output")
    temp: Path = Path("temp")
    models: Path = Path("models")

    def find(self, name: str, socket: str) -> Path:
        """The file of this name in the input folder, or in the one named at its end, as in `a.png [output]`.

        Raises FramewrightError that names the socket if there is no such file or it lies outside the folder.
        """
        base, bare = self.input, name
        for kind in ("input", "output", "temp"):
            if name.endswith(f"[{kind}]"):
                base, bare = getattr(self, kind), name.removesuffix(f"[{kind}]").rstrip()
        try:
            path = (base / bare).resolve()
            found = path.is_file()
        except (OSError, ValueError) as error:  # too long, or with a character that no name may have
            raise FramewrightError(f"{socket}: {name!r} is no file's name: {error}") from error
        if not path.is_relative_to(base.resolve()):
            raise FramewrightError(f"{socket}: {name!r} lies outside {base}")
        if not found:
            raise FramewrightError(f"{socket}: there is no file {bare!r} in {base}")
        return path

    def list_input(self, suffixes: frozenset[str]) -> list[str]:
        """Names of the input folder's files with these suffixes."""
        if not self.input.is_dir():
            return []
        return sorted(p.name for p in self.input.iterdir() if p.is_file() and p.suffix.lower() in suffixes)

    def numbered(self, prefix: str, kind: str, width: int = 0, height: int = 0) -> Numbered:
        """The next free number of a prefix such as `video/take_%width%`, as ComfyUI counts."""
        now = time.localtime()
        facts = {
            "width": str(width),
            "height": str(height),
            "year": str(now.tm_year),
            "month": f"{now.tm_mon:02}",
            "day": f"{now.tm_mday:02}",
            "hour": f"{now.tm_hour:02}",
            "minute": f"{now.tm_min:02}",
            "second": f"{now.tm_sec:02}",
        }
        filled = prefix
        for word, value in facts.items():
            filled = filled.replace(f"%{word}%", value)
        base = Path(getattr(self, kind)).resolve()
        target = (base / filled).resolve()
        if target == base or not target.is_relative_to(base):
            raise FramewrightError(f"filename_prefix: {prefix!r} leads outside the {kind} folder {base}")
        folder, stem = target.parent, target.name
        folder.mkdir(parents=True, exist_ok=True)
        taken = [_number(one.name, stem) for one in folder.iterdir()]
        subfolder = folder.relative_to(base).as_posix()
        return Numbered(folder, stem, max(taken, default=0) + 1, "" if subfolder == "." else subfolder)


def _number(name: str, stem: str) -> int:
    if not name.startswith(f"{stem}_"):
        return 0
    digits = name[len(stem) + 1 :].split(".")[0].split("_")[0]
    return int(digits) if digits.isascii() and digits.isdigit() else 0


_current: contextvars.ContextVar[Folders] = contextvars.ContextVar("framewright_folders")


def current() -> Folders:
    """The folders in use; without any, `input`, `output`, `temp` and `models` of the working folder."""
    return _current.get(Folders())


@contextlib.contextmanager
def use(folders: Folders) -> Iterator[None]:
    token = _current.set(folders)
    try:
        yield
    finally:
        _current.reset(token)
