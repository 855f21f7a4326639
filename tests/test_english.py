"""Holds prose to plain English: docstrings, comments, messages and test names that have to be read once only.

Each rule names a pattern that made sentences hard to read, and what to write instead. Tests are free in the texts that
they feed to the code, so only their docstrings, comments and names are read.
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("modules", "components", "pipeline", "tests")
PAGES = ("*.md", "modules/**/*.md", "pipeline/**/*.md", "components/**/*.md", "schemas/*.md", "tests/**/*.md")
UNITS = "second|minute|step|token|byte|row|document|line|window|batch|file|node|core|bucket|split|pair|run|word|slice"
COUNTED = (
    "bytes|kB|MB|MiB|GB|tokens|words|characters|rows|documents|texts|windows|pairs|steps|batches|files|lines|numbers|"
    "times|nats|seconds|minutes|copies|samples|calls|row|window|file|line|document|number"
)
# What is looked for, and what to write instead.
PROSE = {
    "rates": (rf"\b({COUNTED}) an? ({UNITS})\b", "per, as in `tokens per second`"),
    "alone": (r"(?<!leave )(?<!leaves )(?<!left )(?<!let )(?<!them )(?<!it )(?<!rest )\balone\b", "only"),
    "beside": (r"\bbeside\b", "next to, compared with, besides"),
    "stands": (r"\b(stands|lies)\b", "is"),
    "told": (r"\b(tells|told)\b", "reports, shows, prints"),
    "says": (r"\bsays\b", "reports, shows, states"),
    "go on with": (r"\bgo(es|ing|ne)? on with\b", "resume, continue"),
    "a training": (
        r"\b(trainings|[Aa] training(?! (run|step|loop|set|data|text|record|example|document|job|room|window)))\b",
        "a training run",
    ),
    "against": (r"\bh(eld|olds?|olding) (\w+ )?against\b", "compares with"),
    "whoever": (r"\b(whoever|who asks)\b", "callers that …"),
    "yet to be": (r"\byet to be\b", "does not exist yet"),
}
OPENING = re.compile(r"(What|Which|How|Whether|Who|Whose|Where|When|Nothing)\b")
MEANINGLESS = {"one", "other"}


def code_files() -> list[Path]:
    paths = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
    return [path for path in paths if path != Path(__file__)]


def pages() -> list[Path]:
    return [path for pattern in PAGES for path in sorted(ROOT.glob(pattern)) if ".venv" not in path.parts]


def documented(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yields the line and the text of every docstring."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node, clean=False)
            if text is not None:
                yield node.body[0].lineno, text


def prose(path: Path) -> Iterator[tuple[int, str]]:
    """Yields the line and the text of docstrings, comments and test names; outside of tests of all strings."""
    source = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        yield from enumerate(source.splitlines(), 1)
        return
    yield from documented(ast.parse(source))
    in_tests = path.relative_to(ROOT).parts[0] == "tests"
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT or (token.type == tokenize.STRING and not in_tests):
            yield token.start[0], token.string
        elif token.type == tokenize.NAME and token.string.startswith("test_"):
            yield token.start[0], token.string.replace("_", " ")


@pytest.mark.parametrize("rule", PROSE)
def test_prose_is_understood_at_the_first_reading(rule: str) -> None:
    pattern, instead = PROSE[rule]
    found = [
        f"{path.relative_to(ROOT)}:{line}: {match[0]!r}; write: {instead}"
        for path in [*code_files(), *pages()]
        for line, text in prose(path)
        for match in re.finditer(pattern, text)
    ]
    assert not found, "\n" + "\n".join(found)


def test_docstrings_open_with_a_verb_or_a_noun() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {text.strip().splitlines()[0]}"
        for path in code_files()
        for line, text in documented(ast.parse(path.read_text(encoding="utf-8")))
        if OPENING.match(text.strip())
    ]
    assert not found, "\n" + "\n".join(found)


def test_names_are_nouns_of_what_they_hold() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}: {name}"
        for path in code_files()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        for name in [getattr(node, "arg", None) if isinstance(node, ast.arg) else getattr(node, "id", None)]
        if name in MEANINGLESS and (isinstance(node, ast.arg) or isinstance(getattr(node, "ctx", None), ast.Store))
    ]
    assert not found, "\n" + "\n".join(found)
