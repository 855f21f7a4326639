"""Warnings about data with which a run is legal and of little use, one line each."""

import codecs
import json
import math
from collections.abc import Mapping

from modules.data.documents import ReadCounts

# The eval split of a judgement has at least so many documents.
MIN_EVAL_DOCUMENTS = 30
# A separator that divides a smaller share of the files is probably not the separator of the others.
_FEW_FILES = 0.1
# How many times as many documents as needed are aimed at: the hash decides about each document.
_MARGIN = 1.5
# The name that Python gives to all spellings of it.
_LATIN_1 = codecs.lookup("latin-1").name


def data_warnings(
    reading: ReadCounts, documents: Mapping[str, int], weights: Mapping[str, int], encoding: str | None
) -> list[str]:
    """Returns the warnings about a corpus.

    Args:
        reading: Counts of what was read.
        documents: The number of stored documents by split.
        weights: The share of each split by the hash; empty where files or a column decide.
        encoding: The value of `data.encoding`; None if it is not set, or if sources may have encodings of their own.
    """
    return [*separator_warnings(reading), *_traces(reading, encoding), *_small_eval_split(documents, weights)]


def separator_warnings(reading: ReadCounts) -> list[str]:
    """Returns the warnings about document separators that occur in no or few of the text files."""
    warnings = []
    for separator, missing in reading.not_separated.items():
        found = reading.separated.get(separator, 0)
        if found >= _FEW_FILES * (found + missing):
            continue
        where = f"only {found:,} of {found + missing:,} text files" if found else "no text file"
        rest = "each of the others is" if found else "each file is"
        name = json.dumps(separator, ensure_ascii=False)
        warnings.append(
            f"`data.document_separator` {name} occurs in {where}, so {rest} one document. Correct it, or "
            f"leave it out with `--set data.document_separator=null`.{_escape_hint(separator)}"
        )
    return warnings


def _escape_hint(separator: str) -> str:
    if "\\n" not in separator and "\\t" not in separator:
        return ""
    return " In a recipe, only double quotes make a line feed of \\n and a tab of \\t."


def _traces(reading: ReadCounts, encoding: str | None) -> list[str]:
    if not reading.garbled:
        return []
    cure = "Use the original files, and set `data.encoding` to their encoding if it is not UTF-8."
    if encoding and codecs.lookup(encoding).name == _LATIN_1:
        cure = (
            "Windows text is often taken for Latin-1: try `--set data.encoding=cp1252`, or else use the original files."
        )
    return [
        f"{reading.garbled:,} characters of the documents are traces of a wrong decoding (U+FFFD, U+0080 to "
        f"U+009F, or such as `Ã¼` for ü), the first in {reading.garbled_place}. They remain in the text. {cure}"
    ]


def _small_eval_split(documents: Mapping[str, int], weights: Mapping[str, int]) -> list[str]:
    number = documents.get("eval")
    if number is None or number >= MIN_EVAL_DOCUMENTS:
        return []
    total, others = sum(documents.values()), sum(weights.values()) - weights.get("eval", 0)
    share = _MARGIN * MIN_EVAL_DOCUMENTS / total if total else 1
    cure = "Use more text"
    if weights and share <= 0.5:
        cure += f", or a larger share of it: `--set data.splits.eval={math.ceil(others * share / (1 - share))}`"
    return [
        f"The eval split has {number:,} documents, fewer than {MIN_EVAL_DOCUMENTS}: its perplexity depends on single "
        f"documents, and a gate decides by chance. {cure}."
    ]
