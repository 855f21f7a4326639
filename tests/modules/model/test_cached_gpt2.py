import keras_hub
import numpy as np
import pytest
import tensorflow as tf

from modules.common.errors import InputError
from modules.model.cached_gpt2 import CachedGPT2, write_into_cache
from tests.toys.release import reference_logits, tiny_backbone

TOKEN_IDS = [258, 10, 11, 12, 200, 10, 11]


def _logits_in_pieces(model: CachedGPT2, pieces: list[int], caches, **options) -> np.ndarray:
    """Returns the logits after the last token of each piece, float32 `[pieces, vocabulary]`."""
    position, rows = 0, []
    for length in pieces:
        tokens = tf.constant([TOKEN_IDS[position : position + length]])
        positions = tf.range(position, position + length)
        logits, caches = model.step(tokens, positions, caches, **options)
        rows.append(logits.numpy()[0])
        position += length
    return np.stack(rows)


@pytest.mark.parametrize("pieces", [[7], [1, 1, 1, 1, 1, 1, 1], [3, 4], [5, 1, 1]])
def test_logits_equal_those_of_the_backbone_for_every_cut_of_the_row(pieces: list[int]) -> None:
    model = CachedGPT2(tiny_backbone())
    expected = reference_logits(TOKEN_IDS)[np.cumsum(pieces) - 1]

    appended = _logits_in_pieces(model, pieces, model.empty_caches())
    fixed = tf.zeros([1, 4, 9, 8])
    overwritten = _logits_in_pieces(model, pieces, [(fixed, fixed)] * 2, write_cache=write_into_cache)

    np.testing.assert_allclose(appended, expected, atol=2e-4)
    np.testing.assert_allclose(overwritten, expected, atol=2e-4)


def test_each_of_several_rows_has_the_logits_of_the_single_row() -> None:
    model = CachedGPT2(tiny_backbone())
    rows = tf.constant([[258, 1, 2], [258, 3, 4]])
    hidden, _ = model.hidden_states(rows, tf.range(3), model.empty_caches(2))
    logits = model.logits(hidden).numpy().reshape(2, 3, -1)
    np.testing.assert_allclose(logits[0], reference_logits([258, 1, 2]), atol=2e-4)
    np.testing.assert_allclose(logits[1], reference_logits([258, 3, 4]), atol=2e-4)


@pytest.mark.parametrize("policy", ["mixed_float16", "bfloat16"])
def test_weights_are_float32_after_every_training_policy(policy: str) -> None:
    backbone = keras_hub.models.GPT2Backbone(20, 1, 2, 8, 16, max_sequence_length=6, dtype=policy)
    model = CachedGPT2(backbone, context_length=5)
    assert {variable.dtype for variable in model.variables} == {tf.float32}
    np.testing.assert_array_equal(model.token_embedding, tf.cast(backbone.token_embedding.embeddings.value, tf.float32))
    assert model.position_embedding.shape == [5, 8]


def test_a_context_beyond_the_position_embedding_is_refused() -> None:
    with pytest.raises(InputError, match=r"from 2 to the model's max_sequence_length, 48\. Received: 49"):
        CachedGPT2(tiny_backbone(), context_length=49)
