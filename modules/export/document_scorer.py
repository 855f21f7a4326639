"""Negative log-likelihood of whole documents, exact at any length and in bounded memory."""

from typing import NamedTuple

import tensorflow as tf

from modules.model.cached_gpt2 import CachedGPT2

# Tokens whose logits exist at once: 2048 x 50257 float32 is 0.4 GB.
TOKENS_PER_CHUNK = 2048


class Scores(NamedTuple):
    """Of each document, over the targets that count.

    Attributes:
        nll_sum: float64 `[documents]`, negative log-likelihood in nats.
        num_tokens: int64 `[documents]`, how many targets count.
        num_correct: int64 `[documents]`, how many of them the model holds to be the likeliest token.
    """

    nll_sum: tf.Tensor
    num_tokens: tf.Tensor
    num_correct: tf.Tensor


class DocumentScorer(tf.Module):
    """Scores documents under a model, every token exactly once.

    A document `[a, b, c]` is seen as inputs `[eot, a, b, c]` and targets `[a, b, c, eot]`, cut into windows of
    `sequence_length`. By default they do not overlap: the model sees at most that many tokens of the past, as in
    training. With a smaller stride they do, and of each window but the first only the last `stride` targets count: so
    every later token is predicted from at least `sequence_length - stride` tokens of its past.
    """

    def __init__(
        self, model: CachedGPT2, *, end_of_text_id: int, sequence_length: int, stride: int | None = None
    ) -> None:
        """Sets the scorer up.

        Args:
            model: The model.
            end_of_text_id: Id of the token between documents.
            sequence_length: Tokens in a window; at most the model's context length.
            stride: Tokens from the start of a window to that of the next; `sequence_length` if None.

        Raises:
            ValueError: `sequence_length` exceeds the model's context, or `stride` the window.
        """
        super().__init__()
        if not 1 <= sequence_length <= model.context_length:
            raise ValueError(
                f"`sequence_length` must be from 1 to the context length, {model.context_length}. "
                f"Received: {sequence_length}."
            )
        stride = sequence_length if stride is None else stride
        if not 1 <= stride <= sequence_length:
            raise ValueError(f"`stride` must be from 1 to the window's {sequence_length} tokens. Received: {stride}.")
        self.model = model
        self.end_of_text_id = end_of_text_id
        self.sequence_length = sequence_length
        self.stride = stride

    def score(
        self, token_ids: tf.RaggedTensor, loss_mask: tf.RaggedTensor | None = None, *, end_counts: bool = True
    ) -> Scores:
        """Sums each document's negative log-likelihood.

        ```
        document  = [a, b, c]        inputs = [eot, a, b, c]    nll_sum = -log p(b | eot, a) - log p(c | eot, a, b)
        loss_mask = [0, 1, 1]       targets = [a, b, c, eot]              -log p(eot | eot, a, b, c)
                                    counted = [0, 1, 1, 1]   num_tokens = 3
        ```

        Args:
            token_ids: Ragged int64 `[documents, tokens]` without the last end-of-text; documents may be empty.
            loss_mask: As `token_ids`, 1 for tokens that count and 0 for others; None: all count.
            end_counts: Whether the last end-of-text counts.
        """
        documents = token_ids.nrows()
        end = tf.fill([documents, 1], tf.constant(self.end_of_text_id, tf.int64))
        last = tf.fill([documents, 1], tf.constant(int(end_counts), tf.int64))
        counted = tf.concat([tf.ones_like(token_ids) if loss_mask is None else loss_mask, last], axis=1)
        windows, document_of_window, new = self._windows(counted.row_lengths())
        inputs, targets, counted_windows = (
            windows.with_flat_values(tf.gather(rows.flat_values, windows.flat_values))
            for rows in (
                tf.concat([end, token_ids], axis=1), tf.concat([token_ids, end], axis=1), counted,
            )
        )  # fmt: skip
        counted_windows = counted_windows.with_flat_values(counted_windows.flat_values * new)
        # Longest first: neighbours have like lengths, so a chunk is hardly padded.
        order = tf.argsort(targets.row_lengths(), direction="DESCENDING", stable=True)
        sums = self._score_windows(*(tf.gather(columns, order) for columns in (inputs, targets, counted_windows)))
        sums = tf.math.unsorted_segment_sum(sums, tf.gather(document_of_window, order), documents)
        return Scores(sums[:, 0], _row_sums(counted), tf.cast(sums[:, 1], tf.int64))

    def _windows(self, lengths: tf.Tensor) -> tuple[tf.RaggedTensor, tf.Tensor, tf.Tensor]:
        """Cuts rows into windows.

        With windows of 3 and a stride of 2, rows of 4 and 1 tokens: `[[0, 1, 2], [2, 3], [4]]`, `[0, 0, 1]` and
        `[1, 1, 1, 0, 1, 1]`: the third token was scored in the first window already.

        Args:
            lengths: int64 `[rows]`, none of them 0.

        Returns:
            Ragged int64 `[windows, tokens]`, places in the rows' flat values; int64 `[windows]`, whose row each is;
            and int64, beside the flat values of the first, 1 where no earlier window holds the token.
        """
        more = tf.maximum(lengths - self.sequence_length, 0)
        counts = 1 + (more + self.stride - 1) // self.stride
        starts = tf.ragged.range(counts) * self.stride
        rows = starts.value_rowids()
        starts_flat = starts.flat_values
        window_lengths = tf.minimum(tf.gather(lengths, rows) - starts_flat, tf.cast(self.sequence_length, tf.int64))
        first = tf.gather(tf.cumsum(lengths, exclusive=True), rows) + starts_flat
        places = tf.ragged.range(first, first + window_lengths)
        seen_before = tf.where(starts_flat > 0, tf.cast(self.sequence_length - self.stride, tf.int64), 0)
        new = tf.ragged.range(window_lengths).flat_values >= tf.gather(seen_before, places.value_rowids())
        return places, rows, tf.cast(new, tf.int64)

    def _score_windows(self, inputs: tf.RaggedTensor, targets: tf.RaggedTensor, counted: tf.RaggedTensor) -> tf.Tensor:
        """Returns float64 `[windows, 2]`, each window's loss and hits; windows come longest first."""
        lengths = targets.row_lengths()
        total = targets.nrows()

        def score_chunk(start: tf.Tensor, sums: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            rows = tf.maximum(tf.cast(1, tf.int64), TOKENS_PER_CHUNK // lengths[start])
            stop = tf.minimum(start + rows, total)
            chunk = self._score_chunk(inputs[start:stop], targets[start:stop], counted[start:stop])
            return stop, tf.concat([sums, chunk], 0)

        _, sums = tf.while_loop(
            lambda start, sums: start < total,
            score_chunk,
            (tf.constant(0, tf.int64), tf.zeros([0, 2], tf.float64)),
            shape_invariants=(tf.TensorShape([]), tf.TensorShape([None, 2])),
            parallel_iterations=1,
        )
        return sums

    def _score_chunk(self, inputs: tf.RaggedTensor, targets: tf.RaggedTensor, counted: tf.RaggedTensor) -> tf.Tensor:
        """Returns float64 `[windows, 2]` for few enough windows that their logits fit into memory."""
        rows = inputs.nrows()
        # Padding comes after the real tokens and attention is causal, so no real token sees it.
        padded = inputs.to_tensor()
        positions = tf.range(tf.shape(padded)[1])
        caches = self.model.empty_caches(tf.cast(rows, tf.int32))
        hidden, _ = self.model.hidden_states(padded, positions, caches)
        logits = self.model.logits(tf.boolean_mask(hidden, tf.reshape(counted.to_tensor() > 0, [-1])))
        counted_targets = tf.ragged.boolean_mask(targets, tf.cast(counted, tf.bool))
        token_ids = counted_targets.flat_values
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(token_ids, logits)
        # A NaN is the largest to `argmax`, and no hit.
        hits = tf.argmax(logits, axis=-1) == token_ids
        figures = tf.stack([tf.cast(losses, tf.float64), tf.cast(hits, tf.float64)], axis=1)
        return tf.math.unsorted_segment_sum(figures, counted_targets.value_rowids(), rows)


def _row_sums(ragged: tf.RaggedTensor) -> tf.Tensor:
    """Returns int64 `[rows]`; `tf.reduce_sum` takes the longest row's memory for every row."""
    sums = tf.concat([[0], tf.cumsum(ragged.flat_values)], 0)
    return tf.gather(sums, ragged.row_limits()) - tf.gather(sums, ragged.row_starts())
