"""Rows that cannot be used are all reported at once, or counted by reason and kept in a file."""

import json
import pickle
from pathlib import Path

import pytest

from modules.common.errors import InputError
from modules.data import bad_rows, corpus
from modules.data.bad_rows import BadRowsError, RowError, check_bad_rows, join_rejected, rejected_path
from modules.data.documents import ReadCounts
from modules.data.source import Corpus, DataSource

LINES = ['{"text": "One."}', '{"text": ', '{"body": "Two."}', "7", '{"text": "\\ud800"}', '{"text": "Three."}']
REASONS = ("invalid_json", "missing_column", "no_object", "no_unicode")


def source(folder: Path, lines: list[str], **settings: str) -> DataSource:
    (folder / "a.jsonl").write_text("\n".join(lines))
    return DataSource(files=str(folder / "a.jsonl"), **settings)


def read(data: DataSource, folder: Path) -> tuple[list[str], ReadCounts]:
    counts = ReadCounts()
    (piece,) = corpus.plan(Corpus(sources=(data,)), "")
    documents = corpus.read(piece, counts, rejected_path(str(folder), piece.name))
    return [document.content for document in documents], counts


def test_one_message_reports_all_bad_rows(tmp_path: Path) -> None:
    data = source(tmp_path, LINES)
    for check in (lambda: corpus.check_source(data), lambda: check_bad_rows(read(data, tmp_path)[1].bad_rows)):
        with pytest.raises(BadRowsError) as caught:
            check()
        heading, *rows = str(caught.value).splitlines()
        assert heading == (
            "4 rows cannot be used. Correct them, or leave out such rows, which are then counted, with "
            "`--set data.on_bad_row=drop`:"
        )
        path = f"- {tmp_path}/a.jsonl, line "
        assert [row.startswith(f"{path}{number}: ") for row, number in zip(rows, (2, 3, 4, 5), strict=True)] == [
            True
        ] * 4


def test_a_single_bad_row_is_reported_in_one_line_with_the_cure(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"line 2: .* Or leave out such rows, .*`--set data\.on_bad_row=drop`\.$"):
        corpus.check_source(source(tmp_path, LINES[:2]))


def test_at_most_20_rows_are_reported_and_reading_ends_there(tmp_path: Path) -> None:
    data = source(tmp_path, ['{"text": "One."}'] + ["7"] * 100)
    with pytest.raises(BadRowsError, match=r"^The first 20 rows that were found cannot be used") as caught:
        corpus.check_source(data)
    assert len(caught.value.messages) == 20
    assert len(read(data, tmp_path)[1].bad_rows) == 20


def test_the_bad_rows_of_all_pieces_are_reported_together() -> None:
    total = ReadCounts()
    for piece in range(3):
        total.add(ReadCounts(bad_rows=[f"{piece}.jsonl, line {line}: bad." for line in range(9)]))
    with pytest.raises(BadRowsError) as caught:
        check_bad_rows(total.bad_rows)
    assert caught.value.messages == tuple(total.bad_rows[:20])


def test_dropped_rows_are_counted_by_reason_and_kept_with_place_and_content(tmp_path: Path) -> None:
    data = source(tmp_path, LINES, on_bad_row="drop")
    corpus.check_source(data)
    texts, counts = read(data, tmp_path)
    assert texts == ["One.", "Three."]
    assert counts == ReadCounts(dropped={f"bad_row_{reason}": 1 for reason in REASONS})
    join_rejected(str(tmp_path), str(tmp_path))
    rejected = [json.loads(line) for line in (tmp_path / "rejected.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [(row["file"], row["line"], row["reason"], row["content"]) for row in rejected] == [
        (f"{tmp_path}/a.jsonl", line, reason, content)
        for line, reason, content in zip(
            (2, 3, 4, 5), REASONS, (None, '{"body": "Two."}', None, '{"text": "\ud800"}'), strict=True
        )
    ]
    assert rejected[0]["message"].startswith(f"{tmp_path}/a.jsonl, line 2: not valid JSON (Expecting value")


def test_the_content_of_a_rejected_row_is_short(tmp_path: Path) -> None:
    row = bad_rows.rejected_row("a.jsonl, line 1", RowError("missing_column", "…"), {"body": "x" * 10**6})
    assert len(str(row["content"])) == 1001


def test_without_rejected_rows_there_is_no_file(tmp_path: Path) -> None:
    assert read(source(tmp_path, LINES[:1], on_bad_row="drop"), tmp_path)[1] == ReadCounts()
    join_rejected(str(tmp_path), str(tmp_path))
    assert not (tmp_path / "rejected.jsonl").exists()


def test_a_corpus_of_bad_rows_only_is_an_error_with_their_reasons(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Received: 0 documents \(dropped: 2 bad_row_missing_column\)"):
        corpus.check_source(source(tmp_path, ['{"body": "a"}', '{"body": "b"}'], on_bad_row="drop"))


def test_a_damaged_file_stops_the_run_although_bad_rows_are_dropped(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "One."}\n{"text": "\xe9"}\n')
    with pytest.raises(InputError, match="is not UTF-8"):
        corpus.check_source(DataSource(files=str(tmp_path / "a.jsonl"), on_bad_row="drop"))


def test_the_errors_pass_from_process_to_process() -> None:
    error = pickle.loads(pickle.dumps(RowError("missing_column", "line 1")))
    assert (error.reason, str(error)) == ("missing_column", "line 1")
    assert pickle.loads(pickle.dumps(BadRowsError(["line 1"]))).messages == ("line 1",)
