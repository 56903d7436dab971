"""What every node owes its user: an id of ours, a description, tooltips, search words and a help page."""

import ast
import dataclasses
from pathlib import Path

import pytest
from framewright.embedded.core import registry

ROOT = Path(__file__).resolve().parent.parent
NODES = registry()
INFO = NODES.object_info()
OURS = {name: NODES.node(name) for name in NODES if name.startswith("Framewright")}
DOCS = ROOT / "web" / "docs"


@pytest.mark.parametrize("name", OURS)
def test_a_node_explains_itself(name: str) -> None:
    schema = OURS[name].GET_SCHEMA()
    assert schema.category.startswith("Framewright/")
    assert schema.display_name and len(schema.description) > 40 and schema.description.endswith(".")
    assert schema.search_aliases
    told = INFO[name]
    for inputs in (told["input"].get(kind, {}) for kind in ("required", "optional")):
        assert all(len(spec) > 1 and spec[1].get("tooltip") for spec in inputs.values())
    assert len(told["output_tooltips"]) == len(told["output"]) and all(told["output_tooltips"])
    help_page = (DOCS / f"{name}.md").read_text("utf-8")
    assert help_page.startswith(f"# {schema.display_name}\n") and len(help_page) > 200


def test_help_pages_are_of_nodes() -> None:
    assert {path.stem for path in DOCS.glob("*.md")} == set(OURS)


def test_ids_are_literal_where_scanners_read_them() -> None:
    """Node scanners read the source: direct subclasses of io.ComfyNode with a literal node_id."""
    found = set()
    for path in sorted((ROOT / "nodes").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ClassDef):
                assert [ast.unparse(base) for base in node.bases] == ["io.ComfyNode"], node.name
                words = [k for k in ast.walk(node) if isinstance(k, ast.keyword)]
                found |= {k.value.value for k in words if k.arg == "node_id"}
    assert found == set(OURS)


def test_the_door_lists_every_node() -> None:
    door = ast.parse((ROOT / "__init__.py").read_text("utf-8"))
    names = {
        node.value.value.id for node in ast.walk(door)
        if isinstance(node, ast.Starred) and isinstance(node.value, ast.Attribute)
        and isinstance(node.value.value, ast.Name)
    }  # fmt: skip
    assert names == {path.stem for path in (ROOT / "nodes").glob("*.py")} - {"__init__", "schema"}


def test_execute_is_short() -> None:
    for name, node in OURS.items():
        body = ast.parse((ROOT / "nodes" / f"{node.__module__.rsplit('.', 1)[1]}.py").read_text("utf-8"))
        for function in ast.walk(body):
            if isinstance(function, ast.FunctionDef) and function.name == "execute":
                assert function.end_lineno - function.lineno <= 16, name


def test_schemas_leave_out_what_an_old_host_does_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    from framewright.nodes import schema as declared

    known = {field.name for field in dataclasses.fields(declared.io.Schema)}
    monkeypatch.setattr(declared, "_KNOWN", known - {"search_aliases"})
    made = declared.schema(node_id="X", search_aliases=["one"], inputs=[], outputs=[])
    assert not made.search_aliases
