"""The page of a ComfyUI in a headless browser, for tests that use it as a person would."""

import importlib.util
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from framewright.bridge.hosts import Server
from framewright.embedded.workflow import parse

WORKFLOWS = Path(__file__).resolve().parent.parent / "workflows"
READY = "window.app && app.graph && window.LiteGraph && LiteGraph.registered_node_types.KSampler"
# The page greets with templates, at a time of its own.
WITHOUT_DIALOGS = """void (() => {
    const close = () => document.querySelector("[role=dialog] button[aria-label*=lose]")?.click();
    close();
    window.closing ??= new MutationObserver(close);
    window.closing.observe(document.body, { childList: true, subtree: true });
})()"""


def _browser_module() -> Any:
    if importlib.util.find_spec("websocket") is None:
        pytest.skip("the page is NOT checked: pip install websocket-client")
    path = Path(__file__).parent / "page" / "browser.py"
    spec = importlib.util.spec_from_file_location("page_browser", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def open_page() -> Iterator[Callable[[Server], Any]]:
    """A browser in which the page of a server is open; it is loaded anew only where the server is another."""
    module = _browser_module()
    if module.find_chromium() is None:
        pytest.skip("the page is NOT checked: there is no chromium on the path")
    shown: list[str] = []
    with module.Browser() as browser:

        def open_(server: Server) -> Any:
            if shown != [server.url]:
                browser.open(server.url)
                browser.wait(READY)
                shown[:] = [server.url]
            return browser

        yield open_


def shipped(name: str) -> dict[str, Any]:
    return parse((WORKFLOWS / f"{name}.json").read_text("utf-8"), name)


def open_at(page: Any, workflow: dict[str, Any], kind: str) -> None:
    """A workflow, its node of a kind in the middle of the page, where it is `told`."""
    page.evaluate(f"app.loadGraphData({json.dumps(workflow)})", await_promise=True)
    page.evaluate(WITHOUT_DIALOGS)
    page.evaluate(f"void (window.told = app.graph.nodes.find(node => node.type === '{kind}'))")
    page.evaluate("void (app.canvas.ds.scale = 1, app.canvas.centerOnNode(told))")
