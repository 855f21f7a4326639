"""Rows are made from functions: the same ones in every process, and each answer once."""

import json

from modules.data import documentation_rows, example_files
from modules.data.documented_functions import Function
from modules.data.file_documents import expand_files, read_documents
from modules.data.source import DataSource

FUNCTIONS = [
    Function("shapes", f"shapes.{name}", parameters, summary)
    for name, parameters, summary in (
        ("area", "(width, height)", "Return the area of a rectangle."),
        ("cut", "(shape)", "Cut a shape into two."),
        ("draw", "(shape, pen=None)", "Draw a shape on the screen."),
        ("Circle", "(radius)", "All points at a distance from another."),
        ("Circle.turn", "(angle)", "Turn the circle by an angle."),
        ("Circle.radius", "", "The radius of the circle in metres."),
    )
]


def test_each_function_has_one_request_whose_answer_is_its_summary():
    rows = dict(documentation_rows.instructions(FUNCTIONS))
    assert [row["output"] for row in rows.values()] == [function.summary for function in FUNCTIONS]
    requests = {name: (row["instruction"], row["input"]) for name, row in rows.items()}
    assert requests == {
        "shapes.area": ("Write a docstring of one line.", "def area(width, height):"),
        "shapes.cut": ("Summarize this function in one sentence.", "shapes.cut(shape)"),
        "shapes.draw": ("Write a docstring of one line.", "def draw(shape, pen=None):"),
        "shapes.Circle": ("What is `shapes.Circle`?", ""),
        "shapes.Circle.turn": ("What does `shapes.Circle.turn` do?", ""),
        "shapes.Circle.radius": ("What is `shapes.Circle.radius`?", ""),
    }


def test_each_summary_is_chosen_once_and_rejected_once():
    rows = dict(documentation_rows.preferences(FUNCTIONS))
    summaries = sorted(function.summary for function in FUNCTIONS)
    assert sorted(row["chosen"] for row in rows.values()) == summaries
    assert sorted(row["rejected"] for row in rows.values()) == summaries
    assert all(row["chosen"] != row["rejected"] for row in rows.values())
    assert rows["shapes.cut"]["prompt"] == "What does `shapes.cut` do?"
    assert rows["shapes.area"]["prompt"] == "What does `shapes.area` return?"
    assert rows["shapes.Circle"]["prompt"] == "What is `shapes.Circle`?"


def test_a_package_with_one_function_has_no_preference():
    assert not list(documentation_rows.preferences(FUNCTIONS[:1]))


def test_example_files_are_read_as_sources_of_their_kinds(tmp_path):
    lines = example_files.write(tmp_path / "new", ("json", "unittest"))
    for path, kind, unit in (
        ("help_topics/*.txt", "text", "files"),
        ("instructions.jsonl", "instruction", "rows"),
        ("preferences.jsonl", "preference", "rows"),
    ):
        source = DataSource.from_string(str(tmp_path / "new" / path), kind=kind)
        documents = [document for file in expand_files(source) for document in read_documents(file, source)]
        assert f"{tmp_path / 'new' / path.removesuffix('/*.txt')}: {len(documents)} {unit}" in lines
        assert len(documents) > 50
    row = json.loads((tmp_path / "new" / "instructions.jsonl").read_text().splitlines()[0])
    assert set(row) == {"instruction", "input", "output", "source"}
