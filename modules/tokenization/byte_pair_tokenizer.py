"""Exact GPT-2 byte-level BPE made of TensorFlow's own operations, and the inverse.

It uses only graph operations and tables that are read from a file. So the same code runs in `tf.data`, inside a
`preprocessing_fn`, and inside a SavedModel that a server loads without this package.

Texts are UTF-8. First, each malformed sequence becomes U+FFFD, exactly as by Python's
`bytes.decode("utf-8", errors="replace")`, so every string has token ids. A literal "<|endoftext|>" in a text is encoded
as ordinary characters: no text can inject a special token (see `modules.tokenization.vocabulary`).

The rules are GPT-2's: https://github.com/openai/gpt-2/blob/master/src/encoder.py.
"""

import os

import tensorflow as tf

from modules.common.files import file_facts
from modules.tokenization.bpe_merging import LOW_32_BITS, NO_MERGE, encode_words
from modules.tokenization.frequent_words import PACKED_BITS
from modules.tokenization.vocabulary_files import END_OF_TEXT_KEY, NUM_WORDS_KEY

# Unicode's White_Space. RE2's \s contains only ASCII characters.
_WHITE_SPACE = r"\t-\r\x{85}\p{Z}"
# RE2's tables are of Unicode 15.0, and those of `tokenizers` 0.23 are of Unicode 16. These are all the letters and
# numbers that Unicode added in between. A test compares every code point of Unicode, so it fails when one of the two
# libraries changes to another version.
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
# GPT-2's \s+(?!\S): the last character of the white space before a word does not belong to that white space.
_RUN_BEFORE_WORD = rf"([{_WHITE_SPACE}])([{_WHITE_SPACE}][^{_WHITE_SPACE}])"
# All code points except surrogates, which are not valid in UTF-8.
_VALID = r"[\x{0}-\x{D7FF}\x{E000}-\x{10FFFF}]*"
# This byte never occurs in UTF-8, and so in no text.
_SEPARATOR = b"\xff"
# The value in the table of words for every other word. The values of packed words are lower.
_UNKNOWN = -1


def split_words(texts: tf.Tensor) -> tf.RaggedTensor:
    """Splits texts into words by GPT-2's pattern. Merges never cross the borders of words.

    `["I'm  here"]` becomes `[["I", "'m", " ", " here"]]`.

    Args:
        texts: string `[batch]`, UTF-8; malformed sequences become U+FFFD.

    Returns:
        Ragged string `[batch, words]`. No word is empty. The words of a row, joined, are its text.
    """
    valid = _replace_malformed(texts)
    marked = tf.strings.regex_replace(valid, _RUN_BEFORE_WORD, rb"\1" + _SEPARATOR + rb"\2")
    # `\0` is the whole match. A pattern without a group runs in RE2's automaton, which is five times as fast.
    marked = tf.strings.regex_replace(marked, _WORD, rb"\0" + _SEPARATOR)
    places, words, _ = tf.raw_ops.StringSplit(input=marked, delimiter=_SEPARATOR, skip_empty=True)
    return tf.RaggedTensor.from_value_rowids(words, places[:, 0], tf.size(texts, tf.int64), validate=False)


def _replace_malformed(texts: tf.Tensor) -> tf.Tensor:
    """Returns string `[batch]`, UTF-8. Most texts are valid, and to see this takes a sixth of the time to convert."""
    valid = tf.strings.regex_full_match(texts, _VALID)
    return tf.cond(
        tf.reduce_all(valid),
        lambda: texts,
        lambda: tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8", errors="replace"),
    )


class NamedByContent(tf.lookup.TextFileInitializer):
    """Initializer of a table from a text file; the table's name in graphs follows from the file's content.

    Its base class names the table by the file's path. Then a SavedModel would contain paths of the machine that wrote
    it, and two tables whose files had the same path at different times would be one table in a process.
    """

    @property
    def _shared_name(self) -> str:
        name: str = super()._shared_name
        path = self._filename_arg
        # Inside a `preprocessing_fn`, the path is a tensor, the output of an analyzer.
        return name if tf.is_tensor(path) else name.replace(os.fspath(path), file_facts(path)["sha256"])


class BytePairTokenizer(tf.Module):
    """A module that encodes texts as token ids, by the merges of a table.

    Example:
        >>> from modules.tokenization.vocabulary import Vocabulary
        >>> from modules.tokenization.vocabulary_files import write_table
        >>> write_table(Vocabulary.from_merges([(64, 65)]), "vocabulary.tsv")  # "a" is 64 and "b" is 65
        >>> tokenizer = BytePairTokenizer("vocabulary.tsv")
        >>> tokenizer.tokenize(["ab b", ""]).to_list()
        [[256, 220, 65], []]
    """

    def __init__(self, table_path: str | tf.Tensor):
        """Reads the table.

        Args:
            table_path: The path of a file that `vocabulary_files.write_table` wrote. Inside a `preprocessing_fn`, it is
                the string tensor that an analyzer returns. The file becomes an asset of a SavedModel.
        """
        super().__init__()

        def column(number: int, dtype: tf.DType, default: int) -> tf.lookup.StaticHashTable:
            return tf.lookup.StaticHashTable(NamedByContent(table_path, dtype, number, tf.int64, 1), default)

        # The same file is read twice: for the tokens of pairs and bytes, and for words whose tokens are known.
        self._table = column(0, tf.int64, NO_MERGE)
        self._words = column(2, tf.string, _UNKNOWN)

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
        """Returns the id of <|endoftext|>, int64 scalar."""
        return self._table.lookup(tf.constant(END_OF_TEXT_KEY, tf.int64))

    def size(self) -> tf.Tensor:
        """Returns the number of tokens, int64 scalar."""
        num_words = self._table.lookup(tf.constant(NUM_WORDS_KEY, tf.int64))
        return self._table.size() - tf.where(num_words == NO_MERGE, tf.constant(0, tf.int64), num_words + 1)

    def _encode_words(self, words: tf.Tensor) -> tf.RaggedTensor:
        """Encodes string `[words]` as ragged int64 `[words, tokens]`; merges only words that the table lacks."""
        found, size = self._words.lookup(words), self.size()
        unknown, packed = tf.where(found == _UNKNOWN)[:, 0], tf.where(found < _UNKNOWN)[:, 0]
        distinct, positions = tf.unique(tf.gather(words, unknown), tf.int64)
        merged = encode_words(distinct, self._table)
        distinct_packed, packed_positions = tf.unique(tf.gather(found, packed), tf.int64)
        # The rows of `[*single, *merged, *unpacked]`: every token, by id, then every distinct word of several tokens.
        single = tf.RaggedTensor.from_row_splits(tf.range(size), tf.range(size + 1), validate=False)
        rows = tf.tensor_scatter_nd_update(found & LOW_32_BITS, unknown[:, None], size + positions)
        rows = tf.tensor_scatter_nd_update(rows, packed[:, None], size + merged.nrows() + packed_positions)
        return tf.gather(tf.concat([single, merged, _unpack(-distinct_packed, size)], 0), rows)


def _unpack(packed: tf.Tensor, vocabulary_size: tf.Tensor) -> tf.RaggedTensor:
    """Returns the tokens of words that `frequent_words.pack` packed: int64 `[words]` to ragged int64 `[words, tokens]`.

    Args:
        packed: int64 `[words]`, above 0.
        vocabulary_size: int64 scalar.
    """
    powers = tf.bitwise.left_shift(tf.constant(1, tf.int64), tf.range(PACKED_BITS, dtype=tf.int64))
    bits = tf.math.count_nonzero(powers <= vocabulary_size)  # the same as `frequent_words.bits_per_token`
    shifts = tf.range(PACKED_BITS // bits) * bits
    mask = tf.bitwise.left_shift(tf.constant(1, tf.int64), bits) - 1
    tokens = tf.bitwise.right_shift(packed[:, None], shifts[None]) & mask
    lengths = tf.math.count_nonzero(tokens, axis=1)
    return tf.RaggedTensor.from_row_lengths(tf.boolean_mask(tokens, tokens > 0) - 1, lengths, validate=False)


class Detokenizer(tf.Module):
    """A module that decodes token ids to the exact bytes of a text."""

    def __init__(self, token_bytes_file: str):
        """Reads a file that `vocabulary_files.write_token_bytes` wrote; it becomes an asset of a SavedModel."""
        super().__init__()
        self._table = tf.lookup.StaticHashTable(
            NamedByContent(
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
            string `[batch]` or scalar, the exact bytes. They are malformed UTF-8 if a sequence of tokens ends inside
            a character. <|endoftext|> becomes the text "<|endoftext|>".

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
