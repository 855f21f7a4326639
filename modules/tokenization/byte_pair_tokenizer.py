"""Exact GPT-2 byte-level BPE out of TensorFlow's own operations, and the way back.

Nothing but graph operations and tables read from a file: the same code runs in `tf.data`, inside a
`preprocessing_fn` and inside a SavedModel that a server loads without this package.

Texts are UTF-8. Each malformed sequence becomes U+FFFD first, exactly as Python's
`bytes.decode("utf-8", errors="replace")` does it, so every string has token ids. A literal "<|endoftext|>" in
a text is the ordinary characters it is: no text can inject a special token (see `modules.tokenization.vocabulary`).

The rules are GPT-2's: https://github.com/openai/gpt-2/blob/master/src/encoder.py.
"""

import tensorflow as tf

from modules.tokenization.bpe_merging import LOW_32_BITS, NO_MERGE, encode_words
from modules.tokenization.vocabulary import END_OF_TEXT_KEY

# RE2's \s is ASCII only; this is Unicode's White_Space.
_WHITE_SPACE = r"\t-\r\x{85}\p{Z}"
# RE2's tables are of Unicode 15.0, those of `tokenizers` 0.23 of Unicode 16: what came in between, in full.
# A test compares every code point of Unicode, and so tells when either of them moves on.
_NEW_LETTERS = (
    r"\x{1C89}-\x{1C8A}\x{A7CB}-\x{A7CD}\x{A7DA}-\x{A7DC}\x{105C0}-\x{105F3}\x{10D4A}-\x{10D65}"
    r"\x{10D6F}-\x{10D85}\x{10EC2}-\x{10EC4}\x{11380}-\x{11389}\x{1138B}\x{1138E}\x{11390}-\x{113B5}"
    r"\x{113B7}\x{113D1}\x{113D3}\x{11BC0}-\x{11BE0}\x{13460}-\x{143FA}\x{16100}-\x{1611D}"
    r"\x{16D40}-\x{16D6C}\x{18CFF}\x{1E5D0}-\x{1E5ED}\x{1E5F0}\x{2EBF0}-\x{2EE5D}"
)
_NEW_NUMBERS = (
    r"\x{10D40}-\x{10D49}\x{116D0}-\x{116E3}\x{11BF0}-\x{11BF9}\x{16130}-\x{16139}\x{16D70}-\x{16D79}"
    r"\x{1CCF0}-\x{1CCF9}\x{1E5F1}-\x{1E5FA}"
)
_LETTERS = r"\p{L}" + _NEW_LETTERS
_NUMBERS = r"\p{N}" + _NEW_NUMBERS
_WORD = (
    rf"'s|'t|'re|'ve|'m|'ll|'d| ?[{_LETTERS}]+| ?[{_NUMBERS}]+"
    rf"| ?[^{_WHITE_SPACE}{_LETTERS}{_NUMBERS}]+|[{_WHITE_SPACE}]+"
)
# GPT-2's \s+(?!\S): of a run of white space before a word, the last character is not part of the run.
_RUN_BEFORE_WORD = rf"([{_WHITE_SPACE}])([{_WHITE_SPACE}][^{_WHITE_SPACE}])"
# This byte occurs in no UTF-8, and so in no text.
_SEPARATOR = b"\xff"
# What the table of whole words gives for all others.
_NOT_WHOLE = -1


def split_words(texts: tf.Tensor) -> tf.RaggedTensor:
    """Splits texts where GPT-2's pattern does; merges never cross these borders.

    `["I'm  here"]` becomes `[["I", "'m", " ", " here"]]`.

    Args:
        texts: string `[batch]`, UTF-8; malformed sequences become U+FFFD.

    Returns:
        Ragged string `[batch, words]`, no word empty; joined they are the texts.
    """
    valid = tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8", errors="replace")
    marked = tf.strings.regex_replace(valid, _RUN_BEFORE_WORD, rb"\1" + _SEPARATOR + rb"\2")
    # Without a group (`\0` is the whole match) RE2 stays in its automaton, which is five times as fast.
    marked = tf.strings.regex_replace(marked, _WORD, rb"\0" + _SEPARATOR)
    places, words, _ = tf.raw_ops.StringSplit(input=marked, delimiter=_SEPARATOR, skip_empty=True)
    return tf.RaggedTensor.from_value_rowids(words, places[:, 0], tf.size(texts, tf.int64), validate=False)


class BytePairTokenizer(tf.Module):
    """Turns texts into token ids by the merges of a table."""

    def __init__(self, table_path: str | tf.Tensor):
        """Reads the table.

        Args:
            table_path: A file that `Vocabulary.write_table` wrote: its path, or inside a `preprocessing_fn`
                the string tensor that an analyzer gives. The file becomes an asset of a SavedModel.
        """
        super().__init__()

        def column(number: int, dtype: tf.DType, default: int) -> tf.lookup.StaticHashTable:
            return tf.lookup.StaticHashTable(
                tf.lookup.TextFileInitializer(table_path, dtype, number, tf.int64, 1), default
            )

        # Two views of one file: what pairs and bytes become, and the words that are one token.
        self._table = column(0, tf.int64, NO_MERGE)
        self._whole_words = column(2, tf.string, _NOT_WHOLE)

    def tokenize(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Encodes texts.

        Args:
            texts: string `[batch]`, UTF-8; malformed sequences become U+FFFD.

        Returns:
            Ragged int64 `[batch, tokens]`, without <|endoftext|>.
        """
        words = split_words(texts)
        tokens = self._encode_words(words.values)
        splits = tf.gather(tokens.row_splits, words.row_splits)
        return tf.RaggedTensor.from_row_splits(tokens.values, splits, validate=False)

    def end_of_text_id(self) -> tf.Tensor:
        """The id of <|endoftext|>, int64 scalar."""
        return self._table.lookup(tf.constant(END_OF_TEXT_KEY, tf.int64))

    def size(self) -> tf.Tensor:
        """The number of tokens, int64 scalar."""
        return self._table.size()

    def _encode_words(self, words: tf.Tensor) -> tf.RaggedTensor:
        """Encodes string `[words]` as ragged int64 `[words, tokens]`; merges only the words that are no token."""
        found = self._whole_words.lookup(words)
        others = tf.where(found == _NOT_WHOLE)[:, 0]
        distinct, positions = tf.unique(tf.gather(words, others), tf.int64)
        merged = encode_words(distinct, self._table)
        # Every word is a row of this: one for each token, by id, then one for each distinct other word.
        single = tf.RaggedTensor.from_row_splits(tf.range(self.size()), tf.range(self.size() + 1), validate=False)
        rows = tf.tensor_scatter_nd_update(found & LOW_32_BITS, others[:, None], self.size() + positions)
        return tf.gather(tf.concat([single, merged], 0), rows)


class Detokenizer(tf.Module):
    """Turns token ids back into the exact bytes."""

    def __init__(self, token_bytes_file: str):
        """Reads a file that `Vocabulary.write_token_bytes` wrote; it becomes an asset of a SavedModel."""
        super().__init__()
        self._table = tf.lookup.StaticHashTable(
            tf.lookup.TextFileInitializer(
                token_bytes_file,
                tf.int64,
                tf.lookup.TextFileIndex.LINE_NUMBER,
                tf.string,
                tf.lookup.TextFileIndex.WHOLE_LINE,
            ),
            "",
        )

    def detokenize(self, token_ids: tf.Tensor | tf.RaggedTensor) -> tf.Tensor:
        """Decodes token ids.

        Args:
            token_ids: int64, `[batch, tokens]` (ragged or dense) or `[tokens]`.

        Returns:
            string `[batch]` or scalar: exact bytes, which may be malformed UTF-8 where a sequence of tokens
            ends inside a character. <|endoftext|> becomes the text "<|endoftext|>".

        Raises:
            tf.errors.InvalidArgumentError: An id is not in the vocabulary.
        """
        encoded = tf.ragged.map_flat_values(self._table.lookup, token_ids)
        flat = encoded.flat_values if isinstance(encoded, tf.RaggedTensor) else encoded
        known = tf.debugging.assert_equal(
            tf.reduce_any(flat == ""), False, "Every token id must be in the vocabulary: 0 to its size - 1."
        )
        with tf.control_dependencies([known] if known is not None else []):
            pieces = tf.ragged.map_flat_values(tf.io.decode_base64, encoded)
        if not isinstance(pieces, tf.RaggedTensor):
            return tf.strings.reduce_join(pieces, axis=-1)
        return tf.strings.unsorted_segment_join(pieces.values, _row_ids(pieces), pieces.nrows())


def _row_ids(ragged: tf.RaggedTensor) -> tf.Tensor:
    """Returns each value's row, int64.

    `value_rowids` gives the same, and so do reductions over rows, but they take the longest row's memory for every row.
    """
    positions = tf.range(tf.size(ragged.values, tf.int64))
    limits = tf.cast(ragged.row_limits(), tf.int64)
    return tf.raw_ops.UpperBound(sorted_inputs=limits[None], values=positions[None], out_type=tf.int64)[0]
