"""The merge loop of byte-level BPE in graph operations: all words of a batch at once, exact at any length.

A word of n bytes may need n rounds of the loop, one a merge. So a long word is cut into overlapping pieces,
which are merged side by side like words of their own, and their tokens are then joined at tokens that both
neighbours agree on:

```
word      a b c d e f g h i j k l
piece 0   ab c def gh                 agrees with piece 1 on "gh"
piece 1           e f gh ijk l        (its first tokens are wrong: it does not see "d")
joined    ab c def gh ijk l
```

That is exact, because a sequence of tokens is the encoding of its bytes if (and only if) each token and its
neighbour are the encoding of theirs. Take the first merge, by rank and then by place, that crosses a border of
the sequence. Up to it, both sides merged as they do when the two are alone, so it would happen there, too.
Two neighbours in the joined sequence are neighbours in a piece's encoding, so no merge crosses their border.

Neighbouring pieces that agree on no token (a repeated pattern can fall into another step) become one piece, and
the loop runs again. Such a word takes few rounds, as its repetitions merge all at once.
"""

from typing import NamedTuple

import tensorflow as tf

# What a table gives for a pair that does not merge: later than every rank.
NO_MERGE = 1 << 62
LOW_32_BITS = 0xFFFFFFFF

_PIECE_BYTES = 64
# Each piece but a word's last overlaps the next one by so many bytes.
_OVERLAP_BYTES = _PIECE_BYTES // 2


class _Pieces(NamedTuple):
    """Parts of words, int32 `[pieces]` each: bytes `starts` to `limits` of all words joined, and the word."""

    starts: tf.Tensor
    limits: tf.Tensor
    words: tf.Tensor


def encode_words(words: tf.Tensor, table: tf.lookup.StaticHashTable) -> tf.RaggedTensor:
    """Encodes words by merging alone.

    Args:
        words: string `[words]`, none empty.
        table: int64 to int64, the rows of `Vocabulary.table_text`; `NO_MERGE` for all other keys.

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
    """Makes `[0, 0, 0, 1, 2, 2]` of the lengths `[3, 1, 2]`, none 0.

    Not by `tf.repeat`, which takes the longest length's memory for every row.
    """
    starts = tf.cumsum(lengths, exclusive=True)
    return tf.cumsum(tf.scatter_nd(starts[:, None], tf.ones_like(starts), tf.reduce_sum(lengths)[None])) - 1


def _cut(lengths: tf.Tensor) -> _Pieces:
    """Cuts words of int32 `[words]` bytes into overlapping pieces; a short word is one piece."""
    step = _PIECE_BYTES - _OVERLAP_BYTES
    num_pieces = tf.maximum(lengths - _OVERLAP_BYTES - 1, 0) // step + 1
    words = _row_ids(num_pieces)
    number = tf.range(tf.size(words)) - tf.gather(tf.cumsum(num_pieces, exclusive=True), words)
    word_limits = tf.cumsum(lengths)
    starts = tf.gather(word_limits - lengths, words) + number * step
    return _Pieces(starts, tf.minimum(starts + _PIECE_BYTES, tf.gather(word_limits, words)), words)


def _join(tokens: tf.Tensor, sources: tf.Tensor, rows: tf.Tensor, pieces: _Pieces) -> tuple[tf.Tensor, tf.Tensor]:
    """Finds where the pieces of a word agree.

    Args:
        tokens: int64 `[n]`, what `merge` gave for the pieces.
        sources: int32 `[n]`, the place of each among the bytes of all words joined.
        rows: int32 `[n]`, the piece of each.

    Returns:
        Bool `[n]`, the tokens that belong to the words' encodings; bool `[pieces]`, whether a piece and the next
        one of the same word agree on no token.
    """
    offsets = tf.cumsum(pieces.limits - pieces.starts, exclusive=True)
    followed = tf.concat([pieces.words[:-1] == pieces.words[1:], [False]], 0)
    # The same byte in the next piece: a token agrees if it starts there as well and is the same.
    shifts = tf.where(followed, tf.roll(offsets - pieces.starts, -1, 0), 0)
    overlap_starts = tf.where(followed, tf.roll(pieces.starts, -1, 0), tf.int32.max)
    overlapping = tf.where(sources >= tf.gather(overlap_starts, rows))[:, 0]
    theirs = tf.gather(tokens, tf.gather(sources, overlapping) + tf.gather(shifts, tf.gather(rows, overlapping)))
    ours = tf.gather(tokens, overlapping)
    agreed = tf.gather(overlapping, tf.where((ours == theirs) & (ours >= 0))[:, 0])
    # The last token agreed on: from its start on, the next piece's tokens count.
    cuts = tf.math.unsorted_segment_max(tf.gather(sources, agreed), tf.gather(rows, agreed), tf.size(followed))
    limits = tf.where(followed, cuts, tf.int32.max)
    starts = tf.where(tf.roll(followed, 1, 0), tf.roll(cuts, 1, 0), 0)
    wanted = (tokens >= 0) & (sources >= tf.gather(starts, rows)) & (sources < tf.gather(limits, rows))
    return wanted, followed & (cuts < 0)


def _unite(pieces: _Pieces, disagree: tf.Tensor) -> _Pieces:
    """Makes one piece of neighbours that disagree; bool `[pieces]`: with the next one."""
    first = tf.where(~tf.roll(disagree, 1, 0))[:, 0]
    last = tf.where(~disagree)[:, 0]
    return _Pieces(tf.gather(pieces.starts, first), tf.gather(pieces.limits, last), tf.gather(pieces.words, first))


def merge(tokens: tf.Tensor, rows: tf.Tensor, num_rows: tf.Tensor, table: tf.lookup.StaticHashTable) -> tf.Tensor:
    """Merges each row's best pair, everywhere in the row, until no row has a pair left.

    Args:
        tokens: int64 `[n]`, the rows' bytes as token ids, one row after the other.
        rows: int32 `[n]`, the row of each.
        num_rows: int32 scalar.
        table: As for `encode_words`.

    Returns:
        int64 `[n]`: a merged pair's id stands where the pair began, and -1 in what it swallowed.
    """

    def step(tokens: tf.Tensor, places: tf.Tensor, rows: tf.Tensor) -> tuple[tf.Tensor, ...]:
        # `places` are the positions still alive, in rows where something may still merge.
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
    """Of pairs that overlap (as in "aaa"), takes the first, third, fifth, ...

    ```
    wanted [0, 1, 1, 1, 0, 1, 1]
    chosen [0, 1, 0, 1, 0, 1, 0]
    ```
    """
    positions = tf.range(tf.size(wanted))
    # The last position that was not wanted, seen from each: a running maximum, as positions only grow.
    starts = tf.boolean_mask(positions, ~wanted)
    runs = tf.cumsum(tf.cast(~wanted, tf.int32))
    before = tf.gather(tf.concat([[-1], starts], 0), runs)
    return wanted & ((positions - before) % 2 == 1)
