"""The conversion of a file's rows to the features of examples: plain text, instructions or preferences."""

import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from modules.common.errors import InputError
from modules.common.formatting import excerpt
from modules.data.prompt_templates import Message, PromptTemplate

Kind = Literal["text", "instruction", "preference"]
# The columns that rows of instructions and preferences may have. Other columns are ignored.
INSTRUCTION_COLUMNS = ("messages", "instruction", "input", "output", "prompt", "completion")
PREFERENCE_COLUMNS = ("instruction", "input", "prompt", "chosen", "rejected")
_ROLES = ("system", "user", "assistant")


class Record(NamedTuple):
    """An example made from a row.

    Attributes:
        features: The tf.Example's features by name.
        content: The row's own words, without the template and the system's messages.
    """

    features: dict[str, list[str]]
    content: list[str]


def text_record(row: Mapping[str, Any], column: str, place: str) -> Record:
    """Returns the features `{"text": […]}` of one column.

    Raises:
        InputError: The column is missing or does not hold text.
    """
    text = text_of(row, column, place)
    return Record({"text": [text]}, [text])


def instruction_record(row: Mapping[str, Any], template: PromptTemplate, place: str) -> Record:
    """Returns the features `{"prompt": […], "completion": […]}`, a pair for each turn.

    A row has one of three shapes:

    ```
    {"instruction": "…", "input": "…", "output": "…"}          `input` may be missing or empty
    {"prompt": "…", "completion": "…"}
    {"messages": [{"role": "user", "content": "…"}, …]}        roles: system, user, assistant
    ```

    Raises:
        InputError: The row has none of the shapes.
    """
    if "messages" in row:
        messages = _messages(row["messages"], place)
        prompts, completions = template.turns(messages)
        content = [message.content for message in messages if message.role != "system"]
    elif "instruction" in row:
        prompt, content = _instruction_prompt(row, template, place)
        prompts, completions = [prompt], [text_of(row, "output", place)]
        content += completions
    elif "prompt" in row:
        content = [text_of(row, "prompt", place), text_of(row, "completion", place)]
        prompts, completions = [template.prompt(content[0])], content[1:]
    else:
        raise InputError(
            f"{place}: a row of instructions has `instruction` and `output` (and `input`), or `prompt` and "
            f"`completion`, or `messages`. Received: {column_names(row)}. Rename the columns, or use `kind: text`."
        )
    return Record({"prompt": prompts, "completion": completions}, content)


def preference_record(row: Mapping[str, Any], template: PromptTemplate, place: str) -> Record:
    """Returns the features `{"prompt": […], "chosen": […], "rejected": […]}`, with one value each.

    The prompt is the row's `prompt`, or its `instruction` and `input`, filled into the template.

    Raises:
        InputError: A column is missing.
    """
    if "instruction" in row:
        prompt, content = _instruction_prompt(row, template, place)
    else:
        content = [text_of(row, "prompt", place)]
        prompt = template.prompt(content[0])
    answers = [text_of(row, column, place) for column in ("chosen", "rejected")]
    return Record({"prompt": [prompt], "chosen": answers[:1], "rejected": answers[1:]}, content + answers)


def check_answers(features: Mapping[str, Sequence[str]], place: str) -> None:
    """Checks that there is something to learn: an empty completion has no loss.

    Args:
        features: The features after `documents.tidy`, which may leave a text empty.
        place: The row's place, for the message.

    Raises:
        InputError: A completion, `chosen` or `rejected` is empty, or a conversation has no reply.
    """
    for name in ("completion", "chosen", "rejected"):
        answers = features.get(name, ["not asked for"])
        empty = [number for number, answer in enumerate(answers, start=1) if not answer.strip()]
        if empty or not answers:
            what = f"{name} {empty[0]} is empty" if answers else "no message of the assistant"
            raise InputError(
                f"{place}: every prompt needs an answer to learn. Received: {what}. Complete or remove the row."
            )


def text_of(row: Mapping[str, Any], column: str, place: str) -> str:
    """Returns a column's text.

    Raises:
        InputError: The column is missing, is not a string, or cannot be encoded as UTF-8.
    """
    if column not in row:
        raise missing_column(row, column, place)
    value = row[column]
    if not isinstance(value, str):
        raise InputError(
            f"{place}: {column!r} must be a string. Received: {json.dumps(value, default=str)[:80]}. "
            f"Remove the row or choose another column."
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
    """Returns the error for a missing column; its message lists the columns that exist."""
    cure = " Set `text_column` to one of them." if column not in (*INSTRUCTION_COLUMNS, *PREFERENCE_COLUMNS) else ""
    return InputError(f"{place}: there is no column {column!r}. It has: {column_names(columns)}.{cure}")


def _instruction_prompt(row: Mapping[str, Any], template: PromptTemplate, place: str) -> tuple[str, list[str]]:
    """Returns the prompt, and the row's own words in it."""
    instruction = text_of(row, "instruction", place)
    if row.get("input") is None:
        return template.prompt(instruction), [instruction]
    text = text_of(row, "input", place)
    return template.prompt(instruction, text), [instruction, text]


def _messages(value: object, place: str) -> list[Message]:
    if not isinstance(value, list) or not all(isinstance(turn, dict) for turn in value):
        raise InputError(
            f"{place}: `messages` must be a list of objects with `role` and `content`. "
            f"Received: {json.dumps(value, default=str)[:80]}. Correct or remove the row."
        )
    messages = []
    for number, turn in enumerate(value, start=1):
        role = text_of(turn, "role", f"{place}, message {number}")
        if role not in _ROLES:
            raise InputError(
                f"{place}, message {number}: `role` must be one of {', '.join(_ROLES)}. Received: {excerpt(role)}. "
                "Correct the role."
            )
        messages.append(Message(role, text_of(turn, "content", f"{place}, message {number}")))
    return messages


def column_names(columns: Mapping[str, Any]) -> str:
    """Returns the names of a row's columns for a message; a row may have a million."""
    names = [excerpt(name) for name in itertools.islice(columns, 20)]
    return ", ".join([*names, *(["…"] if len(columns) > len(names) else [])]) or "none"
