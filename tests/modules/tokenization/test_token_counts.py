from pathlib import Path

from modules.tokenization.token_counts import (
    TokenCounts,
    count_text_tokens,
    count_tokens,
    count_tokens_by_source,
)
from tests.toys.examples import example, write_records

TOKEN_IDS = [[5, 6, 7], [8, 8, 8, 8], []]
LOSS_MASK = [[0, 1, 1], [0, 0, 0, 1], []]


def write(path: Path, **columns: list[list[int]]) -> str:
    """Writes a file like Transform: a ragged feature is named after its values, and missing if the row is empty."""
    rows = (dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True))
    records = (
        {"source": ["file"], **{f"{name}$ragged_values": values for name, values in row.items() if values}}
        for row in rows
    )
    return write_records(path, [example(record) for record in records])


def test_every_token_of_a_split_without_masks_counts(tmp_path: Path) -> None:
    counts = count_tokens([write(tmp_path / "a.gz", token_ids=TOKEN_IDS)])
    assert counts == TokenCounts(lengths={3: 1, 4: 1, 0: 1}, loss_tokens=10)
    assert (counts.documents, counts.tokens) == (3, 7)


def test_only_completions_and_ends_of_a_masked_split_count(tmp_path: Path) -> None:
    files = [write(tmp_path / "a.gz", token_ids=TOKEN_IDS, loss_mask=LOSS_MASK)]
    assert count_tokens(files).loss_tokens == 3 + 3


def test_counts_of_files_are_added_and_empty_documents_are_counted(tmp_path: Path) -> None:
    files = [write(tmp_path / "a.gz", token_ids=TOKEN_IDS), write(tmp_path / "b.gz", token_ids=[[], []])]
    assert count_tokens(files) == TokenCounts(lengths={3: 1, 4: 1, 0: 3}, loss_tokens=12)
    assert count_tokens([]) == TokenCounts(lengths={}, loss_tokens=0)


def test_the_rows_of_instructions_and_preferences_are_measured_in_the_same_pass(tmp_path: Path) -> None:
    plain = count_tokens([write(tmp_path / "text.gz", token_ids=TOKEN_IDS)])
    assert plain.rows.whole.tolist() == []
    turns = count_tokens([write(tmp_path / "turns.gz", token_ids=TOKEN_IDS, loss_mask=LOSS_MASK)])
    assert (turns.rows.prompt.tolist(), turns.rows.whole.tolist()) == ([1, 3, 0], [[3], [4], [0]])
    rejected = [[5, 7], [8, 8, 8], [1]]
    columns = {"token_ids": TOKEN_IDS, "loss_mask": LOSS_MASK, "rejected_token_ids": rejected}
    pairs = count_tokens([write(tmp_path / "pairs.gz", **columns)])
    assert pairs.rows.whole.tolist() == [[3, 2], [4, 3], [0, 1]]
    assert pairs.rows.common.tolist() == [1, 3, 0]


def test_texts_are_counted_by_their_numbers_of_tokens(tmp_path: Path) -> None:
    rows = [example({"num_tokens": [len(ids)], "source": ["file"]}) for ids in TOKEN_IDS]
    files = [write_records(tmp_path / "a.gz", rows), write(tmp_path / "b.gz", token_ids=TOKEN_IDS)]
    assert count_text_tokens(files[:1]) == count_tokens(files[1:])
    assert count_text_tokens([]) == TokenCounts(lengths={}, loss_tokens=0)


def test_the_tokens_of_each_source_are_counted(tmp_path: Path) -> None:
    rows = [("odes", [5, 6]), ("faq", [7]), ("odes", [8, 8, 8]), ("other", [9])]
    records = [example({"source": [name], "token_ids$ragged_values": tokens}) for name, tokens in rows]
    records.insert(1, example({"source": ["odes"]}))  # a row without tokens
    path = write_records(tmp_path / "a.gz", records)
    assert count_tokens_by_source([path], ["odes", "faq", "none"]) == {"odes": 5, "faq": 1, "none": 0}
    texts = [example({"source": [name], "num_tokens": [len(tokens)]}) for name, tokens in [*rows, ("faq", [])]]
    path = write_records(tmp_path / "b.gz", texts)
    assert count_tokens_by_source([path], ["odes", "faq"], is_text=True) == {"odes": 5, "faq": 1}
