"""The Evaluator on a tiny model and real files, with TFMA and Beam."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tfx.types import standard_artifacts

from modules.common.errors import InputError
from modules.evaluation import gates, model_analysis
from modules.evaluation.gates import Check
from modules.export import saved_model
from modules.tokenization.vocabulary import Vocabulary
from modules.tokenization.vocabulary_files import write_table
from pipeline.dag import BEAM_ARGS
from tests.toys.evaluator import Evaluated, write_examples
from tests.toys.examples import example, write_records
from tests.toys.numpy_gpt2 import oracle
from tests.toys.release import saved_release, tiny_backbone, tiny_vocabulary

DOCUMENTS = [("the cat", "a"), ("the the the " * 9, "a"), ("x", "b"), ("other", "b"), ("", "c")]


def texts(documents: list[tuple[str, str]] = DOCUMENTS) -> list[dict[str, str]]:
    return [{"text": text, "source": source} for text, source in documents]


def tiny_model() -> standard_artifacts.Model:
    artifact = standard_artifacts.Model()
    artifact.uri, artifact.id = str(Path(saved_release().saved_model).parent), 2
    return artifact


def token_ids(text: str) -> list[int]:
    """Returns ids of the tiny vocabulary: the letters "the" are one token, every other byte is a token."""
    ids = {token: number for number, token in enumerate(tiny_vocabulary().token_bytes())}
    return [ids[piece.encode()] for piece in re.findall("the|.", text)]


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Evaluated:
    folder = tmp_path_factory.mktemp("evaluated")
    return Evaluated(folder, write_examples(folder / "x", texts()), tiny_model(), slices=("source",))


def test_figures_equal_the_oracles_for_the_split_and_every_slice(evaluated: Evaluated) -> None:
    assert [found.name for found in evaluated.results.slices] == ["", "source=a", "source=b", "source=c"]
    for found in evaluated.results.slices:
        documents = [token_ids(text) for text, source in DOCUMENTS if found.value in ("", source)]
        nats = sum(oracle(document, 16) for document in documents)
        tokens = sum(len(document) + 1 for document in documents)
        size_bytes = sum(len(text) for text, source in DOCUMENTS if found.value in ("", source))
        assert (found.documents, found.candidate.tokens, found.candidate.bytes) == (len(documents), tokens, size_bytes)
        assert found.candidate.perplexity == pytest.approx(math.exp(nats / tokens), rel=1e-6)
        if size_bytes:
            assert found.candidate.bits_per_byte == pytest.approx(nats / math.log(2) / size_bytes, rel=1e-6)
    assert (
        evaluated.evaluation.get_float_custom_property("perplexity") == evaluated.results.overall.candidate.perplexity
    )
    assert evaluated.blessed
    assert evaluated.blessing.get_int_custom_property("current_model_id") == 2


def test_order_shards_and_workers_do_not_matter(evaluated: Evaluated, tmp_path: Path) -> None:
    rows = texts()
    again = Evaluated(
        tmp_path,
        write_examples(tmp_path / "x", rows[3:], [rows[1]], [rows[2], rows[0]]),
        tiny_model(),
        beam_args=(*BEAM_ARGS, "--direct_num_workers=2", "--direct_running_mode=multi_threading"),
    )
    assert again.results.eval_fingerprint == evaluated.results.eval_fingerprint
    here, there = evaluated.results.overall.candidate, again.results.overall.candidate
    for name in ("perplexity", "bits_per_byte", "token_accuracy", "perplexity_interval"):
        np.testing.assert_allclose(getattr(there, name), getattr(here, name), rtol=1e-6)


def test_overlapping_windows_see_more_text_and_are_recorded(tmp_path: Path) -> None:
    rows = texts([("the the the " * 9, "a")])
    evaluated = Evaluated(tmp_path, write_examples(tmp_path / "x", rows), tiny_model(), strided=True)
    document = token_ids(rows[0]["text"])
    assert (evaluated.results.window, evaluated.results.stride) == (16, 8)
    nats = oracle(document, 16, stride=8)
    assert evaluated.results.overall.candidate.perplexity == pytest.approx(
        math.exp(nats / (len(document) + 1)), rel=1e-6
    )
    assert abs(nats - oracle(document, 16)) > 0.01


def test_a_failed_task_refuses_a_model_that_is_as_good_as_the_last(tmp_path: Path) -> None:
    task = Check(metric="accuracy", measured=math.nan, limit=0.6, bound="at least", limit_from="evaluation.tasks")
    evaluated = Evaluated(
        tmp_path,
        write_examples(tmp_path / "x", texts()),
        tiny_model(),
        baseline=tiny_model(),
        baseline_fingerprint="of other data",
        tasks=[task],
    )
    assert evaluated.results.overall.change.perplexity == pytest.approx(0.0, abs=1e-9)
    assert evaluated.results.same_tokenizer is True
    assert evaluated.results.new_eval_data
    assert not gates.failed(gates.read_checks(evaluated.evaluation.uri))
    assert not evaluated.blessed


def export(folder: Path, **settings) -> standard_artifacts.Model:
    """Exports the tiny model once more, with another tokenizer or kind of data."""
    table = settings.pop("table", saved_release().table)
    saved_model.export_saved_model(
        tiny_backbone(), table, str(folder / "Format-Serving"), context_length=32, sequence_length=16, **settings
    )
    artifact = standard_artifacts.Model()
    artifact.uri, artifact.id = str(folder), 3
    return artifact


def test_a_baseline_with_another_tokenizer_is_compared_by_bits_per_byte(tmp_path: Path) -> None:
    table = str(tmp_path / "vocabulary.tsv")
    write_table(Vocabulary.from_merges([]), table)  # only bytes: "the" is three tokens
    baseline = export(tmp_path / "baseline", table=table)
    rows = texts([("the the the", "a"), ("the", "a")])
    gate = {"max_perplexity": 1e6, "max_regression": 0.0}
    evaluated = Evaluated(tmp_path, write_examples(tmp_path / "x", rows), tiny_model(), baseline=baseline, gate=gate)
    overall = evaluated.results.overall
    assert evaluated.results.same_tokenizer is False
    assert overall.baseline.tokens > overall.candidate.tokens
    assert overall.baseline.bytes == overall.candidate.bytes
    more_bits = overall.candidate.bits_per_byte - overall.baseline.bits_per_byte
    bytes_per_token = overall.baseline.bytes / overall.baseline.tokens
    assert overall.change.perplexity == pytest.approx(2 ** (more_bits * bytes_per_token) - 1)
    assert evaluated.blessed is (more_bits <= 0)
    assert any("from bits per byte" in check.metric for check in gates.read_checks(evaluated.evaluation.uri))


def test_a_baseline_of_other_data_is_refused_with_the_cure(tmp_path: Path) -> None:
    baseline = export(tmp_path / "baseline", data_kind="instruction")
    with pytest.raises(InputError, match=r"cannot score the eval data.*another `data.kind`.*new `name`"):
        Evaluated(tmp_path, write_examples(tmp_path / "x", texts()), tiny_model(), baseline=baseline)


def test_a_baseline_of_another_prompt_template_is_refused_with_the_cure(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"trained with `data.template: chat`.*Received: plain text.*new `name`"):
        Evaluated(
            tmp_path,
            write_examples(tmp_path / "x", texts()),
            tiny_model(),
            baseline=tiny_model(),
            baseline_template="chat",
        )


def test_a_baseline_of_an_earlier_version_is_refused_with_the_cure(tmp_path: Path) -> None:
    class Earlier(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
        def evaluate(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"nll_sum": tf.zeros([tf.size(examples)]), "num_tokens": tf.ones([tf.size(examples)], tf.int64)}

    earlier = Earlier()
    tf.saved_model.save(earlier, str(tmp_path / "model"), signatures={"evaluate": earlier.evaluate})
    with pytest.raises(InputError, match=r"a model of an earlier version.*new `name`"):
        model_analysis.check_baseline(str(tmp_path / "model"), [], strided=False)


def test_a_baseline_that_scores_replies_of_weight_0_is_refused_with_the_cure(tmp_path: Path) -> None:
    class Earlier(tf.Module):
        """A model that counts the bytes of both replies, or only those of the second, whose weight is 1."""

        def __init__(self, num_bytes: int):
            self.num_bytes = num_bytes

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
        def evaluate(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
            sums = {name: tf.zeros([tf.size(examples)]) for name in ("nll_sum", "num_tokens", "num_correct")}
            return {**sums, "num_bytes": tf.fill([tf.size(examples)], self.num_bytes)}

    turns = {"prompt": ["Hi", "Bye"], "completion": ["Hello!", "Bye."]}
    files = [write_records(tmp_path / "a.gz", [example(turns)] * 1500 + [example({**turns, "weight": ["0", "1"]})])]
    for num_bytes in (4, 10):
        model = Earlier(num_bytes)
        tf.saved_model.save(model, str(tmp_path / str(num_bytes)), signatures={"evaluate": model.evaluate})
    model_analysis.check_baseline(str(tmp_path / "4"), files, strided=False)
    with pytest.raises(InputError, match=r"must leave out replies of `weight` 0.*earlier version.*new `name`"):
        model_analysis.check_baseline(str(tmp_path / "10"), files, strided=False)


def test_a_model_of_nan_is_measured_and_recorded_and_not_blessed(tmp_path: Path) -> None:
    backbone = tiny_backbone()
    kernel = backbone.transformer_layers[0]._feedforward_output_dense.kernel
    kept = kernel.numpy()
    try:
        kernel.assign(np.full_like(kept, np.nan))
        model = export(tmp_path / "model")
    finally:
        kernel.assign(kept)
    evaluated = Evaluated(tmp_path, write_examples(tmp_path / "x", texts()), model)
    assert math.isnan(evaluated.results.overall.candidate.perplexity)
    assert evaluated.results.overall.candidate.token_accuracy == 0
    assert not evaluated.blessed
    assert not evaluated.evaluation.has_custom_property("perplexity")


def test_without_documents_nothing_is_blessed(tmp_path: Path) -> None:
    evaluated = Evaluated(tmp_path, write_examples(tmp_path / "x", []), tiny_model())
    assert evaluated.results.overall.documents == 0
    assert not evaluated.blessed
