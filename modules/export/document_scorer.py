"""Scorer of whole documents by negative log-likelihood: exact at any length, in bounded memory."""

from typing import NamedTuple

import tensorflow as tf

from modules.model.cached_gpt2 import CachedGPT2

# Number of tokens whose logits are in memory at once: 2048 x 50257 float32 take 0.4 GB.
TOKENS_PER_CHUNK = 2048


class Scores(NamedTuple):
    """Scores of each document, summed over the targets that count.

    Attributes:
        nll_sum: float64 `[documents]`, negative log-likelihood in nats.
        num_tokens: int64 `[documents]`, number of targets that count.
        num_correct: int64 `[documents]`, number of counted targets to which the model gives the highest probability.
    """

    nll_sum: tf.Tensor
    num_tokens: tf.Tensor
    num_correct: tf.Tensor


class DocumentScorer(tf.Module):
    """Scorer of documents by a model, which counts every token exactly once.

    A document `[a, b, c]` gives the inputs `[eot, a, b, c]` and the targets `[a, b, c, eot]`, cut into windows of
    `sequence_length` tokens. By default windows do not overlap: the model sees at most that many tokens of the past, as
    in training. With a smaller stride, windows overlap, and only the last `stride` targets of each window count, except
    in the first window. So every later token is predicted from at least `sequence_length - stride` previous tokens.

    TensorFlow traces the model once for a scorer, however often and with whatever strides graphs call `score`.

    Example:
        >>> from modules.model import gpt2, settings
        >>> sizes = settings.ModelSettings(num_layers=1, num_heads=1, hidden_dim=8, context_length=16)
        >>> backbone = gpt2.build_backbone(sizes, vocabulary_size=259, dtype="float32")
        >>> scorer = DocumentScorer(CachedGPT2(backbone), end_of_text_id=258, sequence_length=16)
        >>> scores = scorer.score(tf.ragged.constant([[64, 65, 66], [67]], tf.int64))
        >>> scores.num_tokens.numpy()
        array([4, 2])
    """

    def __init__(self, model: CachedGPT2, *, end_of_text_id: int, sequence_length: int) -> None:
        """Prepares a scorer.

        Args:
            model: The model that scores.
            end_of_text_id: Id of the token between documents.
            sequence_length: Tokens per window; at most the model's context length.

        Raises:
            ValueError: `sequence_length` is larger than the model's context.
        """
        super().__init__()
        if not 1 <= sequence_length <= model.context_length:
            raise ValueError(
                f"`sequence_length` must be from 1 to the context length, {model.context_length}. "
                f"Received: {sequence_length}."
            )
        self.model = model
        self.end_of_text_id = end_of_text_id
        self.sequence_length = sequence_length

    def score(
        self,
        token_ids: tf.RaggedTensor,
        loss_mask: tf.RaggedTensor | None = None,
        *,
        stride: int | None = None,
        end_counts: bool = True,
    ) -> Scores:
        """Sums each document's negative log-likelihood.

        ```
        document  = [a, b, c]        inputs = [eot, a, b, c]    nll_sum = -log p(b | eot, a) - log p(c | eot, a, b)
        loss_mask = [0, 1, 1]       targets = [a, b, c, eot]              -log p(eot | eot, a, b, c)
                                    counted = [0, 1, 1, 1]   num_tokens = 3
        ```

        Args:
            token_ids: Ragged int64 `[documents, tokens]` without the last end-of-text; documents may be empty.
            loss_mask: Of the same shape, 1 for tokens that count and 0 for the rest; None counts all tokens.
            stride: Tokens from the start of one window to the start of the next; None means `sequence_length`.
            end_counts: True if the last end-of-text counts.

        Raises:
            ValueError: `stride` is larger than the window.
        """
        stride = self.sequence_length if stride is None else stride
        if not 1 <= stride <= self.sequence_length:
            raise ValueError(
                f"`stride` must be from 1 to the window's {self.sequence_length} tokens. Received: {stride}."
            )
        documents = token_ids.nrows()
        end = tf.fill([documents, 1], tf.constant(self.end_of_text_id, tf.int64))
        last = tf.fill([documents, 1], tf.constant(int(end_counts), tf.int64))
        counted = tf.concat([tf.ones_like(token_ids) if loss_mask is None else loss_mask, last], axis=1)
        windows, document_of_window, new = self._windows(counted.row_lengths(), stride)
        inputs, targets, counted_windows = (
            windows.with_flat_values(tf.gather(rows.flat_values, windows.flat_values))
            for rows in (
                tf.concat([end, token_ids], axis=1), tf.concat([token_ids, end], axis=1), counted,
            )
        )  # fmt: skip
        counted_windows = counted_windows.with_flat_values(counted_windows.flat_values * new)
        # Sorted by length, the windows of a chunk have similar lengths and need little padding.
        order = tf.argsort(targets.row_lengths(), direction="DESCENDING", stable=True)
        sums = self._score_windows(*(tf.gather(columns, order) for columns in (inputs, targets, counted_windows)))
        sums = tf.math.unsorted_segment_sum(sums, tf.gather(document_of_window, order), documents)
        return Scores(sums[:, 0], _row_sums(counted), tf.cast(sums[:, 1], tf.int64))

    def _windows(self, lengths: tf.Tensor, stride: int) -> tuple[tf.RaggedTensor, tf.Tensor, tf.Tensor]:
        """Cuts rows into windows.

        Example: windows of 3 tokens with a stride of 2 cut rows of 4 and 1 tokens into `[[0, 1, 2], [2, 3], [4]]`,
        `[0, 0, 1]` and `[1, 1, 1, 0, 1, 1]`. The 0 is the third token, which the first window already counts.

        Args:
            lengths: int64 `[rows]`, each at least 1.
            stride: Tokens from the start of one window to the start of the next.

        Returns:
            Ragged int64 `[windows, tokens]`, the places of the tokens in the rows' flat values; int64 `[windows]`, the
            row of each window; and int64 `[all tokens of the windows]`, 1 if no earlier window holds the token, else 0.
        """
        more = tf.maximum(lengths - self.sequence_length, 0)
        counts = 1 + (more + stride - 1) // stride
        starts = tf.ragged.range(counts) * stride
        rows = starts.value_rowids()
        starts_flat = starts.flat_values
        window_lengths = tf.minimum(tf.gather(lengths, rows) - starts_flat, tf.cast(self.sequence_length, tf.int64))
        first = tf.gather(tf.cumsum(lengths, exclusive=True), rows) + starts_flat
        places = tf.ragged.range(first, first + window_lengths)
        seen_before = tf.where(starts_flat > 0, tf.cast(self.sequence_length - stride, tf.int64), 0)
        new = tf.ragged.range(window_lengths).flat_values >= tf.gather(seen_before, places.value_rowids())
        return places, rows, tf.cast(new, tf.int64)

    @tf.function(autograph=False, input_signature=[tf.RaggedTensorSpec([None, None], tf.int64)] * 3)
    def _score_windows(self, inputs: tf.RaggedTensor, targets: tf.RaggedTensor, counted: tf.RaggedTensor) -> tf.Tensor:
        """Returns float64 `[windows, 2]`, each window's loss and hits; the longest windows must come first."""
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
        """Returns float64 `[windows, 2]` for a chunk of windows, so few that their logits fit into memory."""
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
        # `argmax` treats NaN as the largest value, so a NaN is not a hit.
        hits = tf.argmax(logits, axis=-1) == token_ids
        figures = tf.stack([tf.cast(losses, tf.float64), tf.cast(hits, tf.float64)], axis=1)
        return tf.math.unsorted_segment_sum(figures, counted_targets.value_rowids(), rows)


def _row_sums(ragged: tf.RaggedTensor) -> tf.Tensor:
    """Returns the sums of the rows, int64 `[rows]`; `tf.reduce_sum` would pad every row to the longest one."""
    sums = tf.concat([[0], tf.cumsum(ragged.flat_values)], 0)
    return tf.gather(sums, ragged.row_limits()) - tf.gather(sums, ragged.row_starts())
