"""The events that come of TFX's messages; that TFX writes them is seen in `test_run`."""

import logging

import pytest

from pipeline.runners.node_events import NODE_CACHED, NODE_FINISHED, NODE_STARTED, NODE_SUCCEEDED, NodeEvents


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
