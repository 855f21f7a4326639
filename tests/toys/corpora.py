"""Corpora of files that hold what cleaning must find: copies, near duplicates, leaks, and unusual characters."""

import json
import random
from pathlib import Path

_SYLLABLES = ("ba", "do", "ki", "lu", "me", "ñu", "ßo", "σία", "İz", "ΟΣ", "漢字", "かな", "हि", "e\u0301")
_PUNCTUATION = (" ", " ", " ", " ", ", ", ". ", "\n", " — ", "…", " 'x_1' ", "\t", " 🙂 ", "\r\n", "\x07 ")


def essay(seed: int, words: int) -> str:
    """Returns a random text in several scripts; texts with different seeds share words, but hardly any run of words."""
    numbers = random.Random(seed)
    return "".join(
        "".join(numbers.choices(_SYLLABLES, k=numbers.randint(1, 4))) + numbers.choice(_PUNCTUATION)
        for _ in range(words)
    )


def edited(text: str, edits: int, seed: int) -> str:
    """Returns the text with some words replaced."""
    numbers = random.Random(seed)
    words = text.split(" ")
    for place in numbers.sample(range(len(words)), min(edits, len(words))):
        words[place] = f"new{numbers.random()}"
    return " ".join(words)


def write_texts(folder: Path, documents: int = 300) -> None:
    """Writes .jsonl and .txt files of texts: a fifth are copies, near duplicates or parts of another text."""
    folder.mkdir(parents=True)
    numbers = random.Random(1)
    texts = [essay(number, numbers.randint(3, 200)) for number in range(documents)]
    for number in range(0, documents, 5):
        original = texts[number]
        texts += [original, edited(original, 2, number), original.upper(), essay(number, 400) + original]
        texts.append(original[: len(original) // 2])
    texts += ["\ufffd" * 50, "x", "Ay, my good lord.", "Write to anna@tfx-mail.org, please."]
    texts += [essay(10_000, 40_000), essay(10_000, 39_000), "a" * 70_000, 'password = "q8Zr2LxV90bTn4Wd"']
    numbers.shuffle(texts)
    texts[:0] = ["", " \n"]
    for part in range(3):
        rows = [json.dumps({"text": text, "id": number}) + "\n" for number, text in enumerate(texts[part::4])]
        (folder / f"part-{part}.jsonl").write_text("".join(rows))
    paragraphs = [" ".join(text.split()) for text in texts[3::4]]
    (folder / "part-3.txt").write_text("\n\n".join(paragraphs), encoding="utf-8")


def write_instructions(folder: Path, rows: int = 200) -> None:
    """Writes a .jsonl file of conversations with one or two turns; some are copies, near duplicates or leaks."""
    folder.mkdir(parents=True)
    lines = []
    for number in range(rows):
        long, short = essay(number, 60), essay(number, 20)
        messages = [{"role": "user", "content": f"Question {number}?"}, {"role": "assistant", "content": long}]
        if number % 3 == 0:
            messages += [{"role": "user", "content": "And?"}, {"role": "assistant", "content": short}]
        lines.append({"messages": messages})
        if number % 4 == 0:
            answer = [{"role": "user", "content": f"Other {number}?"}, {"role": "assistant", "content": short}]
            lines += [{"messages": messages}, {"messages": answer}]
        if number % 7 == 0:
            lines.append({"messages": [{"role": "user", "content": f"QUESTION {number}!"}, *messages[1:]]})
    (folder / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def write_preferences(folder: Path, rows: int = 150) -> None:
    """Writes a .jsonl file of preference pairs; some are copies, and some prefer neither answer."""
    folder.mkdir(parents=True)
    lines = []
    for number in range(rows):
        row = {"prompt": f"Question {number}?", "chosen": essay(number, 30), "rejected": essay(number + 1000, 30)}
        lines += [row] * (1 + number % 2)
        if number % 10 == 0:
            lines.append(row | {"rejected": row["chosen"]})
    (folder / "pairs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
