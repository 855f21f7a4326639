"""Measurements of real TFLite files, compared with the SavedModel that they were made from."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from modules.evaluation.tflite_gate import TFLiteGateSettings, rise_check
from modules.evaluation.tflite_measurer import ScoringFileError, TFLiteMeasurer, leading_tokens, read_documents
from modules.export import saved_model
from modules.export.tflite_files import PRECISIONS
from modules.tokenization.byte_pair_tokenizer import BytePairTokenizer
from tests.toys.examples import write_split
from tests.toys.release import converted_release, saved_release, tiny_backbone, write_nan_files

# With end-of-text 14 tokens (a b c , _ the _ o the r _ th .), 1, and 61.
TEXTS = ["abc, the other th.", "", "the " * 30]


def _measurer(split: str, *, saved_model: str | None = None, kind: str = "text", **settings) -> TFLiteMeasurer:
    return TFLiteMeasurer(
        saved_model or saved_release().saved_model,
        split,
        data_kind=kind,
        sequence_length=16,
        **{"max_tokens": None, **settings},
    )


@pytest.fixture
def split(tmp_path: Path) -> str:
    return write_split(tmp_path / "Split-eval", *({"text": [text], "source": ["file"]} for text in TEXTS))


def test_float16_has_the_perplexity_and_the_continuations_of_the_saved_model(split: str) -> None:
    release, _ = converted_release()
    scored: list[tuple[int, int]] = []
    measurer = _measurer(split, on_documents=lambda done, documents: scored.append((done, documents)))
    figures = measurer.measure(release.tflite("float16"))
    evaluate = tf.saved_model.load(release.saved_model).signatures["evaluate"]
    expected = evaluate(examples=tf.constant([document.serialized for document in measurer.reference.documents]))
    assert figures.tokens == expected["num_tokens"].numpy().sum() == 76
    assert figures.float_nll_sum == pytest.approx(expected["nll_sum"].numpy().sum(), rel=1e-9)
    assert figures.nll_sum == pytest.approx(figures.float_nll_sum, rel=1e-3)
    assert (figures.documents, figures.whole_split) == (3, True)
    # The empty document is not used as a prompt.
    agreement = figures.greedy_agreement
    assert (agreement.prompts, agreement.tokens, agreement.whole, agreement.mean) == (2, 64, 2, 64.0)
    assert figures.decode_tokens_per_second > 0
    assert figures.size_bytes == Path(release.tflite("float16")).stat().st_size
    assert scored == [(1, 3), (2, 3), (3, 3), (4, 3), (5, 3), (6, 3)]


def test_int8_has_a_rise_of_its_own(split: str) -> None:
    release, _ = converted_release()
    measurer = _measurer(split)
    float16, int8 = (measurer.measure(release.tflite(precision)) for precision in PRECISIONS)
    assert int8.float_nll_sum == float16.float_nll_sum
    assert 1e-4 < abs(int8.rise) < 0.05
    assert abs(float16.rise) < 1e-3
    assert int8.size_bytes < float16.size_bytes


def test_a_file_of_nan_is_measured_and_fails(split: str, tmp_path: Path) -> None:
    figures = _measurer(split).measure(write_nan_files(tmp_path / "nan"))
    assert np.isnan(figures.perplexity)
    assert figures.greedy_agreement.whole == 0
    assert not rise_check("float16", figures, TFLiteGateSettings()).passed


def test_a_split_without_documents_fails(tmp_path: Path) -> None:
    figures = _measurer(write_split(tmp_path / "Split-eval")).measure(converted_release()[0].tflite("int8"))
    assert (figures.documents, figures.tokens, figures.greedy_agreement) == (0, 0, None)
    assert not rise_check("int8", figures, TFLiteGateSettings()).passed


def test_a_scoring_file_of_another_model_is_an_error(split: str, tmp_path: Path) -> None:
    path = write_nan_files(tmp_path / "mixed")
    release, _ = converted_release()
    shutil.copyfile(release.tflite("float16"), path)
    with pytest.raises(ScoringFileError, match=r"model\.scoring\.tflite must predict what .*model\.tflite decodes"):
        _measurer(split).measure(path)


def test_only_completions_of_instructions_are_scored(tmp_path: Path) -> None:
    release, _ = converted_release()
    folder = str(tmp_path / "model")
    saved_model.export_saved_model(
        tiny_backbone(), release.table, folder, data_kind="instruction", context_length=32, sequence_length=16
    )
    split = write_split(
        tmp_path / "Split-eval",
        {"prompt": ["ab"], "completion": ["the"]},
        {"prompt": ["a", "b"], "completion": ["c", "da"]},
    )
    measurer = _measurer(split, saved_model=folder, kind="instruction")
    assert [document.prompt for document in measurer.reference.documents] == [b"ab", b"a"]
    figures = measurer.measure(release.tflite("float16"))
    assert figures.tokens == 2 + 5
    assert figures.nll_sum == pytest.approx(figures.float_nll_sum, rel=1e-3)


@pytest.mark.parametrize(("max_tokens", "documents"), [(None, 3), (76, 3), (15, 2), (14, 1), (1, 1)])
def test_whole_documents_are_read_until_there_are_enough_tokens(split: str, max_tokens, documents: int) -> None:
    read, whole_split = read_documents(
        split, BytePairTokenizer(saved_release().table), data_kind="text", max_tokens=max_tokens
    )
    assert len(read) == documents
    assert whole_split is (documents == 3)


def test_a_prompt_is_the_beginning_of_a_document(split: str) -> None:
    documents, _ = read_documents(split, BytePairTokenizer(saved_release().table), data_kind="text", max_tokens=None)
    assert [document.prompt for document in documents] == [b"abc, the other th.", b"", b"the " * 15 + b"the"]
    assert [len(document.token_ids) for document in documents] == [13, 0, 60]


@pytest.mark.parametrize(
    ("pieces", "count"), [([b"the", b" c", b"ar"], 2), ([b"the cat", b"s"], 1), ([b"a"], 0), ([], 0)]
)
def test_leading_tokens_spell_the_beginning(pieces: list[bytes], count: int) -> None:
    assert leading_tokens(pieces, b"the cat") == count
