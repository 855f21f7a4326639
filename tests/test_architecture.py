"""Imports point in one direction, and every file has its place.

notebooks, tests -> pipeline -> components -> modules; a room of modules/ imports only the rooms to its left.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {
    "modules": {"modules"},
    "components": {"components", "modules"},
    "pipeline": {"pipeline", "components", "modules"},
}
LAYERS = {"modules", "components", "pipeline", "tests", "notebooks"}
ROOMS = (
    "common", "data", "cleaning", "model", "tokenization", "objectives", "export", "release", "serving", "training",
    "evaluation", "report",
)  # fmt: skip
# Files that several components share.
SHARED_COMPONENTS = {"artifact_types", "integrity", "mlmd_properties"}
# TensorFlow and Keras read environment variables when they are imported. `modules` sets these variables. `pipeline` and
# `tests`, in which processes start, therefore import `modules` first.
ENVIRONMENT = "modules/__init__.py"
ENTRANCES = {"pipeline/__init__.py", "tests/__init__.py"}
# Tests that test more than one file of their room.
NO_MIRROR = {
    "cleaning/test_quality.py": "recall and precision of all cleaners",
    "data/test_shapes.py": "the tables of shapes in modules/data/README.md",
    "tokenization/test_bpe_exact.py": "every implementation of BPE",
    "training/test_resuming.py": "checkpoints, rows and the loop together",
}


def sources(folder: str) -> Iterator[Path]:
    """Returns all Python files under a folder of the project."""
    return (path for path in sorted((ROOT / folder).rglob("*.py")) if "__pycache__" not in path.parts)


def place(path: Path) -> str:
    """Returns the path relative to the project's folder, with `/`."""
    return path.relative_to(ROOT).as_posix()


def imported_names(path: Path) -> set[str]:
    """Returns the modules, and the names in them, that a file imports anywhere."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def project_modules(path: Path, folder: str) -> set[str]:
    """Returns the modules of a folder that a file imports, e.g. `modules.common.errors`."""
    return {
        name
        for name in imported_names(path)
        if name.startswith(f"{folder}.") and (ROOT / f"{name.replace('.', '/')}.py").is_file()
    }


@pytest.mark.parametrize("layer", MAY_IMPORT)
def test_imports_point_one_way(layer: str) -> None:
    wrong = {
        f"{place(path)} imports {name}"
        for path in sources(layer)
        for name in imported_names(path)
        if name.split(".")[0] in LAYERS - MAY_IMPORT[layer]
    }
    assert wrong == set()


def test_modules_has_these_rooms_and_no_others() -> None:
    folders = {path.parent.name for path in (ROOT / "modules").glob("*/__init__.py")}
    assert folders == set(ROOMS)
    assert {path.name for path in (ROOT / "modules").glob("*.py")} == {"__init__.py"}


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_rooms_to_its_left(room: str) -> None:
    allowed = ROOMS[: ROOMS.index(room) + 1]
    wrong = {
        f"{place(path)} imports {name}"
        for path in sources(f"modules/{room}")
        for name in imported_names(path)
        if name.startswith("modules.") and name.split(".")[1] not in allowed
    }
    assert wrong == set()


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_has_a_page_that_describes_it(room: str) -> None:
    assert (ROOT / "modules" / room / "README.md").is_file()


def test_components_do_not_import_one_another() -> None:
    wrong = {
        f"{place(path)} imports {name}"
        for path in sources("components")
        for name in imported_names(path)
        if name.startswith("components.")
        and name.split(".")[1] not in SHARED_COMPONENTS | {path.relative_to(ROOT / "components").parts[0]}
    }
    assert wrong == set()


def test_every_component_folder_holds_its_specification_and_its_executor() -> None:
    folders = [path for path in (ROOT / "components").iterdir() if (path / "__init__.py").is_file()]
    assert len(folders) > 3
    for folder in folders:
        assert {path.name for path in folder.glob("*.py")} >= {"__init__.py", "component.py", "executor.py"}


@pytest.mark.parametrize("folder", ["modules", "components", "pipeline", "tests"])
def test_a_package_holds_one_docstring_and_nothing_else(folder: str) -> None:
    for path in sources(folder):
        if path.name != "__init__.py" or place(path) == ENVIRONMENT:
            continue
        body = ast.parse(path.read_text(encoding="utf-8")).body
        if body and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
            del body[0]
        else:
            assert folder == "tests", f"{place(path)} has no docstring"
        expected = ["import modules"] if place(path) in ENTRANCES else []
        assert [ast.unparse(statement) for statement in body] == expected, place(path)


def test_tests_import_only_the_toys_and_no_other_test() -> None:
    wrong = {
        f"{place(path)} imports {name}"
        for path in sources("tests")
        for name in project_modules(path, "tests")
        if name.split(".")[-1].startswith(("test_", "conftest"))
    }
    assert wrong == set()


def test_every_test_of_a_room_has_the_name_of_the_file_it_tests() -> None:
    folder = ROOT / "tests" / "modules"
    tests = {path.relative_to(folder).as_posix() for path in folder.rglob("test_*.py")}
    mirrored = {
        test for test in tests if (ROOT / "modules" / Path(test).with_name(Path(test).name[len("test_") :])).is_file()
    }
    assert tests - mirrored == set(NO_MIRROR)
