from pathlib import Path

import pydantic
import pytest

from modules.common.errors import InputError
from modules.objectives.settings import DistillationSettings


def test_a_changed_file_of_the_teacher_changes_the_fingerprint(tmp_path: Path) -> None:
    settings = DistillationSettings(teacher=str(tmp_path))
    (tmp_path / "model.weights.h5").write_bytes(b"weights")
    before = settings.fingerprint()
    assert settings.fingerprint() == before
    (tmp_path / "model.weights.h5").write_bytes(b"Weights")
    assert settings.fingerprint() != before


def test_a_missing_teacher_is_named_in_the_message() -> None:
    with pytest.raises(InputError, match=r"`training.distillation.teacher` names no folder. Received: ./nowhere"):
        DistillationSettings(teacher="./nowhere").fingerprint()


@pytest.mark.parametrize("wrong", [{"temperature": 0}, {"mix": 1.1}, {"mix": -0.1}])
def test_values_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(pydantic.ValidationError):
        DistillationSettings(teacher="gpt2_large_en", **wrong)
