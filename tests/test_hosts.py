"""Finding, starting and driving ComfyUI: fakes for what goes wrong, every real host for the rest."""

import http.server
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from framewright.bridge.client import Client, OutputFile, Progress
from framewright.bridge.events import EventSocket
from framewright.bridge.hosts import Host, Server, find_hosts, run_in_host, serve
from framewright.bridge.render import render
from framewright.errors import FramewrightError
from PIL import Image

SCRIPTS = Path(__file__).parent / "host_scripts"

FAKE_MAIN = """
import http.server, subprocess, sys, time
options = dict(zip(sys.argv[1::2], sys.argv[2::2]))
mode, base = sys.argv[-1], sys.argv[sys.argv.index("--base-directory") + 1]
print("fake host", mode, flush=True)
if mode == "dies":
    sys.exit("no module named torch")
if mode == "silent":
    time.sleep(60)
if mode == "broken":
    print("Traceback (most recent call last):\\\\n  other pack\\\\nKeyError: 'other'")
    print("Cannot import /elsewhere/other module for custom nodes: 'other'")
    print("Traceback (most recent call last):\\\\n  File x\\\\nKeyError: 'mine'")
    print(f"Cannot import {base}/custom_nodes/framewright module for custom nodes: 'mine'")
    print(f"   0.1 seconds (IMPORT FAILED): {base}/custom_nodes/framewright", flush=True)
if mode == "child":
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    print("child", child.pid, flush=True)

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"{}")

http.server.HTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Handler).serve_forever()
""".replace("\\\\n", "\\n")


def checkout(path: Path, version: str = "1.2.3", venv: bool = False) -> Path:
    path.mkdir(parents=True)
    (path / "main.py").write_text(FAKE_MAIN)
    (path / "comfyui_version.py").write_text(f'__version__ = "{version}"\n')
    if venv:
        (path / ".venv/bin").mkdir(parents=True)
        (path / ".venv/bin/python").symlink_to(sys.executable)
    return path


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("COMFYUI_PATH", raising=False)
    monkeypatch.delenv("COMFYUI_PYTHON", raising=False)
    return tmp_path


def test_no_host(home: Path) -> None:
    (home / "comfy/ComfyUI-empty").mkdir(parents=True)
    assert find_hosts() == []


def test_home_newest_first(home: Path) -> None:
    for version in ("0.9.2", "0.33.0", "0.12.1"):
        checkout(home / "comfy" / f"ComfyUI-{version}", version, venv=True)
    assert [host.version for host in find_hosts()] == ["0.33.0", "0.12.1", "0.9.2"]


def test_interpreter_beside_stays_a_link(home: Path) -> None:
    path = checkout(home / "comfy/ComfyUI")
    beside = checkout(home / "comfy/elsewhere", venv=True) / ".venv"
    beside.rename(home / "comfy/.venv")
    assert find_hosts() == [Host(path, home / "comfy/.venv/bin/python", "1.2.3")]


def test_named_paths_win_over_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkout(home / "comfy/ComfyUI", venv=True)
    a, b = checkout(home / "a", "1.0"), checkout(home / "b", "2.0")
    monkeypatch.setenv("COMFYUI_PATH", os.pathsep.join([str(a), str(b), str(a)]))
    monkeypatch.setenv("COMFYUI_PYTHON", sys.executable)
    assert find_hosts() == [Host(b, Path(sys.executable), "2.0"), Host(a, Path(sys.executable), "1.0")]


def test_wrong_settings_are_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkout(home / "comfy/ComfyUI")
    with pytest.raises(FramewrightError, match="set COMFYUI_PYTHON"):
        find_hosts()
    monkeypatch.setenv("COMFYUI_PYTHON", str(home / "nothing"))
    with pytest.raises(FramewrightError, match="COMFYUI_PYTHON: .*nothing"):
        find_hosts()
    monkeypatch.setenv("COMFYUI_PATH", str(home / "nowhere"))
    with pytest.raises(FramewrightError, match="COMFYUI_PATH: .*nowhere has no main.py"):
        find_hosts()


@pytest.fixture
def fake(tmp_path: Path) -> Host:
    return Host(checkout(tmp_path / "fake"), Path(sys.executable), "1.2.3")


def runs(pid: str) -> bool:
    """Whether a process is there and is not a zombie."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", pid], capture_output=True, text=True).stdout.strip()
    return state not in ("", "Z", "ZN")


def test_serve_furnishes_and_stops(fake: Host, tmp_path: Path) -> None:
    with serve(fake, tmp_path / "base", ["child"]) as server:
        assert Client(server.url).system_stats() == {}
        assert (server.folder / "custom_nodes/framewright/errors.py").is_file()
        child = re.search(r"child (\d+)", server.log.read_text())[1]
    with pytest.raises(FramewrightError, match="does not answer"):
        Client(server.url).system_stats()
    deadline = time.monotonic() + 10
    while runs(child):
        assert time.monotonic() < deadline, "the server's own child outlived it"
        time.sleep(0.05)
    assert sorted(p.name for p in fake.path.iterdir()) == ["comfyui_version.py", "main.py"]


def test_serve_lends_models(fake: Host, tmp_path: Path) -> None:
    (tmp_path / "models" / "loras").mkdir(parents=True)
    with serve(fake, None, ["lends"], models=tmp_path / "models") as server:
        assert (server.folder / "models" / "loras").is_dir()
    assert (tmp_path / "models" / "loras").is_dir()  # when the server's folder is gone
    with serve(fake, None, ["lends"], models=tmp_path / "none") as server:
        assert (server.folder / "models").is_dir(), "a checkout may have none"


def test_serve_tells_why_not(fake: Host) -> None:
    said = "(?s)ended with code 1 .*fake host dies\nno module named torch"
    with pytest.raises(FramewrightError, match=said), serve(fake, None, ["dies"]):
        pass
    with pytest.raises(FramewrightError, match="not answer in"), serve(fake, None, ["silent"], timeout=1):
        pass


def test_serve_shows_the_traceback_of_the_pack_only(fake: Host) -> None:
    with pytest.raises(FramewrightError) as caught, serve(fake, None, ["broken"]):
        pass
    assert "import a node pack:\nTraceback (most recent call last):\n  File x\nKeyError" in str(caught.value)
    assert "other" not in str(caught.value)


def frame(opcode: int, payload: bytes, last: bool = True) -> bytes:
    size = len(payload)
    head = bytes([opcode | 128 * last])
    return head + (bytes([size]) if size < 126 else b"\x7e" + size.to_bytes(2, "big")) + payload


def test_event_socket_joins_frames() -> None:
    stream = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"
    stream += frame(2, b"preview") + frame(1, b'{"type": "a",', last=False) + frame(9, b"beat")
    stream += frame(0, b' "data": {}}') + frame(1, b'{"type": "%s", "data": {}}' % (b"b" * 300))
    stream += frame(8, b"")
    listener = socket.create_server(("127.0.0.1", 0))
    heard = bytearray()

    def server() -> None:
        peer, _ = listener.accept()
        with peer:
            while b"\r\n\r\n" not in heard:
                heard.extend(peer.recv(4096))
            for start in range(0, len(stream), 7):
                peer.sendall(stream[start : start + 7])
            heard.clear()
            heard.extend(peer.recv(4096))

    thread = threading.Thread(target=server)
    thread.start()
    events = EventSocket(f"http://127.0.0.1:{listener.getsockname()[1]}", "me", 10)
    assert events.receive(10) == {"type": "a", "data": {}}
    assert events.receive(10) == {"type": "b" * 300, "data": {}}
    with pytest.raises(ConnectionError):
        events.receive(10)
    thread.join()
    events.close()
    listener.close()
    assert heard[:2] == bytes([128 | 10, 128 | 4])  # a masked pong
    assert bytes(byte ^ heard[2 + i % 4] for i, byte in enumerate(heard[6:])) == b"beat"


@pytest.mark.parametrize(
    "address",
    ["localhost:8188", "http://127.0.0.1:81888", "http://127.0.0.1:abc", "http://[::1", "http://:1"],
)
def test_client_refuses_bad_addresses(address: str) -> None:
    with pytest.raises(FramewrightError, match="expected http://host:port"):
        Client(address)


class Other(http.server.BaseHTTPRequestHandler):
    """Some other server, which answers everything with a page."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<html>")

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        pass


def test_client_of_what_is_no_comfyui(tmp_path: Path) -> None:
    (tmp_path / "x.txt").touch()
    with http.server.HTTPServer(("127.0.0.1", 0), Other) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        client = Client(f"http://127.0.0.1:{server.server_port}")
        for call in (client.object_info, lambda: client.queue({}), lambda: client.upload(tmp_path / "x.txt")):
            with pytest.raises(FramewrightError, match="answered with what is no JSON: b'<html>'"):
                call()
        (tmp_path / "file").touch()
        with pytest.raises(FramewrightError, match="cannot be written"):
            client.download(OutputFile("1", "x.png", "", "output"), tmp_path / "file")
        server.shutdown()


def test_client_writes_no_file_elsewhere(tmp_path: Path) -> None:
    with pytest.raises(FramewrightError, match="outside"):
        Client("http://127.0.0.1:1").download(OutputFile("1", "x.png", "../..", "output"), tmp_path)


def graph(**save: object) -> dict:
    empty = {"width": 16, "height": 8, "batch_size": 2, "color": 0x336699}
    return {
        "1": {"class_type": "EmptyImage", "inputs": empty},
        "2": {"class_type": "TestProbe", "inputs": {"image": ["1", 0], "steps": 3, "seconds": 0.0}},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "sub/x", **save}},
    }


def test_graph_runs_and_files_come_back(host_server: Server, tmp_path: Path) -> None:
    seen: list[Progress] = []
    workflow = {"nodes": [], "links": []}
    with Client(host_server.url) as client:
        assert {"EmptyImage", "TestProbe"} <= set(client.object_info())
        history = client.follow(client.queue(graph(), workflow), seen.append)
        files = client.outputs(history)
        assert [(f.node, f.subfolder, f.type) for f in files] == [("3", "sub", "output")] * 2
        paths = [client.download(file, tmp_path) for file in files]
        again = client.download(files[0], tmp_path)
        assert again.name == f"{paths[0].stem} (1).png" and again.read_bytes() == paths[0].read_bytes()
        for path in paths:
            with Image.open(path) as picture:
                assert picture.info["workflow"] == '{"nodes": [], "links": []}'
                assert (np.asarray(picture) == np.array([0x33, 0x66, 0x99])).all()
                assert picture.size == (16, 8)
        steps = [p for p in seen if p.node == "2"]  # newer hosts leave out steps that come too fast
        assert steps[:2] == [("2", 0, 0), ("2", 1, 3)] and steps[-1] == ("2", 3, 3)

        source = tmp_path / 'é "1".png'
        Image.fromarray(np.arange(96, dtype=np.uint8).reshape(4, 8, 3)).save(source)
        name = client.upload(source)
        loads = graph(images=["4", 0]) | {"4": {"class_type": "LoadImage", "inputs": {"image": name}}}
        (back,) = client.outputs(client.follow(client.queue(loads)))
        with Image.open(client.download(back, tmp_path)) as picture:
            assert (np.asarray(picture).reshape(-1) == np.arange(96)).all()
        client.free()


def test_a_file_is_sent_whatever_else_has_its_name(host_server: Server, tmp_path: Path) -> None:
    (host_server.folder / "input").mkdir(exist_ok=True)
    Image.new("RGB", (8, 8), "red").save(host_server.folder / "input" / "taken.png")
    (tmp_path / "inputs" / "takes").mkdir(parents=True)
    Image.new("RGB", (8, 8), "blue").save(tmp_path / "inputs" / "takes" / "taken.png")
    workflow = tmp_path / "graph.json"
    loads = {"class_type": "LoadImage", "inputs": {"image": "takes/taken.png"}}
    saves = {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "sent"}}
    workflow.write_text(json.dumps({"1": loads, "2": saves}))
    _, (made,) = render(workflow, [], tmp_path / "inputs", tmp_path / "out", host_server.url)
    with Image.open(made) as picture:
        assert picture.getpixel((0, 0)) == (0, 0, 255)


def test_refused_graphs_name_node_and_input(host_server: Server) -> None:
    bad = graph()
    bad["1"]["inputs"]["width"] = 0
    with Client(host_server.url) as client:
        with pytest.raises(FramewrightError, match=r"node 1 \(EmptyImage\), input 'width': .*smaller"):
            client.queue(bad)
        both = bad | {"5": {"class_type": "EmptyImage", "inputs": graph()["1"]["inputs"]}}
        both["6"] = {"class_type": "SaveImage", "inputs": {"images": ["5", 0], "filename_prefix": "y"}}
        with pytest.raises(FramewrightError, match=r"node 1 \(EmptyImage\), input 'width'"):
            client.queue(both)
        with pytest.raises(FramewrightError, match="NoSuchNode"):
            client.queue({"1": {"class_type": "NoSuchNode", "inputs": {}}})


def test_failing_and_interrupted_graphs(host_server: Server) -> None:
    with Client(host_server.url) as client:
        with pytest.raises(FramewrightError, match=r"node 3 \(SaveImage\) failed in ComfyUI: .*outside"):
            client.follow(client.queue(graph(filename_prefix="../../x")))

        slow = graph()
        slow["2"]["inputs"] |= {"steps": 1000, "seconds": 0.05}
        running, waiting = client.queue(slow), client.queue(graph(filename_prefix="waits"))
        client.interrupt(waiting)

        def stop(progress: Progress) -> None:
            if progress.node == "2" and progress.done:
                client.interrupt(running)

        with pytest.raises(FramewrightError, match=r"interrupted at node 2 \(TestProbe\)"):
            client.follow(running, stop)
        with pytest.raises(FramewrightError, match="no longer known"):
            client.follow(waiting)


def test_script_inside_the_host(host: Host) -> None:
    facts = run_in_host(host, SCRIPTS / "facts.py", "a", 1)
    assert facts == {
        "args": ["a", "1"],
        "device": "cpu",
        "attention": "attention_pytorch",
        "nodes": str(host.path / "nodes.py"),
        "error": "framewright.errors",
        "controls": ["here.safetensors"],
    }


def test_script_without_answer(fake: Host, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("print('hello')")
    with pytest.raises(FramewrightError, match="(?s)gave no answer.*hello"):
        run_in_host(fake, script)
    script.write_text("raise KeyError('lost')")
    with pytest.raises(FramewrightError, match="(?s)ended with code 1.*lost"):
        run_in_host(fake, script)
    path = f"import sys\nsys.path.insert(0, {str(SCRIPTS)!r})\n"
    script.write_text(path + "import prologue\nprologue.answer(b'1')\n")
    assert run_in_host(fake, script) == b"1"
