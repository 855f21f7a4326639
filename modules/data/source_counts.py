"""Names of the properties in ML Metadata that count something for each of several named sources."""

from collections.abc import Mapping
from typing import Any

# What is counted: when the data are read, when they are tokenized, and when the model is trained.
DOCUMENTS, TOKENS = "documents_train", "tokens_train"
TOKENS_READ, TIMES_READ, UNREAD = "tokens_read", "times_read", "unread_tokens"


def count_of(what: str, source: str) -> str:
    """Returns the name of a property: `documents_train_of_poems`."""
    return f"{what}_of_{source}"


def counts_of(what: str, properties: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the values of such properties by source.

    Example:
        >>> counts_of(DOCUMENTS, {"documents_train": 9, "documents_train_of_poems": 7, "documents_train_of_faq": 2})
        {'poems': 7, 'faq': 2}
    """
    prefix = count_of(what, "")
    return {name.removeprefix(prefix): value for name, value in properties.items() if name.startswith(prefix)}
