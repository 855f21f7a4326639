"""The messages of a conversation, in the spellings of OpenAI, ShareGPT and Hugging Face's templates.

A key of a message that would change what is learned is honoured, or the row is refused with the name of the key.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from modules.common.formatting import excerpt
from modules.data.bad_rows import RowError
from modules.data.prompt_templates import Message
from modules.data.row_values import present, received, text_of

# The replies that count in the loss.
LossOn = Literal["all", "last", "weight"]

# What was left out of a kept row, under the names that the summary and the report show.
LEFT_OUT = "messages_after_the_last_reply_left_out"
UNKNOWN_KEYS = "unknown_message_keys_ignored"

_ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "function_call": "assistant",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
    "function_response": "tool",
}
_READ_KEYS = frozenset(("role", "from", "content", "value", "weight", "tool_calls", "function_call"))
# Labels and notes that a model never sees.
_HARMLESS_KEYS = frozenset((
    "id", "message_id", "parent_id", "tool_call_id", "name", "timestamp", "time", "date", "created", "created_at",
    "updated_at", "metadata", "meta", "model", "index", "turn", "turn_id", "hash", "language", "lang", "source",
    "score", "rating", "annotations", "end_turn", "recipient", "status",
))  # fmt: skip
# Keys of a message that change what is learned, and for which there is no definition here.
_REFUSED_KEYS = frozenset((
    "train", "training", "trainable", "train_detail", "train_on_turn", "loss", "loss_mask", "loss_weight", "mask",
    "masked", "label", "labels", "logprobs", "token_ids", "input_ids", "prefix", "tools", "functions", "refusal",
    "thinking", "reasoning", "reasoning_content", "thought", "thoughts", "image", "images", "image_url", "video",
    "videos", "audio", "audios", "files", "attachments",
))  # fmt: skip
_TEXT_PARTS = ("text", "input_text", "output_text")


def read_messages(value: object, column: str, place: str) -> tuple[list[Message], dict[str, int]]:
    """Returns the messages of a column, and the numbers of things that were ignored, by their name.

    Args:
        value: A list of `{"role": …, "content": …}` or `{"from": …, "value": …}`.
        column: Name of the column, for messages.
        place: The row's place, for messages.

    Raises:
        RowError: It is no such list, or a message has a role, a key or content that cannot be read.
    """
    if not isinstance(value, list) or not all(isinstance(turn, Mapping) for turn in value):
        raise RowError(
            "no_messages",
            f"{place}: `{column}` must be a list of objects with `role` and `content`, or with `from` and `value`. "
            f"Received: {received(value)}. Correct or remove the row.",
        )
    messages, unknown = [], 0
    for number, turn in enumerate(value, start=1):
        found = {name: part for name, part in turn.items() if part not in (None, "", [], {}) or name in _READ_KEYS}
        where = f"{place}, message {number}" if column == "messages" else f"{place}, message {number} of `{column}`"
        _refuse(found, where)
        messages.append(_message(present(found), where))
        unknown += sum(name not in _READ_KEYS and name not in _HARMLESS_KEYS for name in found)
    return messages, {UNKNOWN_KEYS: unknown} if unknown else {}


def counted_turns(messages: Sequence[Message], loss_on: LossOn, place: str) -> tuple[list[Message], list[int], int]:
    """Decides which replies count in the loss, and leaves out what follows the last of them: it teaches nothing.

    `[user "Hi", assistant "Hello!" (weight 0), user "Bye", assistant "See you.", user "Still there?"]` gives the first
    four messages, the weights `[0, 1]`, and 1 message left out.

    Args:
        messages: The conversation.
        loss_on: `all` replies but those of weight 0, only the `last` one, or by `weight`, which every reply must have.
        place: The row's place, for messages.

    Returns:
        The messages that are kept, the weight (0 or 1) of each of their replies, and the number of messages left out.

    Raises:
        RowError: No reply counts, or a reply lacks its weight. No error if there is no reply at all.
    """
    replies = [number for number, message in enumerate(messages) if message.role == "assistant"]
    weights = []
    for number in replies:
        weight = messages[number].weight
        if loss_on == "weight" and weight is None:
            raise RowError(
                "no_weight",
                f"{place}, message {number + 1}: with `data.loss_on: weight` every message of the assistant needs "
                "`weight`, 0 or 1. Received: none. Add it, or set `data.loss_on` to `all` or `last`.",
            )
        weights.append(0 if weight == 0 or (loss_on == "last" and number != replies[-1]) else 1)
    if not replies:
        return list(messages), [], 0
    if not any(weights):
        raise RowError(
            "nothing_to_learn",
            f"{place}: a row needs a reply that counts in the loss. Received: `weight: 0` at "
            f"{'the last reply' if loss_on == 'last' else 'every reply'}. Remove the row.",
        )
    last = max(index for index, weight in enumerate(weights) if weight)
    kept = list(messages[: replies[last] + 1])
    return kept, weights[: last + 1], len(messages) - len(kept)


def _refuse(turn: Mapping[str, Any], where: str) -> None:
    refused = [name for name in turn if name in _REFUSED_KEYS]
    if refused:
        raise RowError(
            "unsupported_key",
            f"{where}: the key `{refused[0]}` changes what is learned, and it is not supported (`weight`, 0 or 1, "
            f"decides which replies count). Received: {received(turn[refused[0]])}. Remove the key or the row.",
        )


def _message(turn: Mapping[str, Any], where: str) -> Message:
    for key, spelling in (("role", "from"), ("content", "value")):
        if key in turn and spelling in turn:
            raise RowError("two_spellings", f"{where}: has both `{key}` and `{spelling}`. Remove one of them.")
    name = text_of(turn, "from" if "from" in turn else "role", where)
    if name not in _ROLES:
        raise RowError(
            "unknown_role",
            f"{where}: `role` must be one of system, developer, user, assistant, tool (or, in ShareGPT's spelling, "
            f"system, human, gpt, function_call, observation). Received: {excerpt(name)}. Correct the role.",
        )
    role = _ROLES[name]
    content = _content(turn, "value" if "value" in turn else "content", where)
    calls = _tool_calls(turn, role, where)
    if content is None and not calls:
        text_of(turn, "content", where)  # raises the error for a missing column
    return Message(role, "\n".join([*([content] if content else []), *calls]), _weight(turn, role, where))


def _weight(turn: Mapping[str, Any], role: str, where: str) -> int | None:
    weight = turn.get("weight")
    if weight is None:
        return None
    if isinstance(weight, bool) or weight not in ((0, 1) if role == "assistant" else (0,)):
        raise RowError(
            "unsupported_weight",
            f"{where}: `weight` must be 0 (only context) or 1 (counts in the loss), and only messages of the assistant "
            f"may count. Received: {received(weight)} for the role {role}. Correct or remove it.",
        )
    return int(weight)


def _content(turn: Mapping[str, Any], key: str, where: str) -> str | None:
    """Returns the text of a message whose content is a string or a list of parts; None if there is none."""
    if not isinstance(turn.get(key), list):
        return text_of(turn, key, where) if key in turn else None
    texts = []
    for number, part in enumerate(turn[key], start=1):
        if isinstance(part, Mapping):
            part = present(part)
            kind = part.get("type", "text")
            if kind not in _TEXT_PARTS:
                raise RowError(
                    "unsupported_content",
                    f"{where}: only parts of text can be learned from. Received: part {number} of type "
                    f"{excerpt(kind)}. Remove the part or the row.",
                )
            texts.append(text_of(part, "text", f"{where}, part {number}"))
        else:
            texts.append(text_of({f"part {number}": part}, f"part {number}", where))
    return "".join(texts)


def _tool_calls(turn: Mapping[str, Any], role: str, where: str) -> list[str]:
    """Returns the text of each call of a tool, which is a part of the reply: `{"name": "f", "arguments": {"x": 1}}`."""
    if not turn.get("tool_calls") and not turn.get("function_call"):
        return []
    calls = turn.get("tool_calls") or [{"function": turn["function_call"]}]
    functions = [call.get("function") for call in calls if isinstance(call, Mapping)] if isinstance(calls, list) else []
    if (
        role != "assistant"
        or not isinstance(calls, list)
        or len(functions) != len(calls)
        or not all(isinstance(call, Mapping) and isinstance(call.get("name"), str) for call in functions)
    ):
        raise RowError(
            "unsupported_tool_call",
            f'{where}: `tool_calls` of the assistant must be a list of {{"function": {{"name": …, "arguments": …}}}}. '
            f"Received: {received(calls)}. Correct or remove the row.",
        )
    return [_tool_call(call, where) for call in functions if isinstance(call, Mapping)]


def _tool_call(call: Mapping[str, Any], where: str) -> str:
    arguments = call.get("arguments")
    if not isinstance(arguments, str):  # OpenAI's arguments are JSON as a string, which is kept as it is
        arguments = json.dumps({} if arguments is None else arguments, ensure_ascii=False)
    text = f'{{"name": {json.dumps(call["name"], ensure_ascii=False)}, "arguments": {arguments}}}'
    return text_of({"tool_calls": text}, "tool_calls", where)
