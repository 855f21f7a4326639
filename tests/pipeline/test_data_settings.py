"""The text is named once: by one source, by several, or by the files of each split."""

import re
from pathlib import Path

import pytest

from modules.common.errors import InputError
from modules.data import corpus
from pipeline.config import PipelineConfig, load_config

MINIMAL = """
name: poems
data: {source: "poems/*.jsonl"}
tokenizer: {vocabulary_size: 512}
model: {num_layers: 2, num_heads: 2, hidden_dim: 32, context_length: 32}
training: {steps: 10}
evaluation: {max_perplexity: 100}
"""
TWO = "data.sources=[{name: a, source: a.txt, weight: 3}, {name: b, source: b.jsonl, weight: 1, text_column: body}]"


def load(tmp_path: Path, *overrides: str) -> PipelineConfig:
    path = tmp_path / "recipe.yaml"
    path.write_text(MINIMAL, encoding="utf-8")
    config = load_config(path, list(overrides))
    assert PipelineConfig.model_validate_json(config.model_dump_json()) == config
    return config


def sources(config: PipelineConfig) -> list[dict]:
    return [source.model_dump(exclude_defaults=True) for source in config.data.to_corpus().sources]


def test_each_split_may_have_files_of_its_own(tmp_path):
    config = load(
        tmp_path, "data.source=null", "data.splits.train=[a/*.jsonl, b.jsonl]", "data.splits.eval=tfds:imdb[test]"
    )
    assert sources(config) == [
        {"files": ("a/*.jsonl", "b.jsonl"), "split": "train"},
        {"tfds": "imdb", "tfds_splits": ("test",), "split": "eval"},
    ]
    assert config.data.split_weights == {"train": 1, "eval": 1}
    assert config.data.described == "train: a/*.jsonl, b.jsonl, eval: tfds:imdb[test]"


def test_a_column_of_the_rows_may_name_the_split(tmp_path):
    config = load(tmp_path, "data.splits.column=part", "data.splits.train=[train, extra]", "data.splits.test=null")
    (source,) = config.data.to_corpus().sources
    assert source.split_column == "part"
    assert source.split_values == {
        "train": "train", "extra": "train",
        "eval": "eval", "validation": "eval", "valid": "eval", "val": "eval", "dev": "eval",
    }  # fmt: skip
    assert list(config.data.split_weights) == ["train", "eval"]


def test_a_run_needs_no_test_split(tmp_path):
    assert load(tmp_path, "data.splits.test=null").data.split_weights == {"train": 90, "eval": 5}


def test_several_sources_have_settings_of_their_own_and_share_those_of_data(tmp_path):
    config = load(tmp_path, "data.source=null", TWO, "data.split_long_documents=1000")
    assert sources(config) == [
        {"files": ("a.txt",), "name": "a", "split_long_documents": 1000},
        {"files": ("b.jsonl",), "name": "b", "text_column": "body", "split_long_documents": 1000},
    ]
    assert config.data.token_weights == {"a": 3, "b": 1}
    assert config.data.described == "a: a.txt, b: b.jsonl"


def test_a_source_may_belong_to_one_split(tmp_path):
    config = load(
        tmp_path, "data.source=null",
        "data.sources=[{name: a, source: a.txt, split: train}, {name: b, source: b.txt, split: eval}]",
    )  # fmt: skip
    assert config.data.split_weights == {"train": 1, "eval": 1}
    assert [source["split"] for source in sources(config)] == ["train", "eval"]


def test_the_cure_for_an_unknown_value_of_the_column_works(tmp_path):
    (tmp_path / "a.jsonl").write_text(
        "".join(f'{{"text": "{split}", "split": "{split}"}}\n' for split in ("train", "tune", "dev"))
    )
    settings = [f"data.source={tmp_path}/a.jsonl", "data.splits.column=split", "data.splits.test=null"]
    with pytest.raises(InputError, match=r"line 2: 'split' must be one of .* Received: 'tune'") as caught:
        corpus.check_corpus(load(tmp_path, *settings).data.to_corpus())
    (cure,) = re.findall(r"for example `(.*?)`", str(caught.value))
    corpus.check_corpus(load(tmp_path, *settings, cure).data.to_corpus())


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data.source=null"], "`data.source` is missing: name your text, for example `data.source=texts"),
        ([TWO], "`data.source` and `data.sources` both name files: set one of them to null, for example `data.source="),
        (["data.splits={train: a, eval: b}"], "`data.source` and `data.splits` both name files"),
        (["data.source=null", "data.splits.train=a"], "data.splits: .* `eval` is not set: name files for it too"),
        (["data.source=null", "data.splits={train: a, eval: 5}"], "`eval` is a share, and the other splits name files"),
        (["data.splits={column: part, eval: 5}"], "`eval` is a share, and the other splits name values of the column"),
        (["data.splits={column: part, eval: train}"], "a value of the column means one split, and 'train' is there tw"),
        (["data.splits.eval=0"], r"data\.splits\.eval: a split is a whole number above 0 .* Received: 0"),
        (["data.splits.eval=[]"], r"data\.splits\.eval: a split is a whole number above 0 .* Received: \[\]"),
        (["data.splits.eval=null"], "`eval` is not set: give it a share"),
        (["data.splits.dev=5"], "data.splits.dev: unknown key; did you mean `eval`"),
        (["data.source=null", "data.sources=[{name: a, source: b, wieght: 1}]"], "wieght: unknown key; did you mean"),
        (["data.source=null", "data.sources=[{name: a, source: b}, {name: a, source: c}]"], "'a' is there twice"),
        (["data.source=null", "data.sources=[{name: A b, source: c}]"], r"data\.sources\.0\.name: .*'A b'"),
        (
            ["data.source=null", "data.sources=[{name: a, source: b, weight: 1}, {name: c, source: d}]"],
            "Received: weights for a; sources with documents in train: a, c",
        ),
        (
            ["data.source=null", "data.sources=[{name: a, source: b, split: test}]", "data.splits.test=null"],
            r"`data\.splits\.test` is null: give it a share",
        ),
        (
            ["data.source=null", "data.sources=[{name: a, source: b, split: train}]"],
            "every source has a `split`: add the missing one",
        ),
        (["data.source=null", TWO, "data.tfds_splits=[train]"], "`data.sources` names the text: write the splits"),
        (["data.source=tfds:imdb", "data.splits.column=part"], "Name its splits instead"),
        (["data.split_long_documents=99"], "data.split_long_documents: .*greater than or equal to 100"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_with_its_cure(tmp_path, overrides, message):
    with pytest.raises(InputError, match=message):
        load(tmp_path, *overrides)
