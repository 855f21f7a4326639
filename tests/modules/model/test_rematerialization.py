import collections
import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from modules.model import gpt2, lora
from modules.model.rematerialization import Rematerialized, rematerialize
from modules.model.settings import LoraSettings
from modules.objectives.objective import LanguageModelling
from modules.training.language_model_trainer import LanguageModelTrainer
from tests.toys.training import BATCH, MODEL


def build(
    *, remat: bool, adapters: bool, isolated: bool = False, dtype: str = "float32", **options
) -> tuple[keras.Model, LanguageModelTrainer]:
    """Returns a language model of two layers with dropout, and its trainer."""
    keras.utils.set_random_seed(0)
    settings = gpt2.ModelSettings(**{**vars(MODEL), "dropout": 0.5, "num_layers": 2})
    backbone = gpt2.build_backbone(settings, vocabulary_size=10, dtype=dtype)
    if adapters:
        lora.apply(backbone, LoraSettings(rank=2))
    language_model = gpt2.language_model(backbone, isolate_documents=isolated)
    used = rematerialize(language_model) if remat else language_model
    assert sum(isinstance(layer, Rematerialized) for layer in used.layers) == (2 if remat else 0)
    return language_model, LanguageModelTrainer(used, LanguageModelling(), **options)


def trained(*, isolated: bool, jit_compile: bool, **options) -> list[np.ndarray]:
    """Returns all variables of a model after two steps, including the states of the dropout."""
    language_model, trainer = build(isolated=isolated, **options)
    trainer.compile(keras.optimizers.SGD(1.0), jit_compile=jit_compile)
    documents = {"document_index": np.array([[0, 0, 0, 1, 1, 1, 1, 1]] * 4, np.int32)}
    masks = documents if isolated else {"padding_mask": BATCH["padding_mask"]}
    batch = {**{name: BATCH[name] for name in ("token_ids", "targets", "weights")}, **masks}
    trainer.fit(batch, batch_size=4, epochs=2, shuffle=False, verbose=0)
    return [variable.numpy() for variable in language_model.variables]


@pytest.mark.parametrize(
    ("isolated", "micro_batches", "dtype", "jit_compile", "adapters"),
    [(False, 1, "mixed_bfloat16", False, True), (True, 2, "float32", True, False)],
)
def test_recomputed_activations_have_the_same_dropout(isolated, micro_batches, dtype, jit_compile, adapters) -> None:
    settings = {
        "isolated": isolated, "micro_batches": micro_batches, "dtype": dtype, "jit_compile": jit_compile,
        "adapters": adapters,
    }  # fmt: skip
    kept, again = trained(remat=False, **settings), trained(remat=True, **settings)
    assert sum(variable.dtype.kind in "iu" for variable in kept) >= 5  # states of the dropout
    for expected, variable in zip(kept, again, strict=True):
        np.testing.assert_allclose(variable, expected, atol=1e-6 if jit_compile else 0)


def operations(*, remat: bool) -> collections.Counter[str]:
    """Counts TensorFlow's operations for the gradients of a batch in a model with adapters."""
    _, trainer = build(remat=remat, adapters=True)

    def gradients() -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            loss = LanguageModelling()(functools.partial(trainer.language_model, training=True), BATCH).loss
        return tape.gradient(loss, [variable.value for variable in trainer.language_model.trainable_variables])

    graph = tf.function(gradients, autograph=False).get_concrete_function().graph
    return collections.Counter(operation.type for operation in graph.get_operations())


def test_a_block_is_computed_twice_and_its_dropout_advances_once() -> None:
    kept, again = operations(remat=False), operations(remat=True)
    # Each of the two blocks has a tanh in its GELU.
    assert (kept["Tanh"], again["Tanh"]) == (2, 4)
    # Each block has three states of the dropout and the embeddings have one. None of the 32 frozen weights is assigned.
    assert (kept["AssignVariableOp"], again["AssignVariableOp"]) == (7, 7)
