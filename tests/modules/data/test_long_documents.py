"""Long documents are cut at the best border, nothing is lost, and their parts share the whole document's hash."""

import hashlib
import random

import pytest

from modules.common.errors import InputError
from modules.data import corpus, data_files
from modules.data.documents import Document, ReadCounts
from modules.data.file_documents import read_documents
from modules.data.long_documents import cut, parts_of
from modules.data.source import DataSource


@pytest.mark.parametrize(
    ("text", "limit", "parts"),
    [
        ("One.\n\nTwo.\n\nThree. Four. Five.", 12, ["One.\n\nTwo.\n\n", "Three. ", "Four. Five."]),
        ("One.\n \nTwo.", 8, ["One.\n \n", "Two."]),
        ("a line\nanother line\n", 13, ["a line\n", "another line\n"]),
        ('She said: "No." He left.', 18, ['She said: "No." ', "He left."]),
        ("こんにちは。さようなら。", 8, ["こんにちは。", "さようなら。"]),
        ("some words here", 11, ["some words ", "here"]),
        ("abcdefghij", 4, ["abcd", "efgh", "ij"]),
        ("abce\u0301fg", 4, ["abc", "e\u0301fg"]),  # an accent stays with its letter
        ("\n\nHello", 3, ["\n\nH", "ell", "o"]),  # no part of white space where there is another way
        ("short", 5, ["short"]),
        ("", 5, []),
    ],
)
def test_a_text_is_cut_at_the_best_border(text, limit, parts):
    assert list(cut([text], limit)) == parts


def test_no_part_is_too_long_and_the_parts_joined_are_the_text_however_it_arrives():
    random.seed(3)
    for _ in range(300):
        text = "".join(random.choices(["\n", "\n\n", " ", "\t", ".", "word", "é", "e\u0301", "。"], k=60))
        pieces = [text[start : start + 7] for start in range(0, len(text), 7)]
        parts = list(cut(pieces, 20))
        assert "".join(parts) == text
        assert max(map(len, parts)) <= 20
        assert parts == list(cut([text], 20))


def test_parts_share_the_hash_of_the_whole_document_and_are_counted():
    counts = ReadCounts()
    whole = Document.of_text("One.\n\nTwo.\n\nThree.", "a.jsonl", "a.jsonl, line 1", split="eval")
    parts = list(parts_of(whole, 12, counts))
    assert [(part.content, part.place) for part in parts] == [
        ("One.\n\nTwo.\n\n", "a.jsonl, line 1, part 1"),
        ("Three.", "a.jsonl, line 1, part 2"),
    ]
    assert {(part.group, part.split, part.source) for part in parts} == {
        (hashlib.sha256(whole.payload()).digest(), "eval", "a.jsonl")
    }
    assert counts.changed == {"long_documents_cut": 1, "parts_of_long_documents": 2}
    assert list(parts_of(whole, None, counts)) == list(parts_of(whole, 100, counts)) == [whole]


def test_a_book_larger_than_a_document_may_be_is_read_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(data_files, "MAX_DOCUMENT_BYTES", 2000)
    path = tmp_path / "book.txt"
    book = "".join(f'Paragraph {number} of "the" bööŧ.\x07\r\n\r\n' for number in range(200))
    path.write_bytes(book.encode())
    with pytest.raises(
        InputError, match=r"a document must be at most .*or, without a separator, `split_long_documents`"
    ):
        list(read_documents(str(path), DataSource(files=str(path))))

    counts = ReadCounts()
    source = DataSource(files=str(path), split_long_documents=500)
    parts = list(read_documents(str(path), source, counts=counts))
    text = book.replace("\r\n", "\n").replace("\x07", "")
    assert "".join(part.content for part in parts) == text
    assert max(len(part.content) for part in parts) <= 500
    # The split is that of the document that is not cut.
    assert {part.group for part in parts} == {hashlib.sha256(Document.of_text(text, "").payload()).digest()}
    assert counts.changed == {
        "control_characters_removed": 200, "long_documents_cut": 1, "parts_of_long_documents": len(parts),
    }  # fmt: skip
    corpus.check_source(source)


def test_a_short_file_is_one_document_and_long_rows_are_cut(tmp_path):
    (tmp_path / "a.txt").write_text("Short.\n")
    (tmp_path / "b.jsonl").write_text('{"text": "' + "Some words. " * 20 + '"}\n')
    source = DataSource(files=(str(tmp_path / "*")), split_long_documents=150)
    short, *parts = (document for path in sorted(tmp_path.iterdir()) for document in read_documents(str(path), source))
    assert (short.content, short.group) == ("Short.\n", b"")
    assert [len(part.content) for part in parts] == [144, 96]
