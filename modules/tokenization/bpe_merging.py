"""The merge loop of byte-level BPE in graph operations, for all words of a batch at once. It is exact at any length.

A word of n bytes may need n rounds of the loop, one per merge. So a long word is cut into overlapping pieces. The
pieces are merged in parallel, like separate words. Then their tokens are joined at tokens on which both neighbouring
pieces agree:

```
word      a b c d e f g h i j k l
piece 0   ab c def gh                 agrees with piece 1 on "gh"
piece 1           e f gh ijk l        (its first tokens are wrong: it does not see "d")
joined    ab c def gh ijk l
```

This is exact because of the following rule. A sequence of tokens is the encoding of its bytes if and only if each pair
of neighbouring tokens is the encoding of that pair's bytes. Proof: if the sequence is not the encoding of its bytes,
take the first merge, by rank and then by place, that crosses a border between two of its tokens. Before it, the bytes
on both sides of the border merged in the same way as in the bytes of that pair without the rest. So the merge would
also happen in the pair, which is then not the encoding of its bytes. In the joined sequence, two neighbouring tokens
are also neighbours in the encoding of a piece, so no merge crosses the border between them.

If two neighbouring pieces agree on no token (in a repeated pattern the pieces can start at different places of the
pattern), they become one piece, and the loop runs again. Such a word takes few rounds, because its repetitions merge
at the same time.
"""

from typing import NamedTuple

import tensorflow as tf

# The value in a table for a pair that does not merge. It is higher than every rank.
NO_MERGE = 1 << 62
LOW_32_BITS = 0xFFFFFFFF

_PIECE_BYTES = 64
# Each piece, except the last piece of a word, overlaps the next piece by so many bytes.
_OVERLAP_BYTES = _PIECE_BYTES // 2


class _Pieces(NamedTuple):
    """Parts of words, as three tensors int32 `[pieces]`.

    Attributes:
        starts: The first byte of each piece in the bytes of all words joined.
        limits: The byte behind the last byte of each piece.
        words: The index of each piece's word.
    """

    starts: tf.Tensor
    limits: tf.Tensor
    words: tf.Tensor


def encode_words(words: tf.Tensor, table: tf.lookup.StaticHashTable) -> tf.RaggedTensor:
    """Encodes words only by merging their bytes.

    Args:
        words: string `[words]`; no word is empty.
        table: int64 to int64, the rows of `Vocabulary.table_text`, and `NO_MERGE` for all other keys.

    Returns:
        Ragged int64 `[words, tokens]`.
    """
    num_words = tf.size(words)
    byte_ids = table.lookup(tf.range(-1, -257, -1, dtype=tf.int64))
    raw = tf.io.decode_raw(tf.strings.reduce_join(words), tf.uint8)
    raw_ids = tf.gather(byte_ids, tf.cast(raw, tf.int32))

    def attempt(pieces: _Pieces) -> tuple[_Pieces, tf.Tensor, tf.Tensor, tf.Tensor]:
        sources = tf.ragged.range(pieces.starts, pieces.limits).values
        rows = _row_ids(pieces.limits - pieces.starts)
        tokens = merge(tf.gather(raw_ids, sources), rows, tf.size(pieces.starts), table)
        wanted, disagree = _join(tokens, sources, rows, pieces)
        kept = tf.where(wanted)[:, 0]
        token_words = tf.gather(pieces.words, tf.gather(rows, kept))
        return _unite(pieces, disagree), tf.gather(tokens, kept), token_words, tf.reduce_any(disagree)

    vector = tf.TensorShape([None])
    _, tokens, token_words, _ = tf.while_loop(
        lambda pieces, tokens, token_words, again: again,
        lambda pieces, tokens, token_words, again: attempt(pieces),
        (_cut(tf.strings.length(words)), raw_ids[:0], tf.zeros([0], tf.int32), num_words > 0),
        shape_invariants=(_Pieces(vector, vector, vector), vector, vector, tf.TensorShape([])),
    )
    return tf.RaggedTensor.from_value_rowids(
        tokens, tf.cast(token_words, tf.int64), nrows=tf.cast(num_words, tf.int64), validate=False
    )


def _row_ids(lengths: tf.Tensor) -> tf.Tensor:
    """Returns `[0, 0, 0, 1, 2, 2]` for the lengths `[3, 1, 2]`; no length is 0.

    `tf.repeat` is not used because it takes the memory of the longest row for every row.
    """
    starts = tf.cumsum(lengths, exclusive=True)
    return tf.cumsum(tf.scatter_nd(starts[:, None], tf.ones_like(starts), tf.reduce_sum(lengths)[None])) - 1


def _cut(lengths: tf.Tensor) -> _Pieces:
    """Cuts words into overlapping pieces; a short word is one piece. `lengths` is int32 `[words]`, in bytes."""
    step = _PIECE_BYTES - _OVERLAP_BYTES
    num_pieces = tf.maximum(lengths - _OVERLAP_BYTES - 1, 0) // step + 1
    words = _row_ids(num_pieces)
    number = tf.range(tf.size(words)) - tf.gather(tf.cumsum(num_pieces, exclusive=True), words)
    word_limits = tf.cumsum(lengths)
    starts = tf.gather(word_limits - lengths, words) + number * step
    return _Pieces(starts, tf.minimum(starts + _PIECE_BYTES, tf.gather(word_limits, words)), words)


def _join(tokens: tf.Tensor, sources: tf.Tensor, rows: tf.Tensor, pieces: _Pieces) -> tuple[tf.Tensor, tf.Tensor]:
    """Finds the tokens on which the pieces of a word agree.

    Args:
        tokens: int64 `[n]`, the result of `merge` for the pieces.
        sources: int32 `[n]`, the place of each token in the bytes of all words joined.
        rows: int32 `[n]`, the piece of each token.
        pieces: The pieces.

    Returns:
        Bool `[n]`, True for the tokens that belong to the words' encodings; bool `[pieces]`, True if a piece and the
        next piece of the same word agree on no token.
    """
    offsets = tf.cumsum(pieces.limits - pieces.starts, exclusive=True)
    followed = tf.concat([pieces.words[:-1] == pieces.words[1:], [False]], 0)
    # `shifts` leads to the same byte in the next piece. The pieces agree if the same token starts at that byte.
    shifts = tf.where(followed, tf.roll(offsets - pieces.starts, -1, 0), 0)
    overlap_starts = tf.where(followed, tf.roll(pieces.starts, -1, 0), tf.int32.max)
    overlapping = tf.where(sources >= tf.gather(overlap_starts, rows))[:, 0]
    theirs = tf.gather(tokens, tf.gather(sources, overlapping) + tf.gather(shifts, tf.gather(rows, overlapping)))
    ours = tf.gather(tokens, overlapping)
    agreed = tf.gather(overlapping, tf.where((ours == theirs) & (ours >= 0))[:, 0])
    # The start of the last token on which two pieces agree. From there on, the next piece's tokens count.
    cuts = tf.math.unsorted_segment_max(tf.gather(sources, agreed), tf.gather(rows, agreed), tf.size(followed))
    limits = tf.where(followed, cuts, tf.int32.max)
    starts = tf.where(tf.roll(followed, 1, 0), tf.roll(cuts, 1, 0), 0)
    wanted = (tokens >= 0) & (sources >= tf.gather(starts, rows)) & (sources < tf.gather(limits, rows))
    return wanted, followed & (cuts < 0)


def _unite(pieces: _Pieces, disagree: tf.Tensor) -> _Pieces:
    """Joins each piece that disagrees with the next piece (`disagree`, bool `[pieces]`) to that piece."""
    first = tf.where(~tf.roll(disagree, 1, 0))[:, 0]
    last = tf.where(~disagree)[:, 0]
    return _Pieces(tf.gather(pieces.starts, first), tf.gather(pieces.limits, last), tf.gather(pieces.words, first))


def merge(tokens: tf.Tensor, rows: tf.Tensor, num_rows: tf.Tensor, table: tf.lookup.StaticHashTable) -> tf.Tensor:
    """Merges the best pair of each row, everywhere in the row, until no pair of any row merges.

    Args:
        tokens: int64 `[n]`, the rows' bytes as token ids, one row after another.
        rows: int32 `[n]`, the row of each byte.
        num_rows: int32 scalar, the number of rows.
        table: The same as for `encode_words`.

    Returns:
        int64 `[n]`: each token's id is at the place of its first byte, and -1 is at the places of its other bytes.
    """

    def step(tokens: tf.Tensor, places: tf.Tensor, rows: tf.Tensor) -> tuple[tf.Tensor, ...]:
        # `places` are the positions of tokens in the rows in which a pair may still merge.
        alive = tf.gather(tokens, places)
        found = table.lookup(alive[:-1] * (1 << 32) + alive[1:])
        found = tf.where(rows[:-1] == rows[1:], found, NO_MERGE)
        best = tf.math.unsorted_segment_min(found, rows[:-1], num_rows)
        wanted = (found == tf.gather(best, rows[:-1])) & (found < NO_MERGE)
        chosen = _every_other_of_a_run(wanted)
        left = tf.where(chosen)[:, 0]
        merged = tf.gather(found, left) & LOW_32_BITS
        changed = tf.concat([tf.gather(places, left), tf.gather(places, left + 1)], 0)
        tokens = tf.tensor_scatter_nd_update(tokens, changed[:, None], tf.concat([merged, -tf.ones_like(merged)], 0))
        survives = tf.concat([[True], ~chosen], 0) & (tf.gather(best, rows) < NO_MERGE)
        survivors = tf.where(survives)[:, 0]
        return tokens, tf.gather(places, survivors), tf.gather(rows, survivors)

    vector = tf.TensorShape([None])
    tokens, _, _ = tf.while_loop(
        lambda tokens, places, rows: tf.size(places) > 1,
        step,
        (tokens, tf.range(tf.size(tokens)), rows),
        shape_invariants=(vector, vector, vector),
    )
    return tokens


def _every_other_of_a_run(wanted: tf.Tensor) -> tf.Tensor:
    """Chooses the first, third, fifth, … pair of each run of overlapping pairs (as in "aaa").

    ```
    wanted [0, 1, 1, 1, 0, 1, 1]
    chosen [0, 1, 0, 1, 0, 1, 0]
    ```
    """
    positions = tf.range(tf.size(wanted))
    # `before` is, for each position, the last position before it that was not wanted.
    starts = tf.boolean_mask(positions, ~wanted)
    runs = tf.cumsum(tf.cast(~wanted, tf.int32))
    before = tf.gather(tf.concat([[-1], starts], 0), runs)
    return wanted & ((positions - before) % 2 == 1)
