"""Imports point one way: notebooks, tests -> pipeline -> components -> modules."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {
    "modules": {"modules"},
    "components": {"components", "modules"},
    "pipeline": {"pipeline", "components", "modules"},
}
# Belong to no component: types of an output of one and an input of another, and how ML Metadata's properties are read.
SHARED = ("components.artifact_types", "components.mlmd_properties")
LAYERS = {"modules", "components", "pipeline", "tests", "notebooks"}


def imported_names(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("layer", MAY_IMPORT)
def test_imports_point_one_way(layer):
    wrong = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path in (ROOT / layer).rglob("*.py")
        for name in imported_names(path)
        if name.split(".")[0] in LAYERS - MAY_IMPORT[layer]
    }
    assert wrong == set()


def test_components_do_not_import_one_another():
    wrong = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path in (ROOT / "components").rglob("*.py")
        for name in imported_names(path)
        if name.startswith("components.")
        and not name.startswith(SHARED)
        and name.split(".")[1] != path.relative_to(ROOT / "components").parts[0]
    }
    assert wrong == set()


def test_every_component_folder_holds_its_specification_and_its_executor():
    folders = [path for path in (ROOT / "components").iterdir() if (path / "__init__.py").is_file()]
    assert len(folders) > 3
    for folder in folders:
        assert {path.name for path in folder.glob("*.py")} >= {"__init__.py", "component.py", "executor.py"}
