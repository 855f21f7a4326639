import itertools
import re
from pathlib import Path

import pytest

from modules.common.errors import InputError
from pipeline.config import RECIPES, load_config
from tests.toys.recipes import MINIMAL


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_minimal_configuration_gets_the_defaults(tmp_path):
    config = load_config(write(tmp_path, MINIMAL))
    assert config.training.learning_rate == 3e-4
    assert config.data.split_weights == {"train": 90, "eval": 5, "test": 5}
    assert config.data.to_corpus().sources[0].files == ("poems/*.txt",)
    assert config.push_directory == Path("workspace/poems/releases")


def test_set_overrides_nested_keys(tmp_path):
    overrides = ["training.steps=3", "data.source=[a.txt, b.md]", "training.jit_compile=true"]
    config = load_config(write(tmp_path, MINIMAL), overrides)
    assert (config.training.steps, config.training.jit_compile) == (3, True)
    assert config.data.source == ["a.txt", "b.md"]


def test_a_byte_tokenizer_needs_no_other_setting(tmp_path):
    config = load_config(write(tmp_path, MINIMAL), ["tokenizer={kind: byte}"])
    assert config.tokenizer.settings() == {"kind": "byte"}
    assert load_config(write(tmp_path, MINIMAL)).tokenizer.settings() == {"vocabulary_size": 512}


@pytest.mark.parametrize("recipe", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_recipes_load_and_open_with_the_command_that_runs_them(recipe):
    assert load_config(recipe).name
    first_line = recipe.read_text(encoding="utf-8").splitlines()[0]
    assert first_line in ("# make run", f"# python -m pipeline run --config pipeline/recipes/{recipe.name}")


@pytest.mark.parametrize("recipe", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_recipes_name_no_file_that_a_clone_lacks(recipe):
    (source,) = load_config(recipe).data.to_corpus().sources
    if source.files is not None:
        assert source.files == ("workspace/example_files/help_topics/*.txt",)
        command = "python -m modules.data.example_files workspace/example_files"  # writes these files
        assert command in recipe.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.stepz=3", r"training.stepz: unknown key; did you mean `steps`\?"),
        ("evaluatoin.max_perplexity=3", r"evaluatoin: unknown key; did you mean `evaluation`\?"),
        ("model.num_heads=3", "`hidden_dim` must be divisible by `num_heads`. Received: 32 and 3"),
        ("model.num_heads=null", "without a `preset` the sizes are needed: add num_heads"),
        ("model.preset=gpt2_base_en", "a preset brings its own sizes"),
        ("model.size=small", r"`size: small` already sets all sizes: remove `size` or \['num_layers'"),
        ("training.epochs=2", "give exactly one of `steps` and `epochs`"),
        (
            "training.distillation.teacher=gpt2_large_en",
            "teacher: gpt2_large_en` has GPT-2's vocabulary: select it with `tok",
        ),
        ("training.distillation={teacher: t, mix: 2}", "training.distillation.mix: .*less than or equal to 1"),
        ("training.distillation={mix: 1}", "training.distillation.teacher: missing; add this key"),
        ("tokenizer.preset=gpt2_base_en", "choose one: `vocabulary_size: N`"),
        ("tokenizer.vocabulary_size=10", "tokenizer.vocabulary_size: .*greater than or equal to 258.*Received: 10"),
        ("evaluation.max_perplexity=.nan", "evaluation.max_perplexity"),
        ("name=Bad Name", "name: .*Received: 'Bad Name'"),
        ("training.steps", "--set takes key=value"),
        ("name.first=x", "`name` is a value and holds no settings"),
        ("evaluation=null", "evaluation"),
        ("model={preset: gpt2_base_en}", "`model.preset` comes with a vocabulary"),
        ("tokenizer.kind=byte", "choose one: .*or `kind: byte`"),
        ("tokenizer.kind=char", "tokenizer.kind: Input should be 'bpe' or 'byte'"),
        ("data.too_long=drop", r"`too_long` is for .* goes on in the next window\. Received: 'drop'; remove"),
        ("data.kind=chat", "data.kind: Input should be 'text', 'instruction' or 'preference'"),
        ("data.template=alpaca", "data.template: Input should be 'plain', 'headings' or 'chat'. Received: 'alpaca'"),
        ("data.cleaning.min_letters=3", r"data.cleaning.min_letters: unknown key; did you mean `min_\w+`\?"),
        ("data.cleaning.languages=[english]", "languages. must be ISO 639 codes .*Received: 'english'"),
        ("data.cleaning.leakage=0", "data.cleaning.leakage: .*greater than 0"),
        ("1=x", "1: unknown key"),
        ("data.tfds_splits=[train]", "`tfds_splits` selects splits of a TFDS data set, .* Remove `tfds_splits`"),
        ("evaluation.max_perplexity=.inf", "evaluation.max_perplexity: .*finite"),
        ("data.source=[tfds:imdb_reviews, a.txt]", "one TFDS name or globs of files"),
        (
            "data={kind: preference, source: a.jsonl}",
            "must be set together. Received: `data.kind: preference`; add `training.dpo`",
        ),
        (
            "training={steps: 3, lora: {}}",
            "a randomly initialized model has learned nothing: set `model.preset` or `model.w",
        ),
        ("training={steps: 3, dpo: {}}", "must be set together. Received: `data.kind: text`; remove `training.dpo`"),
        ("training={steps: 3, dpo: {beta: 0}}", "training.dpo.beta: .*greater than 0"),
        ("training={steps: 3, dpo: {}, label_smoothing: 0.1}", r"Received: 0\.1 with `dpo`\. Remove one of them"),
        (
            "training={steps: 3, dpo: {}, isolate_documents: true}",
            r"each answer already has its own row\. Received: both\. Remove `isolate_documents`",
        ),
    ],
)
def test_a_wrong_setting_is_named_with_its_cure(tmp_path, override, message):
    with pytest.raises(InputError, match=message):
        load_config(write(tmp_path, MINIMAL), [override])


def test_min_improvement_and_warm_start_exclude_each_other(tmp_path):
    preset = ["model={preset: gpt2_base_en}", "tokenizer={preset: gpt2_base_en}", "evaluation.min_improvement=0.1"]
    assert load_config(write(tmp_path, MINIMAL), preset).evaluation.min_improvement == 0.1
    with pytest.raises(InputError, match="a warm start begins from the latest blessed model: remove one of the two"):
        load_config(write(tmp_path, MINIMAL), [*preset, "model.warm_start=true"])


def test_adapters_need_a_trained_model(tmp_path):
    for trained in (
        ["model={preset: gpt2_base_en}", "tokenizer={preset: gpt2_base_en}"],
        ["model.warm_start=true"],
    ):
        assert load_config(write(tmp_path, MINIMAL), [*trained, "training.lora.rank=2"]).training.lora.rank == 2


def test_all_problems_are_reported_at_once(tmp_path):
    with pytest.raises(InputError) as caught:
        load_config(write(tmp_path, MINIMAL), ["training.stepz=1", "model.num_heads=3", "evaluation={}"])
    assert len(str(caught.value).splitlines()) == 4


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("document_separator: ###", "`document_separator` has no value, .* e.g. document_separator: '###'"),
        ("document_separator:", "`document_separator` has no value, .* write null for none"),
        ("document_separator: ***", r"signs of YAML's own in quotes, e.g. '\*.txt'"),
        ("document_separator: 12", "Received: 12. In a recipe or a list, quote it: '12'"),
        ("text_column: a\n  text_column: b", "`text_column` is there twice, .*: remove one"),
    ],
)
def test_a_recipe_loses_no_value_in_silence(tmp_path, line, message):
    recipe = MINIMAL.replace('data: {source: "poems/*.txt"}', f"data:\n  source: a.txt\n  {line}")
    with pytest.raises(InputError, match=re.compile(message, re.DOTALL)):
        load_config(write(tmp_path, recipe))


@pytest.mark.parametrize("separator", ["---", "no", "=", "1:30", "2026-01-31", "'###'", "'***'", "'12'", '"%"'])
def test_a_separator_in_a_recipe_is_text(tmp_path, separator):
    recipe = MINIMAL.replace("{source:", f"{{document_separator: {separator}, source:")
    assert load_config(write(tmp_path, recipe)).data.document_separator == separator.strip("'\"")


@pytest.mark.parametrize(
    ("text", "message"),
    [("1: x", "1: Keys should be strings"), ("a: [", "is not valid YAML"), ("- a", "must hold settings")],
)
def test_a_file_that_is_no_configuration_is_refused(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        load_config(write(tmp_path, text))


LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in itertools.pairwise("abcdefghi")
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LAUGHS, r"aliases such as `\*a` are not allowed: write the value again, or quote the text"),
        ("[" * 100_000, "its values are nested too deeply"),
        ("{a: " * 100_000, "at most 131,072 characters"),
        ("a: " + "x" * 2**20, "it must have at most 131,072 characters, and has"),
        ("\n".join(f"key{n}: 1" for n in range(10_000)), "key0: unknown key; .*\n  … and 99"),
        (f"name: {'x' * 100_000}", "name: String should match pattern .* Received: 'x{100,120}…"),
    ],
)
def test_a_hostile_file_is_refused_in_few_words(tmp_path, text, message):
    with pytest.raises(InputError, match=re.compile(message, re.DOTALL)) as caught:
        load_config(write(tmp_path, text))
    assert len(str(caught.value)) < 20_000


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"cannot read the configuration .*nowhere.yaml: No such file"):
        load_config(tmp_path / "nowhere.yaml")
