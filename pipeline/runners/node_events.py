"""Progress events about nodes, out of the messages that TFX logs."""

import logging
from collections.abc import Callable, Mapping

from modules.common import progress

# Messages of the pinned TFX release, by which a node's start and end are known.
NODE_STARTED = "Component %s is running."
NODE_FINISHED = "Component %s is finished."
NODE_CACHED = "A cached execution %d is used."
# Only of nodes that worked; a launcher may also return without having worked, and TFX logs the node's end all the same.
NODE_SUCCEEDED = "Execution %d succeeded."


class NodeEvents(logging.Handler):
    """Turns TFX's log messages about nodes into progress events, and calls what is to follow a node."""

    def __init__(self, after: Mapping[str, Callable[[], None]]):
        """Waits for messages.

        Args:
            after: A function per node, called once the node has worked and ML Metadata knows its outputs; not where
                they were cached, or there was nothing to work on.
        """
        super().__init__(logging.INFO)
        self._after = after
        self._node = ""
        self._succeeded = False

    def emit(self, record: logging.LogRecord) -> None:
        """Emits `started`, `cached` and `finished`."""
        if record.msg == NODE_STARTED and isinstance(record.args, tuple):
            self._node, self._succeeded = str(record.args[0]), False
            progress.emit({"event": "started", "node": self._node})
        elif record.msg == NODE_CACHED:
            progress.emit({"event": "cached", "node": self._node})
        elif record.msg == NODE_SUCCEEDED:
            self._succeeded = True
        elif record.msg == NODE_FINISHED:
            if self._node in self._after and self._succeeded:
                self._after[self._node]()
            progress.emit({"event": "finished_node", "node": self._node})
