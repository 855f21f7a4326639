"""TextExampleGen in a real TFX pipeline, followed by StatisticsGen to prove that stock components read its output."""

import json
import os
import pathlib

import pytest
import tensorflow as tf
import tensorflow_data_validation as tfdv
from ml_metadata.proto import metadata_store_pb2
from tfx import v1 as tfx
from tfx.orchestration import metadata

from components.mlmd_properties import plain_values
from components.text_example_gen.component import TextExampleGen
from components.text_example_gen.executor import REASONS
from modules.cleaning.filters import CleaningSettings
from modules.common.errors import InputError
from modules.data import corpus
from modules.data.source import Corpus, DataSource
from pipeline.dag import BEAM_ARGS

SPLITS = '{"train": 2, "eval": 1, "test": 1}'


class Workspace:
    """Folder of a pipeline, with queries of its metadata."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        self.connection = metadata.sqlite_metadata_connection_config(str(folder / "metadata.sqlite"))

    def run(self, *sources: DataSource, splits: str = SPLITS, statistics: bool = False, **cleaning: object) -> None:
        corpus_of_all = Corpus(sources=sources)
        example_gen = TextExampleGen(
            source=corpus_of_all.model_dump_json(),
            cleaning=CleaningSettings.model_validate(cleaning).model_dump_json(),
            splits=splits,
            input_fingerprint=corpus.corpus_fingerprint(corpus_of_all),
            data_directory=str(self.folder / "tfds"),
        )
        components = [example_gen]
        if statistics:
            components.append(tfx.components.StatisticsGen(examples=example_gen.outputs["examples"]))
        tfx.orchestration.LocalDagRunner().run(
            tfx.dsl.Pipeline(
                pipeline_name="text",
                pipeline_root=str(self.folder / "root"),
                components=components,
                enable_cache=True,
                metadata_connection_config=self.connection,
                beam_pipeline_args=BEAM_ARGS,
            )
        )

    def states(self) -> list[str]:
        """Returns the states of TextExampleGen's executions, oldest first."""
        with metadata.Metadata(self.connection) as handle:
            executions = handle.store.get_executions_by_type("components.text_example_gen.component.TextExampleGen")
        names = metadata_store_pb2.Execution.State
        return [names.Name(execution.last_known_state) for execution in sorted(executions, key=lambda e: e.id)]

    def artifact(self) -> metadata_store_pb2.Artifact:
        """Returns the newest Examples artifact."""
        with metadata.Metadata(self.connection) as handle:
            return max(handle.store.get_artifacts_by_type("Examples"), key=lambda artifact: artifact.id)

    def examples(self) -> dict[str, list[tuple[str, str]]]:
        """Returns each split's (text, source) pairs in the order of the files."""
        splits = {}
        for folder in sorted(pathlib.Path(self.artifact().uri).glob("Split-*")):
            paths = sorted(str(path) for path in folder.iterdir())
            records = tf.data.TFRecordDataset(paths, "GZIP").as_numpy_iterator()
            features = [tf.train.Example.FromString(record).features.feature for record in records]
            splits[folder.name.removeprefix("Split-")] = [
                tuple(feature[name].bytes_list.value[0].decode() for name in ("text", "source")) for feature in features
            ]
        return splits


@pytest.fixture
def workspace(tmp_path) -> Workspace:
    return Workspace(tmp_path)


def write_lines(path: pathlib.Path, texts: list[str]) -> None:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))


def test_written_examples_and_counts_match_the_source_and_are_cached(workspace, tmp_path):
    texts = [f"Text number {number}" for number in range(40)]
    write_lines(tmp_path / "a.jsonl", [*texts, texts[0], " \n", "Bell\x07"])
    (tmp_path / "b.txt").write_text(texts[1])
    source = DataSource(files=(str(tmp_path / "*.jsonl"), str(tmp_path / "*.txt")))

    workspace.run(source, statistics=True)
    splits = workspace.examples()
    pairs = [pair for split in splits.values() for pair in split]
    assert sorted(pairs) == sorted([(text, "a.jsonl") for text in texts] + [("Bell", "a.jsonl")])

    artifact = workspace.artifact()
    properties = plain_values(artifact.custom_properties)
    counts = {split: len(pairs) for split, pairs in splits.items()}
    written = {split: sum(len(text) for text, _ in pairs) for split, pairs in splits.items()}
    dropped = {**dict.fromkeys(REASONS, 0), "empty": 1, "exact_duplicate": 2}
    expected = {
        **{f"documents_{split}": number for split, number in counts.items()},
        **{f"bytes_{split}": number for split, number in written.items()},
        **{f"dropped_{reason}": number for reason, number in dropped.items()},
        "changed_control_characters_removed": 1,
        "secrets_found": 0,
        "data_kind": "text",
        "input_fingerprint": corpus.fingerprint(source),
        "payload_format": "FORMAT_TF_EXAMPLE",
        "file_format": "tfrecords_gzip",
    }
    assert {name: properties[name] for name in expected} == expected
    assert f"The eval split has {counts['eval']} documents, fewer than 30" in properties["warnings"]
    assert artifact.custom_properties["span"].int_value == 0
    assert json.loads(artifact.properties["split_names"].string_value) == ["train", "eval", "test"]
    counts_file = json.loads(pathlib.Path(artifact.uri, "counts.json").read_text())
    assert counts_file == {
        "documents": counts,
        "bytes": written,
        "dropped": dropped,
        "changed": {"control_characters_removed": 1},
        "secrets": {},
        "secret_places": [],
    }
    assert not list(tmp_path.rglob("bucket-*"))
    assert statistics_counts(workspace) == counts

    # An unchanged source is cached. One changed byte runs again, although size and time are the same.
    workspace.run(source)
    changed = tmp_path / "b.txt"
    stat = changed.stat()
    changed.write_text("Text number X")
    os.utime(changed, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    workspace.run(source)
    assert workspace.states() == ["COMPLETE", "CACHED", "COMPLETE"]
    moved = workspace.examples()
    for split, pairs in splits.items():
        assert set(pairs) <= set(moved[split])
    assert ("Text number X", "b.txt") in [pair for pairs in moved.values() for pair in pairs]


def statistics_counts(workspace) -> dict[str, int]:
    """Returns the number of examples per split that StatisticsGen saw."""
    with metadata.Metadata(workspace.connection) as handle:
        uri = handle.store.get_artifacts_by_type("ExampleStatistics")[0].uri
    counts = {}
    for folder in pathlib.Path(uri).glob("Split-*"):
        statistics = tfdv.load_stats_binary(str(folder / "FeatureStats.pb"))
        counts[folder.name.removeprefix("Split-")] = statistics.datasets[0].num_examples
    return counts


def test_an_error_in_a_worker_reaches_the_user_with_its_own_message(workspace, tmp_path):
    write_lines(tmp_path / "a.jsonl", ["a", "b"])
    with (tmp_path / "a.jsonl").open("a") as handle:
        handle.write('{"text": \n')
    with pytest.raises(InputError, match=r"^\S*a\.jsonl, line 3: not valid JSON") as fault:
        workspace.run(DataSource(files=str(tmp_path / "a.jsonl")))
    assert "Traceback" not in str(fault.value)
    assert workspace.states() == ["FAILED"]


def test_too_few_documents_for_the_splits_are_an_error(workspace, tmp_path):
    (tmp_path / "a.txt").write_text("All in one.\n\nAnd another.\n")
    message = r"got none of the 1 different documents .*`document_separator`.* \"###\" occurs in no text file"
    with pytest.raises(InputError, match=message):
        workspace.run(DataSource(files=str(tmp_path / "a.txt"), document_separator="###"))
    (tmp_path / "a.txt").write_text(" \n")
    with pytest.raises(InputError, match=r"a\.txt holds no text that can be used: .*dropped: 1 empty"):
        workspace.run(DataSource(files=str(tmp_path / "a.txt")))


def sentence(number: int) -> str:
    """Returns 20 words; sentences with different numbers share no word."""
    return " ".join(f"{word}{number}" for word in "abcdefghijklmnopqrst")


def test_every_drop_is_counted_by_its_reason(workspace, tmp_path):
    texts = [sentence(number) for number in range(60)]
    near = [text.replace("j", "x", 1) for text in texts[:3]]
    write_lines(tmp_path / "a.jsonl", [*texts, *near, texts[0], "Short.", "\ufffd" * 9 + texts[9], " "])
    (tmp_path / "b.txt").write_text("Write to anna@tfx-mail.org, please: " + texts[8])

    workspace.run(
        DataSource(files=(str(tmp_path / "*.jsonl"), str(tmp_path / "*.txt"))), min_characters=10, near_duplicates=0.5
    )
    artifact = workspace.artifact()
    dropped = {
        name.removeprefix("dropped_"): value.int_value
        for name, value in artifact.custom_properties.items()
        if name.startswith("dropped_") and value.int_value
    }
    assert dropped == {"empty": 1, "too_short": 1, "charset": 1, "exact_duplicate": 1, "near_duplicate": 4}
    assert sum(len(pairs) for pairs in workspace.examples().values()) == 60
    counts = json.loads(pathlib.Path(artifact.uri, "counts.json").read_text())
    assert counts["secrets"] == {"email_address": 1}
    assert counts["secret_places"] == [f"{tmp_path}/b.txt, line 1, line 1 of the document: email_address"]
    assert artifact.custom_properties["secrets_found"].int_value == 1

    workspace.run(
        DataSource(files=(str(tmp_path / "*.jsonl"), str(tmp_path / "*.txt"))), secrets="drop", near_duplicates=None
    )
    assert workspace.artifact().custom_properties["dropped_secret"].int_value == 1
    assert workspace.artifact().custom_properties["dropped_near_duplicate"].int_value == 0


def test_held_out_text_that_is_also_in_train_is_dropped(workspace, tmp_path):
    # Each short text is also part of a long text. The two are no near duplicates, but the short text leaks if the long
    # text is in train.
    long = [" ".join(sentence(10 * number + part) for part in range(5)) for number in range(60)]
    write_lines(tmp_path / "a.jsonl", long + [sentence(10 * number) for number in range(60)])
    source = DataSource(files=str(tmp_path / "a.jsonl"))

    workspace.run(source, leakage=None)
    before = {split: {text for text, _ in pairs} for split, pairs in workspace.examples().items()}
    assert sum(map(len, before.values())) == 120
    held_out = {split: texts for split, texts in before.items() if split != "train"}
    leaked = {
        split: {text for text in texts if any(text in document for document in before["train"])}
        for split, texts in held_out.items()
    }
    assert all(leaked.values())

    workspace.run(source)
    after = {split: {text for text, _ in pairs} for split, pairs in workspace.examples().items()}
    assert after["train"] == before["train"]
    for split in held_out:
        assert after[split] == before[split] - leaked[split]
    properties = workspace.artifact().custom_properties
    assert properties["dropped_leaked"].int_value == sum(map(len, leaked.values()))


def test_instructions_become_prompts_and_completions(workspace, tmp_path):
    rows = [{"instruction": f"Say {number}.", "output": f"It is {number}."} for number in range(40)]
    (tmp_path / "a.json").write_text(json.dumps([{"instruction": "Ask."}, *rows, 7]))
    source = DataSource(files=str(tmp_path / "a.json"), kind="instruction", on_bad_row="drop")
    workspace.run(source, statistics=True)
    records = [
        tf.train.Example.FromString(record).features.feature
        for path in pathlib.Path(workspace.artifact().uri).glob("Split-*/*")
        for record in tf.data.TFRecordDataset([str(path)], "GZIP").as_numpy_iterator()
    ]
    found = {
        (record["prompt"].bytes_list.value[0].decode(), record["completion"].bytes_list.value[0].decode())
        for record in records
    }
    assert found == {
        (f"### Instruction:\nSay {number}.\n\n### Response:\n", f"It is {number}.") for number in range(40)
    }
    assert {name for record in records for name in record} == {
        "prompt", "completion", "source", "characters", "length", "words",
    }  # fmt: skip
    assert workspace.artifact().custom_properties["prompt_template"].string_value == "headings"
    for reason in ("missing_column", "no_object"):
        assert workspace.artifact().custom_properties[f"dropped_bad_row_{reason}"].int_value == 1
    rejected = (pathlib.Path(workspace.artifact().uri) / "rejected.jsonl").read_text().splitlines()
    assert [(row["row"], row["reason"]) for row in map(json.loads, rejected)] == [
        (1, "missing_column"), (42, "no_object"),
    ]  # fmt: skip


def test_rows_with_the_same_system_message_are_no_duplicates(workspace, tmp_path):
    system = {"role": "system", "content": " ".join(sentence(number) for number in range(10))}
    rows = [
        {
            "messages": [
                system,
                {"role": "user", "content": f"Say {n} {n}."},
                {"role": "assistant", "content": sentence(n)},
            ]
        }
        for n in range(100, 160)
    ]
    write_rows = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "a.jsonl").write_text(write_rows)
    workspace.run(DataSource(files=str(tmp_path / "a.jsonl"), kind="instruction"))
    properties = plain_values(workspace.artifact().custom_properties)
    assert {name: n for name, n in properties.items() if name.startswith("dropped_") and n} == {}


def test_named_sources_and_documents_in_two_splits_are_recorded(workspace, tmp_path):
    write_lines(tmp_path / "a.jsonl", ["one", "two", "both"])
    write_lines(tmp_path / "b.jsonl", ["both"])
    write_lines(tmp_path / "c.jsonl", ["three", "both"])
    workspace.run(
        DataSource(files=str(tmp_path / "a.jsonl"), name="odes", split="train"),
        DataSource(files=str(tmp_path / "b.jsonl"), name="faq", split="train"),
        DataSource(files=str(tmp_path / "c.jsonl"), name="exam", split="eval"),
        splits='{"train": 1, "eval": 1}',
    )
    assert {split: sorted(pairs) for split, pairs in workspace.examples().items()} == {
        "train": [("both", "faq"), ("one", "odes"), ("two", "odes")], "eval": [("three", "exam")],
    }  # fmt: skip
    properties = plain_values(workspace.artifact().custom_properties)
    assert {name: properties[f"documents_train_of_{name}"] for name in ("odes", "faq", "exam")} == {
        "odes": 2, "faq": 1, "exam": 0,
    }  # fmt: skip
    assert (properties["dropped_in_two_splits"], properties["dropped_exact_duplicate"]) == (1, 1)
    in_two_splits, small_eval = properties["warnings"].splitlines()
    assert small_eval.endswith("Use more text.")  # files give the splits, so no share would help
    assert in_two_splits == (
        "Documents that are in two splits were left out of eval and test: 1 in two splits. See "
        "`data.cleaning.drop_leaked_from`."
    )


def test_a_corpus_without_documents_after_cleaning_is_an_error_with_the_reasons(workspace, tmp_path):
    write_lines(tmp_path / "a.jsonl", ["Too short.", "This too.", ""])
    with pytest.raises(InputError, match=r"0 documents \(dropped: 1 empty, 2 too_short\)\. .*relax `data.cleaning`"):
        workspace.run(DataSource(files=str(tmp_path / "a.jsonl")), min_characters=100)


def test_wrong_wiring_fails_when_the_pipeline_is_built():
    settings = {
        "source": '{"sources": [{"files": "a.txt"}]}',
        "splits": SPLITS,
        "input_fingerprint": "",
        "data_directory": "",
    }
    TextExampleGen(**settings)
    with pytest.raises(ValueError, match="Splits must be shares by name"):
        TextExampleGen(**settings | {"splits": '{"train": 1}'})
    with pytest.raises(ValueError, match="Extra inputs are not permitted"):
        TextExampleGen(**settings, cleaning='{"min_letters": 3}')
    with pytest.raises(ValueError, match="exactly one of `tfds` and `files`"):
        TextExampleGen(**settings | {"source": '{"sources": [{}]}'})
