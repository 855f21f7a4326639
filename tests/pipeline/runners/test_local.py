"""What the runner makes of TFX's messages; that TFX writes them is seen in `test_run`."""

import logging
from pathlib import Path

import pytest

from pipeline.runners.local import (
    NODE_CACHED,
    NODE_FINISHED,
    NODE_STARTED,
    NODE_SUCCEEDED,
    NodeEvents,
    remove_checkpoints,
)


def test_what_follows_a_node_waits_for_its_end_and_needs_its_work(monkeypatch: pytest.MonkeyPatch) -> None:
    happened: list[str] = []
    monkeypatch.setattr(
        "modules.common.progress.emit", lambda event: happened.append(f"{event['event']} {event['node']}")
    )
    logger = logging.Logger("tfx")
    logger.addHandler(NodeEvents({"Trainer": lambda: happened.append("removed")}))
    # The last one neither worked nor was cached: its inputs were not there.
    for node, message in (
        ("Transform", NODE_SUCCEEDED), ("Trainer", NODE_SUCCEEDED), ("Trainer", NODE_CACHED), ("Trainer", None),
    ):  # fmt: skip
        logger.info(NODE_STARTED, node)
        if message:
            logger.info(message, 7)
        logger.info(NODE_FINISHED, node)
    assert happened == [
        "started Transform", "finished_node Transform",
        "started Trainer", "removed", "finished_node Trainer",
        "started Trainer", "cached Trainer", "finished_node Trainer",
        "started Trainer", "finished_node Trainer",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a.npz", "b.npz", "c.npz", "c.npz.new"], "with 2 checkpoints of interrupted trainings"),
        (["a.npz"], ""),
        ([], ""),
    ],
)
def test_checkpoints_of_other_settings_do_not_go_in_silence(
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
