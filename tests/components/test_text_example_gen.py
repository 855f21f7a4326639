"""TextExampleGen in a real TFX pipeline, with StatisticsGen behind it to prove that stock components read it."""

import json
import os
import pathlib

import pytest
import tensorflow as tf
import tensorflow_data_validation as tfdv
from ml_metadata.proto import metadata_store_pb2
from tfx import v1 as tfx
from tfx.orchestration import metadata

from components.text_example_gen.component import TextExampleGen
from modules import text_sources
from modules.errors import InputError
from modules.text_sources import DataSource

SPLITS = '{"train": 2, "eval": 1, "test": 1}'


class Workspace:
    """A pipeline's folder, and questions to its metadata."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        self.connection = metadata.sqlite_metadata_connection_config(str(folder / "metadata.sqlite"))

    def run(self, source: DataSource, splits: str = SPLITS, *, statistics: bool = False) -> None:
        example_gen = TextExampleGen(
            source=source.model_dump_json(),
            splits=splits,
            input_fingerprint=text_sources.fingerprint(source),
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
                beam_pipeline_args=["--runner=FnApiRunner"],
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


def test_a_pipeline_reads_what_it_writes(workspace, tmp_path):
    texts = [f"Text number {number}" for number in range(40)]
    write_lines(tmp_path / "a.jsonl", [*texts, texts[0], " \n", "Bell\x07"])
    (tmp_path / "b.txt").write_text(texts[1])
    source = DataSource(files=(str(tmp_path / "*.jsonl"), str(tmp_path / "*.txt")))

    workspace.run(source, statistics=True)
    splits = workspace.examples()
    pairs = [pair for split in splits.values() for pair in split]
    assert sorted(pairs) == sorted([(text, "a.jsonl") for text in texts] + [("Bell", "a.jsonl")])

    artifact = workspace.artifact()
    properties = {name: value.int_value or value.string_value for name, value in artifact.custom_properties.items()}
    counts = {split: len(pairs) for split, pairs in splits.items()}
    written = {split: sum(len(text) for text, _ in pairs) for split, pairs in splits.items()}
    dropped = {"exact_duplicates_dropped": 2, "empty_dropped": 1, "control_characters_dropped": 1}
    expected = {
        **{f"documents_{split}": number for split, number in counts.items()},
        **{f"bytes_{split}": number for split, number in written.items()},
        **dropped,
        "input_fingerprint": text_sources.fingerprint(source),
        "payload_format": "FORMAT_TF_EXAMPLE",
        "file_format": "tfrecords_gzip",
    }
    assert {name: properties[name] for name in expected} == expected
    assert artifact.custom_properties["span"].int_value == 0
    assert json.loads(artifact.properties["split_names"].string_value) == ["train", "eval", "test"]
    counts_file = json.loads(pathlib.Path(artifact.uri, "counts.json").read_text())
    assert counts_file == {"documents": counts, "bytes": written, **dropped}
    assert not list(tmp_path.rglob("bucket-*"))
    assert statistics_counts(workspace) == counts

    # One byte changed with size and time kept re-runs; nothing changed does not.
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
    """Returns the number of examples a split that StatisticsGen saw."""
    with metadata.Metadata(workspace.connection) as handle:
        uri = handle.store.get_artifacts_by_type("ExampleStatistics")[0].uri
    counts = {}
    for folder in pathlib.Path(uri).glob("Split-*"):
        statistics = tfdv.load_stats_binary(str(folder / "FeatureStats.pb"))
        counts[folder.name.removeprefix("Split-")] = statistics.datasets[0].num_examples
    return counts


def test_a_fault_in_a_worker_reaches_the_user_in_its_own_words(workspace, tmp_path):
    write_lines(tmp_path / "a.jsonl", ["a", "b"])
    with (tmp_path / "a.jsonl").open("a") as handle:
        handle.write('{"text": \n')
    with pytest.raises(InputError, match=r"^\S*a\.jsonl, line 3: not valid JSON") as fault:
        workspace.run(DataSource(files=str(tmp_path / "a.jsonl")))
    assert "Traceback" not in str(fault.value)
    assert workspace.states() == ["FAILED"]


def test_too_few_documents_for_the_splits(workspace, tmp_path):
    (tmp_path / "a.txt").write_text("All in one.\n\nAnd another.\n")
    with pytest.raises(InputError, match=r"got none of the 1 different documents .*`document_separator`"):
        workspace.run(DataSource(files=str(tmp_path / "a.txt")))
    (tmp_path / "a.txt").write_text(" \n")
    with pytest.raises(InputError, match=r"a\.txt holds no text"):
        workspace.run(DataSource(files=str(tmp_path / "a.txt")))


def test_wrong_wiring_fails_when_built():
    settings = {"source": '{"files": "a.txt"}', "splits": SPLITS, "input_fingerprint": "", "data_directory": ""}
    TextExampleGen(**settings)
    with pytest.raises(ValueError, match="Splits must be shares by name"):
        TextExampleGen(**settings | {"splits": '{"train": 1}'})
    with pytest.raises(ValueError, match="exactly one of `tfds` and `files`"):
        TextExampleGen(**settings | {"source": "{}"})
