"""Hashes of the project's code and of the locked packages, on which a node's result depends besides its inputs.

TFX hashes neither and would reuse a stale model after an edit. So the DAG puts these hashes into every node's executor
specification, which is part of TFX's cache key.
"""

import ast
import functools
import hashlib
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOCK = "uv.lock"
PACKAGES = ("modules", "components")


def code_fingerprint(entry_modules: Iterable[str], data_files: Iterable[Path] = (), root: Path = ROOT) -> str:
    """Returns the SHA-256 of the lock, the modules, the project files that they import, and data files.

    Args:
        entry_modules: Dotted names, e.g. `["modules.training.run_fn"]`.
        data_files: More files on which the result depends, e.g. a schema.
        root: Folder of the checkout.
    """
    digest = hashlib.sha256()
    sources = sorted({path for name in entry_modules for path in imported_files(name, root)})
    for path in [root / LOCK, *sources, *data_files]:
        content = path.read_bytes() if path.exists() else b""
        digest.update(f"{path.name}:{len(content)}:".encode() + content)
    return digest.hexdigest()


@functools.cache
def imported_files(module: str, root: Path = ROOT) -> frozenset[Path]:
    """Returns the files of a project module and of every project module that it imports, without importing them."""
    found: set[Path] = set()
    waiting = [module]
    while waiting:
        for path in _files_of(waiting.pop(), root) - found:
            found.add(path)
            waiting.extend(_imports(path))
    return frozenset(found)


def _files_of(module: str, root: Path) -> set[Path]:
    """Returns a module's file and the `__init__.py` of each package above it; nothing for modules of other projects."""
    parts = module.split(".")
    if parts[0] not in PACKAGES:
        return set()
    files = {root.joinpath(*parts[:depth], "__init__.py") for depth in range(1, len(parts) + 1)}
    files.add(root.joinpath(*parts).with_suffix(".py"))
    return {path for path in files if path.is_file()}


def _imports(path: Path) -> list[str]:
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            names.extend(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.extend([node.module, *(f"{node.module}.{alias.name}" for alias in node.names)])
    return names
