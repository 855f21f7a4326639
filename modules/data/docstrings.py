"""English documentation that every Python environment contains: help topics and docstrings.

Sources are parsed and never imported, because importing would run code and take minutes.
"""

import ast
import concurrent.futures
import dataclasses
import functools
import hashlib
import importlib.metadata
import importlib.util
import inspect
import json
import os
import pathlib
import subprocess
import sys
import sysconfig
import warnings
from collections.abc import Callable, Iterator

from modules.common import child_process

# TFDS data sets of this project: texts, instructions and preferences.
DATASET_NAMES = ("python_documentation", "python_instructions", "python_preferences")
STANDARD_LIBRARY = "python"
TOPICS = "pydoc_data"

# These packages have the most text per second of parsing: about 13 MB in well under 12 s on two cores.
PACKAGES = (STANDARD_LIBRARY, "numpy", "scipy", "tensorflow", "keras")
MIN_CHARACTERS = 40

# Tests, copies of other projects, and generated or superseded code that repeats itself.
_SKIPPED_FOLDERS = frozenset(
    {"test", "tests", "testing", "_testing", "idle_test", "kernel_tests", "site-packages", "dist-packages"}
    | {"_vendor", "vendored", "_vendored", "externals", "extern", "array_api_compat", "array_api_extra"}
    | {"lib2to3", "idlelib", "turtledemo", "ensurepip", "f2py", "_api", "include", "compiler", "tpu"}
)
# tensorflow.python.keras is the copy of Keras 2 that TensorFlow keeps for itself.
_SKIPPED_PATHS = ("tensorflow/python/keras/", "tensorflow/lite/", "tensorflow/core/", "keras/_tf_keras/")
_SKIPPED_PREFIXES = ("test_", "gen_")
_FILES_PER_TASK = 200
# The modules that decide what the data sets contain.
_RULES = ("docstrings.py", "documented_functions.py", "documentation_rows.py")


@dataclasses.dataclass(frozen=True, slots=True)
class Documentation:
    """One help topic or docstring."""

    key: str  # e.g. "numpy/linalg/_linalg.py:17"; it is unique, and the same on every machine
    package: str
    text: str


def environment_fingerprint(packages: tuple[str, ...] = PACKAGES) -> str:
    """Returns the SHA-256 (hexadecimal) of the versions of Python and the packages and of the source of the rules."""
    rules = [hashlib.sha256(pathlib.Path(__file__).with_name(name).read_bytes()).hexdigest() for name in _RULES]
    return hashlib.sha256("\n".join([*package_versions(packages), *rules]).encode()).hexdigest()


def package_versions(packages: tuple[str, ...] = PACKAGES) -> list[str]:
    """Returns the installed packages with their versions: `["python 3.11.7", "numpy 2.2.6"]`."""
    versions = []
    for package in packages:
        if package == STANDARD_LIBRARY:
            versions.append(f"{package} {'.'.join(map(str, sys.version_info[:3]))}")
        elif (folder := package_folder(package)) is not None:
            try:
                versions.append(f"{package} {importlib.metadata.version(package)}")
            except importlib.metadata.PackageNotFoundError:  # e.g. tensorflow-cpu provides tensorflow
                versions.append(f"{package} at {folder.stat().st_mtime_ns}")
    return versions


def package_folder(package: str) -> pathlib.Path | None:
    """Returns a package's folder without importing it, or None if the package is not installed."""
    if package == STANDARD_LIBRARY:
        return pathlib.Path(sysconfig.get_path("stdlib"))
    spec = importlib.util.find_spec(package)
    return pathlib.Path(spec.origin).parent if spec and spec.origin else None


def collect(
    packages: tuple[str, ...] = PACKAGES, on_progress: Callable[[int, int], None] = lambda done, total: None
) -> Iterator[Documentation]:
    """Yields help topics and the packages' docstrings in a fixed order.

    Args:
        packages: Import names. `"python"` is the standard library and the help topics, `"pydoc_data"` only the
            topics. Packages that are not installed are left out.
        on_progress: A function that is called with (source files parsed, source files in total).
    """
    if STANDARD_LIBRARY in packages or TOPICS in packages:
        yield from _topics()
    for rows in parsed_files("modules.data.docstrings", packages, on_progress):
        yield from (Documentation(*row) for row in rows)


def parsed_files(
    worker: str, packages: tuple[str, ...], on_progress: Callable[[int, int], None]
) -> Iterator[list[list[str]]]:
    """Yields the rows that worker processes find in the packages' source files, in a fixed order.

    Args:
        worker: Dotted name of a module that needs only the standard library. Its `main` gets a JSON list of a package,
            its folder and names of files in it, and writes a JSON list of rows to standard output.
        packages: As for `collect`.
        on_progress: As for `collect`.
    """
    tasks = []
    for package in packages:
        folder = package_folder(package)
        files = sorted(_source_files(folder, package)) if folder else []
        tasks += [(package, str(folder), files[i : i + _FILES_PER_TASK]) for i in range(0, len(files), _FILES_PER_TASK)]
    total = sum(len(files) for _, _, files in tasks)
    done = 0
    # Each worker is a new interpreter that imports only this file. Forking a process that has TensorFlow's threads may
    # hang. The other start methods of multiprocessing import the parent's main module, which may be all of TFX.
    with concurrent.futures.ThreadPoolExecutor(max(1, min(os.cpu_count() or 1, 4))) as pool:
        found = pool.map(functools.partial(_parse_elsewhere, worker), tasks)
        for (_, _, files), rows in zip(tasks, found, strict=True):
            yield rows
            done += len(files)
            on_progress(done, total)


def _parse_elsewhere(worker: str, task: tuple[str, str, list[str]]) -> list[list[str]]:
    # Without `site`, which takes longer to import than all of this.
    with child_process.start(worker, json.dumps(task), options=["-P", "-S"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        output = process.stdout.read()
        status = process.wait()
    if status != 0:
        raise subprocess.CalledProcessError(status, process.args)
    return json.loads(output)


def _topics() -> Iterator[Documentation]:
    from pydoc_data import topics

    for name, text in sorted(topics.topics.items()):
        yield Documentation(key=f"{TOPICS}:{name}", package=TOPICS, text=text.strip())


def _source_files(folder: pathlib.Path, package: str) -> Iterator[str]:
    """Yields the paths of source files relative to `folder`, with `/`, e.g. `linalg/_linalg.py`."""
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in _SKIPPED_FOLDERS and not name.startswith("__")]
        for name in files:
            path = (pathlib.Path(parent) / name).relative_to(folder).as_posix()
            if not name.endswith(".py") or name.endswith("_test.py") or name.startswith(_SKIPPED_PREFIXES):
                continue
            if not f"{package}/{path}".startswith(_SKIPPED_PATHS):
                yield path


def _parse_files(package: str, folder: str, files: list[str]) -> Iterator[tuple[str, str, str]]:
    for name in files:
        for line, text in docstrings_of(pathlib.Path(folder, name).read_bytes()):
            yield f"{package}/{name}:{line}", package, text


def syntax_tree(source: bytes) -> ast.Module | None:
    """Returns the syntax tree of a source file; None if its syntax is bad."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # other projects' strings hold invalid escape sequences
            return ast.parse(source)
    except (SyntaxError, ValueError):
        return None


def docstrings_of(source: bytes) -> list[tuple[int, str]]:
    """Returns pairs (line, dedented docstring) of a module, its classes and functions; [] if the syntax is bad."""
    if b'"""' not in source and b"'''" not in source:
        return []
    tree = syntax_tree(source)
    if tree is None:
        return []
    found = []
    for node in _documented_nodes(tree):
        text = inspect.cleandoc(ast.get_docstring(node, clean=False) or "").strip()
        if len(text) >= MIN_CHARACTERS:
            found.append((getattr(node, "lineno", 0), text))
    return found


def _documented_nodes(
    tree: ast.Module,
) -> Iterator[ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yields the nodes that may have a docstring. Skips expressions, which are most of a tree."""
    stack: list[ast.AST] = [tree]
    while stack:
        node = stack.pop()
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node
        children = [*getattr(node, "body", []), *getattr(node, "orelse", []), *getattr(node, "handlers", [])]
        stack += [child for child in reversed(children) if isinstance(child, ast.stmt | ast.excepthandler)]


def main(request: str) -> None:
    """Parses files in a process of its own; writes the rows of `_parse_files` as JSON to standard output.

    Args:
        request: JSON list of a package, its folder, and names of files in it, made by `collect`.
    """
    json.dump(list(_parse_files(*json.loads(request))), sys.stdout)
