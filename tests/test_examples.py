"""The examples in docstrings print what they promise."""

import ast
import doctest
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# The classes and functions that callers outside of their room start from, each with an example.
PUBLIC_DOORS = {
    "modules/evaluation/gates.py": ("Check",),
    "modules/evaluation/verbatim_runs.py": ("VerbatimRuns",),
    "modules/export/document_scorer.py": ("DocumentScorer",),
    "modules/export/text_model.py": ("TextModel",),
    "modules/model/cached_gpt2.py": ("CachedGPT2",),
    "modules/serving/litert_model.py": ("LiteRTModel",),
    "modules/serving/loaded_model.py": ("LoadedModel",),
    "modules/tokenization/byte_pair_tokenizer.py": ("BytePairTokenizer",),
    "modules/tokenization/vocabulary.py": ("Vocabulary",),
    "modules/training/language_model_trainer.py": ("LanguageModelTrainer",),
    "modules/training/stored_rows.py": ("StoredRows",),
    "pipeline/metadata/reader.py": ("MetadataReader",),
}


def with_examples() -> list[str]:
    """Dotted names of the modules whose docstrings hold an example."""
    paths = [path for folder in ("modules", "components", "pipeline") for path in sorted((ROOT / folder).rglob("*.py"))]
    return [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in paths
        if re.search(r"^ *>>> ", path.read_text(encoding="utf-8"), re.MULTILINE)
    ]


@pytest.mark.parametrize("name", with_examples())
def test_examples_print_what_they_promise(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    assert any(found.examples for found in doctest.DocTestFinder().find(module))
    # Examples that need a release are marked as skipped.
    assert doctest.testmod(module, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE).failed == 0


@pytest.mark.parametrize("name", PUBLIC_DOORS)
def test_public_doors_have_an_example(name: str) -> None:
    tree = ast.parse((ROOT / name).read_text(encoding="utf-8"))
    documented = {
        node.name: ast.get_docstring(node) or ""
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef | ast.FunctionDef)
    }
    without = [door for door in PUBLIC_DOORS[name] if "Example:" not in documented[door]]
    assert without == []
