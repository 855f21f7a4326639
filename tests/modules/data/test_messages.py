"""Messages in every spelling, and the replies that count; `test_shapes` reads the shapes of whole rows."""

from typing import Any

import pytest

from modules.data.bad_rows import RowError
from modules.data.messages import counted_turns, read_messages
from modules.data.prompt_templates import Message

PLACE = "rows.jsonl, line 7"


def read(*turns: dict[str, Any]) -> list[Message]:
    return read_messages(list(turns), "messages", PLACE)[0]


@pytest.mark.parametrize(
    ("role", "meaning"),
    [("system", "system"), ("developer", "system"), ("user", "user"), ("human", "user"), ("assistant", "assistant"),
     ("gpt", "assistant"), ("function_call", "assistant"), ("tool", "tool"), ("observation", "tool")],
)  # fmt: skip
def test_roles_of_every_spelling_are_read(role: str, meaning: str) -> None:
    assert read({"role": role, "content": "Hi"}) == read({"from": role, "value": "Hi"}) == [Message(meaning, "Hi")]


def test_calls_of_tools_are_a_part_of_the_reply() -> None:
    call = {"name": "add", "arguments": '{"a":  1}'}
    text = '{"name": "add", "arguments": {"a":  1}}'  # the arguments' own spelling
    for turn in (
        {"content": None, "tool_calls": [{"id": "1", "type": "function", "function": call}]},
        {"tool_calls": [{"function": call}], "function_call": None},
        {"content": "", "function_call": call},
    ):
        assert read({"role": "assistant", **turn}) == [Message("assistant", text)], turn
    two = {
        "role": "assistant",
        "content": "Wait.",
        "tool_calls": [{"function": {"name": "f", "arguments": {"é": 1}}}] * 2,
    }
    assert read(two)[0].content == 'Wait.\n{"name": "f", "arguments": {"é": 1}}\n{"name": "f", "arguments": {"é": 1}}'


@pytest.mark.parametrize(
    ("turn", "reason"),
    [
        ({"role": "user", "content": "", "tool_calls": [{"function": {"name": "f"}}]}, "unsupported_tool_call"),
        ({"role": "assistant", "tool_calls": [{"type": "custom"}]}, "unsupported_tool_call"),
        ({"role": "assistant", "tool_calls": "f()"}, "unsupported_tool_call"),
        ({"role": "user", "content": "Hi", "weight": 1}, "unsupported_weight"),
        ({"role": "assistant", "content": "Hi", "weight": True}, "unsupported_weight"),
        ({"role": "user", "from": "human", "content": "Hi"}, "two_spellings"),
        ({"role": "user", "content": "Hi", "value": "Ho"}, "two_spellings"),
        ({"role": "user", "content": ["Hi", 5]}, "no_text"),
        ({"role": "user", "content": [{"type": "text"}]}, "missing_column"),
        ({"role": "user", "content": "\ud800"}, "no_unicode"),
        ({"content": "Hi"}, "missing_column"),
    ],
)
def test_a_message_that_cannot_be_read_is_refused_with_the_reason(turn: dict[str, Any], reason: str) -> None:
    with pytest.raises(RowError, match=r"^rows\.jsonl, line 7, message 1") as caught:
        read(turn)
    assert caught.value.reason == reason


CONVERSATION = [
    Message("user", "Hi"),
    Message("assistant", "Hello!", 0),
    Message("user", "Bye"),
    Message("assistant", "See you."),
    Message("user", "Still there?"),
]


def test_what_follows_the_last_reply_that_counts_is_left_out() -> None:
    assert counted_turns(CONVERSATION, "all", PLACE) == (CONVERSATION[:4], [0, 1], 1)
    answered = [CONVERSATION[0], CONVERSATION[1]._replace(weight=1), *CONVERSATION[2:]]
    assert counted_turns(answered, "last", PLACE) == (answered[:4], [0, 1], 1)
    ignored = [*answered[:3], CONVERSATION[3]._replace(weight=0), CONVERSATION[4]]
    assert counted_turns(ignored, "weight", PLACE) == (ignored[:2], [1], 3)
    assert counted_turns(CONVERSATION[:1], "all", PLACE) == (CONVERSATION[:1], [], 0)


@pytest.mark.parametrize(
    ("loss_on", "weights", "message"),
    [
        ("all", (0, 0), "Received: `weight: 0` at every reply. Remove the row."),
        ("last", (1, 0), "Received: `weight: 0` at the last reply. Remove the row."),
        ("weight", (1, None), "message 4: with `data.loss_on: weight` every message of the assistant needs `weight`"),
    ],
)
def test_a_conversation_without_a_reply_that_counts_is_refused(
    loss_on: Any, weights: tuple[int | None, int | None], message: str
) -> None:
    messages = list(CONVERSATION)
    for number, weight in zip((1, 3), weights, strict=True):
        messages[number] = messages[number]._replace(weight=weight)
    with pytest.raises(RowError) as caught:
        counted_turns(messages, loss_on, PLACE)
    assert message in str(caught.value)
