"""Work of the local runner besides TFX."""

from pathlib import Path

import pytest

from pipeline.runners.local import remove_checkpoints


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a.npz", "b.npz", "c.npz", "c.npz.new"], "with 2 checkpoints of interrupted training runs"),
        (["a.npz"], ""),
        ([], ""),
    ],
)
def test_removed_checkpoints_of_other_settings_are_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, names: list[str], message: str
) -> None:
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    for name in names:
        (folder / name).touch()
    remove_checkpoints(folder)
    assert not folder.exists()
    assert len(caplog.messages) == bool(message)
    assert message in caplog.text
