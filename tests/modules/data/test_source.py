"""A source names either files or a TFDS dataset, and only settings that fit them."""

import pydantic
import pytest

from modules.data.source import Corpus, DataSource


class TestDataSource:
    def test_a_string_names_a_tfds_dataset_or_files(self):
        assert DataSource.from_string("tfds:imdb_reviews/plain_text") == DataSource(tfds="imdb_reviews/plain_text")
        assert DataSource.from_string("data/*.txt").files == ("data/*.txt",)
        assert DataSource.from_string("tfds:imdb_reviews[train, test]") == DataSource(
            tfds="imdb_reviews", tfds_splits=["train", "test"]
        )

    def test_a_source_is_read_back_from_json(self):
        source = DataSource(files=["a.txt", "b.md"], document_separator="\n---\n")
        assert DataSource.model_validate_json(source.model_dump_json()) == source

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({}, "exactly one of `tfds` and `files`"),
            ({"tfds": "a", "files": "b"}, "exactly one of `tfds` and `files`"),
            (
                {"files": "a", "tfds_splits": ["train"]},
                "`tfds_splits` selects splits of a TFDS data set, .* Remove `tfds_splits`",
            ),
            (
                {"tfds": "a", "document_separator": "x"},
                "`document_separator` splits files, .* Remove `document_separator`",
            ),
            ({"files": []}, "at least 1 item"),
            ({"tfds": "huggingface:glue"}, "without a name space such as `huggingface:`"),
            ({"tfds": "../imdb_reviews"}, "without a name space such as `huggingface:` and without `..`"),
            ({"tfds": "imdb_reviews/../x"}, "`name`, `name/config` or `name/config:version`"),
            ({"tfds": "/tmp/imdb"}, "`name`, `name/config` or `name/config:version`"),
            ({"tfds": "a", "split_column": "split"}, r"Name its splits instead, for example .*=tfds:a\[train\]`"),
            ({"files": "a", "kind": "instruction", "split_long_documents": 500}, "Remove `split_long_documents`"),
            ({"files": "a", "column": "b"}, "Extra inputs are not permitted"),
        ],
    )
    def test_contradictory_settings_are_refused(self, settings, message):
        with pytest.raises(pydantic.ValidationError, match=message):
            DataSource(**settings)


def test_all_sources_of_a_corpus_hold_the_same_kind_of_data():
    texts, rows = DataSource(files="a.txt"), DataSource(files="b.jsonl", kind="instruction")
    assert (Corpus(sources=(rows, rows)).kind, Corpus(sources=(texts,)).template) == ("instruction", "headings")
    with pytest.raises(pydantic.ValidationError, match=r"the same `kind`\. Received: text, instruction"):
        Corpus(sources=(texts, rows))


@pytest.mark.parametrize(
    ("settings", "is_split"), [({}, False), ({"split": "eval"}, True), ({"split_column": "split"}, True)]
)
def test_a_corpus_is_split_if_nothing_is_left_to_the_hash(settings, is_split):
    first = DataSource(files="a.jsonl", split="train")
    assert Corpus(sources=(first, DataSource(files="b.jsonl", **settings))).is_split == is_split
