"""A source is checked before a run starts, and its fingerprint changes with its content only."""

import os
import re
import time

import pytest

from modules.common.errors import InputError
from modules.data import corpus
from modules.data.documents import ReadCounts
from modules.data.source import Corpus, DataSource


class TestCheckSource:
    @pytest.mark.parametrize("content", [b"", b" \n\n \n"])
    def test_a_corpus_without_text_is_an_error(self, tmp_path, content):
        (tmp_path / "a.txt").write_bytes(content)
        with pytest.raises(
            InputError, match=r"a\.txt holds no text that can be used: .* Received: 0 documents \(dropped: 1 empty"
        ):
            corpus.check_source(DataSource(files=str(tmp_path / "a.txt")))

    def test_the_check_reads_the_beginning_of_every_file_first(self, tmp_path):
        (tmp_path / "a.jsonl").write_text('{"text": "a"}\n' * 100_000)
        (tmp_path / "b.jsonl").write_text('{"body": "a"}\n')
        with pytest.raises(InputError, match=r"b\.jsonl, line 1: there is no column 'text'"):
            corpus.check_source(DataSource(files=str(tmp_path / "*")), time_limit_s=0.05)

    def test_the_check_ends_at_its_time_limit(self, tmp_path):
        (tmp_path / "a.txt").write_text("a\n\n" * 100_000 + "\x00")
        source = DataSource(files=str(tmp_path / "a.txt"), document_separator="blank_line")
        corpus.check_source(source, time_limit_s=0.0)

    def test_the_check_of_a_book_that_is_cut_ends_at_its_time_limit_and_sees_its_first_lines(self, tmp_path):
        (tmp_path / "a.txt").write_text("a\n" * 3_000_000)
        source = DataSource(files=str(tmp_path / "a.txt"), split_long_documents=1000)
        before = time.process_time()
        corpus.check_source(source, time_limit_s=0.0)
        assert time.process_time() - before < 0.5  # reading all of it takes seconds
        (tmp_path / "a.txt").write_bytes(b"a\n\xff\n")
        with pytest.raises(InputError, match=r"a\.txt is not UTF-8: line 2"):
            corpus.check_source(source)


class TestFingerprint:
    def test_a_changed_byte_changes_the_fingerprint_even_if_size_and_time_are_equal(self, tmp_path):
        path = tmp_path / "a.txt"
        path.write_text("abc")
        os.utime(path, (1, 1))
        source = DataSource(files=str(path))
        before = corpus.fingerprint(source)
        path.write_text("abd")
        os.utime(path, (1, 1))
        assert corpus.fingerprint(source) != before
        path.write_text("abc")
        assert corpus.fingerprint(source) == before

    def test_the_fingerprint_depends_on_relative_names_and_not_on_the_folder_above(self, tmp_path):
        for folder, names in (("one", "ab"), ("two", "ab"), ("three", "ac")):
            (tmp_path / folder).mkdir()
            for name in names:
                (tmp_path / folder / f"{name}.txt").write_text("same")
        first, same_names, another_name = (
            corpus.fingerprint(DataSource(files=str(tmp_path / folder / "*"))) for folder in ("one", "two", "three")
        )
        assert first == same_names != another_name

    def test_the_fingerprint_of_the_own_dataset_depends_on_the_installed_packages(self, monkeypatch):
        source = DataSource(tfds="python_documentation")
        before = corpus.fingerprint(source)
        monkeypatch.setattr("modules.data.docstrings.package_versions", lambda packages: ["python 9.9"])
        assert corpus.fingerprint(source) != before
        assert corpus.fingerprint(DataSource(tfds="imdb_reviews")) != before


class TestSeveralSources:
    def test_documents_get_the_name_and_the_split_of_their_source(self, tmp_path):
        (tmp_path / "a.txt").write_text("A poem.")
        (tmp_path / "b.jsonl").write_text('{"body": "A row."}\n')
        sources = Corpus(
            sources=(
                DataSource(files=str(tmp_path / "a.txt"), name="poems"),
                DataSource(files=str(tmp_path / "b.jsonl"), name="rows", text_column="body", split="eval"),
            )
        )
        corpus.check_corpus(sources)
        pieces = corpus.plan(sources, "")
        assert [piece.name for piece in pieces] == ["piece-00000", "piece-00001"]
        documents = [document for piece in pieces for document in corpus.read(piece, ReadCounts())]
        assert [(document.content, document.source, document.split) for document in documents] == [
            ("A poem.", "poems", ""), ("A row.", "rows", "eval"),
        ]  # fmt: skip

    def test_errors_name_the_source(self, tmp_path):
        (tmp_path / "a.txt").write_text("A poem.")
        (tmp_path / "b.jsonl").write_text('{"body": "A row."}\n')
        sources = Corpus(
            sources=(
                DataSource(files=str(tmp_path / "a.txt"), name="poems"),
                DataSource(files=str(tmp_path / "b.jsonl"), name="rows"),
            )
        )
        message = r"^the source 'rows': .*b\.jsonl, line 1: there is no column 'text'"
        with pytest.raises(InputError, match=message):
            corpus.check_corpus(sources)
        counts = ReadCounts()
        assert list(corpus.read(corpus.plan(sources, "")[1], counts)) == []
        assert re.match(message, counts.bad_rows[0])
        with pytest.raises(InputError, match=r"^the source 'verse': No file matches"):
            corpus.corpus_fingerprint(Corpus(sources=(DataSource(files=str(tmp_path / "c.txt"), name="verse"),)))

    def test_the_fingerprint_depends_on_every_source(self, tmp_path):
        sources = [DataSource(files=str(tmp_path / name)) for name in ("a.txt", "b.txt")]
        for name in ("a.txt", "b.txt"):
            (tmp_path / name).write_text("same")
        before = corpus.corpus_fingerprint(Corpus(sources=sources))
        assert corpus.corpus_fingerprint(Corpus(sources=sources[:1])) == corpus.fingerprint(sources[0]) != before
        (tmp_path / "b.txt").write_text("changed")
        assert corpus.corpus_fingerprint(Corpus(sources=sources)) != before


class TestSplitsByAColumn:
    COLUMN = {"split_column": "split", "split_values": {"train": "train", "dev": "eval"}}

    def test_a_column_gives_each_row_its_split(self, tmp_path):
        (tmp_path / "a.csv").write_text("text,split\nOne.,train\nTwo.,dev\n")
        source = DataSource(files=str(tmp_path / "a.csv"), **self.COLUMN)
        (piece,) = corpus.plan(Corpus(sources=(source,)), "")
        assert [(document.content, document.split) for document in corpus.read(piece, ReadCounts())] == [
            ("One.", "train"), ("Two.", "eval"),
        ]  # fmt: skip

    @pytest.mark.parametrize(
        ("name", "content", "message"),
        [
            (
                "a.jsonl",
                '{"text": "a", "split": "tune"}',
                r"line 1: 'split' must be one of 'train' \(train\), 'dev' \(eval\)\. Received: 'tune'\. .*"
                r"`data.splits.train=\[train, tune\]`",
            ),
            ("a.jsonl", '{"text": "a"}', "line 1: there is no column 'split'"),
            ("a.txt", "a", r"`data\.splits\.column` needs files of rows: .* Received: .*a\.txt"),
        ],
    )
    def test_what_names_no_split_is_refused_with_its_place(self, tmp_path, name, content, message):
        (tmp_path / name).write_text(content)
        with pytest.raises(InputError, match=message):
            corpus.check_source(DataSource(files=str(tmp_path / name), **self.COLUMN))
