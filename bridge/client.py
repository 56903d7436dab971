"""A client of a ComfyUI server: queue a prompt, follow it, fetch what it made. Standard library only."""

import http.client
import json
import time
import uuid
from collections.abc import Callable
from itertools import chain, count
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple
from urllib.parse import SplitResult, quote, urlencode, urlsplit

from ..errors import FramewrightError
from .events import EventSocket

Json = dict[str, Any]
QUIET = 3.0  # seconds without an event after which the history is asked instead


class Progress(NamedTuple):
    """A node at work: steps done of a total, which is 0 where the node has started and told no steps."""

    node: str
    done: float
    total: float


class OutputFile(NamedTuple):
    """A file that a node made; `type` is the server's folder: output, temp or input."""

    node: str
    filename: str
    subfolder: str
    type: str


class Client:
    """One client of the ComfyUI server at `url`; FramewrightError wherever the server does not answer."""

    def __init__(self, url: str, timeout: float = 120.0) -> None:
        self.url, self._parts = url.rstrip("/"), _parts(url)
        self._timeout = timeout
        self._client_id = uuid.uuid4().hex
        self._events: EventSocket | None = None

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        if self._events is not None:
            self._events.close()
            self._events = None

    def system_stats(self) -> Json:
        """The server's version, devices and memory."""
        return self._json("GET", "/system_stats")

    def object_info(self) -> Json:
        """What the server tells of every node, by node id."""
        return self._json("GET", "/object_info")

    def queue(self, prompt: Json, workflow: Json | None = None) -> str:
        """Queues a graph in the API's format, with its page format for the saved files; gives the prompt id.

        FramewrightError, naming nodes and inputs, where the server refuses the graph or any output of it.
        """
        self._listen()  # before the graph runs, so that no event is missed
        body: Json = {"prompt": prompt, "client_id": self._client_id}
        if workflow is not None:
            body["extra_data"] = {"extra_pnginfo": {"workflow": workflow}}
        status, answer = self._request("POST", "/prompt", json.dumps(body).encode())
        if status not in (200, 400):
            raise FramewrightError(f"{self.url}/prompt answered with status {status}: {answer[:300]!r}")
        told = self._parsed("/prompt", answer)
        if status == 400 or told["node_errors"]:
            if status == 200:
                # The server would run the valid outputs and leave the others out.
                self.interrupt(told["prompt_id"])
            raise FramewrightError(_refusal(told))
        return told["prompt_id"]

    def follow(self, prompt_id: str, on_progress: Callable[[Progress], None] | None = None) -> Json:
        """The history entry of a queued prompt, once it is done; `on_progress` hears of every step till then.

        FramewrightError, naming the node, where the prompt failed, was interrupted or was taken off the
        queue. On KeyboardInterrupt the prompt is stopped on the server too.
        """
        try:
            while True:
                event = self._next_event()
                data = event["data"] if event else {}
                if event and data.get("prompt_id") != prompt_id:
                    continue
                kind = event["type"] if event else None
                if kind == "execution_error":
                    # Of a node that blocks its outputs with a message, the history tells nothing.
                    raise FramewrightError(_failure(data))
                if kind == "progress" and on_progress:
                    on_progress(Progress(data["node"], data["value"], data["max"]))
                elif kind == "executing" and data["node"] is not None and on_progress:
                    on_progress(Progress(data["node"], 0, 0))
                elif event is None or (kind == "executing" and data["node"] is None):
                    entry = self._history(prompt_id)
                    if entry is not None:
                        return entry
        except KeyboardInterrupt:
            self.interrupt(prompt_id)
            raise

    def outputs(self, history: Json) -> list[OutputFile]:
        """Every file that a history entry lists, in the order of the nodes."""
        return [
            OutputFile(node, item["filename"], item.get("subfolder", ""), item.get("type", "output"))
            for node, output in history["outputs"].items()
            for items in output.values()
            if isinstance(items, list)
            for item in items
            if isinstance(item, dict) and "filename" in item
        ]

    def download(self, file: OutputFile, folder: Path) -> Path:
        """The file's path under `folder`, its subfolder kept, once its bytes are there.

        A file of that name stays: the new one then gets a number.
        """
        target = (folder / file.subfolder / file.filename).resolve()
        if not target.is_relative_to(folder.resolve()):
            raise FramewrightError(f"node {file.node} names the file {target}, which lies outside {folder}")
        query = urlencode({"filename": file.filename, "subfolder": file.subfolder, "type": file.type})
        status, data = self._request("GET", f"/view?{query}")
        if status != 200:
            raise FramewrightError(f"{self.url} has no {file.filename} of node {file.node}: status {status}")
        named = (target.with_stem(f"{target.stem} ({number})") for number in count(1))
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            free = next(one for one in chain([target], named) if not one.exists())
            free.write_bytes(data)
        except OSError as error:
            raise FramewrightError(f"{target} cannot be written: {error}") from error
        return free

    def upload(self, path: Path) -> str:
        """The name under which the server's input folder now has this file, as loader nodes take it.

        A file of the same name and other content stays: the server then gives the new one another name.
        """
        boundary = uuid.uuid4().hex
        name = quote(path.name, safe=" ()[]") if set(path.name) & set('"\\\r\n') else path.name
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="{name}"\r\n'
        head += "Content-Type: application/octet-stream\r\n\r\n"
        body = head.encode() + path.read_bytes() + f"\r\n--{boundary}--\r\n".encode()
        content = f"multipart/form-data; boundary={boundary}"
        status, answer = self._request("POST", "/upload/image", body, content)
        if status != 200:
            raise FramewrightError(f"{self.url} takes no upload of {path}: status {status}")
        return self._parsed("/upload/image", answer)["name"]

    def free(self) -> None:
        """Asks the server to unload its models and forget its cached results."""
        self._send("/free", {"unload_models": True, "free_memory": True})

    def interrupt(self, prompt_id: str) -> None:
        """Takes a prompt off the queue, or stops it where it runs; other prompts go on."""
        self._send("/queue", {"delete": [prompt_id]})
        self._send("/interrupt", {"prompt_id": prompt_id})

    def _history(self, prompt_id: str) -> Json | None:
        """The entry of a prompt that succeeded, None while it waits or runs."""
        # In this order: a prompt moves from the queue to the history, never back.
        queue = self._json("GET", "/queue")
        entry = self._json("GET", f"/history/{prompt_id}").get(prompt_id)
        if entry is None:
            waiting = [item[1] for items in queue.values() for item in items]
            if prompt_id not in waiting:
                raise FramewrightError(f"prompt {prompt_id} is no longer known to {self.url}")
            return None
        for kind, data in entry["status"]["messages"]:
            if kind in ("execution_error", "execution_interrupted"):
                raise FramewrightError(_failure(data))
        return entry

    def _listen(self) -> None:
        if self._events is None:
            try:
                self._events = EventSocket(self.url, self._client_id, self._timeout)
            except OSError:
                self._events = None  # the history will do

    def _next_event(self) -> Json | None:
        self._listen()
        if self._events is None:
            time.sleep(QUIET / 3)
            return None
        try:
            return self._events.receive(QUIET)
        except OSError:
            self.close()
            return None

    def _json(self, method: str, path: str) -> Json:
        status, answer = self._request(method, path)
        if status != 200:
            raise FramewrightError(f"{self.url}{path} answered with status {status}: {answer[:300]!r}")
        return self._parsed(path, answer)

    def _parsed(self, path: str, answer: bytes) -> Json:
        try:
            return json.loads(answer)
        except ValueError as error:
            raise FramewrightError(
                f"{self.url}{path} answered with what is no JSON: {answer[:300]!r}; is it a ComfyUI?"
            ) from error

    def _send(self, path: str, body: Json) -> None:
        status, answer = self._request("POST", path, json.dumps(body).encode())
        if status != 200:
            raise FramewrightError(f"{self.url}{path} answered with status {status}: {answer[:300]!r}")

    def _request(
        self, method: str, path: str, body: bytes | None = None, content: str = "application/json"
    ) -> tuple[int, bytes]:
        kind = http.client.HTTPSConnection if self._parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(self._parts.hostname or "", self._parts.port, timeout=self._timeout)
        try:
            headers = {"Content-Type": content} if body is not None else {}
            connection.request(method, self._parts.path.rstrip("/") + path, body, headers)
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            raise FramewrightError(f"ComfyUI at {self.url} does not answer: {error!r}") from error
        finally:
            connection.close()


def _parts(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
            return parts
    except ValueError:  # a bracket that does not close, a port that is none
        pass
    raise FramewrightError(f"ComfyUI's address is {url!r}; expected http://host:port")


def _refusal(told: Json) -> str:
    """One text of the server's answer to a graph that it does not take."""
    lines = []
    for node, errors in told["node_errors"].items():
        for error in errors["errors"]:
            name = error.get("extra_info", {}).get("input_name")
            where = f"node {node} ({errors['class_type']})" + (f", input {name!r}" if name else "")
            lines.append(f"{where}: {error['message']}: {error['details']}")
    if not lines:
        lines.append(f"{told['error']['message']} {told['error']['details']}".strip())
    return "\n".join(["ComfyUI refuses the graph:", *lines])


def _failure(data: Json) -> str:
    """One text of an execution_error or execution_interrupted message."""
    where = f"node {data['node_id']} ({data['node_type']})"
    if "exception_message" not in data:
        return f"The prompt was interrupted at {where}"
    return f"{where} failed in ComfyUI: {data['exception_type']}: {data['exception_message'].strip()}"
