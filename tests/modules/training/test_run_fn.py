import atexit
import functools
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import keras
import keras_hub
import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
import tensorflow_transform as tft
from tfx.components.trainer.fn_args_utils import DataAccessor, FnArgs
from tfx.components.util.tfxio_utils import get_tf_dataset_factory_from_artifact
from tfx.types import standard_artifacts
from tfx_bsl.coders.example_coder import RecordBatchToExamplesEncoder

from modules.common.errors import InputError
from modules.model import gpt2, lora
from modules.tokenization.vocabulary import Vocabulary
from modules.tokenization.vocabulary_files import write_table
from modules.training.run_fn import check_same_vocabulary, run_fn, starting_model, write_weights
from modules.training.settings import TrainingSettings
from modules.training.source_mixture import Mixture
from modules.training.stored_rows import TrainingData
from modules.training.stored_split import store_windows, training_data
from modules.training.transformed_examples import read_rows, read_weighted_rows
from tests.toys import cloud_storage
from tests.toys.examples import example, write_records
from tests.toys.preferences import documents
from tests.toys.release import CONTEXT_LENGTH, saved_release
from tests.toys.training import MODEL, SETTINGS, changed, counting_windows
from tests.toys.transform import transform_rows


def windows_of(count: int, **columns: list[int]) -> tf.data.Dataset:
    return counting_windows(count).map(lambda window: {**window, **columns})


def data_of(train: tf.data.Dataset, validation: tf.data.Dataset, settings: TrainingSettings) -> TrainingData:
    eval_split = store_windows(validation, split="eval", at_most=settings.validation_windows)
    return training_data(store_windows(train, split="train"), eval_split, settings)


def test_too_little_text_is_refused_with_a_cure() -> None:
    with pytest.raises(InputError, match=r"the train split fills 3 windows of 9 tokens, fewer than 4; add text"):
        data_of(counting_windows(3), counting_windows(3), SETTINGS)
    with pytest.raises(InputError, match=r"the eval split fills 0 windows"):
        data_of(counting_windows(9), counting_windows(0), SETTINGS)
    none = windows_of(0, loss_mask=[1, 0, 0, 0, 0, 0, 0, 0, 0])
    with pytest.raises(
        InputError, match="the train split fills 0 windows of 9 tokens that hold a token of a completion"
    ):
        data_of(none, none, SETTINGS)


@pytest.mark.parametrize(("validation_windows", "stored"), [(5, 5), (80, 10), (None, 10)])
def test_the_requested_number_of_validation_windows_is_stored(validation_windows: int | None, stored: int) -> None:
    settings = changed(SETTINGS, validation_windows=validation_windows)
    data = data_of(counting_windows(12), counting_windows(10), settings)
    assert (data.train.count, data.validation.count, data.tokens_per_row) == (12, stored, 8)


FEATURES = {
    "text": ["text"], "instruction": ["prompt", "completion"], "preference": ["prompt", "chosen", "rejected"],
}  # fmt: skip


def transformed_examples(folder: Path, rows: list[dict[str, list[bytes]]], data_kind: str) -> str:
    """Writes examples as Transform does, and its graph into `folder`; returns the path of the examples."""
    made = _transformed_examples(json.dumps(rows, default=bytes.hex), data_kind)
    shutil.copytree(made / "graph", folder)
    return shutil.copy(made / "graph.gz", f"{folder}.gz")


@functools.cache
def _transformed_examples(rows_in_hex: str, data_kind: str) -> Path:
    """Transforms the rows once for several tests."""
    folder = Path(tempfile.mkdtemp(prefix="transformed_"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    texts = json.loads(rows_in_hex)
    rows = [{name: [bytes.fromhex(text) for text in column] for name, column in row.items()} for row in texts]
    spec = {name: tf.io.VarLenFeature(tf.string) for name in FEATURES[data_kind]}
    spec["source"] = tf.io.FixedLenFeature([1], tf.string)
    rows = [{"source": [b"file"], **row} for row in rows]
    custom_config = {"data_kind": data_kind, "tokenizer": {"vocabulary_size": 257}}
    transformed = transform_rows(folder / "graph", rows, spec, custom_config)
    schema = tft.TFTransformOutput(str(folder / "graph")).transformed_metadata.schema
    encoder = RecordBatchToExamplesEncoder(schema)
    batch = pa.RecordBatch.from_pylist(transformed)
    position = batch.schema.get_field_index("tokens_per_byte")  # Python has no float32
    batch = batch.set_column(position, "tokens_per_byte", batch.column(position).cast(pa.list_(pa.float32())))
    write_records(folder / "graph.gz", encoder.encode(batch))
    return folder


def run_trainer(
    folder: Path,
    rows: list[dict[str, list[bytes]]],
    data_kind: str,
    model: gpt2.ModelSettings,
    settings: TrainingSettings,
    base_model: str | None = None,
    token_weights: dict[str, float] | None = None,
) -> FnArgs:
    """Runs `run_fn` like the Trainer; the rows are both train and eval split."""
    file = transformed_examples(folder / "graph", rows, data_kind)
    accessor = DataAccessor(
        get_tf_dataset_factory_from_artifact([standard_artifacts.Examples()], []), record_batch_factory=None,
        data_view_decode_fn=None,
    )  # fmt: skip
    fn_args = FnArgs(
        train_files=[file], eval_files=[file], transform_graph_path=str(folder / "graph"), data_accessor=accessor,
        serving_model_dir=str(folder / "model" / "Format-Serving"), model_run_dir=str(folder / "run"),
        base_model=base_model,
        custom_config={
            "data_kind": data_kind, "model": model.model_dump(), "training": settings.model_dump(),
            "training_fingerprint": settings.fingerprint(), "checkpoint_directory": str(folder / "checkpoints"),
            "truncate": False, "template": None,
            "token_weights": token_weights or {},
        },
    )  # fmt: skip
    run_fn(fn_args)
    return fn_args


def saved_preset(folder: Path, backbone: keras_hub.models.GPT2Backbone) -> gpt2.ModelSettings:
    """Writes a backbone as a preset into the folder; returns the settings that start from it."""
    backbone.save_to_preset(str(folder))
    return gpt2.ModelSettings(preset=str(folder), context_length=backbone.max_sequence_length)


def test_run_fn_learns_the_answers_and_not_the_questions(tmp_path: Path) -> None:
    letters = np.random.default_rng(0).integers(ord("a"), ord("z"), (200, 6)).astype(np.uint8)
    rows = [{"prompt": [row.tobytes()], "completion": [b"yes!"], "source": [b"many"]} for row in letters]
    rows[:50] = [{**row, "source": [b"few"]} for row in rows[:50]]
    settings = changed(SETTINGS, steps=100, isolate_documents=True)
    model = MODEL.model_copy(update={"context_length": 16})
    fn_args = run_trainer(tmp_path, rows, "instruction", model, settings, token_weights={"few": 3, "many": 1})
    evaluate = tf.saved_model.load(fn_args.serving_model_dir).signatures["evaluate"]

    def score(prompt: bytes, completion: bytes) -> tuple[float, int]:
        record = example({"prompt": [prompt], "completion": [completion]})
        outputs = evaluate(examples=tf.constant([record]))
        return float(outputs["nll_sum"][0]), int(outputs["num_tokens"][0])

    answer, tokens = score(b"qwerty", b"yes!")
    assert tokens == 4 + 1  # y e s ! <|endoftext|>: the vocabulary has bytes only
    assert answer / tokens < 0.5
    question, tokens = score(b"yes!", b"qwerty")
    assert question / tokens > 3  # random letters: learned ones would have at best log(25) = 3.2 nats per letter

    record = json.loads((tmp_path / "run" / "training.json").read_text())
    assert record["perplexity_before"] is None  # not measured for a random start
    # 50 and 150 rows of 10 tokens and <|endoftext|> fill 32 and 97 windows of 17; 400 windows are drawn, 3 : 1.
    assert record["sources"] == [
        {"name": "few", "share": 0.75, "rows": 32, "tokens": 32 * 16, "drawn_rows": 301},
        {"name": "many", "share": 0.25, "rows": 97, "tokens": 97 * 16, "drawn_rows": 99},
    ]
    assert [point["step"] for point in record["loss"]] == list(range(1, 101))
    assert record["loss"][-1]["loss"] < 1 < record["loss"][0]["loss"]
    assert [point["step"] for point in record["validation"]] == [25, 50, 75, 100]
    prompts = {row.tobytes().decode() for row in letters}
    picture = tf.io.decode_png((tmp_path / "run" / "loss.png").read_bytes())
    assert picture.shape[1] == 960
    assert list((tmp_path / "run" / "train").iterdir())  # TensorBoard's files
    for sample in record["samples"]:
        assert sample["prompt"] in prompts
        assert "yes!" not in sample["before"]
        assert sample["after"].startswith("yes")


def test_run_fn_learns_which_answer_is_preferred(tmp_path: Path) -> None:
    letters = np.random.default_rng(0).integers(ord("a"), ord("z"), (60, 5)).astype(np.uint8)
    rows = [{"prompt": [row.tobytes()], "chosen": [b"yes"], "rejected": [b"never"]} for row in letters]
    rows.append({"prompt": [b"too long for the context"], "chosen": [b"a"], "rejected": [b"b"]})
    settings = changed(
        SETTINGS,
        steps=40,
        micro_batches=2,
        dpo={"beta": 1.0},
        lora={"rank": 4, "targets": ["value", "feedforward_output"]},
    )
    sizes = MODEL.model_copy(update={"context_length": 16})
    keras.utils.set_random_seed(settings.seed)
    model = saved_preset(tmp_path / "preset", gpt2.build_backbone(sizes, vocabulary_size=257, dtype="float32"))
    fn_args = run_trainer(tmp_path, rows, "preference", model, settings)

    record = json.loads((tmp_path / "run" / "training.json").read_text())
    first, last = record["loss"][0], record["loss"][-1]
    assert first["loss"] == pytest.approx(np.log(2), abs=1e-3)  # LoRA starts without a change to the reference
    assert last["loss"] < 0.5
    assert last["metrics"]["reward_margin"] > 0.5
    assert last["metrics"]["reward_accuracy"] == record["validation"][-1]["metrics"]["reward_accuracy"] == 1.0
    assert record["loss_unit"] is None
    assert {len(sample["prompt"]) for sample in record["samples"]} <= {5, 24}  # prompts without their answers

    evaluate = tf.saved_model.load(fn_args.serving_model_dir).signatures["evaluate"]
    outputs = evaluate(examples=tf.constant([example(rows[0])]))
    assert outputs["num_tokens"].numpy().tolist() == [3 + 1]  # y e s <|endoftext|>: the chosen answer


def test_too_few_pairs_that_fit_are_refused_with_a_cure() -> None:
    pairs = documents(*[([1, 2], [3], [4])] * 3, ([1] * 9, [2], [3]))
    with pytest.raises(InputError, match="the train split has 3 pairs that fit into 9 tokens, fewer than 4; add rows"):
        read_rows(pairs, pairs, changed(SETTINGS, dpo={}), context_length=8, end_of_text_id=0)


def test_weighted_sources_are_mixed_and_a_source_without_a_row_is_refused() -> None:
    rows = [([1, 2], [3], [4, 5])] * 4 + [([1, 2, 3], [4], [5])] * 8
    pairs = documents(*rows)
    sources = tf.data.Dataset.from_tensor_slices([b"a"] * 4 + [b"b"] * 8).batch(2)
    named = tf.data.Dataset.zip((pairs, sources)).map(lambda columns, source: {**columns, "source": source})
    options = {"context_length": 8, "end_of_text_id": 0}
    settings = changed(SETTINGS, dpo={})
    data = read_weighted_rows(named, pairs, settings, weights={"a": 1, "b": 1}, **options)
    # A pair of `a` has 4 + 5 targets, a pair of `b` has 5 + 5: the same share of the tokens takes more pairs of `a`.
    assert data.train.mixture == Mixture(rows=(4, 8), drawn=(6, 6))
    assert [(use.rows, use.tokens) for use in data.sources] == [(4, 36), (8, 80)]
    assert data.train.columns["token_ids"][[0, 4]].tolist() == [
        [[0, 1, 2, 3, 0, 0], [0, 1, 2, 4, 5, 0]], [[0, 1, 2, 3, 4, 0], [0, 1, 2, 3, 5, 0]],
    ]  # fmt: skip
    assert [use.drawn_rows for use in data.drawn(24, seed=0)] == [12, 12]
    with pytest.raises(InputError, match="of the source 'c', the train split has 0 pairs that fit into 9 tokens"):
        read_weighted_rows(named, pairs, settings, weights={"c": 1, "a": 1}, **options)
    with pytest.raises(InputError, match=r"^the eval split has 0 pairs that fit into 9 tokens"):
        read_weighted_rows(named, pairs.take(0), settings, weights={"a": 1, "b": 1}, **options)


def test_the_eval_split_of_weighted_texts_is_read_once() -> None:
    texts = tf.ragged.constant([[1] * 8, [2] * 20, [3] * 9], tf.int64)
    sources = tf.constant([b"a", b"b", b"a"])
    train = tf.data.Dataset.from_tensor_slices({"token_ids": texts, "source": sources}).batch(2)
    reads = []

    def read_eval() -> Iterator[dict[str, tf.RaggedTensor]]:
        reads.append(1)
        yield {"token_ids": texts}

    spec = {"token_ids": tf.RaggedTensorSpec([None, None], tf.int64)}
    documents = tf.data.Dataset.from_generator(read_eval, output_signature=spec)
    settings = changed(SETTINGS, batch_size=2)
    data = read_weighted_rows(train, documents, settings, weights={"a": 1, "b": 1}, context_length=8, end_of_text_id=0)
    assert len(reads) == 1
    assert (data.train.count, data.validation.count) == (4, 4)
    assert data.unused_tokens == (9 + 10) % 9 + 21 % 9  # `<|endoftext|>` comes before each document


def test_the_perplexity_before_equals_that_of_the_saved_model(tmp_path: Path) -> None:
    # Texts longer and shorter than a window of 16 tokens, empty, malformed and multi-byte.
    texts = [b"one two three four five six seven eight", b"", "na\u00efve \U0001f9d1 \xff".encode() + b"\xff", b"short"]
    rows = [{"text": [text]} for text in texts * 3]
    keras.utils.set_random_seed(3)
    backbone = gpt2.build_backbone(
        MODEL.model_copy(update={"context_length": 16}), vocabulary_size=257, dtype="float32"
    )
    for weight in backbone.weights:  # far from uniform
        weight.assign(weight + 0.3 * np.random.default_rng(7).standard_normal(weight.shape))
    model = saved_preset(tmp_path / "preset", backbone)
    # A learning rate of almost zero does not change the model.
    settings = changed(SETTINGS, steps=1, learning_rate=1e-30, precision="mixed_bfloat16")
    fn_args = run_trainer(tmp_path, rows, "text", model, settings)

    evaluate = tf.saved_model.load(fn_args.serving_model_dir).signatures["evaluate"]
    outputs = evaluate(examples=tf.constant([example(row) for row in rows]))
    perplexity = np.exp(outputs["nll_sum"].numpy().sum() / outputs["num_tokens"].numpy().sum())
    record = json.loads((tmp_path / "run" / "training.json").read_text())
    assert record["perplexity_before"] == pytest.approx(perplexity, rel=1e-6)
    assert record["parameters"] == backbone.count_params()
    assert len(record["samples"]) == 4
    assert [sample["before"] for sample in record["samples"]] == [sample["after"] for sample in record["samples"]]


def test_with_lora_the_adapters_are_written_next_to_the_merged_model(tmp_path: Path) -> None:
    rows = [{"text": [b"the cat sat on the mat. " * 3]}] * 40
    settings = changed(SETTINGS, steps=4, lora={"rank": 2, "targets": ["query"], "quantization": "int8"})
    base = gpt2.build_backbone(MODEL, vocabulary_size=257, dtype="float32")
    fn_args = run_trainer(tmp_path, rows, "text", saved_preset(tmp_path / "preset", base), settings)
    assert (tmp_path / "model" / "adapters.safetensors").stat().st_size < 100_000
    merged = keras_hub.models.GPT2Backbone.from_preset(str(tmp_path / "model" / "preset"))
    query = merged.transformer_layers[0]._self_attention_layer._query_dense
    assert query.kernel.dtype == "float32"
    assert not query.lora_enabled
    # The base with the adapters of the file is the released model.
    lora.load_adapters(base, tmp_path / "model" / "adapters.safetensors")
    for weight, released in zip(lora.merge(base).get_weights(), merged.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, released)
    assert "generate" in tf.saved_model.load(fn_args.serving_model_dir).signatures


def test_a_finished_run_whose_model_was_not_recorded_takes_no_step_again(tmp_path: Path) -> None:
    rows = [{"text": [b"the cat sat on the mat. " * 3]}] * 40
    fn_args = run_trainer(tmp_path, rows, "text", MODEL, changed(SETTINGS, steps=4))
    assert len(list((tmp_path / "checkpoints").glob("*.npz"))) == 1
    record = json.loads((tmp_path / "run" / "training.json").read_text())
    # If a run is killed before TFX records the model, the next run calls `run_fn` again. Steps would change the speeds.
    run_fn(fn_args)
    assert json.loads((tmp_path / "run" / "training.json").read_text()) == record


def saved_perplexity(fn_args: FnArgs, rows: list[dict[str, list[bytes]]]) -> float:
    """Returns the perplexity of the SavedModel on the rows."""
    evaluate = tf.saved_model.load(fn_args.serving_model_dir).signatures["evaluate"]
    outputs = evaluate(examples=tf.constant([example(row) for row in rows]))
    return float(np.exp(outputs["nll_sum"].numpy().sum() / outputs["num_tokens"].numpy().sum()))


def test_a_warm_start_begins_from_the_trained_model(tmp_path: Path) -> None:
    rows = [{"text": [b"the cat sat on the mat. " * 3]}] * 40
    trained = run_trainer(tmp_path / "first", rows, "text", MODEL, changed(SETTINGS, steps=20))
    # A learning rate of almost zero does not change the model, and the adapters start without a change.
    settings = changed(SETTINGS, steps=1, learning_rate=1e-30, lora={"rank": 2})
    warm = MODEL.model_copy(update={"warm_start": True, "dropout": 0.1})
    run_trainer(tmp_path / "second", rows, "text", warm, settings, base_model=trained.serving_model_dir)

    first, second = (
        keras_hub.models.GPT2Backbone.from_preset(str(tmp_path / name / "model" / "preset"))
        for name in ("first", "second")
    )
    for weight, weight_after in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, weight_after)
    before, after = (
        json.loads((tmp_path / name / "run" / "training.json").read_text()) for name in ("first", "second")
    )
    assert (before["warm_start"], after["warm_start"]) == (False, True)
    assert after["perplexity_before"] == pytest.approx(saved_perplexity(trained, rows), rel=1e-5)
    assert after["samples"][0]["before"] == before["samples"][0]["after"]
    # Both runs have the same validation windows, so the first loss of the second run is the last one of the first.
    assert after["validation"][0]["loss"] == pytest.approx(before["validation"][-1]["loss"], rel=1e-5)


def test_a_warm_start_with_another_tokenizer_is_refused() -> None:
    base_model = f"{saved_release().folder}/model/Format-Serving"
    sizes = {"num_layers": 2, "num_heads": 4, "hidden_dim": 32, "intermediate_dim": 64}
    settings = gpt2.ModelSettings(**sizes, context_length=CONTEXT_LENGTH)
    # As many tokens as the trained model has, but other tokens.
    vocabulary = Vocabulary.from_merges([(1, 2), (3, 4)])
    with pytest.raises(
        InputError, match=r"needs the tokenizer of the model in .* 259 tokens. Received: another tokenizer, with 259"
    ):
        starting_model(base_model, settings, vocabulary, dtype="float32", adapters=False)


def test_the_vocabulary_of_a_warm_start_may_be_in_cloud_storage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud_storage.mount(tmp_path / "bucket", monkeypatch)
    vocabulary = Vocabulary.from_merges([(1, 2)])
    assets = tmp_path / "bucket" / "model" / "Format-Serving" / "assets"
    assets.mkdir(parents=True)
    write_table(vocabulary, assets / "vocabulary.tsv")
    check_same_vocabulary(f"{cloud_storage.BUCKET}/model", vocabulary)
    with pytest.raises(InputError, match=r"tokenizer of the model in gs://bucket/model, which has 258 tokens"):
        check_same_vocabulary(f"{cloud_storage.BUCKET}/model", Vocabulary.from_merges([(3, 4)]))


def test_without_a_blessed_model_a_warm_start_has_the_usual_start(caplog: pytest.LogCaptureFixture) -> None:
    keras.utils.set_random_seed(0)
    plain = starting_model(None, MODEL, Vocabulary.from_merges([]), dtype="float32", adapters=False)
    keras.utils.set_random_seed(0)
    settings = MODEL.model_copy(update={"warm_start": True})
    with caplog.at_level("INFO", logger="absl"):
        warm = starting_model(None, settings, Vocabulary.from_merges([]), dtype="float32", adapters=False)
    for weight, warm_weight in zip(plain.get_weights(), warm.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, warm_weight)
    assert "There is no blessed model yet: training starts as without `model.warm_start`" in caplog.text


def test_adapters_without_a_trained_model_are_refused() -> None:
    settings = MODEL.model_copy(update={"warm_start": True})
    with pytest.raises(InputError, match=r"`training.lora` must start from a trained model. Received: no `model.prese"):
        starting_model(None, settings, Vocabulary.from_merges([]), dtype="float32", adapters=True)


def test_run_fn_learns_the_predictions_of_the_teacher_and_not_the_text(tmp_path: Path) -> None:
    backbone = gpt2.build_backbone(MODEL, vocabulary_size=257, dtype="float32")
    y = ord("y") - ord("!")
    # The teacher always predicts "y": the hidden state is the norm's beta, and only the embedding of "y" is parallel.
    direction = np.eye(MODEL.hidden_dim)[0]
    backbone.layer_norm.gamma.assign(0 * direction)
    backbone.layer_norm.beta.assign(20 * direction)
    backbone.token_embedding.embeddings.assign(np.outer(np.eye(257)[y], direction))
    backbone.save_to_preset(str(tmp_path / "teacher"))

    rows = [{"text": [b"the cat sat on the mat. " * 3]}] * 40
    distillation = {"teacher": str(tmp_path / "teacher"), "mix": 1}
    run_trainer(tmp_path, rows, "text", MODEL, changed(SETTINGS, steps=60, distillation=distillation))
    record = json.loads((tmp_path / "run" / "training.json").read_text())
    for sample in record["samples"]:
        assert set(sample["after"]) == {"y"} != set(sample["before"])
    # The reported loss is that of the text, which the teacher does not predict.
    assert record["validation"][-1]["loss"] > record["loss"][0]["loss"]


def test_a_model_in_cloud_storage_is_a_start_for_the_next_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = gpt2.build_backbone(MODEL, vocabulary_size=20, dtype="float32")
    cloud_storage.mount(tmp_path / "bucket", monkeypatch)
    write_weights(backbone, SETTINGS, "gs://bucket/model")
    trained = gpt2.load_trained("gs://bucket/model", MODEL, dtype="float32")
    for written, read in zip(backbone.get_weights(), trained.get_weights(), strict=True):
        np.testing.assert_array_equal(read, written)
    assert cloud_storage.stray_files(tmp_path / "bucket") == []
