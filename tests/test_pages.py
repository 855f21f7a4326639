"""The pages agree with the code: tables, links, names of files, targets, commands, options and settings."""

import itertools
import re
import shlex
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main
from markdown_it import MarkdownIt
from markdown_it.token import Token

from pipeline import settings_tables
from pipeline.cli import app
from pipeline.code_fingerprint import ROOT

PAGES = settings_tables.pages()
COMMANDS = typer.main.get_command(app).commands
FOLDERS = ("modules", "components", "pipeline", "schemas", "tests", "notebooks")
FILE_NAME = re.compile(rf"(?:(?:{'|'.join(FOLDERS)})/[\w<>./*-]*|[\w<>./-]+\.(?:py|pbtxt|ipynb|toml|lock|jinja|css))")
# `read_rows` in `modules/data/row_files.py`
DEFINED = re.compile(r"`(?P<name>\w+)(?:\([^`]*\))?` (?:in|of) `(?P<file>[\w/]+\.py)`")


def every_page(function):
    return pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))(function)


def parse(page: Path) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8"))


def inline(page: Path, kind: str) -> list[Token]:
    return [part for token in parse(page) for part in token.children or () if part.type == kind]


def inline_code(page: Path) -> list[str]:
    return [token.content for token in inline(page, "code_inline")]


def anchors(page: Path) -> set[str]:
    """Returns anchors as GitHub makes them: `## Your own data` is `your-own-data`, its second use `your-own-data-1`."""
    found: Counter[str] = Counter()
    names = set()
    tokens = parse(page)
    for opening, heading in itertools.pairwise(tokens):
        if opening.type == "heading_open":
            text = "".join(part.content for part in heading.children or ())
            name = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
            names.add(f"{name}-{found[name]}" if found[name] else name)
            found[name] += 1
    return names


def commands(page: Path) -> Iterator[list[str]]:
    """Yields the words of every command in code, without comments: `["make", "run"]`."""
    fences = [line for token in parse(page) if token.type == "fence" for line in token.content.splitlines()]
    for line in [*fences, *inline_code(page)]:
        if re.match(r"make |\.venv/bin/|tfx-gpt2 |python -m ", line):
            yield shlex.split(line, comments=True)


def pipeline_arguments(words: list[str]) -> list[str] | None:
    """Returns the words after `tfx-gpt2` or `python -m pipeline`; None for other programs."""
    if words[0].endswith("tfx-gpt2"):
        return words[1:]
    return words[3:] if words[1:3] == ["-m", "pipeline"] else None


def exists(name: str) -> bool:
    """Returns whether a file or folder has this name; `<room>` matches any name."""
    pattern = re.sub(r"<\w+>", "*", name).rstrip("/")
    if "/" not in pattern:
        return (ROOT / pattern).exists() or any(next((ROOT / top).rglob(pattern), None) for top in FOLDERS)
    return next(ROOT.glob(pattern), None) is not None


def options(command: str) -> set[str]:
    return {name for option in COMMANDS[command].params for name in option.opts if name.startswith("--")}


def is_setting(key: str) -> bool:
    section, _, name = key.rpartition(".")
    settings = settings_tables.sections().get(section or settings_tables.WHOLE)
    return settings is not None and name in settings.model_fields


@every_page
def test_tables_of_settings_are_current(page: Path) -> None:
    places = settings_tables.places_of(PAGES)
    assert page.read_text(encoding="utf-8") == settings_tables.current(page, places), "run `make docs`"


def test_every_setting_is_in_a_table_and_has_a_description() -> None:
    sections = settings_tables.sections()
    # Two small sections are rows of the table of their parent, e.g. `splits.train`.
    assert set(sections) - set(settings_tables.places_of(PAGES)) == {"data.splits", "evaluation.tflite.max_rise"}
    assert {
        f"{section}.{name}"
        for section, settings in sections.items()
        for name, field in settings.model_fields.items()
        if not field.description
    } == set()


def test_a_table_names_type_default_and_meaning() -> None:
    table = settings_tables.table("evaluation.tflite", ROOT / "README.md", {})
    assert (
        "| `max_rise.float16` | number ≥ 0 | `0.005` | Largest relative rise in perplexity of the float16 file" in table
    )
    assert "| `on_failure` | `leave_out`, `stop` | `leave_out` |" in table


@every_page
def test_links_have_a_target(page: Path) -> None:
    wrong = []
    for link in (str(token.attrs["href"]) for token in inline(page, "link_open")):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            wrong.append(link)
    assert wrong == []


@every_page
def test_files_exist(page: Path) -> None:
    names = [name for name in inline_code(page) if FILE_NAME.fullmatch(name)]
    in_commands = [word for words in commands(page) for word in words if FILE_NAME.fullmatch(word)]
    wrong = [name for name in (*names, *in_commands) if not exists(name)]
    assert wrong == [], wrong


@pytest.mark.parametrize(
    "room", sorted(path.parent for path in (ROOT / "modules").glob("*/__init__.py")), ids=lambda room: room.name
)
def test_a_room_has_a_page_that_names_its_files(room: Path) -> None:
    names = inline_code(room / "README.md")
    files = {str(path.relative_to(ROOT)) for path in room.glob("*.py")} - {f"modules/{room.name}/__init__.py"}
    assert sorted(files - set(names)) == []


@every_page
def test_functions_are_in_the_files_that_the_page_names(page: Path) -> None:
    wrong = []
    for match in DEFINED.finditer(page.read_text(encoding="utf-8")):
        file = ROOT / match["file"]
        if file.is_file() and not re.search(rf"\b{match['name']}\b", file.read_text(encoding="utf-8")):
            wrong.append(match[0])
    assert wrong == [], wrong


@every_page
def test_make_targets_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    used = {words[1] for words in commands(page) if words[0] == "make" and not words[1].endswith("…")}
    assert used - targets == set()


@every_page
def test_commands_options_and_settings_exist(page: Path) -> None:
    wrong = []
    for words in commands(page):
        arguments = pipeline_arguments(words)
        if not arguments or arguments[0] in ("…", "COMMAND"):
            continue
        command, *rest = arguments
        known = {*options(command), "--help"} if command in COMMANDS else set()
        if command not in COMMANDS or {word for word in rest if word.startswith("--")} - known:
            wrong.append(" ".join(words))
        for option, value in itertools.pairwise(rest):
            if option == "--set" and value != "KEY=VALUE" and not is_setting(value.partition("=")[0]):
                wrong.append(value)
    assert wrong == []


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_the_table_of_commands_is_complete(command: str) -> None:
    page = (ROOT / "pipeline" / "README.md").read_text(encoding="utf-8")
    row = next(line for line in page.splitlines() if re.match(rf"\| `{command}[ `]", line))
    assert set(re.findall(r"--[\w-]+", row)) == options(command)


def test_wrong_links_files_and_commands_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A `b` c!\n\n# A b c\n\n[x](gone.md) `tests/gone.py`\n\n```\nmake gone  # so\ntfx-gpt2 gone\n```\n"
    )
    assert anchors(page) == {"a-b-c", "a-b-c-1"}
    assert list(commands(page)) == [["make", "gone"], ["tfx-gpt2", "gone"]]
    assert not exists("tests/gone.py")
    assert exists("modules/<room>/settings.py")
    assert is_setting("training.lora.rank")
    assert not is_setting("training.ranks")
    with pytest.raises(AssertionError, match=r"gone\.md"):
        test_links_have_a_target(page)
