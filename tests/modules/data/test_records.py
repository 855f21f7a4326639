"""Rows become prompts and completions; the message of every fault names its place and its cure."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from modules.common.errors import InputError
from modules.data.corpus import check_source
from modules.data.documents import ReadCounts
from modules.data.file_documents import read_documents
from modules.data.preferences import preference_record
from modules.data.prompt_templates import TEMPLATES, Message
from modules.data.records import check_answers, instruction_record
from modules.data.source import DataSource

PLACE = "rows.jsonl, line 7"
HEADINGS = TEMPLATES["headings"]


class TestTemplates:
    def test_headings_name_each_part(self):
        assert HEADINGS.prompt("Name the capital.") == "### Instruction:\nName the capital.\n\n### Response:\n"
        assert HEADINGS.prompt("Name the capital.", "France") == (
            "### Instruction:\nName the capital.\n\n### Input:\nFrance\n\n### Response:\n"
        )

    def test_plain_adds_no_words(self):
        assert TEMPLATES["plain"].prompt("Translate to French:", "cheese") == "Translate to French:\ncheese\n"

    def test_the_text_of_a_row_is_never_interpreted(self):
        assert (
            HEADINGS.prompt("{input} {0} {{x}} %s $y") == "### Instruction:\n{input} {0} {{x}} %s $y\n\n### Response:\n"
        )

    def test_each_reply_is_paired_with_the_messages_before_it(self):
        messages = [
            Message("system", "Be brief."),
            Message("user", "Hi"),
            Message("assistant", "Hello!"),
            Message("user", "Bye"),
            Message("assistant", "See you."),
            Message("user", "Still there?"),
        ]
        prompts, completions = TEMPLATES["chat"].turns(messages)
        assert prompts == ["Be brief.\n\nUser:\nHi\n\nAssistant:\n", "User:\nBye\n\nAssistant:\n"]
        assert completions == ["Hello!", "See you."]


class TestInstructions:
    @pytest.mark.parametrize(
        "row",
        [
            {"instruction": "Add.", "input": "1 + 1", "output": "2", "id": 5},
            {"instruction": "Add.\n\n### Input:\n1 + 1", "input": "", "output": "2"},
            {"instruction": "Add.\n\n### Input:\n1 + 1", "input": None, "output": "2"},
            {"prompt": "Add.\n\n### Input:\n1 + 1", "completion": "2"},
            {
                "messages": [
                    {"role": "user", "content": "Add.\n\n### Input:\n1 + 1"},
                    {"role": "assistant", "content": "2"},
                ]
            },
        ],
    )
    def test_all_shapes_give_the_same_features(self, row):
        assert instruction_record(row, HEADINGS, PLACE).features == {
            "prompt": ["### Instruction:\nAdd.\n\n### Input:\n1 + 1\n\n### Response:\n"],
            "completion": ["2"],
        }

    @pytest.mark.parametrize(
        ("row", "message"),
        [
            (
                {"text": "a"},
                r"line 7: a row of instructions has .*Received: 'text'\. Rename the columns, or use `kind: text`",
            ),
            ({"instruction": "a", "output": " \n"}, r"line 7: every prompt needs an answer .*completion 1 is empty"),
            ({"instruction": "a"}, r"line 7: there is no column 'output'\. It has: 'instruction'\.$"),
            ({"instruction": "a", "output": 3}, r"line 7: 'output' must be a string\. Received: 3"),
            ({"messages": "Hi"}, r"line 7: `messages` must be a list of objects .*Received: \"Hi\""),
            ({"messages": [{"role": "user", "content": "Hi"}]}, r"line 7: .*no message of the assistant"),
            (
                {"messages": [{"role": "bot", "content": "Hi"}]},
                r"message 1: `role` must be one of system, developer, user, assistant, tool",
            ),
            ({"messages": [{"role": "user"}]}, r"message 1: there is no column 'content'"),
            ({"prompt": "a\ud800", "completion": "b"}, r"lone surrogate \\ud800"),
        ],
    )
    def test_the_message_about_a_bad_row_names_its_place_and_the_cure(self, row, message):
        with pytest.raises(InputError, match=message):
            check_answers(instruction_record(row, HEADINGS, PLACE).features, PLACE)


def test_the_content_is_the_words_of_the_row_without_template_and_system_messages():
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello!"},
    ]
    assert instruction_record({"messages": messages}, HEADINGS, PLACE).content == ["Hi", "Hello!"]
    row = {"instruction": "Add.", "input": "1 + 1", "output": "2"}
    assert instruction_record(row, HEADINGS, PLACE).content == ["Add.", "1 + 1", "2"]
    row = {"prompt": "Greet.", "chosen": "Hello.", "rejected": "What?"}
    assert preference_record(row, HEADINGS, PLACE).content == ["Greet.", "Hello.", "What?"]


class TestPreferences:
    def test_both_shapes_give_the_same_features(self):
        expected = {
            "prompt": ["### Instruction:\nGreet.\n\n### Response:\n"],
            "chosen": ["Hello."],
            "rejected": ["What?"],
        }
        for prompt in ({"prompt": "Greet."}, {"instruction": "Greet.", "input": "", "output": "Hello."}):
            row = {**prompt, "chosen": "Hello.", "rejected": "What?"}
            assert preference_record(row, HEADINGS, PLACE).features == expected

    @pytest.mark.parametrize(
        ("row", "message"),
        [
            ({"prompt": "a", "chosen": "b"}, "line 7: there is no column 'rejected'"),
            ({"prompt": "a", "chosen": "b", "rejected": " "}, "Received: rejected 1 is empty"),
            ({"chosen": "b", "rejected": "c"}, "rows without `prompt` need a common beginning"),
        ],
    )
    def test_the_message_about_a_bad_row_names_its_place_and_the_fault(self, row, message):
        with pytest.raises(InputError, match=message):
            check_answers(preference_record(row, HEADINGS, PLACE).features, PLACE)


class TestFiles:
    ROWS = [
        {"messages": [{"role": "user", "content": f"{n}?"}, {"role": "assistant", "content": f"{n}!"}]} for n in "ab"
    ]

    def test_every_format_gives_the_same_rows(self, tmp_path):
        (tmp_path / "a.json").write_text(json.dumps(self.ROWS))
        (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in self.ROWS))
        pq.write_table(pa.Table.from_pylist(self.ROWS), tmp_path / "a.parquet")
        for name in ("a.json", "a.jsonl", "a.parquet"):
            source = DataSource(files=str(tmp_path / name), kind="instruction", template="chat")
            documents = list(read_documents(str(tmp_path / name), source))
            assert [document.features for document in documents] == [
                {"prompt": (f"User:\n{n}?\n\nAssistant:\n",), "completion": (f"{n}!",)} for n in "ab"
            ], name

    def test_rows_with_two_equal_answers_are_dropped_and_counted(self, tmp_path):
        path = tmp_path / "a.csv"
        path.write_text("prompt,chosen,rejected\nGreet.,Hello.,Hello.\nGreet.,Hello.,What?\n")
        counts = ReadCounts()
        source = DataSource(files=str(path), kind="preference")
        documents = list(read_documents(str(path), source, counts=counts))
        assert [document.features["rejected"] for document in documents] == [("What?",)]
        assert counts.dropped == {"no_preference": 1}

    @pytest.mark.parametrize("row", [{"prompt": "a", "completion": "\x00"}, {"prompt": "a", "completion": " \x7f "}])
    def test_a_completion_of_control_characters_counts_as_empty(self, tmp_path, row):
        (tmp_path / "a.jsonl").write_text(json.dumps(row))
        source = DataSource(files=str(tmp_path / "a.jsonl"), kind="instruction")
        with pytest.raises(InputError, match=r"a\.jsonl, line 1: .* Received: completion 1 is empty"):
            list(read_documents(str(tmp_path / "a.jsonl"), source))

    def test_text_files_are_refused_for_instructions(self, tmp_path):
        (tmp_path / "a.txt").write_text("a")
        with pytest.raises(
            InputError,
            match=r"`kind: instruction` needs files of rows: \.jsonl, .*\.tsv, \.parquet, \.arrow\. Received: ",
        ):
            check_source(DataSource(files=str(tmp_path / "a.txt"), kind="instruction"))

    def test_the_preflight_finds_a_bad_row(self, tmp_path):
        rows = [{"instruction": "a", "output": "b"}, {"instruction": "a", "output": ""}]
        (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        with pytest.raises(InputError, match=r"a\.jsonl, line 2: every prompt needs an answer"):
            check_source(DataSource(files=str(tmp_path / "a.jsonl"), kind="instruction"))
