"""Fixtures that run a test against every ComfyUI on this machine; bridge/hosts.py says how they are found.

`hosts` is the list, `host` each of them in turn, `host_server` a server of it, which is started once for
the whole session, with the pack and a node `TestProbe` (an image passed through in slow steps).
"""

import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from framewright.bridge.hosts import PACK_ROOT, Host, Server, find_hosts, serve
from framewright.errors import FramewrightError

PROBE = """
import time

from comfy.utils import ProgressBar
from comfy_api.v0_0_2 import ComfyExtension, io


class Probe(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        steps = io.Int.Input("steps", default=3, min=1, max=10000)
        inputs = [io.Image.Input("image"), steps, io.Float.Input("seconds", default=0.0)]
        return io.Schema(node_id="TestProbe", category="test", inputs=inputs, outputs=[io.Image.Output()])

    @classmethod
    def execute(cls, image, steps, seconds):
        bar = ProgressBar(steps)
        for _ in range(steps):
            bar.update(1)
            time.sleep(seconds)
        return io.NodeOutput(image)


class Extension(ComfyExtension):
    async def get_node_list(self):
        return [Probe]


async def comfy_entrypoint():
    return Extension()
"""

FOUND = pytest.StashKey[list[Host]]()
STARTED = pytest.StashKey[dict[Host, Server]]()


def pytest_configure(config: pytest.Config) -> None:
    try:
        config.stash[FOUND] = find_hosts()
    except FramewrightError as error:
        raise pytest.UsageError(str(error)) from error
    config.stash[STARTED] = {}
    # A terminated session ends by way of its fixtures, or it would leave servers behind.
    signal.signal(signal.SIGTERM, lambda *_: pytest.exit("terminated", 143))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "host" in metafunc.fixturenames:
        found = metafunc.config.stash[FOUND]
        metafunc.parametrize("host", found, ids=[host.version for host in found], scope="session")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if not config.stash[FOUND]:
        text = "WARNING: no ComfyUI found, its tests did NOT run; set COMFYUI_PATH (and COMFYUI_PYTHON)"
        terminalreporter.write_line(text, red=True, bold=True)
    for host, server in config.stash[STARTED].items():
        terminalreporter.write_line(f"ComfyUI {host.version} started in {server.seconds:.1f} s")


@pytest.fixture(scope="session")
def hosts(pytestconfig: pytest.Config) -> list[Host]:
    return pytestconfig.stash[FOUND]


@pytest.fixture(scope="session")
def _server_of(
    pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[Host], Server]]:
    # Kept by host and not in a parametrised fixture, which pytest may set up again when it reorders tests.
    servers = pytestconfig.stash[STARTED]
    failures: dict[Host, FramewrightError] = {}  # a host that does not start is not tried again
    with ExitStack() as stack:

        def server_of(host: Host) -> Server:
            if host in failures:
                raise failures[host]
            if host not in servers:
                folder: Path = tmp_path_factory.mktemp("host")
                probe = folder / "custom_nodes" / "test_probe" / "__init__.py"
                probe.parent.mkdir(parents=True)
                probe.write_text(PROBE, "utf-8")
                shutil.copy(PACK_ROOT / "tests" / "tensor_node.py", probe.parent.parent)
                try:
                    servers[host] = stack.enter_context(serve(host, folder, timeout=900.0))
                except FramewrightError as error:
                    failures[host] = error
                    raise
            return servers[host]

        yield server_of


@pytest.fixture
def host_server(host: Host, _server_of: Callable[[Host], Server]) -> Server:
    return _server_of(host)
