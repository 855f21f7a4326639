"""Parser of YAML in bounded time and memory: small texts, without aliases, and not nested deeply.

A plain word is true, false, null, a number or text, as in YAML 1.2. PyYAML follows YAML 1.1, in which `no` (Norwegian)
and `off` are false, `12:30` is 750 and `2026-01-31` a date.
"""

import re
from collections.abc import Callable
from typing import Any

import yaml

# PyYAML reads about 100 kB per second. A recipe has 2 kB.
MAX_CHARACTERS = 2**17

_NULL = "tag:yaml.org,2002:null"
_DIGITS = "[0-9]+(?:_[0-9]+)*"
_NUMBER = rf"[-+]?(?:\.{_DIGITS}|{_DIGITS}(?:\.(?:{_DIGITS})?)?)(?:[eE][-+]?[0-9]+)?"
# Patterns of plain words by their tags, and the characters with which they begin. An integer is tried before a float.
_WORDS = {
    "tag:yaml.org,2002:bool": (re.compile("true|True|TRUE|false|False|FALSE"), "tTfF"),
    "tag:yaml.org,2002:int": (re.compile(f"[-+]?{_DIGITS}"), "-+0123456789"),
    "tag:yaml.org,2002:float": (
        re.compile(rf"{_NUMBER}|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"),
        "-+0123456789.",
    ),
    _NULL: (re.compile("~|null|Null|NULL|"), ["~", "n", "N", ""]),
}


def _float(text: str) -> float:
    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))


_READERS: dict[str, Callable[[str], bool | int | float]] = {
    "tag:yaml.org,2002:bool": lambda text: text.lower() == "true",
    # In YAML 1.1, `010` is 8 and `1:30` is 90.
    "tag:yaml.org,2002:int": int,
    "tag:yaml.org,2002:float": _float,
}


def _read_scalar(loader: yaml.SafeLoader, node: Any) -> bool | int | float:
    return _READERS[node.tag](loader.construct_scalar(node))


class _PlainLoader(yaml.SafeLoader):
    """Loader of the simple part of YAML.

    It refuses what would be lost in silence, a key that is there twice and a key without a value (`separator: ###` is
    one, since `#` starts a comment), and aliases, a few of which can stand for gigabytes.
    """

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            alias = self.peek_event()
            raise yaml.MarkedYAMLError(
                problem=f"aliases such as `*{alias.anchor}` are not allowed: write the value again, or quote the text",
                problem_mark=alias.start_mark,
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        keys: set[Any] = set()
        for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
            if isinstance(value, yaml.ScalarNode) and value.tag == _NULL and not value.value:
                raise yaml.MarkedYAMLError(
                    problem=f"`{key.value}` has no value, and what follows a # is a comment: write null for none, or "
                    f"quote the text, e.g. {key.value}: '###'",
                    problem_mark=key.start_mark,
                )
            if isinstance(key, yaml.ScalarNode) and key.value in keys:
                raise yaml.MarkedYAMLError(
                    problem=f"`{key.value}` is there twice, and only one of them could count: remove one",
                    problem_mark=key.start_mark,
                )
            keys.add(key.value if isinstance(key, yaml.ScalarNode) else id(key))
        return super().construct_mapping(node, deep)


for _tag, (_pattern, _first) in _WORDS.items():
    _PlainLoader.add_implicit_resolver(_tag, re.compile(rf"(?:{_pattern.pattern})\Z"), list(_first))
for _tag in _READERS:
    _PlainLoader.add_constructor(_tag, _read_scalar)


def parse_yaml(text: str) -> Any:
    """Parses a YAML document.

    Raises:
        ValueError: The text is too long, is not YAML, holds an alias, a key twice or without a value, or is nested too
            deeply.
    """
    if len(text) > MAX_CHARACTERS:
        raise ValueError(f"it must have at most {MAX_CHARACTERS:,} characters, and has {len(text):,}")
    try:
        return yaml.load(text, _PlainLoader)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None
    except RecursionError:
        raise ValueError("its values are nested too deeply") from None


def parse_scalar(text: str) -> str | int | float | bool:
    """Returns the number, true or false that a word is in YAML; any other text as it is."""
    for tag, reader in _READERS.items():
        if _WORDS[tag][0].fullmatch(text):
            try:
                return reader(text)
            except ValueError:  # an integer of thousands of digits
                return text
    return text
