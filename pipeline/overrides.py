r"""Overrides of settings, `key=value`: a value is read by the type of the setting that it is for.

| type of the setting | value |
|---|---|
| text, path, one of several words | taken literally; in texts `\n` is a line feed, `\t` a tab, `\\` a backslash |
| number, true or false | read as such, also where text is possible |
| list, settings with keys | YAML or JSON in brackets: `[a, b]`, `{key: value}` |
| text or a list of texts | literally, unless brackets enclose it |
| anything that may be none | `null` is none |
"""

import json
import re
import shlex
import typing
from pathlib import Path
from typing import Any, Literal

from modules.common.errors import InputError
from modules.common.failures import shortened
from modules.common.settings import Settings
from pipeline.plain_yaml import parse_scalar, parse_yaml
from pipeline.setting_types import alternatives, is_list, is_mapping, settings_of

_ESCAPE = re.compile(r"\\([nt\\])")
# A longer list is shown by its form only.
_SPELLED_CHARACTERS = 1000
_ESCAPED = {"n": "\n", "t": "\t", "\\": "\\"}


def apply_override(values: dict[str, Any], override: str, configuration: type[Settings]) -> None:
    """Puts the value of an override in its place among the values of a recipe.

    Args:
        values: Values of a recipe, changed in place.
        override: `key=value` with a dotted key, e.g. `training.steps=10`.
        configuration: Settings that the values are for. An unknown key is not an error here: their validation reports
            it together with all other problems.

    Raises:
        InputError: The override is not `key=value`, its key leads through a value, or its value is not what the
            setting takes; the message ends with the spelling that works.
    """
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise InputError(f"--set takes key=value, e.g. --set training.steps=10. Received: {shortened(override)!r}.")
    *parents, last = key.split(".")
    target = values
    for parent in parents:
        if target.get(parent) is None:
            target[parent] = {}
        child = target[parent]
        if not isinstance(child, dict):
            raise InputError(
                f"--set {key}: `{parent}` is a value and holds no settings. Received: {shortened(repr(child))}."
            )
        target = child
    target[last] = _value(text, _annotation(configuration, [*parents, last]), key)


def _annotation(settings: Any, place: list[str]) -> Any:
    """Returns the annotation of a setting; that of text if no such setting exists."""
    for part in place:
        try:
            settings = settings_of(settings, part)
        except KeyError:
            return str
    return settings


def _value(text: str, annotation: Any, key: str) -> Any:
    kinds = alternatives(annotation)
    if text == "null" and type(None) in kinds:
        return None
    if text in (word for kind in kinds if typing.get_origin(kind) is Literal for word in typing.get_args(kind)):
        return text
    if any(map(is_list, kinds)) and text.startswith("[") and text.rstrip().endswith("]"):
        return _list(text, key)
    if any(map(_has_keys, kinds)) and text.startswith("{"):
        return _keys(text, key)
    number = parse_scalar(text)
    if isinstance(number, int | float) and type(number) in kinds:
        return number
    if str in kinds:
        return _ESCAPE.sub(lambda match: _ESCAPED[match[1]], text)
    return text if Path in kinds else number


def _has_keys(kind: Any) -> bool:
    return is_mapping(kind) or kind is dict or (isinstance(kind, type) and issubclass(kind, Settings))


def _list(text: str, key: str) -> list[Any]:
    try:
        return _parsed(text, list)
    except ValueError as error:
        items = [item.strip().strip("\"'") for item in text.strip()[1:-1].split(",")]
        raise InputError(
            f"--set {shortened(key)}: a value in brackets is a list, and its items need quotes if they have signs of "
            f"YAML's own. Received: {shortened(text)!r}{_reason(error)}. Write a list as {_spelling(key, items)}, or "
            f"one text that has brackets as {_spelling(key, [text])}."
        ) from None


def _keys(text: str, key: str) -> dict[str, Any]:
    try:
        return _parsed(text, dict)
    except ValueError as error:
        raise InputError(
            f"--set {shortened(key)}: a value in braces must be `{{key: value, …}}`, and texts with signs of YAML's "
            f"own need quotes there. Received: {shortened(text)!r}{_reason(error)}. Set each key by itself, as in "
            f"`--set {shortened(key)}.KEY=VALUE`, where VALUE needs no quotes of YAML's."
        ) from None


def _parsed(text: str, kind: type) -> Any:
    value = parse_yaml(text)
    if not isinstance(value, kind):
        raise ValueError(f"it is read as {type(value).__name__}")
    return value


def _reason(error: ValueError) -> str:
    """Returns the reason in parentheses, unless it is in YAML's own words, which are several lines."""
    return "" if "\n" in str(error) else f" ({error})"


def _spelling(key: str, items: list[str]) -> str:
    value = json.dumps(items, ensure_ascii=False)
    return f"`--set {shlex.quote(f'{key}={value}')}`" if len(value) <= _SPELLED_CHARACTERS else '`["…", "…"]`'
