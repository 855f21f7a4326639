import keras
import numpy as np
import pytest

from modules import gpt2
from modules.language_model_trainer import LanguageModelTrainer
from modules.objectives import LanguageModelling
from modules.rematerialization import Rematerialized, rematerialize
from tests.modules.test_language_model_trainer import BATCH
from tests.modules.tiny_training import MODEL


def trained(*, remat: bool, isolated: bool, micro_batches: int, dtype: str, jit_compile: bool) -> list[np.ndarray]:
    """All variables, with the states of the dropout, of a model after two steps."""
    keras.utils.set_random_seed(0)
    settings = gpt2.ModelSettings(**{**vars(MODEL), "dropout": 0.5, "num_layers": 2})
    backbone = gpt2.build_backbone(settings, vocabulary_size=10, dtype=dtype)
    language_model = gpt2.language_model(backbone, isolate_documents=isolated)
    used = rematerialize(language_model) if remat else language_model
    assert sum(isinstance(layer, Rematerialized) for layer in used.layers) == (2 if remat else 0)
    trainer = LanguageModelTrainer(used, LanguageModelling(), micro_batches=micro_batches)
    trainer.compile(keras.optimizers.SGD(1.0), jit_compile=jit_compile)
    documents = {"document_index": np.array([[0, 0, 0, 1, 1, 1, 1, 1]] * 4, np.int32)}
    masks = documents if isolated else {"padding_mask": BATCH["padding_mask"]}
    batch = {**{name: BATCH[name] for name in ("token_ids", "targets", "weights")}, **masks}
    trainer.fit(batch, batch_size=4, epochs=2, shuffle=False, verbose=0)
    return [variable.numpy() for variable in language_model.variables]


@pytest.mark.parametrize(
    ("isolated", "micro_batches", "dtype", "jit_compile"),
    [(False, 1, "mixed_bfloat16", False), (True, 2, "float32", True)],
)
def test_activations_that_are_computed_again_have_the_same_dropout(isolated, micro_batches, dtype, jit_compile) -> None:
    settings = {"isolated": isolated, "micro_batches": micro_batches, "dtype": dtype, "jit_compile": jit_compile}
    kept, again = trained(remat=False, **settings), trained(remat=True, **settings)
    assert sum(variable.dtype.kind in "iu" for variable in kept) >= 5  # states of the dropout
    for one, other in zip(kept, again, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6 if jit_compile else 0)
