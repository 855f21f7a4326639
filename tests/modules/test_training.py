import dataclasses
import json
import math
from pathlib import Path

import keras
import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
import tensorflow_transform as tft
from tfx.components.trainer.fn_args_utils import DataAccessor, FnArgs
from tfx.components.util.tfxio_utils import get_tf_dataset_factory_from_artifact
from tfx.types import standard_artifacts
from tfx_bsl.coders.example_coder import RecordBatchToExamplesEncoder

from modules import gpt2
from modules.errors import InputError
from modules.training import TrainingSettings, TrainingWatch, build_loss, build_optimizer, fit, run_fn
from modules.training_record import LossCurve
from tests.modules.test_preprocessing import transform_rows

SETTINGS = TrainingSettings(
    steps=30, epochs=None, batch_size=4, learning_rate=1e-2, warmup_steps=10, weight_decay=0.1,
    gradient_clip_norm=1.0, precision="float32", jit_compile=False, isolate_documents=False, seed=0,
)  # fmt: skip
MODEL = gpt2.ModelSettings(
    preset=None, num_layers=1, num_heads=2, hidden_dim=16, intermediate_dim=None, context_length=8, dropout=0.0
)


def counting_windows(count: int) -> tf.data.Dataset:
    """Windows 0 1 2 … 8, 1 2 … 9: every next token follows from the last."""
    return tf.data.Dataset.range(count).map(
        lambda n: {"token_ids": tf.cast((tf.range(9, dtype=tf.int64) + n) % 10, tf.int32)}
    )


def train(settings: TrainingSettings, log_dir: Path) -> tuple[keras.callbacks.History, keras.Model]:
    keras.utils.set_random_seed(settings.seed)
    backbone = gpt2.build_backbone(MODEL, vocabulary_size=10, dtype=settings.precision)
    history = fit(backbone, counting_windows(40), counting_windows(10), settings, log_dir=str(log_dir))
    return history, backbone


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_learns_to_count_in_every_precision_with_float32_weights(tmp_path: Path, precision: str) -> None:
    settings = dataclasses.replace(SETTINGS, precision=precision, steps=60)
    history, backbone = train(settings, tmp_path)
    assert history.history["loss"][-1] < 0.5 < history.history["loss"][0]
    assert history.history["val_loss"][-1] < 0.5
    assert {variable.dtype for variable in backbone.trainable_variables} == {"float32"}
    assert list(tmp_path.rglob("events.out.*"))


@pytest.mark.parametrize(("steps", "epochs", "taken"), [(7, None, 7), (12, None, 12), (None, 1.5, 15)])
def test_takes_exactly_the_steps_asked_for(tmp_path: Path, steps, epochs, taken, monkeypatch) -> None:
    done = []
    monkeypatch.setattr("modules.progress.report", lambda node, *, done, **_: reported.append(done))
    reported = done
    train(dataclasses.replace(SETTINGS, steps=steps, epochs=epochs), tmp_path)
    assert reported[-1] == taken


def test_same_seed_same_weights(tmp_path: Path) -> None:
    weights = [train(SETTINGS, tmp_path)[1].get_weights() for _ in range(2)]
    for one, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, other)


def test_schedule_rises_to_the_peak_and_falls_to_zero() -> None:
    rate = build_optimizer(SETTINGS, 30)._learning_rate
    assert [float(rate(step)) for step in (0, 5, 10, 20, 30)] == pytest.approx([0.0, 0.005, 0.01, 0.005, 0.0], abs=1e-7)


def test_biases_and_norms_do_not_decay() -> None:
    backbone = gpt2.build_backbone(MODEL, vocabulary_size=10, dtype="float32")
    optimizer = build_optimizer(SETTINGS, 30)
    optimizer.build(backbone.trainable_variables)
    decayed = {v.name for v in backbone.trainable_variables if optimizer._use_weight_decay(v)}
    assert decayed == {"kernel", "embeddings"}


def test_a_loss_that_is_no_number_stops_and_names_the_step() -> None:
    watch = TrainingWatch(tokens_a_step=8, steps=3)
    watch.on_train_batch_begin(0)
    watch.on_train_batch_end(0, {"loss": 2.0})
    with pytest.raises(FloatingPointError, match=r"loss became nan at step 2 of 3; lower `training.learning_rate`"):
        watch.on_train_batch_end(1, {"loss": math.nan})


def test_too_little_text_is_told_with_its_cure(tmp_path: Path) -> None:
    backbone = gpt2.build_backbone(MODEL, vocabulary_size=10, dtype="float32")
    with pytest.raises(InputError, match=r"the train split fills 3 windows of 9 tokens, fewer than 4; add text"):
        fit(backbone, counting_windows(3), counting_windows(3), SETTINGS, log_dir=str(tmp_path))
    with pytest.raises(InputError, match=r"the eval split fills 0 windows"):
        fit(backbone, counting_windows(9), counting_windows(0), SETTINGS, log_dir=str(tmp_path))


def test_the_loss_is_the_mean_over_the_targets_that_count() -> None:
    logits = np.log(np.array([[[0.5, 0.5], [0.1, 0.9], [0.2, 0.8]], [[0.3, 0.7], [0.6, 0.4], [0.9, 0.1]]]))
    targets = np.array([[0, 1, 0], [0, 0, 1]])  #  0.5  0.9  0.2      0.3  0.6  0.1
    weights = np.array([[1, 0, 1], [0, 0, 1]], np.float32)
    loss = build_loss()
    assert float(loss(targets, logits, weights)) == pytest.approx(-np.log([0.5, 0.2, 0.1]).sum() / 3, rel=1e-6)
    everything = -np.log([0.5, 0.9, 0.2, 0.3, 0.6, 0.1]).sum() / 6
    assert float(loss(targets, logits)) == pytest.approx(everything, rel=1e-6)


def masked_windows(loss_mask: list[int]) -> tf.data.Dataset:
    return counting_windows(40).map(lambda window: {**window, "loss_mask": tf.constant(loss_mask)})


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_the_logged_loss_is_that_of_the_targets_that_count(tmp_path: Path, precision: str) -> None:
    # With a rate of (almost) zero the model stays, so each figure is the model's own, by hand.
    settings = dataclasses.replace(SETTINGS, precision=precision, learning_rate=1e-30, steps=10, batch_size=4)
    backbone = gpt2.build_backbone(MODEL, vocabulary_size=10, dtype=precision)
    windows = masked_windows([1, 0, 0, 1, 1, 0, 0, 0, 0])
    history = fit(backbone, windows, windows, settings, log_dir=str(tmp_path)).history
    token_ids = np.stack([window["token_ids"] for window in windows.as_numpy_iterator()])
    inputs = {"token_ids": token_ids[:, :-1], "padding_mask": np.ones((40, 8), bool)}
    logits = np.asarray(keras.ops.cast(gpt2.language_model(backbone)(inputs), "float32"), np.float64)
    log_shares = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    # Of the targets 1 to 8 of a window the third and the fourth count.
    nll = -np.take_along_axis(log_shares, token_ids[:, 1:, None], axis=2)[:, 2:4]
    tolerance = 1e-5 if precision == "float32" else 1e-2
    assert history["val_loss"][-1] == pytest.approx(nll.mean(), rel=tolerance)
    assert history["loss"][-1] == pytest.approx(nll.mean(), rel=0.1)  # 20 of the 40 windows


def test_isolated_documents_train_the_backbone(tmp_path: Path) -> None:
    settings = dataclasses.replace(
        SETTINGS, steps=60, isolate_documents=True, jit_compile=True, precision="mixed_bfloat16"
    )
    keras.utils.set_random_seed(0)
    backbone = gpt2.build_backbone(MODEL, vocabulary_size=10, dtype=settings.precision)
    windows = counting_windows(40).map(lambda window: {**window, "document_index": tf.constant([0] * 4 + [1] * 5)})
    history = fit(backbone, windows, windows, settings, log_dir=str(tmp_path)).history
    assert history["val_loss"][-1] < 0.5 < history["loss"][0]
    # The documents begin without <|endoftext|> here; what the backbone learned shows in windows of one document.
    inputs = {"token_ids": np.array([[3, 4, 5]]), "padding_mask": np.ones((1, 3))}
    assert np.argmax(gpt2.language_model(backbone)(inputs).numpy(), axis=-1).tolist() == [[4, 5, 6]]


def test_no_window_with_a_target_that_counts_is_an_error(tmp_path: Path) -> None:
    backbone = gpt2.build_backbone(MODEL, vocabulary_size=10, dtype="float32")
    none = masked_windows([1, 0, 0, 0, 0, 0, 0, 0, 0]).take(0)
    with pytest.raises(
        InputError, match="the train split fills 0 windows of 9 tokens that hold a token of a completion"
    ):
        fit(backbone, none, none, SETTINGS, log_dir=str(tmp_path))


FEATURES = {"text": ["text"], "instruction": ["prompt", "completion"]}


def transformed_examples(folder: Path, rows: list[dict[str, list[bytes]]], data_kind: str) -> str:
    """Files as Transform writes them, and its graph in `folder`; returns the file's path."""
    spec = {name: tf.io.VarLenFeature(tf.string) for name in FEATURES[data_kind]}
    spec["source"] = tf.io.FixedLenFeature([1], tf.string)
    rows = [{**row, "source": [b"file"]} for row in rows]
    custom_config = {"data_kind": data_kind, "tokenizer": {"vocabulary_size": 257}}
    transformed = transform_rows(folder, rows, spec, custom_config)
    schema = tft.TFTransformOutput(str(folder)).transformed_metadata.schema
    encoder = RecordBatchToExamplesEncoder(schema)
    batch = pa.RecordBatch.from_pylist(transformed)
    position = batch.schema.get_field_index("tokens_per_byte")  # Python has no float32
    batch = batch.set_column(position, "tokens_per_byte", batch.column(position).cast(pa.list_(pa.float32())))
    with tf.io.TFRecordWriter(f"{folder}.gz", tf.io.TFRecordOptions(compression_type="GZIP")) as writer:
        for example in encoder.encode(batch):
            writer.write(example)
    return f"{folder}.gz"


def run_trainer(
    folder: Path,
    rows: list[dict[str, list[bytes]]],
    data_kind: str,
    model: gpt2.ModelSettings,
    settings: TrainingSettings,
) -> FnArgs:
    """Runs `run_fn` on rows as the Trainer does; train and eval are the same."""
    file = transformed_examples(folder / "graph", rows, data_kind)
    accessor = DataAccessor(
        get_tf_dataset_factory_from_artifact([standard_artifacts.Examples()], []), record_batch_factory=None,
        data_view_decode_fn=None,
    )  # fmt: skip
    fn_args = FnArgs(
        train_files=[file], eval_files=[file], transform_graph_path=str(folder / "graph"), data_accessor=accessor,
        serving_model_dir=str(folder / "model" / "Format-Serving"), model_run_dir=str(folder / "run"),
        custom_config={
            "data_kind": data_kind, "model": model.model_dump(), "training": dataclasses.asdict(settings),
        },
    )  # fmt: skip
    run_fn(fn_args)
    return fn_args


def serialized(row: dict[str, list[bytes]]) -> bytes:
    features = {name: tf.train.Feature(bytes_list=tf.train.BytesList(value=texts)) for name, texts in row.items()}
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def test_run_fn_learns_the_answers_and_not_the_questions(tmp_path: Path) -> None:
    letters = np.random.default_rng(0).integers(ord("a"), ord("z"), (200, 6)).astype(np.uint8)
    rows = [{"prompt": [row.tobytes()], "completion": [b"yes!"]} for row in letters]
    settings = dataclasses.replace(SETTINGS, steps=100, isolate_documents=True)
    model = MODEL.model_copy(update={"context_length": 16})
    fn_args = run_trainer(tmp_path, rows, "instruction", model, settings)
    evaluate = tf.saved_model.load(fn_args.serving_model_dir).signatures["evaluate"]

    def score(prompt: bytes, completion: bytes) -> tuple[float, int]:
        example = serialized({"prompt": [prompt], "completion": [completion]})
        outputs = evaluate(examples=tf.constant([example]))
        return float(outputs["nll_sum"][0]), int(outputs["num_tokens"][0])

    answer, tokens = score(b"qwerty", b"yes!")
    assert tokens == 4 + 1  # y e s ! <|endoftext|>: the vocabulary has bytes only
    assert answer / tokens < 0.5
    question, tokens = score(b"yes!", b"qwerty")
    assert question / tokens > 3  # log(25) = 3.2 nats a letter at best, had it been learned

    record = json.loads((tmp_path / "run" / "training.json").read_text())
    assert record["perplexity_before"] is None  # a random start has none worth telling
    assert [point["step"] for point in record["loss"]] == list(range(1, 101))
    assert record["loss"][-1]["loss"] < 1 < record["loss"][0]["loss"]
    assert [point["step"] for point in record["validation"]] == [25, 50, 75, 100]
    prompts = {row.tobytes().decode() for row in letters}
    for sample in record["samples"]:
        assert sample["prompt"] in prompts
        assert "yes!" not in sample["before"]
        assert sample["after"].startswith("yes")


def test_perplexity_before_is_what_the_saved_model_measures(tmp_path: Path) -> None:
    # Shorter than a window of 16 tokens, longer, and empty; malformed and multi-byte.
    texts = [b"one two three four five six seven eight", b"", "na\u00efve \U0001f9d1 \xff".encode() + b"\xff", b"short"]
    rows = [{"text": [text]} for text in texts * 3]
    keras.utils.set_random_seed(3)
    backbone = gpt2.build_backbone(
        MODEL.model_copy(update={"context_length": 16}), vocabulary_size=257, dtype="float32"
    )
    for weight in backbone.weights:  # far from uniform
        weight.assign(weight + 0.3 * np.random.default_rng(7).standard_normal(weight.shape))
    backbone.save_to_preset(str(tmp_path / "preset"))
    model = gpt2.ModelSettings(
        preset=str(tmp_path / "preset"), num_layers=None, num_heads=None, hidden_dim=None, intermediate_dim=None,
        context_length=16, dropout=0.0,
    )  # fmt: skip
    # With a rate of (almost) zero the model stays.
    settings = dataclasses.replace(SETTINGS, steps=1, learning_rate=1e-30, precision="mixed_bfloat16")
    fn_args = run_trainer(tmp_path, rows, "text", model, settings)

    evaluate = tf.saved_model.load(fn_args.serving_model_dir).signatures["evaluate"]
    outputs = evaluate(examples=tf.constant([serialized(row) for row in rows]))
    perplexity = np.exp(outputs["nll_sum"].numpy().sum() / outputs["num_tokens"].numpy().sum())
    record = json.loads((tmp_path / "run" / "training.json").read_text())
    assert record["perplexity_before"] == pytest.approx(perplexity, rel=1e-6)
    assert record["parameters"] == backbone.count_params()
    assert len(record["samples"]) == 4
    assert [sample["before"] for sample in record["samples"]] == [sample["after"] for sample in record["samples"]]


def test_the_curve_is_the_mean_of_the_steps_and_tells_their_rates(tmp_path: Path) -> None:
    curve = LossCurve(tokens_a_step=4 * 8)
    keras.utils.set_random_seed(0)
    backbone = gpt2.build_backbone(MODEL, vocabulary_size=10, dtype="float32")
    history = fit(
        backbone, counting_windows(40), counting_windows(10), SETTINGS, log_dir=str(tmp_path), callbacks=[curve]
    ).history
    # 30 steps in 3 rounds of 10; what Keras logs of a round is its mean.
    losses = np.array([point.loss for point in curve.points])
    np.testing.assert_allclose(losses.reshape(3, 10).mean(axis=1), history["loss"], rtol=1e-5)
    assert [(point.step, point.loss) for point in curve.validation] == list(
        zip([10, 20, 30], history["val_loss"], strict=True)
    )
    rate = build_optimizer(SETTINGS, 30)._learning_rate
    assert [point.learning_rate for point in curve.points] == pytest.approx([float(rate(step)) for step in range(30)])
