"""A value of `--set` is read by the type of its setting; a refused value comes with a spelling that works."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from modules.common.errors import InputError
from pipeline.config import PipelineConfig, load_config
from pipeline.data_config import DataConfig
from tests.toys.recipes import MINIMAL


def load(tmp_path: Path, override: str) -> PipelineConfig:
    (tmp_path / "recipe.yaml").write_text(MINIMAL)
    return load_config(tmp_path / "recipe.yaml", [override])


def value(tmp_path: Path, override: str) -> Any:
    """Returns the value that the overridden setting has."""
    found: Any = load(tmp_path, override)
    for name in override.partition("=")[0].split("."):
        found = getattr(found, name)
    return found


@pytest.mark.parametrize(
    ("written", "separator"),
    [
        ("---", "---"),
        ("###", "###"),
        ("***", "***"),
        ("%", "%"),
        ("- ", "- "),
        ("12", "12"),
        ("no", "no"),
        ("'a'", "'a'"),
        ("key: value", "key: value"),
        ("{a", "{a"),
        ("[x]", "[x]"),
        (" # ", " # "),
        ("blank_line", "blank_line"),
        (r"\n---\n", "\n---\n"),
        (r"\t", "\t"),
        (r"\\n", r"\n"),
        (r"\d", r"\d"),
        ("null", None),
    ],
)
def test_text_is_taken_literally(tmp_path: Path, written: str, separator: str | None) -> None:
    assert value(tmp_path, f"data.document_separator={written}") == separator


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("data.source=*.txt", "*.txt"),
        ("data.source=[ab]*.txt", "[ab]*.txt"),
        ("data.source=texts/a: b # c.txt", "texts/a: b # c.txt"),
        ('data.source=["*.txt", b.md]', ["*.txt", "b.md"]),
        ("data.cleaning.languages=[en, no]", ("en", "no")),
        ("data.cleaning.languages=null", None),
        ("data.cleaning.secrets=off", "off"),
        ("training.learning_rate=1e-3", 0.001),
        ("training.steps=1_000", 1000),
        ("training.jit_compile=true", True),
        ("training.early_stopping=null", None),
        ("training.validation_windows=7", 7),
        ("evaluation.tflite.max_rise.int8=0.5", 0.5),
        ("data.splits.eval=30", 30),
        ("workspace=C:\\new", Path("C:\\new")),
        ("tokenizer={kind: byte}", {"kind": "byte"}),
    ],
)
def test_a_value_is_read_by_the_type_of_its_setting(tmp_path: Path, override: str, expected: Any) -> None:
    found = value(tmp_path, override)
    assert (found.settings() if isinstance(expected, dict) else found) == expected


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.steps=ten", "Received: 'ten'. Write an integer such as 10"),
        ("training.steps=10 # ten", "Received: '10 # ten'. Write an integer such as 10"),
        ("training.steps=", "Received: ''. Write an integer such as 10"),
        ("training.learning_rate=fast", "Received: 'fast'. Write a number such as 0.5"),
        ("training.jit_compile=ja", "Received: 'ja'. Write true or false"),
        ("model.warm_start=null", "Received: 'null'. Write true or false"),
        ("data.cleaning.languages=en", r"Received: 'en'. Write a list such as \[en\]"),
        ("data.source=[1, 2]", "Received: 1. In a recipe or a list, quote it: '1'"),
        ("data.document_separator=", "Received: ''. Write some text"),
        ("training.lora=true", r"Received: True. Write settings such as \{key: value\}"),
        ("data={source: a, document_separator: ###}", r"Received: '\{source: .*\}'. .* `--set data.KEY=VALUE`"),
        ("data={source: a, document_separator: }", r"Received: '\{source: .*\}'. .* `--set data.KEY=VALUE`"),
        ("data.source=" + "[" * 1500 + "]", r"Received: '\[\[.*…' \(its values are nested too deeply\)"),
    ],
)
def test_a_refused_value_is_shown_with_a_spelling_that_works(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(InputError, match=re.compile(message, re.DOTALL)):
        load(tmp_path, override)


def test_the_spellings_of_a_refused_list_work_to_the_letter(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Received: '\[\*\.txt, b\.md\]'") as caught:
        load(tmp_path, "data.source=[*.txt, b.md]")
    commands = [shlex.split(command) for command in re.findall("`(--set .*?)`", str(caught.value))]
    assert [value(tmp_path, override) for _, override in commands] == [["*.txt", "b.md"], ["[*.txt, b.md]"]]


def test_an_override_fills_settings_that_the_recipe_leaves_out(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(MINIMAL.replace("{steps: 10}", "{steps: 10, lora: null}"))
    overrides = ["model.warm_start=true", "training.lora.rank=2"]
    lora = load_config(tmp_path / "recipe.yaml", overrides).training.lora
    assert lora is not None
    assert lora.rank == 2


def test_every_setting_of_text_takes_signs_of_yaml(tmp_path: Path) -> None:
    """No setting that is added later may be read by YAML's rules."""
    texts = [name for name, field in DataConfig.model_fields.items() if field.annotation in (str, str | None)]
    for name in texts:
        for text in "#%":
            assert value(tmp_path, f"data.{name}={text}") == text, name
