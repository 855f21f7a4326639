import numpy as np
import pytest

from modules.common.errors import InputError
from modules.export.tflite_files import PRECISIONS, scoring_file
from modules.serving.litert_model import LiteRTModel, plan_prefill
from tests.toys.release import CONTEXT_LENGTH, converted_release, reference_logits

TOKEN_IDS = [258, *range(1, CONTEXT_LENGTH)]


def _model(precision: str, *, scoring: bool = True) -> LiteRTModel:
    path = converted_release()[0].tflite(precision)
    return LiteRTModel(scoring_file(path) if scoring else path)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_scoring_file_computes_the_logits_of_the_released_file(precision: str) -> None:
    released = _model(precision, scoring=False)
    decoded = [released.decode(token_id, position) for position, token_id in enumerate(TOKEN_IDS)]
    (logits,) = _model(precision).logits(TOKEN_IDS)
    assert logits.shape == (32, 259)
    np.testing.assert_allclose(logits, decoded, atol=1e-5)


def test_no_chunk_of_logits_exceeds_the_context(monkeypatch: pytest.MonkeyPatch) -> None:
    # Three chunks of 12 would end at 36, but the context is 32. So the last chunk begins at 20 and repeats 4 tokens.
    model = _model("float16")
    runs: list[tuple[int, int]] = []

    def run(name: str, token_ids: list[int], position: int) -> np.ndarray:
        runs.append((position, len(token_ids)))
        return np.array([[token_id] for token_id in token_ids])

    monkeypatch.setattr(model, "_score_lengths", [12])
    monkeypatch.setattr(model, "_run", run)
    chunks = [chunk[:, 0].tolist() for chunk in model.logits(range(30))]
    assert runs == [(0, 12), (12, 12), (20, 12)]
    assert chunks == [[*range(12)], [*range(12, 24)], [*range(24, 30)]]


def test_logits_do_not_depend_on_an_earlier_text() -> None:
    model = _model("float16")
    (first,) = model.logits(TOKEN_IDS[:5])
    list(model.logits([7] * 32))
    (again,) = model.logits(TOKEN_IDS[:5])
    assert again.tolist() == first.tolist()
    assert np.abs(again - reference_logits(TOKEN_IDS[:5])).max() < 0.02


def test_scoring_with_a_released_file_is_refused() -> None:
    with pytest.raises(InputError, match=r"needs a signature score_<N>.* Received: .*int8\.tflite"):
        list(_model("int8", scoring=False).logits([1]))


def test_a_missing_file_is_refused() -> None:
    with pytest.raises(InputError, match=r"Received: /nowhere\.tflite, which is not a file"):
        LiteRTModel("/nowhere.tflite")


@pytest.mark.parametrize(
    ("count", "chunks"),
    [
        (0, []),
        (1, [(1, 1)]),
        (2, [(1, 1), (1, 1)]),
        (3, [(16, 3)]),
        (90, [(64, 64), (16, 16), (16, 10)]),
        (81, [(64, 64), (16, 16), (1, 1)]),
        (127, [(64, 64), (16, 16), (16, 16), (16, 16), (16, 15)]),
    ],
)
def test_a_prompt_is_split_into_the_available_prefills(count: int, chunks: list[tuple[int, int]]) -> None:
    assert plan_prefill(count, [16, 64], 128) == chunks


def test_no_prefill_exceeds_the_context() -> None:
    # A padded prefill of 16 would end at 32, but the context is 30.
    assert plan_prefill(20, [16], 30) == [(16, 16), (1, 1), (1, 1), (1, 1), (1, 1)]
    assert plan_prefill(3, [], 30) == [(1, 1), (1, 1), (1, 1)]
