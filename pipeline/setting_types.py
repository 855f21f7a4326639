"""Types of settings by their dotted keys, found by walking the annotations of a class of settings."""

import types
import typing
from collections.abc import Mapping
from typing import Annotated, Any

from modules.common.settings import Settings


def alternatives(annotation: Any) -> list[Any]:
    """Returns the types that an annotation allows: `Annotated[int, Ge(1)] | None` -> `[int, NoneType]`."""
    if typing.get_origin(annotation) is Annotated:
        return alternatives(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return [kind for part in typing.get_args(annotation) for kind in alternatives(part)]
    return [annotation]


def settings_of(annotation: Any, part: str | int) -> Any:
    """Returns the annotation of a field, of a mapping's values, of a list's items, or of the alternative of a tag.

    Raises:
        KeyError: The annotation has no such part.
    """
    for kind in alternatives(annotation):
        if isinstance(kind, type) and issubclass(kind, Settings):
            if part in kind.model_fields:
                return kind.model_fields[str(part)].annotation
            if "kind" in kind.model_fields and part in typing.get_args(kind.model_fields["kind"].annotation):
                return kind
        elif isinstance(part, int) and is_list(kind):
            return typing.get_args(kind)[0]
        elif is_mapping(kind):
            return typing.get_args(kind)[1]
    raise KeyError(part)


def known_keys(annotation: Any, place: tuple[str | int, ...]) -> list[str]:
    """Returns the keys that the settings at a place may have."""
    for part in place:
        annotation = settings_of(annotation, part)
    return [name for kind in alternatives(annotation) for name in getattr(kind, "model_fields", ())]


def is_list(kind: Any) -> bool:
    """Returns True for the type of a list or tuple."""
    return typing.get_origin(kind) in (list, tuple)


def is_mapping(kind: Any) -> bool:
    """Returns True for the type of a mapping with keys of its own, e.g. `dict[str, float]`."""
    return typing.get_origin(kind) in (dict, Mapping)
