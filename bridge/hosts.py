"""Finding ComfyUI checkouts on this machine, and running them: as a server, or one script inside.

Nothing is written into a checkout but Python's own bytecode: every server and every script gets a base
directory of its own, with its own input, output, user folder, database and, unless lent some, models.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..errors import FramewrightError
from .client import Client

PACK_ROOT = Path(__file__).resolve().parent.parent
ANSWER_FOLDER = "FRAMEWRIGHT_ANSWER"  # environment variable: where a script of run_in_host leaves its result


@dataclass(frozen=True)
class Host:
    """A ComfyUI checkout, the interpreter that has its requirements, and its version."""

    path: Path
    python: Path
    version: str


@dataclass(frozen=True)
class Server:
    """A running ComfyUI: where it answers, its log, its base directory and the seconds its start took."""

    host: Host
    url: str
    log: Path
    folder: Path
    seconds: float


def find_hosts() -> list[Host]:
    """ComfyUI checkouts named by `COMFYUI_PATH`, else those at `~/comfy/ComfyUI*`; the newest version first.

    An empty list where there is none; FramewrightError for a named path that is not a checkout, and for a
    checkout without an interpreter.
    """
    named = [Path(entry) for entry in os.environ.get("COMFYUI_PATH", "").split(os.pathsep) if entry]
    for path in named:
        if not (path / "main.py").is_file():
            raise FramewrightError(f"COMFYUI_PATH: {path} has no main.py; expected a ComfyUI checkout")
    paths = named or [p for p in Path.home().glob("comfy/ComfyUI*") if (p / "main.py").is_file()]
    hosts = [Host(path, _interpreter(path), _version(path)) for path in {p.resolve() for p in paths}]
    return sorted(hosts, key=lambda host: _numbers(host.version), reverse=True)


def _interpreter(path: Path) -> Path:
    named = os.environ.get("COMFYUI_PYTHON")
    if named:
        found = shutil.which(named)
        if found is None:
            raise FramewrightError(f"COMFYUI_PYTHON: {named} is not a program that can be run")
        return Path(found)
    inside = "Scripts/python.exe" if os.name == "nt" else "bin/python"
    for folder in (path, path.parent):
        if (folder / ".venv" / inside).is_file():
            return folder / ".venv" / inside
    raise FramewrightError(
        f"ComfyUI at {path} has no .venv in it or beside it; set COMFYUI_PYTHON to the Python that has the "
        "checkout's requirements.txt installed"
    )


def _version(path: Path) -> str:
    source = path / "comfyui_version.py"
    found = source.is_file() and re.search(r'__version__\s*=\s*"([^"]+)"', source.read_text("utf-8"))
    if not found:
        raise FramewrightError(f"ComfyUI at {path} does not tell its version in comfyui_version.py")
    return found[1]


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)]


@contextmanager
def serve(
    host: Host,
    folder: Path | None = None,
    extra_args: Sequence[str] = (),
    *,
    pack: Path | None = PACK_ROOT,
    models: Path | None = None,
    cpu: bool = True,
    timeout: float = 300.0,
) -> Iterator[Server]:
    """A ComfyUI server for the length of a `with` block, loaded with the node pack at `pack` and no other.

    `folder` becomes its base directory and is kept; without one, a temporary folder is used and removed.
    `models`: a folder of models to lend it, if it is there.
    FramewrightError, with the end of the log, where the server dies, does not answer within `timeout`
    seconds, or cannot import a pack.
    """
    with ExitStack() as stack:
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="framewright-")))
        folder = folder.resolve()
        _furnish(folder, pack, models)
        port = free_port()
        command = [str(host.python), "main.py", "--port", str(port), "--base-directory", str(folder)]
        # The database's default place is inside the checkout, whatever the base directory is.
        command += ["--database-url", f"sqlite:///{folder / 'user' / 'comfyui.db'}"]
        command += ["--disable-auto-launch", "--disable-api-nodes", "--use-pytorch-cross-attention"]
        command += ["--cpu"] * cpu + list(extra_args)
        log = folder / "server.log"
        begin = time.monotonic()
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                cwd=host.path,
                env=_environment(host, folder),
                start_new_session=True,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        stack.callback(_stop, process)
        url = f"http://127.0.0.1:{port}"
        _await_answer(host, process, url, log, begin + timeout)
        failure = _import_failure(log.read_text("utf-8", "replace"), folder / "custom_nodes")
        if failure:
            raise FramewrightError(f"ComfyUI {host.version} could not import a node pack:\n{failure}")
        yield Server(host, url, log, folder, time.monotonic() - begin)


def _furnish(folder: Path, pack: Path | None, models: Path | None) -> None:
    for name in ("custom_nodes", "input", "output", "temp", "user"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    if pack is not None:
        _lend(folder / "custom_nodes" / "framewright", pack, "the pack")
    if models is not None and models.is_dir():
        _lend(folder / "models", models, "the models")
    (folder / "models").mkdir(exist_ok=True)


def _lend(link: Path, folder: Path, what: str) -> None:
    if not link.exists():
        link.symlink_to(folder.resolve(), target_is_directory=True)
    elif link.resolve() != folder.resolve():
        raise FramewrightError(f"{link} is there and is not {what} at {folder}")


def has_device(host: Host) -> bool:
    """Whether the host's torch finds something to compute on but the CPU."""
    script = (
        "import sys, torch; own = getattr(torch, 'accelerator', torch.cuda); sys.exit(not own.is_available())"
    )
    return subprocess.run([str(host.python), "-c", script], capture_output=True).returncode == 0


def _environment(host: Host, folder: Path) -> dict[str, str]:
    """The server's environment variables, which let an old host start beside the packages of a newer one."""
    if _numbers(host.version) >= [0, 4]:
        return dict(os.environ)
    # 0.3 serves a folder of the templates package that later releases of the package do not have.
    templates = folder / "python" / "comfyui_workflow_templates"
    (templates / "templates").mkdir(parents=True, exist_ok=True)
    (templates / "__init__.py").touch()
    return os.environ | {"PYTHONPATH": str(templates.parent)}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _await_answer(host: Host, process: subprocess.Popen, url: str, log: Path, deadline: float) -> None:
    client = Client(url, timeout=10.0)
    while True:
        try:
            client.system_stats()
            return
        except FramewrightError:
            pass  # not listening yet
        if process.poll() is not None:
            reason = f"ended with code {process.returncode} while it started"
        elif time.monotonic() > deadline:
            reason = "did not answer in time"
        else:
            time.sleep(0.2)
            continue
        tail = _tail(log.read_text("utf-8", "replace"))
        raise FramewrightError(f"ComfyUI {host.version} at {host.path} {reason}; the end of its log:\n{tail}")


def _stop(process: subprocess.Popen) -> None:
    def end(sig: int) -> None:
        if process.poll() is None:
            process.send_signal(sig) if os.name == "nt" else os.killpg(process.pid, sig)

    end(signal.SIGTERM)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        end(getattr(signal, "SIGKILL", signal.SIGTERM))
        process.wait()


def _import_failure(log: str, custom_nodes: Path) -> str | None:
    """What the log says about packs in `custom_nodes`, tracebacks and all, if one of them failed."""
    if not re.search(rf"\(IMPORT FAILED\): {re.escape(str(custom_nodes))}", log):
        return None
    # Of a failed import the host logs the traceback; of a failed comfy_entrypoint one line with the message.
    traceback = r"^Traceback \(most recent call last\):\n(?:(?!^Traceback).*\n)*?"
    said = rf"^.*{re.escape(str(custom_nodes))}.*$"
    return "\n".join(re.findall(rf"(?:{traceback})?{said}", log, re.MULTILINE))


def _tail(text: str, lines: int = 30) -> str:
    return "\n".join(text.splitlines()[-lines:])


def run_in_host(host: Host, script: Path, *args: object, timeout: float = 600.0) -> dict | bytes:
    """The answer of a Python script that runs inside the checkout, with the host's modules importable.

    The script calls `setup()` and `answer(result)` of tests/host_scripts/prologue.py. FramewrightError,
    with the end of what it printed, where it fails or gives no answer.
    """
    with tempfile.TemporaryDirectory(prefix="framewright-") as folder:
        done = subprocess.run(
            [str(host.python), str(script), *map(str, args)],
            cwd=host.path,
            timeout=timeout,
            env=os.environ | {"PYTHONPATH": str(host.path), ANSWER_FOLDER: folder},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        as_dict, as_bytes = Path(folder, "answer.json"), Path(folder, "answer.bin")
        if done.returncode == 0 and as_dict.is_file():
            return json.loads(as_dict.read_text("utf-8"))
        if done.returncode == 0 and as_bytes.is_file():
            return as_bytes.read_bytes()
    reason = "gave no answer" if done.returncode == 0 else f"ended with code {done.returncode}"
    tail = _tail(done.stdout.decode("utf-8", "replace"))
    raise FramewrightError(f"{script} in ComfyUI {host.version} {reason}; the end of its output:\n{tail}")
