"""The same files give the same examples, byte for byte, in every version of the program."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import tensorflow as tf
from tfx.dsl.components.base import base_beam_executor
from tfx.types import standard_artifacts

from components.text_example_gen import executor
from modules.cleaning import buckets
from modules.data import corpus
from modules.data.source import Corpus, DataSource
from pipeline.dag import BEAM_ARGS
from tests.toys import cloud_storage, corpora

SPLITS = {"train": 8, "eval": 1, "test": 1}
# Computed by the version of the program that compared one document at a time in one process.
EXPECTED = {
    "text": {
        "train": "413 55d700f7e9be581235ec5c8f2ab15b4a2db85f101139b965909d31d47931cb56",
        "eval": "30 339b9f744b6aa479d1e1158b2873b1e75bf99d06f0395151039a351bf2bf86f4",
        "test": "36 27e12d6f4f8f44c0ebb649783785e800750645a77399f9a367235cb91dfc00d6",
        "counts": {
            "bytes": {"eval": 47685, "test": 57197, "train": 1179488},
            "documents": {"eval": 30, "test": 36, "train": 413},
            "dropped": {"charset": 1, "empty": 2, "exact_duplicate": 29, "leaked": 23, "near_duplicate": 76},
            "secrets": {"assigned_secret": 1, "email_address": 1},
        },
    },
    "instruction": {
        "train": "204 bf7ddb9fe404021e7df102f841d5891e5bef1252e8d3e26ca9e244c285943f73",
        "eval": "22 63d612bec9433ed952e88a737778475efd0067a87a4c2d817d624976821bc5fc",
        "test": "15 dba9090f6e2f811021aebf992cca7017d0b21783221c4a68143f4643b4b5c971",
        "counts": {
            "bytes": {"eval": 17043, "test": 12208, "train": 143487},
            "documents": {"eval": 22, "test": 15, "train": 204},
            "dropped": {"exact_duplicate": 50, "leaked": 9, "near_duplicate": 29},
            "secrets": {},
        },
    },
    "preference": {
        "train": "120 4d45cb125132566b63b8a16e12fcbbcf8e22150dacfb52224ebb97d9f7c97f1f",
        "eval": "16 4abb87dfb224981b4274ccab8ced3f9e69e32fa8db936438a17ba571a51abd2c",
        "test": "14 89b88aca6e9b87186a6399374a27ea45bd3f7290518c2edef972dbee77ca8d9f",
        "counts": {
            "bytes": {"eval": 11556, "test": 9990, "train": 86831},
            "documents": {"eval": 16, "test": 14, "train": 120},
            "dropped": {"exact_duplicate": 75, "no_preference": 15},
            "secrets": {},
        },
    },
}


def generate(
    folder: Path, kind: str, *, beam_args: Sequence[str] = tuple(BEAM_ARGS), written: str = ""
) -> dict[str, object]:
    """Returns the SHA-256 of each split's sorted records, and the counts above 0, for one kind of corpus.

    Args:
        folder: Folder of the texts.
        kind: Kind of the source.
        beam_args: Arguments of Beam.
        written: Folder of what the executor writes; a URL means the folder `bucket`. By default it is `folder`.
    """
    source = DataSource(
        files=(str(folder / "texts" / "*.jsonl"), *([str(folder / "texts" / "*.txt")] if kind == "text" else [])),
        kind=kind,
        document_separator="blank_line",
    )
    examples = standard_artifacts.Examples()
    examples.uri = f"{written or folder}/examples"
    context = base_beam_executor.BaseBeamExecutor.Context(
        beam_pipeline_args=list(beam_args), tmp_dir=f"{written or folder}/tmp", unique_id="1"
    )
    properties = {
        "source": Corpus(sources=(source,)).model_dump_json(),
        "cleaning": "{}",
        "splits": json.dumps(SPLITS),
        "input_fingerprint": "",
        "data_directory": "",
    }
    executor.Executor(context).Do({}, {"examples": [examples]}, properties)
    local = folder / "bucket" / "examples" if written else folder / "examples"
    found: dict[str, object] = {}
    for split in SPLITS:
        files = [str(path) for path in (local / f"Split-{split}").iterdir()]
        records = sorted(tf.data.TFRecordDataset(files, "GZIP").as_numpy_iterator())
        found[split] = f"{len(records)} {hashlib.sha256(b''.join(records)).hexdigest()}"
    counts = json.loads((local / "counts.json").read_text())
    found["counts"] = {
        name: {key: number for key, number in counts[name].items() if number}
        for name in ("bytes", "documents", "dropped", "secrets")
    }
    return found


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes several pieces of work and buckets of a small corpus."""
    monkeypatch.setattr(buckets, "BUCKET_BYTES", 2**17)
    monkeypatch.setattr(corpus, "PIECE_BYTES", 2**18)


@pytest.mark.parametrize("kind", ["text", "instruction", "preference"])
def test_the_examples_are_those_of_earlier_versions(kind: str, tmp_path: Path) -> None:
    write = {"text": corpora.write_texts, "instruction": corpora.write_instructions}
    write.get(kind, corpora.write_preferences)(tmp_path / "texts")
    assert generate(tmp_path, kind) == EXPECTED[kind]


def test_one_processor_gives_the_same_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor, "usable_processes", lambda bytes_each: 1)
    monkeypatch.setattr(executor, "WorkerPool", None)
    corpora.write_preferences(tmp_path / "texts")
    assert generate(tmp_path, "preference") == EXPECTED["preference"]


def test_examples_and_temporary_files_may_be_in_cloud_storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        executor, "usable_processes", lambda bytes_each: 1
    )  # other processes would look for a real bucket
    corpora.write_preferences(tmp_path / "texts")
    cloud_storage.mount(tmp_path / "bucket", monkeypatch)
    assert generate(tmp_path, "preference", written=cloud_storage.BUCKET) == EXPECTED["preference"]
    assert cloud_storage.stray_files(tmp_path / "bucket") == []


def test_a_runner_of_a_cluster_gives_the_same_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beam's local runner under its full name counts as any other runner."""
    monkeypatch.setattr(executor, "WorkerPool", None)
    corpora.write_preferences(tmp_path / "texts")
    runner = "--runner=apache_beam.runners.portability.fn_api_runner.FnApiRunner"
    assert generate(tmp_path, "preference", beam_args=[runner, "--sdk_container_image=none"]) == EXPECTED["preference"]
