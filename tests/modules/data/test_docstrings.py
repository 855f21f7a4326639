"""Docstrings of the installed packages are found by parsing, without imports."""

import importlib.util
import sys

from modules.data import docstrings

SOURCE = b'''"""Module: what it is for, told at some length."""
import os

class A:
    """Class.

        Indented more than the first line, as usual.
    """
    if os.name:
        async def f(self):
            r"""Returns the \\alpha of it all, which is short."""
            def g():
                """Inner functions are documented, too, at times."""
    def h(self):
        """Too short."""
    x = """A string that is no docstring, however long it may be."""
'''


def test_docstrings_of_a_module_are_returned_with_their_lines():
    assert docstrings.docstrings_of(SOURCE) == [
        (0, "Module: what it is for, told at some length."),
        (4, "Class.\n\nIndented more than the first line, as usual."),
        (10, "Returns the \\alpha of it all, which is short."),
        (12, "Inner functions are documented, too, at times."),
    ]


def test_a_file_with_bad_syntax_has_no_docstrings():
    assert docstrings.docstrings_of(b'"""' + b"x" * 50 + b'"""\nprint "hello"\n') == []


def test_docstrings_are_collected_without_importing_the_package(tmp_path, monkeypatch):
    folder = tmp_path / "sample_package_7"
    (folder / "tests").mkdir(parents=True)
    for name in ("__init__.py", "b.py", "tests/c.py", "test_d.py", "e_test.py"):
        (folder / name).write_text(f'"""The documentation string that stands in {name}."""\nraise SystemExit\n')
    monkeypatch.syspath_prepend(tmp_path)
    calls = []
    found = list(docstrings.collect(("sample_package_7", "missing_package_7"), lambda *done: calls.append(done)))
    assert [(item.key, item.package, item.text) for item in found] == [
        (f"sample_package_7/{name}:0", "sample_package_7", f"The documentation string that stands in {name}.")
        for name in ("__init__.py", "b.py")
    ]
    assert calls == [(2, 2)]
    assert "sample_package_7" not in sys.modules


def test_only_installed_packages_have_a_version():
    versions = docstrings.package_versions(("python", "numpy", "missing_package_7"))
    assert versions[0] == "python " + sys.version.split()[0]
    assert [version.split()[0] for version in versions] == ["python", "numpy"]
    assert importlib.util.find_spec("numpy") is not None
