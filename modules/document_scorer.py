"""Negative log-likelihood of whole documents, exact at any length and in bounded memory."""

import tensorflow as tf

from modules.cached_gpt2 import CachedGPT2

# Tokens whose logits exist at once: 2048 x 50257 float32 is 0.4 GB.
TOKENS_PER_CHUNK = 2048


class DocumentScorer(tf.Module):
    """Scores documents under a model, every token exactly once.

    A document `[a, b, c]` is seen as inputs `[eot, a, b, c]` and targets `[a, b, c, eot]`, cut into windows of
    `sequence_length` that do not overlap: the model sees at most that many tokens of the past, as in training.
    """

    def __init__(self, model: CachedGPT2, *, end_of_text_id: int, sequence_length: int) -> None:
        """Sets the scorer up.

        Args:
            model: The model.
            end_of_text_id: Id of the token between documents.
            sequence_length: Tokens in a window; at most the model's context length.

        Raises:
            ValueError: `sequence_length` exceeds the model's context.
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
        self, token_ids: tf.RaggedTensor, loss_mask: tf.RaggedTensor | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Sums each document's negative log-likelihood.

        ```
        document  = [a, b, c]        inputs = [eot, a, b, c]    nll_sum = -log p(b | eot, a) - log p(c | eot, a, b)
        loss_mask = [0, 1, 1]       targets = [a, b, c, eot]              -log p(eot | eot, a, b, c)
                                    counted = [0, 1, 1, 1]   num_tokens = 3
        ```

        Args:
            token_ids: Ragged int64 `[documents, tokens]` without the last end-of-text; documents may be empty.
            loss_mask: As `token_ids`, 1 for tokens that count and 0 for others; None: all count. The last
                end-of-text always counts.

        Returns:
            `nll_sum`, float64 `[documents]` in nats, and `num_tokens`, int64 `[documents]`: the targets that count.
        """
        documents = token_ids.nrows()
        end = tf.fill([documents, 1], tf.constant(self.end_of_text_id, tf.int64))
        counted = tf.concat([tf.ones_like(token_ids) if loss_mask is None else loss_mask, tf.ones_like(end)], axis=1)
        inputs, _ = self._windows(tf.concat([end, token_ids], axis=1))
        targets, window_document = self._windows(tf.concat([token_ids, end], axis=1))
        counted_windows, _ = self._windows(counted)
        # Longest first: neighbours have like lengths, so a chunk is hardly padded.
        order = tf.argsort(targets.row_lengths(), direction="DESCENDING", stable=True)
        nll = self._score_windows(*(tf.gather(windows, order) for windows in (inputs, targets, counted_windows)))
        nll_sum = tf.math.unsorted_segment_sum(nll, tf.gather(window_document, order), documents)
        return nll_sum, tf.reduce_sum(counted, axis=1)

    def _windows(self, token_ids: tf.RaggedTensor) -> tuple[tf.RaggedTensor, tf.Tensor]:
        """Cuts rows into windows; returns ragged `[windows, tokens]` and int64 `[windows]`: whose row each is.

        With a length of 2: `[[1, 2, 3], [4]]` gives `[[1, 2], [3], [4]]` and `[0, 0, 1]`.
        """
        lengths = token_ids.row_lengths()
        counts = (lengths + self.sequence_length - 1) // self.sequence_length
        starts = tf.ragged.range(counts) * self.sequence_length
        rest = tf.gather(lengths, starts.value_rowids()) - starts.flat_values
        window_lengths = tf.minimum(rest, tf.cast(self.sequence_length, tf.int64))
        return tf.RaggedTensor.from_row_lengths(token_ids.flat_values, window_lengths), starts.value_rowids()

    def _score_windows(self, inputs: tf.RaggedTensor, targets: tf.RaggedTensor, counted: tf.RaggedTensor) -> tf.Tensor:
        """Returns float64 `[windows]`, the sum of each window's losses; windows come longest first."""
        lengths = targets.row_lengths()
        total = targets.nrows()

        def score_chunk(start: tf.Tensor, nll: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            rows = tf.maximum(tf.cast(1, tf.int64), TOKENS_PER_CHUNK // lengths[start])
            stop = tf.minimum(start + rows, total)
            chunk = self._score_chunk(inputs[start:stop], targets[start:stop], counted[start:stop])
            return stop, tf.concat([nll, chunk], 0)

        _, nll = tf.while_loop(
            lambda start, nll: start < total,
            score_chunk,
            (tf.constant(0, tf.int64), tf.zeros([0], tf.float64)),
            shape_invariants=(tf.TensorShape([]), tf.TensorShape([None])),
            parallel_iterations=1,
        )
        return nll

    def _score_chunk(self, inputs: tf.RaggedTensor, targets: tf.RaggedTensor, counted: tf.RaggedTensor) -> tf.Tensor:
        """Returns float64 `[windows]` for few enough windows that their logits fit into memory."""
        rows = inputs.nrows()
        # Padding comes after the real tokens and attention is causal, so no real token sees it.
        padded = inputs.to_tensor()
        positions = tf.range(tf.shape(padded)[1])
        caches = self.model.empty_caches(tf.cast(rows, tf.int32))
        hidden, _ = self.model.hidden_states(padded, positions, caches)
        logits = self.model.logits(tf.boolean_mask(hidden, tf.reshape(counted.to_tensor() > 0, [-1])))
        counted_targets = tf.ragged.boolean_mask(targets, tf.cast(counted, tf.bool))
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(counted_targets.flat_values, logits)
        return tf.math.unsorted_segment_sum(tf.cast(losses, tf.float64), counted_targets.value_rowids(), rows)
