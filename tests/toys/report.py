"""Artifacts of a run on disk, as the nodes write them, for all tests of the report."""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pydantic
import tensorflow as tf
from etils import epath

from modules.common.json_files import finite
from modules.data.examples import ExampleCounts, serialized_example
from modules.evaluation import gates
from modules.evaluation.gates import Check
from modules.evaluation.results import METRICS_FILE, Evaluation
from modules.report.gathering import SourceArtifact
from modules.training.record import TrainingRecord

HOSTILE = "<script>alert(1)</script>"

CONFIGURATION: dict[str, Any] = {
    "name": "poems",
    "workspace": "/home/someone/workspace",
    "data": {"source": "/home/someone/texts/*.txt", "kind": "text", "cleaning": {"languages": ["en"]}},
    "model": {"preset": None, "context_length": 32},
    "training": {"steps": 300},
    "evaluation": {"max_perplexity": 150.0},
}
# Only the fields that a report uses, and a passage, which a report must leave out.
TASKS: dict[str, Any] = {
    "memorisation": {
        "share": 0.03125,
        "share_interval": [0.006, 0.157],
        "recited": 1,
        "long_enough": 32,
        "longest": {"words": 23, "text": "a passage learned by heart", "source": "x"},
        "settings": {"run_words": 20},
        "continuations": [{}] * 32,
    },
    "tasks": [
        {
            "kind": "multiple_choice",
            "name": HOSTILE,
            "accuracy": 0.264,
            "accuracy_interval": [0.21, 0.32],
            "accuracy_bytes": 0.305,
            "accuracy_bytes_interval": [0.25, 0.365],
            "chance": 0.25,
            "questions": 246,
            "settings": {"normalise": "bytes"},
        },
        {"kind": "answers", "rouge_l": 0.2571, "bleu": None, "answers": [{}] * 50},
    ],
}
PASSED = Check(
    metric="perplexity", measured=120.0, limit=150.0, bound="at most", limit_from="evaluation.max_perplexity"
)
REFUSED = Check(
    metric="perplexity", measured=152.0, limit=150.0, bound="at most", limit_from="evaluation.max_perplexity"
)
INT8_FAILED = Check(
    metric="rise in perplexity of int8",
    percent=True,
    measured=0.083,
    limit=0.02,
    bound="at most",
    limit_from="evaluation.tflite.max_rise.int8",
)


def quality(perplexity: float | None) -> dict[str, Any]:
    """Returns the figures of a slice; only the perplexity differs between calls."""
    ends = None if perplexity is None else [perplexity * 0.95, perplexity * 1.05]
    return {
        "perplexity": perplexity, "perplexity_interval": ends,
        "bits_per_byte": 1.87, "bits_per_byte_interval": [1.8, 1.9],
        "token_accuracy": 0.312, "token_accuracy_interval": None,
        "tokens": 1000, "bytes": 4000,
    }  # fmt: skip


def evaluation_slice(source: str, perplexity: float | None, baseline: float | None = None) -> dict[str, Any]:
    """Returns the slice of a source; an empty name is the slice of all documents."""
    change = None if baseline is None or perplexity is None else {"perplexity": perplexity / baseline - 1}
    return {
        "feature": "source" if source else "", "value": source, "documents": 20,
        "candidate": quality(perplexity), "baseline": None if baseline is None else quality(baseline),
        "change": change and {**change, "perplexity_interval": [-0.2, -0.1]},
    }  # fmt: skip


def evaluation(*slices: dict[str, Any], **facts: Any) -> Evaluation:
    """Returns an evaluation that was written to a file and read again."""
    with tempfile.TemporaryDirectory() as folder:
        _write_json(Path(folder, METRICS_FILE), _metrics(slices, facts))
        return Evaluation.read(folder)


def write_artifacts(
    folder: Path,
    *,
    checks: Sequence[Check] = (PASSED,),
    blessed: bool = True,
    slices: Sequence[dict[str, Any]] | None = None,
    documents: Sequence[str] = ("Roses are red.",),
    source: str = "poems.txt",
    metrics: dict[str, Any] | None = None,
    training: dict[str, Any] | None = None,
    int8_released: bool = True,
) -> dict[str, SourceArtifact]:
    """Writes the folders of all nodes that the report reads, of a small run without a preset; returns them."""
    _write_examples(folder / "examples", documents, source)
    _write_model(folder / "model")
    _write_json(folder / "model_run" / "training.json", {**TRAINING, **(training or {})})
    gates.write_checks(folder / "task_evaluation", [])
    (folder / "task_evaluation" / "tasks.json").write_text(json.dumps(TASKS), encoding="utf-8")
    gates.write_checks(folder / "evaluation", checks)
    _write_json(folder / "evaluation" / METRICS_FILE, _metrics(slices or [evaluation_slice("", 120.0)], metrics or {}))
    (folder / "blessing").mkdir()
    (folder / "blessing" / ("BLESSED" if blessed else "NOT_BLESSED")).touch()
    gates.write_checks(folder / "tflite_evaluation", [] if int8_released else [INT8_FAILED])
    _write_json(folder / "tflite_evaluation" / "files.json", _tflite_files(int8_released))
    return {
        name: SourceArtifact(
            id=number, type=TYPES[name], folder=epath.Path(folder, name), properties=PROPERTIES.get(name, {})
        )
        for number, name in enumerate(TYPES, start=11)
    }


TYPES = {
    "examples": "Examples", "transformed_examples": "Examples", "model": "Model", "model_run": "ModelRun",
    "task_evaluation": "ModelEvaluation", "evaluation": "ModelEvaluation", "blessing": "ModelBlessing",
    "model_fp16": "Model", "model_int8": "Model", "tflite_evaluation": "ModelEvaluation",
}  # fmt: skip
PROPERTIES: dict[str, dict[str, Any]] = {
    "examples": {
        "input_fingerprint": "1f1f", "data_kind": "text",
        "documents_train": 180, "documents_eval": 20, "bytes_train": 70000, "bytes_eval": 4000,
        "dropped_exact_duplicate": 7, "dropped_too_short": 0,
        "documents_train_of_odes": 150, "documents_train_of_limericks": 30,
        "changed_control_characters_removed": 3, "changed_turns_without_a_reply": 0,
    },
    "transformed_examples": {
        "tokens_train": 17500, "tokens_train_of_odes": 16000, "tokens_train_of_limericks": 1500, "tokens_eval": 1000,
        "warnings": "few <tokens>\nfew words",
    },
    "model_run": {
        "tokens_read_of_odes": 12000, "tokens_read_of_limericks": 6000, "times_read_of_odes": 0.75,
        "times_read_of_limericks": 4.0, "unread_tokens_of_odes": 4000, "unread_tokens_of_limericks": 0,
    },
    "model_fp16": {"precision": "float16", "size_bytes": 2_900_000, "sha256": "16" * 32},
    "model_int8": {"precision": "int8", "size_bytes": 1_800_000, "sha256": "08" * 32},
    "tflite_evaluation": {"blessed": 1},
}  # fmt: skip


def loss_point(step: int, loss: float, tokens_per_second: float = 7000.0) -> dict[str, Any]:
    """Returns a point of the loss curve as `training.json` holds it."""
    return {
        "step": step, "loss": loss, "metrics": {}, "learning_rate": 0.001, "gradient_norm": 1.0,
        "tokens_per_second": tokens_per_second, "memory_mb": 900.0,
    }  # fmt: skip


def training_record(**facts: Any) -> TrainingRecord:
    """Returns the toy's training record with some facts changed."""
    return pydantic.TypeAdapter(TrainingRecord).validate_python(finite({**TRAINING, **facts}))


TRAINING: dict[str, Any] = {
    "parameters": 1_334_016,
    "loss": [
        loss_point(10, 8.25, tokens_per_second=7000.0), loss_point(300, 4.84, tokens_per_second=7100.0),
    ],
    "validation": [{"step": 300, "loss": 4.9}],
    "loss_unit": "nats per token",
    "perplexity_before": None,
    "samples": [{"prompt": "Roses", "before": " qzx qzx", "after": " are red."}],
}  # fmt: skip


def _metrics(slices: Sequence[dict[str, Any]], facts: dict[str, Any]) -> dict[str, Any]:
    return {
        "window": 32, "stride": 32, "eval_fingerprint": "e1e1", "baseline_eval_fingerprint": None,
        "same_tokenizer": None, "slices": list(slices), **facts,
    }  # fmt: skip


def _tflite_files(int8_released: bool) -> dict[str, Any]:
    measured = {
        "float_perplexity": 120.0, "documents": 20, "tokens": 1000,
        "greedy_agreement": {"prompts": 16, "tokens": 64, "mean": 60.5, "least": 13, "whole": 14},
        "decode_tokens_per_second": 410.0, "float_decode_tokens_per_second": 300.0, "size_bytes": 1_800_000,
        "sha256": "08" * 32, "passed": True, "verdict": "within its limit",
    }  # fmt: skip
    return {
        "float16": {**measured, "perplexity": 120.0, "rise": 0.0, "released": True},
        "int8": {
            **measured, "perplexity": 130.0, "rise": 0.083, "released": int8_released
        },
    }  # fmt: skip


def _write_examples(folder: Path, documents: Sequence[str], source: str) -> None:
    split = folder / "Split-train"
    split.mkdir(parents=True)
    with tf.io.TFRecordWriter(str(split / "data_tfrecord-00000-of-00001.gz"), "GZIP") as writer:
        for document in documents:
            writer.write(serialized_example({"text": [document]}, document, source))
    counts = ExampleCounts(
        documents={"train": len(documents)},
        bytes={"train": sum(len(document.encode()) for document in documents)},
        dropped={},
        changed={"control_characters_removed": 3},
        secrets={"email_address": 2},
        secret_places=[f"{source}, line {line}: email_address" for line in (1, 2)],
    )
    counts.write(folder)


def _write_model(folder: Path) -> None:
    sizes = {"num_layers": 4, "num_heads": 2, "hidden_dim": 128, "vocabulary_size": 4096}
    _write_json(folder / "preset" / "config.json", {"config": sizes})
    (folder / "Format-Serving").mkdir()
    (folder / "Format-Serving" / "saved_model.pb").write_bytes(b"x" * 7_000_000)


def _write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
