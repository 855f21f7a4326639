"""Events derived from TFX's log messages; `test_run` shows that TFX writes these messages."""

import logging

import pytest

from pipeline.runners.node_events import NODE_CACHED, NODE_FINISHED, NODE_STARTED, NODE_SUCCEEDED, NodeEvents


def test_a_function_runs_after_its_node_was_executed_and_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    happened: list[str] = []
    monkeypatch.setattr(
        "modules.common.progress.emit", lambda event: happened.append(f"{event['event']} {event['node']}")
    )
    logger = logging.Logger("tfx")
    after = {"Trainer": lambda: happened.append("removed")}
    logger.addHandler(NodeEvents(after, on_cached=lambda execution_id: happened.append(f"checked {execution_id}")))
    # The last node was neither executed nor cached, because its inputs were missing.
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
        "started Trainer", "checked 7", "cached Trainer", "finished_node Trainer",
        "started Trainer", "finished_node Trainer",
    ]  # fmt: skip
