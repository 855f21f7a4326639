"""From a row of a file to the features of an example: plain text, instructions, or preferences."""

import json
from collections.abc import Mapping
from typing import Any

from modules.errors import InputError
from modules.prompt_templates import Message, PromptTemplate

KINDS = ("text", "instruction", "preference")
# The columns that rows of instructions and preferences may have; others are ignored.
INSTRUCTION_COLUMNS = ("messages", "instruction", "input", "output", "prompt", "completion")
PREFERENCE_COLUMNS = ("instruction", "input", "prompt", "chosen", "rejected")
_ROLES = ("system", "user", "assistant")

Features = dict[str, list[str]]


def text_features(row: Mapping[str, Any], column: str, place: str) -> Features:
    """`{"text": […]}` of one column.

    Raises:
        InputError: The column is missing or holds no text.
    """
    return {"text": [text_of(row, column, place)]}


def instruction_features(row: Mapping[str, Any], template: PromptTemplate, place: str) -> Features:
    """`{"prompt": […], "completion": […]}`, a pair a turn, of one of three shapes of rows.

    ```
    {"instruction": "…", "input": "…", "output": "…"}          `input` may be missing or empty
    {"prompt": "…", "completion": "…"}
    {"messages": [{"role": "user", "content": "…"}, …]}        roles: system, user, assistant
    ```

    Raises:
        InputError: The row has none of the shapes, or nothing to learn: an empty completion has no loss.
    """
    if "messages" in row:
        prompts, completions = template.turns(_messages(row["messages"], place))
    elif "instruction" in row:
        prompts = [_instruction_prompt(row, template, place)]
        completions = [text_of(row, "output", place)]
    elif "prompt" in row:
        prompts = [template.prompt(text_of(row, "prompt", place))]
        completions = [text_of(row, "completion", place)]
    else:
        raise InputError(
            f"{place}: a row of instructions has `instruction` and `output` (and `input`), or `prompt` and "
            f"`completion`, or `messages`. Received: {_names(row)}. Rename the columns, or use `kind: text`."
        )
    empty = [number for number, completion in enumerate(completions, start=1) if not completion.strip()]
    if empty or not completions:
        what = f"completion {empty[0]} is empty" if completions else "no message of the assistant"
        raise InputError(
            f"{place}: every prompt needs a completion to learn. Received: {what}. Complete or remove the row."
        )
    return {"prompt": prompts, "completion": completions}


def preference_features(row: Mapping[str, Any], template: PromptTemplate, place: str) -> Features:
    """`{"prompt": […], "chosen": […], "rejected": […]}`, one value each.

    The prompt is the row's `prompt`, or its `instruction` and `input`, in the template.

    Raises:
        InputError: A column is missing, or `chosen` and `rejected` leave nothing to prefer.
    """
    if "instruction" in row:
        prompt = _instruction_prompt(row, template, place)
    else:
        prompt = template.prompt(text_of(row, "prompt", place))
    chosen, rejected = (text_of(row, column, place) for column in ("chosen", "rejected"))
    if not chosen.strip() or not rejected.strip():
        raise InputError(
            f"{place}: `chosen` and `rejected` must hold text. Received: {chosen[:40]!r} and {rejected[:40]!r}. "
            "Complete or remove the row."
        )
    return {"prompt": [prompt], "chosen": [chosen], "rejected": [rejected]}


def text_of(row: Mapping[str, Any], column: str, place: str) -> str:
    """A column's text.

    Raises:
        InputError: There is no such column, or it holds something else than text that UTF-8 can hold.
    """
    if column not in row:
        raise missing_column(row, column, place)
    value = row[column]
    if not isinstance(value, str):
        raise InputError(
            f"{place}: {column!r} must be a string. Received: {json.dumps(value, default=str)[:80]}. "
            f"Remove the row or name another column."
        )
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        found = ord(value[error.start])
        raise InputError(
            f"{place}: {column!r} must be text that UTF-8 can hold. "
            f"Received: a lone surrogate \\u{found:04x}. Remove it."
        ) from None
    return value


def missing_column(columns: Mapping[str, Any], column: str, place: str) -> InputError:
    """The error that says which columns there are instead."""
    cure = " Set `text_column` to one of them." if column not in (*INSTRUCTION_COLUMNS, *PREFERENCE_COLUMNS) else ""
    return InputError(f"{place}: there is no column {column!r}. It has: {_names(columns)}.{cure}")


def _instruction_prompt(row: Mapping[str, Any], template: PromptTemplate, place: str) -> str:
    has_input = row.get("input") is not None
    return template.prompt(text_of(row, "instruction", place), text_of(row, "input", place) if has_input else "")


def _messages(value: object, place: str) -> list[Message]:
    if not isinstance(value, list) or not all(isinstance(turn, dict) for turn in value):
        raise InputError(
            f"{place}: `messages` must be a list of objects with `role` and `content`. "
            f"Received: {json.dumps(value, default=str)[:80]}."
        )
    messages = []
    for number, turn in enumerate(value, start=1):
        role = text_of(turn, "role", f"{place}, message {number}")
        if role not in _ROLES:
            raise InputError(
                f"{place}, message {number}: `role` must be one of {', '.join(_ROLES)}. Received: {role!r}."
            )
        messages.append(Message(role, text_of(turn, "content", f"{place}, message {number}")))
    return messages


def _names(columns: Mapping[str, Any]) -> str:
    return ", ".join(map(repr, columns)) or "none"
