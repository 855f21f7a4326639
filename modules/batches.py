"""From token ids of documents to packed training windows."""

import tensorflow as tf


def packed_windows(documents: tf.data.Dataset, *, window: int, end_of_text_id: int) -> tf.data.Dataset:
    """Joins documents by `<|endoftext|>` and cuts the stream into windows without padding.

    ```
    documents = [[5, 6, 7], [8]]   end_of_text_id = 1   window = 3
    windows   = [1, 5, 6]  [7, 1, 8]  (what does not fill a window at the very end is dropped)
    ```

    Args:
        documents: Ragged int64 `[documents, tokens]` batches.
        window: Tokens in a window.
        end_of_text_id: Id put before each document.

    Returns:
        int32 `[window]` vectors.
    """

    def flatten(token_ids: tf.RaggedTensor) -> tf.Tensor:
        start = tf.fill([token_ids.nrows(), 1], tf.constant(end_of_text_id, token_ids.dtype))
        return tf.cast(tf.concat([start, token_ids], axis=1).flat_values, tf.int32)

    return documents.map(flatten).rebatch(window, drop_remainder=True)


def shift_targets(token_ids: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Splits int32 `[batch, time]` into inputs and targets, both `[batch, time - 1]`."""
    return token_ids[:, :-1], token_ids[:, 1:]


def training_batches(
    windows: tf.data.Dataset, *, batch_size: int, seed: int, shuffle_windows: int = 8192
) -> tf.data.Dataset:
    """Endless shuffled batches for `fit`: keras-hub inputs and next-token targets.

    Args:
        windows: int32 `[time + 1]` vectors, from `packed_windows`.
        batch_size: Windows a batch.
        seed: Seeds the order, which differs from epoch to epoch.
        shuffle_windows: Windows held in memory for shuffling.
    """
    # Autotuning has nothing to tune here, and its thread can hold up the end of an iterator for 40 s.
    options = tf.data.Options()
    options.autotune.enabled = False
    shuffled = windows.shuffle(shuffle_windows, seed=seed, reshuffle_each_iteration=True).repeat()
    batches = shuffled.batch(batch_size, drop_remainder=True).map(to_model_inputs)
    return batches.prefetch(2).with_options(options)


def sample(windows: tf.data.Dataset, count: int) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
    """The first `count` windows, or all if there are fewer, as one batch of inputs and targets in memory."""
    return to_model_inputs(windows.batch(count).take(1).get_single_element())


def to_model_inputs(token_ids: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
    """Makes of int32 `[batch, time + 1]` what `gpt2.language_model` takes: `({token_ids, padding_mask}, targets)`."""
    inputs, targets = shift_targets(token_ids)
    return {"token_ids": inputs, "padding_mask": tf.ones_like(inputs, tf.bool)}, targets
