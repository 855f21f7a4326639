"""Hostile texts, mutated values and damaged bytes for the fuzz tests.

`TFX_GPT2_FUZZ=5000` sets the number of examples of each test.
"""

import contextlib
import copy
import os
import time
from collections.abc import Iterator
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from modules.common.errors import InputError

EXAMPLES = int(os.environ.get("TFX_GPT2_FUZZ", "100"))
# Far above what any example needs on a busy machine.
SECONDS = 20
fuzzed = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)

HOSTILE = st.sampled_from(
    [
        "", " ", ".", "..", "/", "~", "a\0b", "\x1b[31mred\r", "\u202e", "\udcff", "😀", "a" * 300, "a/" * 3000, "-1",
        "0", "1e999", "nan", "-inf", str(2**31), str(2**63), "9" * 400, "null", "true", "[]", "{}", "[", "{a: b",
        "!!python/x y", "&a", "*a", "%", "{{}}", "text.txt", "text.txt/a", "recipe.yaml", "folder", "latest",
        "latest~" + "9" * 5000, "NaN", "--", "=", "=1", "name=", "a.b.c=1", "model=1", "model.size=small",
        "data.source=*", "data.source=[]", "data.source=tfds:", "training.steps=1.5", "evaluation.tasks=[1]",
        "tokenizer.vocabulary=folder", "workspace=\0", "splits.x=1", "data.cleaning=[1, 2]", "training.optimizer=x",
        "training.learning_rate=.nan", "training.distillation={teacher: ''}", "evaluation.tasks=[{kind: x}]",
    ]
)  # fmt: skip
TEXT = HOSTILE | st.text(max_size=12)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)


@contextlib.contextmanager
def only_input_errors() -> Iterator[None]:
    """Accepts no exception but InputError, and that within the time limit."""
    start = time.monotonic()
    with contextlib.suppress(InputError):
        yield
    assert time.monotonic() - start < SECONDS


def places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yields the keys that lead to each value in nested dicts and lists."""
    for key, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield (*place, key)
        yield from places(item, (*place, key))


def mutated(value: Any, choice: st.DataObject, new: st.SearchStrategy[Any]) -> Any:
    """Returns the value after a few changes: items replaced, removed or added."""
    value = copy.deepcopy(value)
    for _ in range(choice.draw(st.integers(1, 3))):
        found = list(places(value))
        if not found:
            return choice.draw(new)
        *parents, last = choice.draw(st.sampled_from(found))
        target = value
        for key in parents:
            target = target[key]
        action = choice.draw(st.sampled_from(["replace", "remove", "add"]))
        if action == "remove":
            del target[last]
        elif action == "add" and isinstance(target, dict):
            target[choice.draw(TEXT)] = choice.draw(new)
        else:
            target[last] = choice.draw(new)
    return value


def damaged(content: bytes, choice: st.DataObject) -> bytes:
    """Returns the content after a few changes: bytes flipped, inserted, cut off or replaced altogether."""
    changed = bytearray(content)
    for _ in range(choice.draw(st.integers(1, 4))):
        at = choice.draw(st.integers(0, len(changed)))
        action = choice.draw(st.sampled_from(["flip", "insert", "cut", "drop"]))
        if action == "flip" and at < len(changed):
            changed[at] ^= choice.draw(st.integers(1, 255))
        elif action == "insert":
            changed[at:at] = choice.draw(st.binary(max_size=8))
        elif action == "cut":
            del changed[at:]
        elif action == "drop":
            del changed[at : at + choice.draw(st.integers(1, 20))]
    return choice.draw(st.binary(max_size=40)) if choice.draw(st.integers(0, 9)) == 0 else bytes(changed)
