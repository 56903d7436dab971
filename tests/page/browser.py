"""A headless Chromium, spoken to over its DevTools protocol."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any

import websocket

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1600,1000",
    "--remote-debugging-port=0",
]


def find_chromium() -> str | None:
    return shutil.which("chromium")


def _humble() -> list[str]:
    """A command prefix for the lowest priority, kept: as root, Chromium would raise its own to -8."""
    keep = ["setpriv", "--bounding-set=-sys_nice"] if os.geteuid() == 0 and shutil.which("setpriv") else []
    return [*keep, "nice", "-n", "19"]


class PageError(AssertionError):
    """The page threw, or did not get ready."""


class Browser:
    """One browser with one tab, for a `with` block; `console_errors` are texts of errors on its console."""

    def __init__(self, timeout: float = 300.0) -> None:
        self.timeout = timeout
        self._errors: list[str] = []
        self._number = 0

    def __enter__(self) -> Browser:
        program = find_chromium()
        if program is None:
            raise PageError("there is no chromium on the path")
        self._profile = tempfile.TemporaryDirectory(prefix="framewright-page-", ignore_cleanup_errors=True)
        self._process = subprocess.Popen(
            [*_humble(), program, *FLAGS, f"--user-data-dir={self._profile.name}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            self._socket = websocket.create_connection(
                self._tab(), timeout=self.timeout, suppress_origin=True, enable_multithread=False
            )
            for domain in ("Page", "Runtime", "Log"):
                self._call(f"{domain}.enable")
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()
        self._end()

    def _end(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._profile.cleanup()

    def _tab(self) -> str:
        """The address of the tab's socket, once the browser has opened its port."""
        port_file = Path(self._profile.name) / "DevToolsActivePort"
        deadline = time.monotonic() + self.timeout
        while time.monotonic() < deadline:
            lines = port_file.read_text().splitlines() if port_file.is_file() else []
            if len(lines) == 2:
                with urllib.request.urlopen(
                    f"http://127.0.0.1:{lines[0]}/json", timeout=self.timeout
                ) as answer:
                    tabs = [one for one in json.load(answer) if one["type"] == "page"]
                if tabs:
                    return tabs[0]["webSocketDebuggerUrl"]
            if self._process.poll() is not None:
                break
            time.sleep(0.1)
        raise PageError(f"chromium did not start within {self.timeout} seconds, or ended")

    def open(self, url: str) -> None:
        """Goes to a page and waits until it is loaded."""
        self._errors.clear()
        failed = self._call("Page.navigate", url=url).get("errorText")
        if failed:
            raise PageError(f"{url}: {failed}")
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")

    def evaluate(self, js: str, await_promise: bool = False) -> Any:
        """The value of an expression, as JSON carries it; PageError with the page's own text if it throws."""
        answer = self._call(
            "Runtime.evaluate",
            expression=js,
            awaitPromise=await_promise,
            returnByValue=True,
            userGesture=True,
        )
        thrown = answer.get("exceptionDetails")
        if thrown:
            raise PageError(thrown.get("exception", {}).get("description") or thrown["text"])
        return answer["result"].get("value")

    def wait(self, js: str) -> None:
        """Returns when an expression has become true."""
        deadline = time.monotonic() + self.timeout
        while not self.evaluate(f"Boolean({js})"):
            if time.monotonic() > deadline:
                raise PageError(f"within {self.timeout} seconds this did not become true: {js}")
            time.sleep(0.2)

    def screenshot(self, path: Path) -> None:
        """The tab as a PNG file."""
        path.write_bytes(base64.b64decode(self._call("Page.captureScreenshot", format="png")["data"]))

    def mouse(self, kind: str, x: float, y: float, held: bool = False, modifiers: int = 0) -> None:
        """mousePressed, mouseMoved or mouseReleased, at pixels of the tab; `held`: with the left button."""
        down = kind != "mouseMoved"
        self._call(
            "Input.dispatchMouseEvent", type=kind, x=x, y=y, clickCount=int(down),
            button="left" if down or held else "none", buttons=int(held or kind == "mousePressed"),
            modifiers=modifiers,
        )  # fmt: skip

    def touch(self, kind: str, *points: tuple[float, float]) -> None:
        """touchStart, touchMove or touchEnd, of fingers at pixels of the tab."""
        self._call("Input.dispatchTouchEvent", type=kind, touchPoints=[{"x": x, "y": y} for x, y in points])

    def key(self, key: str, modifiers: int = 0) -> None:
        """A key pressed and let go; modifiers: 1 Alt, 2 Ctrl, 4 Meta, 8 Shift."""
        codes = {"Delete": 46, "Tab": 9, "ArrowRight": 39, "ArrowLeft": 37, "Escape": 27, "z": 90}
        for kind in ("keyDown", "keyUp"):
            self._call(
                "Input.dispatchKeyEvent", type=kind, key=key, modifiers=modifiers,
                windowsVirtualKeyCode=codes.get(key, 0), code=f"Key{key.upper()}" if len(key) == 1 else key,
            )  # fmt: skip

    @property
    def console_errors(self) -> list[str]:
        self.evaluate("0")  # takes in what the page has said until now
        return list(self._errors)

    def _send(self, method: str, **parameters: Any) -> None:
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._send(method, **parameters)
        number = self._number
        while True:
            message = json.loads(self._socket.recv())
            if message.get("id") == number:
                if "error" in message:
                    raise PageError(f"{method}: {message['error']['message']}")
                return message["result"]
            self._hear(message)

    def _hear(self, message: dict[str, Any]) -> None:
        told = message.get("params", {})
        if message.get("method") == "Page.javascriptDialogOpening":  # whether to leave a changed graph
            self._send("Page.handleJavaScriptDialog", accept=True)
        elif message.get("method") == "Runtime.consoleAPICalled" and told["type"] == "error":
            self._errors.append(
                " ".join(str(one.get("value", one.get("description"))) for one in told["args"])
            )
        elif message.get("method") == "Runtime.exceptionThrown":
            details = told["exceptionDetails"]
            self._errors.append(details.get("exception", {}).get("description") or details["text"])
        elif message.get("method") == "Log.entryAdded" and told["entry"]["level"] == "error":
            self._errors.append(f"{told['entry']['text']} {told['entry'].get('url', '')}")
