"""The rules of the house that a linter cannot say: which room may import which, and one list of packages."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PURE = ("temporal", "sampling", "controls", "pictures")
MAY_IMPORT = {
    **{room: {room, "errors"} for room in PURE},
    # The last five are for demo/evaluate.py and demo/evaluate_control.py, which render.
    "demo": {
        "demo",
        "temporal",
        "controls",
        "errors",
        "bridge.host",
        "bridge.motion",
        "bridge.pose_guider",
        "embedded",
        "sampling",
    },
    "nodes": {"nodes", "bridge", "errors", *PURE},
    "bridge": {"bridge", "demo", "embedded.workflow", "errors", *PURE},
    "embedded": {"embedded", "bridge.host", "demo", "nodes", "errors", *PURE},
}
HOST_MODULES = {"comfy", "comfy_extras", "comfy_execution", "folder_paths", "nodes", "execution", "server"}


def files(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


def imports(path: Path) -> list[str]:
    """Modules a file imports, those of the pack as dotted names from its root."""
    found: list[str] = []
    package = path.relative_to(ROOT).parts[:-1]
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found += [f"/{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.append(f"/{node.module}")
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1]
            names = [node.module] if node.module else [alias.name for alias in node.names]
            found += [".".join((*base, name)) for name in names]
    return found


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_imports_only_what_the_design_lets_it(room: str) -> None:
    assert files(room)
    for path in files(room):
        for name in imports(path):
            if name.startswith("/"):
                outside = name[1:].split(".")[0]
                assert outside not in HOST_MODULES or room == "bridge", f"{path}: {outside}"
                assert outside != "framewright" or path.name == "__main__.py", f"{path}: {name}"
            else:
                allowed = MAY_IMPORT[room]
                assert any(name == one or name.startswith(f"{one}.") for one in allowed), f"{path}: {name}"


def test_the_two_lists_of_packages_are_one() -> None:
    tomllib = pytest.importorskip("tomllib")  # Python 3.11
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert sorted(project["dependencies"]) == sorted((ROOT / "requirements.txt").read_text().split())


def test_every_page_of_help_belongs_to_a_node_and_no_script_is_loaded_by_accident() -> None:
    kinds = {path.suffix for path in (ROOT / "web").rglob("*") if path.is_file()}
    assert kinds <= {".md", ".js", ".png", ".jpg"}
