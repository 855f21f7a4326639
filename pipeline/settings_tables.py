"""Tables of settings in the Markdown pages, generated from the settings' descriptions by `make docs`.

Two comments in a page mark the place of a table and name a section of the configuration:

    <!-- settings: data.cleaning -->
    <!-- end of settings -->
"""

import itertools
import os
import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import annotated_types
from pydantic.fields import FieldInfo

from modules.common.settings import Settings
from pipeline.code_fingerprint import ROOT
from pipeline.config import PipelineConfig

# Section name of the whole configuration.
WHOLE = "pipeline"
PLACE = re.compile(r"(<!-- settings: (?P<section>[\w.]+) -->\n).*?(<!-- end of settings -->)", re.DOTALL)
_HEADER = "| setting | type | default | meaning |\n|---|---|---|---|\n"
_WORDS = {bool: "true or false", int: "integer", float: "number", str: "text", Path: "path"}
_SIGNS = {
    annotated_types.Gt: ("gt", ">"),
    annotated_types.Ge: ("ge", "≥"),
    annotated_types.Lt: ("lt", "<"),
    annotated_types.Le: ("le", "≤"),
}


def sections() -> dict[str, type[Settings]]:
    """Returns the settings class of each section by dotted name, `training.lora`; `pipeline` is the configuration.

    If a list takes settings of several kinds, each kind is a section: `evaluation.tasks.answers`.
    """
    return {WHOLE: PipelineConfig, **dict(_sections_of(PipelineConfig, ""))}


def pages() -> list[Path]:
    """Returns the pages of the project: every README.md, CONTRIBUTING.md and CHANGELOG.md."""
    folders = ("modules", "components", "pipeline", "schemas", "tests")
    return [*sorted(ROOT.glob("*.md")), *(page for folder in folders for page in sorted((ROOT / folder).rglob("*.md")))]


def current(page: Path, places: Mapping[str, Path]) -> str:
    """Returns a page's text with current tables.

    Args:
        page: File to read.
        places: Page of each section, as `places_of` returns it.

    Raises:
        KeyError: The page names a section that does not exist.
    """
    return PLACE.sub(
        lambda match: match[1] + table(match["section"], page, places) + match[3], page.read_text(encoding="utf-8")
    )


def places_of(files: Sequence[Path]) -> dict[str, Path]:
    """Returns for each section the page that contains its table."""
    return {match["section"]: page for page in files for match in PLACE.finditer(page.read_text(encoding="utf-8"))}


def table(section: str, page: Path, places: Mapping[str, Path]) -> str:
    """Returns the Markdown table of a section; a setting that has a table on another page links to it."""
    rows = _rows(sections()[section], "" if section == WHOLE else f"{section}.", "", page, places)
    return _HEADER + "".join(f"| {' | '.join(cells)} |\n" for cells in rows)


def _sections_of(settings: type[Settings], prefix: str) -> Iterator[tuple[str, type[Settings]]]:
    for name, field in settings.model_fields.items():
        kinds = list(_settings_in(field.annotation))
        for kind in kinds:
            tag = f".{typing.get_args(kind.model_fields['kind'].annotation)[0]}" if len(kinds) > 1 else ""
            yield f"{prefix}{name}{tag}", kind
            yield from _sections_of(kind, f"{prefix}{name}{tag}.")


def _settings_in(annotation: Any) -> Iterator[type[Settings]]:
    """Yields every class of settings that an annotation mentions."""
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        yield annotation
    for part in typing.get_args(annotation):
        yield from _settings_in(part)


def _rows(
    settings: type[Settings], section: str, shown: str, page: Path, places: Mapping[str, Path]
) -> Iterator[tuple[str, str, str, str]]:
    """Yields setting, type, default and meaning; nested settings without an own table get a row each."""
    for name, field in settings.model_fields.items():
        kinds = list(_settings_in(field.annotation))
        tables = [places[key] for key in sections() if key in places and f"{key}.".startswith(f"{section}{name}.")]
        meaning = (field.description or "").replace("|", "\\|")
        if tables:
            target = os.path.relpath(tables[0], page.parent)
            yield f"`{shown}{name}`", "settings, below" if tables[0] == page else f"[settings]({target})", "", meaning
        elif kinds:
            yield from _rows(kinds[0], f"{section}{name}.", f"{shown}{name}.", page, places)
        else:
            yield f"`{shown}{name}`", _type(field.annotation, field.metadata), _default(field), meaning


def _type(annotation: Any, bounds: Sequence[Any] = ()) -> str:
    """Returns a type as text, with its choices or bounds: `integer ≥ 1`."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        within = [item.metadata if isinstance(item, FieldInfo) else [item] for item in arguments[1:]]
        return _type(arguments[0], [*bounds, *itertools.chain(*within)])
    if origin is Literal:
        return ", ".join(f"`{choice}`" for choice in arguments)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_type(part, bounds) for part in arguments if part is not type(None))
    if origin in (list, tuple):
        return f"list of {_type(arguments[0])}"
    signs = [
        f"{_SIGNS[type(bound)][1]} {getattr(bound, _SIGNS[type(bound)][0])}"
        for bound in bounds
        if type(bound) in _SIGNS
    ]
    return f"{_WORDS[annotation]} {', '.join(signs)}".strip()


def _default(field: FieldInfo) -> str:
    """Returns the default as it would be written in a recipe."""
    value = field.default
    if field.is_required():
        return "required"
    if value is None:
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return f"`[{', '.join(value)}]`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def main() -> None:
    """Rewrites the tables of every page in place."""
    files = pages()
    places = places_of(files)
    for page in files:
        page.write_text(current(page, places), encoding="utf-8")


if __name__ == "__main__":
    main()
