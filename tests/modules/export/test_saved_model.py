from pathlib import Path

import keras_hub
import pytest

from modules.export import saved_model
from tests.toys.release import saved_release, tiny_backbone


def test_an_unknown_kind_of_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="`data_kind` must be one of"):
        saved_model.export_saved_model(tiny_backbone(), saved_release().table, str(tmp_path), data_kind="chat")


def test_a_vocabulary_larger_than_the_model_is_refused(tmp_path: Path) -> None:
    backbone = keras_hub.models.GPT2Backbone(258, 1, 2, 8, 16, max_sequence_length=6)
    with pytest.raises(ValueError, match=r"must fit the model's 258 token embeddings\. Received: 259 tokens"):
        saved_model.export_saved_model(backbone, saved_release().table, str(tmp_path / "model"))
