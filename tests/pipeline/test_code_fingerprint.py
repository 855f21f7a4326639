from pathlib import Path

import pytest

from pipeline.code_fingerprint import code_fingerprint, imported_files


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    files = {
        "uv.lock": "numpy 2",
        "modules/__init__.py": "",
        "modules/train.py": "from modules import losses\nimport numpy\n",
        "modules/losses.py": "X = 1\n",
        "modules/unrelated.py": "",
        "components/__init__.py": "",
        "components/trainer/__init__.py": "",
        "components/trainer/component.py": "from components.trainer import executor\n",
        "components/trainer/executor.py": "def do():\n    from modules.train import X\n",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_imports_are_followed_through_packages_and_functions(checkout):
    found = imported_files("components.trainer.component", checkout)
    assert {path.relative_to(checkout).as_posix() for path in found} == {
        "components/__init__.py",
        "components/trainer/__init__.py",
        "components/trainer/component.py",
        "components/trainer/executor.py",
        "modules/__init__.py",
        "modules/train.py",
        "modules/losses.py",
    }


@pytest.mark.parametrize(
    ("edited", "changes"),
    [
        ("modules/losses.py", True),
        ("components/trainer/executor.py", True),
        ("uv.lock", True),
        ("schema.pbtxt", True),
        ("modules/unrelated.py", False),
        ("README.md", False),
    ],
)
def test_a_line_changes_the_fingerprint_of_what_it_affects(checkout, edited, changes):
    def fingerprint() -> str:
        imported_files.cache_clear()
        return code_fingerprint(["components.trainer.component"], [checkout / "schema.pbtxt"], checkout)

    before = fingerprint()
    with (checkout / edited).open("a") as file:
        file.write("# one more line\n")
    assert (fingerprint() != before) is changes
