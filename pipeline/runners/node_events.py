"""Progress events of nodes, derived from TFX's log messages."""

import logging
from collections.abc import Callable, Mapping

from modules.common import progress

# Log messages of the pinned TFX release that mark the start and the end of a node.
NODE_STARTED = "Component %s is running."
NODE_FINISHED = "Component %s is finished."
NODE_CACHED = "A cached execution %d is used."
# Logged only for nodes that were executed. A launcher may also return without executing its node; TFX then logs the
# node's end too.
NODE_SUCCEEDED = "Execution %d succeeded."


class NodeEvents(logging.Handler):
    """Log handler that turns TFX's messages into progress events and calls functions after nodes."""

    def __init__(self, after: Mapping[str, Callable[[], None]], on_cached: Callable[[int], None]):
        """Stores the functions. An exception of one of them ends the run.

        Args:
            after: A function per node, called after the node was executed and its outputs were recorded in ML Metadata;
                not called if the node was cached or had no inputs.
            on_cached: Function that is called with the id of each cached execution, before its results are used.
        """
        super().__init__(logging.INFO)
        self._after = after
        self._on_cached = on_cached
        self._node = ""
        self._succeeded = False

    def emit(self, record: logging.LogRecord) -> None:
        """Emits the events `started`, `cached` and `finished_node`."""
        if record.msg == NODE_STARTED and isinstance(record.args, tuple):
            self._node, self._succeeded = str(record.args[0]), False
            progress.emit({"event": "started", "node": self._node})
        elif record.msg == NODE_CACHED and isinstance(record.args, tuple):
            self._on_cached(int(str(record.args[0])))
            progress.emit({"event": "cached", "node": self._node})
        elif record.msg == NODE_SUCCEEDED:
            self._succeeded = True
        elif record.msg == NODE_FINISHED:
            if self._node in self._after and self._succeeded:
                self._after[self._node]()
            progress.emit({"event": "finished_node", "node": self._node})
