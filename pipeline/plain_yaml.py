"""Parser of YAML in bounded time and memory: small texts, without aliases, and not nested deeply."""

from typing import Any

import yaml

# PyYAML reads about 100 kB per second. A recipe has 2 kB.
MAX_CHARACTERS = 2**17


class _PlainLoader(yaml.SafeLoader):
    """Loader that refuses aliases: a few of them can stand for gigabytes."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            alias = self.peek_event()
            raise yaml.MarkedYAMLError(
                problem=f"aliases such as `*{alias.anchor}` are not allowed: write the value again, or quote the text",
                problem_mark=alias.start_mark,
            )
        return super().compose_node(parent, index)


def parse_yaml(text: str) -> Any:
    """Parses a YAML document.

    Raises:
        ValueError: The text is too long, is not YAML, holds an alias, or is nested too deeply.
    """
    if len(text) > MAX_CHARACTERS:
        raise ValueError(f"it must have at most {MAX_CHARACTERS:,} characters, and has {len(text):,}")
    try:
        return yaml.load(text, _PlainLoader)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None
    except RecursionError:
        raise ValueError("its values are nested too deeply") from None
