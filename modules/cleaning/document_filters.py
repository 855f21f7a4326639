"""Each document by itself: what is not kept is counted by reason, what looks like a secret is counted by kind."""

from collections.abc import Iterable, Iterator

from modules.cleaning.filters import CleaningSettings, reject_reason
from modules.cleaning.secrets import find_secrets
from modules.data.documents import Document, ReadCounts


def keep_documents(documents: Iterable[Document], settings: CleaningSettings, counts: ReadCounts) -> Iterator[Document]:
    """Yields the documents that pass `settings`, and counts what it sees."""
    for document in documents:
        content = document.content
        reason = reject_reason(content, settings)
        if reason:
            counts.drop(reason)
            continue
        if settings.secrets == "warn":
            for secret in find_secrets(content):
                counts.found_secret(secret.kind, f"{document.place}, line {secret.line} of the document")
        counts.documents += 1
        yield document
