"""Recall and precision of each cleaner on a corpus with planted faults.

`python -m tests.toys.cleaning_quality` writes the tables of `modules/cleaning/README.md`.
"""

import collections
import hashlib
import itertools
import os
import pathlib
import tempfile
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from modules.cleaning import buckets, corpus_cleaning
from modules.cleaning.filters import CleaningSettings, reject_reason
from modules.data.documents import Document, ReadCounts, tidy
from modules.data.examples import read_examples
from tests.toys import planted_faults, planted_secrets
from tests.toys.planted_faults import Planted

PAGE = pathlib.Path(__file__).parents[2] / "modules" / "cleaning" / "README.md"
WEIGHTS = {"train": 1, "eval": 1}
_MARKS = ("<!-- quality -->\n", "\n<!-- end of quality -->")


class Counts(NamedTuple):
    """Numbers of texts: planted faults and those that were dropped, look-alikes and those that were dropped."""

    faults: int
    found: int
    look_alikes: int
    flagged: int

    @property
    def recall(self) -> float:
        """Share of the faults that were dropped."""
        return self.found / self.faults

    @property
    def precision(self) -> float:
        """Share of the dropped texts that were faults."""
        return self.found / max(1, self.found + self.flagged)


def measure() -> dict[tuple[str, str], Counts]:
    """Returns the counts by cleaner and kind."""
    judged = itertools.chain(
        _of_pairs(planted_faults.exact_duplicates(), {"near_duplicates": None, "leakage": None}),
        _of_pairs(planted_faults.near_duplicates(), {"leakage": None}),
        _of_pairs(planted_faults.leaks(), {"near_duplicates": None}, held_out=True),
        _of_texts(planted_secrets.secrets(), {"secrets": "drop"}),
        _of_texts(planted_faults.languages(), {"languages": ["en"]}),
        _of_texts(planted_faults.encodings(), {}),
    )
    counts: dict[tuple[str, str], Counts] = collections.defaultdict(lambda: Counts(0, 0, 0, 0))
    for planted, dropped in judged:
        old = counts[planted.cleaner, planted.kind]
        more = (1, dropped, 0, 0) if planted.is_fault else (0, 0, 1, dropped)
        counts[planted.cleaner, planted.kind] = Counts(*map(sum, zip(old, more, strict=True)))
    return dict(counts)


def by_cleaner(counts: dict[tuple[str, str], Counts]) -> dict[str, Counts]:
    """Returns the sums of each cleaner."""
    sums: dict[str, list[Counts]] = {}
    for (cleaner, _), row in counts.items():
        sums.setdefault(cleaner, []).append(row)
    return {cleaner: Counts(*map(sum, zip(*rows, strict=True))) for cleaner, rows in sums.items()}


def tables(counts: dict[tuple[str, str], Counts]) -> str:
    """Returns a table of the cleaners and a table of the kinds, in Markdown."""
    lines = [
        "| cleaner | faults | faults dropped | recall | look-alikes | look-alikes dropped | precision |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {cleaner} | {row.faults} | {row.found} | {row.recall:.3f} | {row.look_alikes} | {row.flagged} | "
        f"{row.precision:.3f} |"
        for cleaner, row in by_cleaner(counts).items()
    ]
    lines += ["", "| cleaner | kind | is a fault | texts | dropped |", "|---|---|---|---|---|"]
    for (cleaner, kind), row in sorted(counts.items(), key=lambda item: item[0][0]):
        is_fault = "yes" if row.faults else "no"
        texts, dropped = (row.faults, row.found) if row.faults else (row.look_alikes, row.flagged)
        lines.append(f"| {cleaner} | {kind} | {is_fault} | {texts} | {dropped} |")
    return "\n".join(lines)


def shown_tables(page: str) -> str:
    """Returns the tables of a page, which stand between two marks."""
    return page.partition(_MARKS[0])[2].partition(_MARKS[1])[0]


def _of_texts(planted: Iterable[Planted], settings: dict[str, object]) -> Iterator[tuple[Planted, bool]]:
    """Yields whether each text is dropped by a filter of single documents."""
    checked = CleaningSettings.model_validate(settings)
    for item in planted:
        yield item, reject_reason(_tidy(item.text), checked) is not None


def _of_pairs(
    planted: Iterable[Planted], settings: dict[str, object], *, held_out: bool = False
) -> Iterator[tuple[Planted, bool]]:
    """Yields whether of each text and its origin one is dropped; of a leak, whether the held-out text is.

    A document's split follows from its text, so the first words of leaks and their origins are changed until the
    origin is in train and the leak in eval.
    """
    items = list(planted)
    pairs = [(_tidy(item.origin), _tidy(item.text)) for item in items]
    if held_out:
        pairs = [(_in_split(origin, "train"), _in_split(text, "eval")) for origin, text in pairs]
    kept = _cleaned([text for pair in pairs for text in pair], CleaningSettings.model_validate(settings))
    for item, (origin, text) in zip(items, pairs, strict=True):
        if held_out:
            yield item, kept[text] == 0
        else:
            yield item, sum(kept[different] for different in {origin, text}) < 2


def _cleaned(texts: list[str], settings: CleaningSettings) -> collections.Counter[str]:
    """Returns how often each text is written, by the steps of the TextExampleGen."""
    with tempfile.TemporaryDirectory() as directory:
        documents = [Document.of_text(text, source=f"{number:06d}") for number, text in enumerate(texts)]
        collector = corpus_cleaning.HeldOutCollector(WEIGHTS)
        buckets.scatter(documents, directory, writer="piece", buckets=1, on_document=collector.add)
        collector.save(directory, "piece")
        corpus_cleaning.collect_held_out(directory, ["piece"])
        held_out = corpus_cleaning.read_held_out(directory) if settings.leakage is not None else None
        corpus_cleaning.study_bucket(directory, 0, weights=WEIGHTS, settings=settings, held_out=held_out)
        corpus_cleaning.decide(directory, 1, settings, WEIGHTS)
        shards = {split: os.path.join(directory, f"{split}.gz") for split in WEIGHTS}
        corpus_cleaning.write_bucket(directory, 0, splits=list(WEIGHTS), shard_path=lambda split: shards[split])
        return collections.Counter(example["text"][0] for example in read_examples(list(shards.values())))


def _in_split(text: str, split: str) -> str:
    for number in itertools.count():
        numbered = f"{number} {text}"
        document = Document.of_text(numbered, source="")
        if buckets.split_of(hashlib.sha256(document.payload()).digest(), WEIGHTS) == split:
            return numbered
    raise AssertionError("unreachable")


def _tidy(text: str) -> str:
    return tidy({"text": [text]}, ReadCounts())["text"][0]


if __name__ == "__main__":
    page = PAGE.read_text(encoding="utf-8")
    before, rest = page.split(_MARKS[0])
    after = rest.split(_MARKS[1])[1]
    PAGE.write_text(before + _MARKS[0] + tables(measure()) + _MARKS[1] + after, encoding="utf-8")
