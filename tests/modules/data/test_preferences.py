"""The cures in the messages about rows of preferences work; `test_shapes` reads the shapes."""

from typing import Any

import pytest

from modules.data.bad_rows import RowError
from modules.data.preferences import preference_record
from modules.data.prompt_templates import TEMPLATES
from modules.data.records import instruction_record

CHAT = TEMPLATES["chat"]
PLACE = "rows.jsonl, line 7"


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def reply(text: str, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text, **more}


def features(row: dict[str, Any]) -> dict[str, list[str]]:
    return preference_record(row, CHAT, PLACE).features


def refusal(row: dict[str, Any]) -> str:
    with pytest.raises(RowError) as caught:
        features(row)
    return str(caught.value)


GREETING = {"prompt": ["User:\nHi\n\nAssistant:\n"], "chosen": ["Hello!"], "rejected": ["Go away."]}


def test_rows_of_kto_are_refused_and_both_cures_work() -> None:
    rows = [
        {"prompt": "Hi", "completion": "Hello!", "label": True},
        {"prompt": "Hi", "completion": "Go away.", "label": False},
    ]
    for row in rows:
        assert 'Join the rows of a prompt to {"prompt": "…", "chosen": "…", "rejected": "…"}' in refusal(row)
        with pytest.raises(RowError, match="keep only the rows whose label is true, remove the column `label`"):
            instruction_record(row, CHAT, PLACE)
    answers = {row["label"]: row["completion"] for row in rows}
    assert features({"prompt": "Hi", "chosen": answers[True], "rejected": answers[False]}) == GREETING
    kept = [{name: row[name] for name in ("prompt", "completion")} for row in rows if row["label"]]
    assert [instruction_record(row, CHAT, PLACE).features["completion"] for row in kept] == [["Hello!"]]


def test_conversations_that_go_on_are_refused_and_cutting_them_works() -> None:
    row = {"chosen": [user("Hi"), reply("Hello!"), user("Bye"), reply("Bye!")],
           "rejected": [user("Hi"), reply("Go away.")]}  # fmt: skip
    assert "Cut both after the reply in which they differ." in refusal(row)
    assert features({**row, "chosen": row["chosen"][:2]}) == GREETING


def test_two_prompts_are_refused_and_removing_one_works() -> None:
    row: dict[str, Any] = {"chosen": [user("Hi"), reply("Hello!")], "rejected": [user("Hi"), reply("Go away.")]}
    assert "Remove the column `prompt`, or these messages." in refusal({**row, "prompt": "Ho"})
    assert features(row) == GREETING
    assert features({name: messages[1:] for name, messages in row.items()} | {"prompt": "Hi"}) == GREETING
    assert "Received: `instruction` and another `prompt`" in refusal(
        {"instruction": "Hi", "prompt": "Ho", "chosen": "Hello!", "rejected": "Go away."}
    )


def test_a_system_message_is_in_the_prompt_once() -> None:
    system = {"role": "system", "content": "Be kind."}
    expected = {**GREETING, "prompt": ["Be kind.\n\nUser:\nHi\n\nAssistant:\n"]}
    for row in (
        {"prompt": [system, user("Hi")], "chosen": [reply("Hello!")], "rejected": [reply("Go away.")]},
        {"prompt": "Hi", "chosen": [system, user("Hi"), reply("Hello!")],
         "rejected": [system, user("Hi"), reply("Go away.")]},
        {"prompt": "Hi", "system": "Be kind.", "chosen": "Hello!", "rejected": "Go away."},
        {"system": "Be kind.", "chosen": [system, user("Hi"), reply("Hello!")],
         "rejected": [system, user("Hi"), reply("Go away.")]},
        {"chosen": "System: Be kind.\n\nHuman: Hi\n\nAssistant: Hello!",
         "rejected": "System: Be kind.\n\nHuman: Hi\n\nAssistant: Go away."},
    ):  # fmt: skip
        assert features(row) == expected, row


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "Hi", "chosen": [], "rejected": [reply("a"), reply("b")]}, "nothing in `chosen`"),
        ({"prompt": "Hi", "chosen": [reply("a", weight=0)], "rejected": [reply("b")]}, "which counts in the loss"),
        ({"prompt": "Hi", "chosen": [user("a")], "rejected": [user("b")]}, "then user in `chosen` and user in"),
        ({"chosen": [reply("a")], "rejected": [reply("b")]}, "need a prompt"),
        ({"instruction": "Hi", "chosen": [reply("a")], "rejected": [reply("b")]}, "Put the instruction into `prompt`"),
        ({"prompt": "Hi", "chosen": [reply("a")]}, "there is no column 'rejected'"),
        ({"prompt": "Hi", "chosen": 5, "rejected": "b"}, "'chosen' must be a string. Received: 5"),
    ],
)
def test_the_message_about_a_row_without_two_answers_names_the_fault(row: dict[str, Any], message: str) -> None:
    assert message in refusal(row)


def test_equal_whole_texts_are_equal_answers_which_are_dropped_later() -> None:
    found = features({"chosen": "Is it hot?\nYes.", "rejected": "Is it hot?\nYes."})
    assert found["chosen"] == found["rejected"] == ["Is it hot?\nYes."]
