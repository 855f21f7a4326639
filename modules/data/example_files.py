"""Example files of each kind of source, made from the documentation in the Python environment.

`python -m modules.data.example_files FOLDER` writes them. They show what files of your own look like:

```
FOLDER/help_topics/assert.txt …    texts for `kind: text`, one file for each help topic of Python
FOLDER/instructions.jsonl          rows for `kind: instruction`
FOLDER/preferences.jsonl           rows for `kind: preference`
```
"""

import argparse
import json
import pathlib
from collections.abc import Iterator

from modules.data import docstrings, documentation_rows, documented_functions
from modules.data.documentation_rows import Row


def write(folder: pathlib.Path, packages: tuple[str, ...] = docstrings.PACKAGES) -> list[str]:
    """Writes all example files, and returns their number or that of their rows, as lines of text.

    Args:
        folder: The folder for the files; it is created where needed.
        packages: As for `docstrings.collect`.
    """
    texts = folder / "help_topics"
    texts.mkdir(parents=True, exist_ok=True)
    topics = list(docstrings.collect((docstrings.TOPICS,)))
    for topic in topics:
        name = topic.key.partition(":")[2]
        (texts / f"{name}.txt").write_text(topic.text + "\n", encoding="utf-8")
    functions = list(documented_functions.collect(packages))
    return [
        f"{texts}: {len(topics)} files",
        _write_rows(folder / "instructions.jsonl", documentation_rows.instructions(functions)),
        _write_rows(folder / "preferences.jsonl", documentation_rows.preferences(functions)),
    ]


def _write_rows(path: pathlib.Path, rows: Iterator[tuple[str, Row]]) -> str:
    lines = [json.dumps(row, ensure_ascii=False) for _, row in rows]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return f"{path}: {len(lines)} rows"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Writes example files of each kind of source.")
    parser.add_argument("folder", type=pathlib.Path, help="folder for the files; it is created where needed")
    print("\n".join(write(parser.parse_args().folder)))
