"""Public functions and classes of the installed packages, each with its parameters and its summary.

As in `modules.data.docstrings`, sources are parsed and never imported. A worker process imports this module without
`site`, so it uses only the standard library.
"""

import ast
import json
import pathlib
import re
import sys
from collections.abc import Callable, Iterator
from typing import NamedTuple

from modules.data import docstrings
from modules.data.docstrings import STANDARD_LIBRARY

MIN_CHARACTERS, MAX_CHARACTERS = 30, 200
MIN_WORDS = 5
MAX_PARAMETERS_CHARACTERS = 100

# Decorators that name a definition's public place: `@tf_export("math.add", "add")`, `@keras_export(["keras.ops.add"])`.
_EXPORTS = {"tensorflow": ("tf_export", "tf."), "keras": ("keras_export", "")}
# NumPy's decorators that set the public module; it is `numpy` where they name none.
_NUMPY_DECORATORS = ("set_module", "array_function_dispatch", "array_function_from_c_func_and_dispatcher")
_ROLE = re.compile(r":[a-z:]+:(?=`)")
_LINK = re.compile(r"`+~?\.?([^`<]*?)(?: <[^`>]*>)?`+_*")
# A sentence ends at a period before a capital letter, but not after an abbreviation or an initial.
_SENTENCE_END = re.compile(r"(?<!e\.g)(?<!i\.e)(?<! vs)(?<! cf)(?<!etc)(?<! [A-Z])\.\s+(?=[A-Z`])")
# Texts that explain nothing by themselves: notes to developers, references to other texts, code.
_NO_SUMMARY = re.compile(
    r"\b(?:internal|private|deprecated|obsolete|todo|fixme|xxx|alias|stub|dummy|wrapper|backward|compatib\w*|"
    r"see|same as|just like|like \w+\(\)|equivalent to|this (?:function|method|class|test|is)|overrid\w+|subclass\w*|"
    r"overload)\b"
    r"|[|{}<>@\\]|>>>|::|https?:|\.\.\.|@@|\d\) |\*\*|--|->|\bI\b",
    re.IGNORECASE,
)

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


class Function(NamedTuple):
    """A public function, method or class.

    Attributes:
        package: The package that defines it, e.g. `numpy`; the standard library is `python`.
        name: The name by which users know it, e.g. `numpy.mean`.
        parameters: The parameters in parentheses, without types, e.g. `(a, axis=None)`. The text is empty if they are
            unknown or longer than `MAX_PARAMETERS_CHARACTERS`, and for properties.
        summary: The first sentence of its docstring.
    """

    package: str
    name: str
    parameters: str
    summary: str


def collect(
    packages: tuple[str, ...] = docstrings.PACKAGES,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Iterator[Function]:
    """Yields functions with a good summary in a fixed order; each name and each summary occurs once.

    Args:
        packages: As for `docstrings.collect`.
        on_progress: As for `docstrings.collect`.
    """
    seen: set[str] = set()
    for rows in docstrings.parsed_files("modules.data.documented_functions", packages, on_progress):
        for function in (Function(*row) for row in rows):
            identities = {function.name, function.summary.lower()}
            if not identities & seen:
                seen |= identities
                yield function


def functions_of(source: bytes, package: str, path: str) -> list[Function]:
    """Returns the documented public functions, classes and methods of one source file; [] if its syntax is bad.

    Args:
        source: The file's content.
        package: The package that the file belongs to.
        path: The file's path in the package's folder, e.g. `linalg/_linalg.py`.
    """
    tree = docstrings.syntax_tree(source)
    if tree is None:
        return []
    listed = _listed_names(tree)
    found = []
    for node in tree.body:
        if not isinstance(node, Definition) or node.name.startswith("_"):
            continue
        name = _public_name(node, package, path, listed)
        if name is None:
            continue
        found.append(_function(node, package, name, is_method=False))
        if isinstance(node, ast.ClassDef):
            members = [member for member in node.body if isinstance(member, Definition)]
            found += [_function(member, package, f"{name}.{member.name}", is_method=True) for member in members]
    return [function for function in found if function is not None]


def summary_of(docstring: str) -> str | None:
    """Returns the first sentence of a docstring in plain text, or None if it is no good explanation.

    `"Return the ``name``.\\n\\nMore."  ->  "Return the `name`."`, without the markup of Sphinx.
    """
    paragraph = " ".join(docstring.strip().split("\n\n")[0].split())
    plain = _LINK.sub(lambda match: f"`{match[1]}`", _ROLE.sub("", paragraph))
    sentence = _SENTENCE_END.split(plain)[0].rstrip(" .") + "."
    is_good = (
        plain.endswith(".")
        and MIN_CHARACTERS <= len(sentence) <= MAX_CHARACTERS
        and len(sentence.split()) >= MIN_WORDS
        and sentence[0].isupper()
        and sentence.isascii()
        and not _NO_SUMMARY.search(sentence)
        and all(sentence.count(opening) == sentence.count(closing) for opening, closing in ("()", "[]"))
        and sentence.count("`") % 2 == 0
    )
    return sentence if is_good else None


def _function(node: Definition, package: str, name: str, *, is_method: bool) -> Function | None:
    summary = summary_of(ast.get_docstring(node) or "")
    if node.name.startswith("_") or summary is None:
        return None
    return Function(package, name, _parameters(node, is_method=is_method), summary)


def _parameters(node: Definition, *, is_method: bool) -> str:
    if isinstance(node, ast.ClassDef):
        makers = [member for member in node.body if isinstance(member, ast.FunctionDef) and member.name == "__init__"]
        if not makers:
            return ""
        node, is_method = makers[0], True
    if any(getattr(decorator, "id", "") in ("property", "cached_property") for decorator in node.decorator_list):
        return ""
    arguments = node.args
    every = [*arguments.posonlyargs, *arguments.args, arguments.vararg, *arguments.kwonlyargs, arguments.kwarg]
    for argument in filter(None, every):
        argument.annotation = None
    if is_method and arguments.args and arguments.args[0].arg in ("self", "cls"):
        del arguments.args[0]
    parameters = f"({ast.unparse(arguments)})"
    return parameters if len(parameters) <= MAX_PARAMETERS_CHARACTERS else ""


def _public_name(node: Definition, package: str, path: str, listed: set[str] | None) -> str | None:
    """Returns the name by which users know a definition, or None if it is not public."""
    calls = [call for call in node.decorator_list if isinstance(call, ast.Call)]
    if package in _EXPORTS:
        decorator, prefix = _EXPORTS[package]
        for call in calls:
            names = [value for value in map(_first_string, call.args) if value]
            if _called(call) == decorator and names and "._" not in names[0]:
                return prefix + names[0]
        return None
    modules = [] if package == STANDARD_LIBRARY else [package]
    modules += [part for part in pathlib.PurePosixPath(path).with_suffix("").parts if part != "__init__"]
    public = modules[: next((i for i, part in enumerate(modules) if part.startswith("_")), len(modules))]
    if package == "numpy":
        for call in calls:
            if _called(call) in _NUMPY_DECORATORS:
                return f"{_numpy_module(call)}.{node.name}"
    is_private = len(public) < len(modules)
    # Distutils is not part of every Python. A private module's `__all__` lists what another module makes public.
    if "distutils" in public or len(public) < (2 if is_private and package != STANDARD_LIBRARY else 1):
        return None
    if is_private and (listed is None or package == "numpy"):
        return None
    return ".".join([*public, node.name]) if listed is None or node.name in listed else None


def _numpy_module(call: ast.Call) -> str:
    named = [keyword.value for keyword in call.keywords if keyword.arg == "module"]
    values = call.args if _called(call) == "set_module" else named
    return next(filter(None, map(_first_string, values)), "numpy")


def _called(call: ast.Call) -> str:
    function = call.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _first_string(node: ast.expr) -> str | None:
    if isinstance(node, ast.List | ast.Tuple):
        return _first_string(node.elts[0]) if node.elts else None
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _listed_names(tree: ast.Module) -> set[str] | None:
    """Returns the names in the literal `__all__` of a module, or None without such a list."""
    for node in tree.body:
        if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.List | ast.Tuple):
            continue
        if any(getattr(target, "id", "") == "__all__" for target in node.targets):
            return {name for name in map(_first_string, node.value.elts) if name}
    return None


def main(request: str) -> None:
    """Parses files in a process of its own; writes the rows of `functions_of` as JSON to standard output.

    Args:
        request: JSON list of a package, its folder, and names of files in it, made by `docstrings.parsed_files`.
    """
    package, folder, files = json.loads(request)
    rows = [row for name in files for row in functions_of(pathlib.Path(folder, name).read_bytes(), package, name)]
    json.dump(rows, sys.stdout)
