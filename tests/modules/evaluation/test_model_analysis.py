from types import SimpleNamespace

import pytest
import tensorflow as tf
import tensorflow_model_analysis as tfma

from modules.evaluation import model_analysis
from modules.evaluation.gates import failed
from modules.evaluation.perplexity_gate import PerplexityGateSettings
from modules.evaluation.results import Evaluation


def row(feature: str, value: bytes, **figures: float) -> SimpleNamespace:
    """Returns a result in the form in which TFMA reads it."""
    keys = [SimpleNamespace(column=feature, bytes_value=value, WhichOneof=lambda _: "bytes_value")] if feature else []
    return SimpleNamespace(
        slice_key=SimpleNamespace(single_slice_keys=keys),
        metric_keys_and_values=[
            SimpleNamespace(
                key=SimpleNamespace(name=name, model_name="", is_diff=False),
                value=SimpleNamespace(double_value=SimpleNamespace(value=figure)),
            )
            for name, figure in figures.items()
        ],
    )


def gate(rows: list[SimpleNamespace], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Returns the sentences of the checks that fail."""
    monkeypatch.setattr(tfma, "load_metrics", lambda folder: rows)
    measured = Evaluation(
        window=8, stride=8, eval_fingerprint="", baseline_eval_fingerprint=None, same_tokenizer=None,
        slices=model_analysis.read_slices("folder"),
    )  # fmt: skip
    return [check.sentence for check in failed(PerplexityGateSettings(max_perplexity=1e9).check(measured, None))]


@pytest.mark.parametrize(
    "rows",
    [[], [row("", b"", tokens=10, documents=1)], [row("source", b"a", perplexity=3.0, tokens=10, documents=1)]],
    ids=["nothing was measured", "the perplexity is missing", "the whole split is missing"],
)
def test_a_missing_metric_fails_the_gate(rows: list[SimpleNamespace], monkeypatch: pytest.MonkeyPatch) -> None:
    assert gate(rows, monkeypatch) == [
        "perplexity: nan is not comparable with 1,000,000,000 (evaluation.max_perplexity)"
    ]


def test_slices_are_sorted_by_feature_and_then_by_number_or_name(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [("source", b"b"), ("length", b"1024-2047"), ("", b""), ("length", b"64-127"), ("source", b"\xff")]
    monkeypatch.setattr(tfma, "load_metrics", lambda folder: [row(*name, perplexity=3.0) for name in names])
    assert [result.name for result in model_analysis.read_slices("folder")] == [
        "", "length=64-127", "length=1024-2047", "source=b", "source=\ufffd",
    ]  # fmt: skip


def test_the_fingerprint_depends_on_the_examples_but_not_on_their_order(tmp_path) -> None:
    def write(name: str, *records: bytes) -> str:
        with tf.io.TFRecordWriter(str(tmp_path / name), "GZIP") as writer:
            for record in records:
                writer.write(record)
        return str(tmp_path / name)

    two_files = [write("a.gz", b"1", b"2"), write("b.gz", b"3")]
    reordered = [write("c.gz", b"3", b"1", b"2")]
    with_repetition = [write("d.gz", b"3", b"1", b"2", b"2")]
    assert model_analysis.examples_fingerprint(two_files) == model_analysis.examples_fingerprint(reordered)
    assert model_analysis.examples_fingerprint(reordered) != model_analysis.examples_fingerprint(with_repetition)
