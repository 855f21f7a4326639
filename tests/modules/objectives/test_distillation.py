import functools
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from modules.common.errors import InputError
from modules.model import gpt2
from modules.objectives.distillation import Distillation, load_teacher
from modules.objectives.objective import LanguageModelling
from modules.objectives.settings import DistillationSettings
from modules.tokenization.vocabulary import Vocabulary
from modules.training import loop
from modules.training.checkpoint_file import CheckpointFile
from modules.training.language_model_trainer import LanguageModelTrainer
from tests.toys.release import saved_release, tiny_backbone, tiny_vocabulary
from tests.toys.training import BATCH, MODEL, SETTINGS, changed, counting_data, tiny_model


def distillation(teacher, *, temperature: float = 1.0, mix: float = 0.5) -> Distillation:
    return Distillation(text=LanguageModelling(), teacher=teacher, temperature=temperature, mix=mix)


def predicting(shares: list[list[float]]):
    """Returns a model of three tokens that predicts these shares for every input."""
    return lambda inputs, training=False: tf.math.log([shares])


THREE_TOKENS = {
    "token_ids": tf.constant([[0, 0]]), "targets": tf.constant([[1, 2]]), "weights": tf.constant([[1.0, 1.0]]),
}  # fmt: skip


def test_the_loss_equals_the_calculation_by_hand() -> None:
    student = predicting([[0.25, 0.25, 0.5], [0.2, 0.2, 0.6]])
    teacher = predicting([[0.5, 0.25, 0.25], [0.2, 0.2, 0.6]])
    # The targets 1 and 2 have the shares 0.25 and 0.6. test_token_divergence derives the divergence of the first
    # position; at the second position both models predict the same.
    nll, kl = -np.log([0.25, 0.6]), np.array([np.log(2) / 4, 0.0])
    loss, weight, metrics = distillation(teacher, mix=0.25)(student, THREE_TOKENS)
    assert float(loss) == pytest.approx(0.75 * nll.sum() + 0.25 * kl.sum(), rel=1e-6)
    assert float(weight) == 2
    assert {name: float(total) for name, total in metrics.items()} == pytest.approx(
        {"nll": nll.sum(), "kl": kl.sum()}, rel=1e-6
    )
    second_target = {**THREE_TOKENS, "weights": tf.constant([[0.0, 1.0]])}
    loss, weight, metrics = distillation(teacher, mix=0.25)(student, second_target)
    assert (float(loss), float(weight)) == pytest.approx((0.75 * nll[1], 1), rel=1e-6)
    assert float(metrics["kl"]) == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize("temperature", [100.0, 1000.0])
def test_the_gradient_does_not_shrink_with_the_temperature(temperature: float) -> None:
    # For logits of mean zero it approaches (student - teacher) / vocabulary size (arXiv:1503.02531, equation 4).
    student, teacher = tf.constant([[[1.0, 0.0, -1.0]]]), tf.constant([[[-2.0, 1.0, 1.0]]])
    objective = distillation(lambda inputs, training: teacher, temperature=temperature, mix=1.0)
    with tf.GradientTape() as tape:
        tape.watch(student)
        loss = objective(lambda inputs: student, {"token_ids": [[0]], "targets": tf.constant([[0]])}).loss
    np.testing.assert_allclose(tape.gradient(loss, student), [[[1, -1 / 3, -2 / 3]]], atol=0.02)


@functools.cache
def tiny_teacher(dtype: str = "float32") -> keras.Model:
    """Makes a teacher that is larger than the student; random changes make its predictions less uniform."""
    keras.utils.set_random_seed(5)
    model = MODEL.model_copy(update={"hidden_dim": 32, "num_layers": 2})
    backbone = gpt2.build_backbone(model, vocabulary_size=10, dtype=dtype)
    for weight in backbone.weights:
        weight.assign(weight + 0.2 * keras.random.normal(weight.shape))
    backbone.trainable = False
    return gpt2.language_model(backbone)


def one_step(objective, **options) -> tuple[list[np.ndarray], dict[str, float]]:
    """Returns the weight changes of one step of plain gradient descent, and the logs."""
    student = tiny_model()
    before = student.get_weights()
    model = LanguageModelTrainer(student, objective, gradient_clip_norm=1e9, **options)
    model.compile(keras.optimizers.SGD(1.0), jit_compile=False)
    logs = model.fit(BATCH, batch_size=4, shuffle=False, verbose=0).history
    changes = [new - old for new, old in zip(student.get_weights(), before, strict=True)]
    return changes, {name: values[-1] for name, values in logs.items()}


def test_a_teacher_with_a_share_of_zero_changes_nothing() -> None:
    plain, plain_logs = one_step(LanguageModelling())
    mixed, logs = one_step(distillation(tiny_teacher(), temperature=2.0, mix=0.0))
    assert logs.pop("kl") > 0.1
    assert logs == pytest.approx(plain_logs, rel=1e-6)
    for mixed_change, plain_change in zip(mixed, plain, strict=True):
        np.testing.assert_allclose(mixed_change, plain_change, atol=1e-7)


def test_micro_batches_learn_the_same_as_the_whole_batch() -> None:
    objective = distillation(tiny_teacher(), temperature=2.0)
    whole, whole_logs = one_step(objective)
    parts, logs = one_step(objective, micro_batches=2)
    assert logs == pytest.approx(whole_logs, rel=1e-4)
    for whole_change, parts_change in zip(whole, parts, strict=True):
        np.testing.assert_allclose(parts_change, whole_change, atol=1e-5)


@pytest.mark.parametrize("changes", [{}, {"precision": "mixed_bfloat16", "remat": True}])
def test_a_student_approaches_its_teacher_and_the_teacher_does_not_change(tmp_path: Path, changes: dict) -> None:
    settings = changed(SETTINGS, steps=60, **changes)
    teacher, student = tiny_teacher(settings.precision), tiny_model(dtype=settings.precision)
    teacher_weights = teacher.get_weights()
    objective = distillation(teacher, mix=1.0)
    data = counting_data()

    trainer = loop.build_trainer(student, objective, settings, 1)
    batch = data.to_batch({"token_ids": tf.constant(data.validation.columns["token_ids"])})

    def kl() -> float:
        return trainer.evaluate(batch, batch_size=10, verbose=0, return_dict=True)["kl"]

    before = kl()
    checkpoint = CheckpointFile(tmp_path / "state.npz")
    loop.fit(student, objective, data, settings, checkpoint=checkpoint)
    assert kl() < 0.3 * before
    for weight, weight_before in zip(teacher.get_weights(), teacher_weights, strict=True):
        np.testing.assert_array_equal(weight, weight_before)
    # The checkpoint holds the student's weights, AdamW's two moments of each weight, and a few counters.
    saved = sum(array.size for array in checkpoint.read().arrays.values())
    assert 3 * student.count_params() <= saved < 3 * student.count_params() + 10


TEACHER = {"context_length": 32, "isolate_documents": True, "dtype": "mixed_bfloat16"}


def test_the_teacher_is_loaded_frozen_with_the_precision_of_the_student() -> None:
    settings = DistillationSettings(teacher=saved_release().preset)
    teacher = load_teacher(settings, tiny_vocabulary(), **TEACHER)
    assert teacher.trainable_variables == []
    assert teacher.output.dtype == "bfloat16"
    for weight, saved_weight in zip(teacher.get_weights(), tiny_backbone().get_weights(), strict=True):
        np.testing.assert_array_equal(weight, saved_weight)
    assert set(teacher.input) == {"token_ids", "document_index"}


def test_a_teacher_that_does_not_fit_is_refused() -> None:
    settings = DistillationSettings(teacher=saved_release().preset)
    # The same number of tokens as the teacher, but from other merges.
    other_vocabulary = Vocabulary.from_merges([(1, 2), (3, 4)])
    with pytest.raises(InputError, match=r"must have the student's tokens, .* whose 259 tokens are different"):
        load_teacher(settings, other_vocabulary, **TEACHER)
    with pytest.raises(InputError, match=r"as many tokens as the preset .*, 259\. Received: 257"):
        load_teacher(settings, Vocabulary.from_merges([]), **TEACHER)
    with pytest.raises(InputError, match="must be at most 48, the positions of"):
        load_teacher(settings, tiny_vocabulary(), **{**TEACHER, "context_length": 49})
