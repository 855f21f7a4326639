"""A source is checked before a run starts, and its fingerprint changes with its content only."""

import os

import pytest

from modules.common.errors import InputError
from modules.data import corpus
from modules.data.source import DataSource


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
