"""Sentences about settings that are not valid, made from pydantic's errors."""

import difflib
from collections.abc import Mapping
from typing import Any

from modules.common.failures import shortened
from modules.common.settings import Settings
from pipeline.setting_types import known_keys

# Spellings that work, by pydantic's name of the problem.
_SPELLINGS = {
    "int_parsing": "Write an integer such as 10",
    "int_type": "Write an integer such as 10",
    "int_from_float": "Write an integer such as 10",
    "float_parsing": "Write a number such as 0.5",
    "float_type": "Write a number such as 0.5",
    "bool_parsing": "Write true or false",
    "bool_type": "Write true or false",
    "tuple_type": "Write a list such as [a, b]",
    "list_type": "Write a list such as [a, b]",
    "dict_type": "Write settings such as {key: value}",
    "model_type": "Write settings such as {key: value}",
    "string_too_short": "Write some text",
    "path_type": "Write a path in quotes",
}


def describe_problem(problem: Any, configuration: type[Settings]) -> str:
    """Returns one line about an error of pydantic: the key, the rule, what was received, and the spelling that works.

    Args:
        problem: One of `ValidationError.errors()`.
        configuration: Settings that were validated.
    """
    place = shortened(".".join(str(part) for part in problem["loc"])) or "configuration"
    if problem["type"] == "extra_forbidden":
        known = known_keys(configuration, problem["loc"][:-1])
        nearest = difflib.get_close_matches(shortened(str(problem["loc"][-1])), known, n=1, cutoff=0)
        return f"{place}: unknown key; did you mean `{nearest[0]}`? Known: {', '.join(known)}."
    if problem["type"] == "missing":
        return f"{place}: missing; add this key."
    message = problem["msg"].removeprefix("Value error, ")
    received = problem["input"]
    if isinstance(received, dict):
        return f"{place}: {message}."
    return f"{place}: {message}. Received: {shortened(repr(received))}.{_spelling(problem['type'], received)}"


def _spelling(kind: str, received: Any) -> str:
    if kind == "string_type" and not isinstance(received, list | Mapping) and received is not None:
        return f" In a recipe or a list, quote it: '{shortened(str(received))}'."
    if kind in ("list_type", "tuple_type") and isinstance(received, str) and received.isalnum():
        return f" Write a list such as [{shortened(received)}]."
    return f" {_SPELLINGS[kind]}." if kind in _SPELLINGS else ""
