import os
import sys
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.compiled_model import CompiledModel
from ai_edge_litert.tools import flatbuffer_utils

from modules.export import tflite_conversion
from modules.export.tflite_files import PRECISIONS, scoring_file
from modules.serving.litert_model import LiteRTModel
from tests.toys.release import converted_release, reference_logits

CACHES = ["kv_cache_k_0", "kv_cache_k_1", "kv_cache_v_0", "kv_cache_v_1"]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_signatures_have_the_names_of_litert_lm(precision: str) -> None:
    model = CompiledModel.from_file(converted_release()[0].tflite(precision))
    signatures = {
        name: (sorted(tensors["inputs"]), sorted(tensors["outputs"]))
        for name, tensors in model.get_signature_list().items()
    }
    inputs = ["input_pos", *CACHES, "tokens"]
    # The conversion was also given a prefill length of 1024, but the context is 32.
    assert signatures == {
        "decode": (inputs, [*CACHES, "logits"]),
        "prefill_4": (inputs, CACHES),
        "prefill_16": (inputs, CACHES),
    }
    scoring = CompiledModel.from_file(scoring_file(converted_release()[0].tflite(precision)))
    assert sorted(scoring.get_signature_list()) == ["decode", "prefill_16", "prefill_4", "score_32"]
    assert list(scoring.get_output_tensor_details("score_32")["logits"]["shape"]) == [1, 32, 259]
    details = model.get_input_tensor_details("prefill_16")
    assert list(details["tokens"]["shape"]) == [1, 16]
    assert list(details["input_pos"]["shape"]) == [16]
    assert list(details["kv_cache_k_0"]["shape"]) == [1, 4, 32, 8]
    assert list(model.get_output_tensor_details("decode")["logits"]["shape"]) == [1, 1, 259]


@pytest.mark.parametrize(("precision", "tolerance"), [("float16", 0.02), ("int8", 0.4)])
def test_logits_are_close_to_those_of_the_backbone(precision: str, tolerance: float) -> None:
    release, _ = converted_release()
    model = LiteRTModel(release.tflite(precision))
    token_ids = [258, 10, 11, 12, 200]
    logits = np.stack([model.decode(token_id, at) for at, token_id in enumerate(token_ids)])
    reference = reference_logits(token_ids)
    assert reference.std() > 1.5
    assert np.abs(logits - reference).max() < tolerance


@pytest.mark.parametrize(("precision", "bytes_per_weight"), [("float16", 2), ("int8", 1)])
def test_the_token_table_is_stored_once(precision: str, bytes_per_weight: int) -> None:
    path = converted_release()[0].tflite(precision)
    for file in (path, scoring_file(path)):
        sizes = [len(data) for data in _buffers(file)]
        assert sizes.count(259 * 32 * bytes_per_weight) == 1
        assert max(sizes) == 259 * 32 * bytes_per_weight


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_released_file_has_the_weights_of_the_scoring_file(precision: str) -> None:
    path = converted_release()[0].tflite(precision)
    # Smaller buffers are constants of the signature that only the scoring file has.
    weights = {data for data in _buffers(scoring_file(path)) if len(data) >= 256}
    assert sum(map(len, weights)) > 25_000
    assert weights <= set(_buffers(path))


def _buffers(path: str) -> list[bytes]:
    buffers = flatbuffer_utils.read_model_from_bytearray(Path(path).read_bytes()).buffers
    return [bytes(buffer.data) for buffer in buffers if buffer.data is not None]


def test_the_conversion_reports_its_times_and_leaves_no_unfinished_files() -> None:
    release, conversion = converted_release()
    assert list(conversion.seconds) == ["start", "load", "save", "float16", "int8"]
    assert [name for name in os.listdir(release.folder) if "unfinished" in name] == []


def test_a_missing_preset_is_reported_with_the_last_lines_of_the_process(tmp_path: Path) -> None:
    with pytest.raises(
        tflite_conversion.ConversionError, match=r"no_preset could not be converted to TFLite: .* ended with status 1"
    ) as raised:
        tflite_conversion.export_tflite(str(tmp_path / "no_preset"), str(tmp_path / "out"), precision="int8")
    assert "no_preset" in str(raised.value).splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_aborts_is_reported_with_its_signal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    aborting = tmp_path / "python"
    aborting.write_text("#!/bin/sh\necho LLVM ERROR >&2\nkill -ABRT $$\n")
    aborting.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(aborting))
    with pytest.raises(tflite_conversion.ConversionError, match=r"was ended by SIGABRT\. Its last lines:\nLLVM ERROR"):
        tflite_conversion.export_tflite("preset", str(tmp_path / "out"), precision="float16")


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(ValueError, match=r"one of \('float16', 'int8'\)\. Received: 'int3'"):
        tflite_conversion.export_tflite("preset", "out", precision="int3")


@pytest.mark.parametrize("lengths", [[], [1, 16]])
def test_no_prefills_or_prefills_of_one_token_are_refused(lengths: list[int]) -> None:
    with pytest.raises(ValueError, match=r"at least one length, .* 2 tokens or more\. Received: "):
        tflite_conversion.convert_all("preset", {}, prefill_lengths=lengths)
