"""A source names exactly one of files and a TFDS dataset, with the settings that go with it."""

import pydantic
import pytest

from modules.data.source import DataSource


class TestDataSource:
    def test_short_spelling(self):
        assert DataSource.from_string("tfds:imdb_reviews/plain_text") == DataSource(tfds="imdb_reviews/plain_text")
        assert DataSource.from_string("data/*.txt").files == ("data/*.txt",)

    def test_survives_json(self):
        source = DataSource(files=["a.txt", "b.md"], document_separator="\n---\n")
        assert DataSource.model_validate_json(source.model_dump_json()) == source

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({}, "exactly one of `tfds` and `files`"),
            ({"tfds": "a", "files": "b"}, "exactly one of `tfds` and `files`"),
            ({"files": "a", "tfds_splits": ["train"]}, "`tfds_splits` goes with `tfds`"),
            ({"tfds": "a", "document_separator": "x"}, "`document_separator` goes with `files`"),
            ({"files": []}, "at least 1 item"),
            ({"files": "a", "column": "b"}, "Extra inputs are not permitted"),
        ],
    )
    def test_refuses(self, settings, message):
        with pytest.raises(pydantic.ValidationError, match=message):
            DataSource(**settings)
