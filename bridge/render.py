"""A workflow file rendered by a real ComfyUI: one that runs already, or one found and started for it."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..embedded.workflow import load, page_of, to_prompt
from ..errors import FramewrightError
from .client import Client, Progress
from .hosts import find_hosts, has_device, serve


def render(
    workflow: Path, assignments: Sequence[str], inputs: Path, out: Path, server: str | None = None
) -> tuple[str, list[Path]]:
    """Run a workflow; returns the host's name and the files made, in `out`.

    Without a `server` the newest ComfyUI found is started for it, with its models, and no pack but this one.
    """
    page, called, started = load(workflow), f"the ComfyUI at {server}", server is None
    with ExitStack() as stack:
        if server is None:
            hosts = find_hosts()
            if not hosts:
                raise FramewrightError(
                    "host: no ComfyUI found; set COMFYUI_PATH to a checkout, or name a --server"
                )
            host, there = hosts[0], ["--output-directory", str(out.resolve())]
            own = host.path / "models"
            server = stack.enter_context(serve(host, None, there, models=own, cpu=not has_device(host))).url
            called = "the ComfyUI started for it, with this pack alone; name by --server one that has it"
        client = stack.enter_context(Client(server))
        info = client.object_info()
        prompt = to_prompt(page, info, called, assignments)
        _upload(client, prompt, info, inputs)
        version = client.system_stats()["system"].get("comfyui_version", "of unknown version")
        history = _follow(client, client.queue(prompt, page_of(page, assignments)), prompt)
        files = [file for file in client.outputs(history) if file.type == "output"]
        made = [
            out / file.subfolder / file.filename if started else client.download(file, out) for file in files
        ]
        return f"ComfyUI {version} at {server}", made


def _upload(client: Client, prompt: dict[str, Any], info: dict[str, Any], inputs: Path) -> None:
    """Send the files that loaders name, where they are in the folder of inputs, by the names they get."""
    for node in prompt.values():
        declared = info.get(node["class_type"], {}).get("input", {})  # what it lacks the server says itself
        for name, spec in {**declared.get("required", {}), **declared.get("optional", {})}.items():
            loads = len(spec) > 1 and any(
                spec[1].get(f"{kind}_upload") for kind in ("image", "video", "audio")
            )
            value = node["inputs"].get(name)
            if loads and isinstance(value, str) and (inputs / value).is_file():
                node["inputs"][name] = client.upload(inputs / value)


def _follow(client: Client, prompt_id: str, prompt: dict[str, Any]) -> dict[str, Any]:
    bars: dict[str, tqdm] = {}
    show = _shower(bars, prompt)
    try:
        return client.follow(prompt_id, show)
    except KeyboardInterrupt:
        client.interrupt(prompt_id)
        raise
    finally:
        for bar in bars.values():
            bar.close()


def _shower(bars: dict[str, tqdm], prompt: dict[str, Any]) -> Callable[[Progress], None]:
    def show(progress: Progress) -> None:
        if progress.total <= 1:
            return
        if progress.node not in bars:
            title = prompt.get(progress.node, {}).get("class_type", progress.node)
            bars[progress.node] = tqdm(total=progress.total, desc=title)
        bars[progress.node].update(progress.done - bars[progress.node].n)

    return show
