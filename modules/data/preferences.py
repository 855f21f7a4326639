"""The conversion of a row with a better and a worse answer to features, for DPO."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from modules.data.bad_rows import RowError
from modules.data.prompt_templates import Message, PromptTemplate
from modules.data.records import (
    Record,
    added,
    instruction_prompt,
    messages_of,
    refuse_columns,
    system_text,
    weight_feature,
    with_system,
)
from modules.data.row_values import column_names, present, text_of

_ANSWERS = ("chosen", "rejected")
# Columns that hold the prompt in some data sets. Without `prompt`, the answers' common beginning would replace it.
OTHER_PROMPTS = ("question", "query", "input", "messages", "conversations", "context")
# A speaker's label in a conversation that is one text: "\n\nHuman: …\n\nAssistant: …".
_LABEL = re.compile(r"(?:\A\s*|\n+)(Human|User|System|Assistant):[ \t]?")
_LABEL_ROLES = {"Human": "user", "User": "user", "System": "system", "Assistant": "assistant"}


def preference_record(row: Mapping[str, Any], template: PromptTemplate, place: str) -> Record:
    """Returns the features `{"prompt": […], "chosen": […], "rejected": […]}`, a value for each turn.

    A row with texts has one turn. Of a conversation only the last turn has two answers and counts in the loss; the
    turns before it have weight 0 and the same reply in `chosen` and `rejected`. The shapes of a row are in
    `modules/data/README.md`. A column that is null counts as missing.

    Raises:
        RowError: The row has none of the shapes, or a column that cannot be honoured.
    """
    row = present(row)
    refuse_columns(row, place)
    if row.get("instruction", row.get("prompt")) != row.get("prompt", row.get("instruction")):
        raise RowError(
            "two_shapes",
            f"{place}: a row must have one prompt. Received: `instruction` and another `prompt`. Remove one of them.",
        )
    if any(isinstance(row.get(name), list) for name in ("prompt", *_ANSWERS)):
        return _conversations(row, template, place)
    has_prompt = "prompt" in row or "instruction" in row
    if not has_prompt and all(isinstance(row.get(name), str) for name in _ANSWERS):
        found = next((name for name in OTHER_PROMPTS if row.get(name)), None)
        if found is not None:
            raise RowError(
                "no_prompt",
                f"{place}: the prompt of a preference is in the column `prompt`. Received: `{found}`, whose text would "
                f"be left out. Rename `{found}` to `prompt`.",
            )
        return _whole_texts(row, template, place)
    if "instruction" in row:
        prompt, content = instruction_prompt(row, template, place)
    else:
        content = [text_of(row, "prompt", place)]
        prompt = template.prompt(content[0], system=system_text(row, place))
    answers = [text_of(row, column, place) for column in _ANSWERS]
    return Record({"prompt": [prompt], "chosen": answers[:1], "rejected": answers[1:]}, content + answers)


def _conversations(row: Mapping[str, Any], template: PromptTemplate, place: str) -> Record:
    """Returns the record of a row in which a column is a list of messages."""
    ignored: dict[str, int] = {}
    read = {}
    for name in _ANSWERS:
        read[name], unknown = messages_of(row, name, "assistant", place)
        ignored = added(ignored, unknown)
    before: list[Message] = []
    if "prompt" in row:
        before, unknown = messages_of(row, "prompt", "user", place)
        ignored = added(ignored, unknown)
    elif "instruction" in row:
        raise RowError(
            "unknown_shape",
            f"{place}: `instruction` needs `chosen` and `rejected` that are texts. Received: a list of messages. Put "
            "the instruction into `prompt`, as one text.",
        )
    record = _turns(before, read["chosen"], read["rejected"], row, template, place)
    return record._replace(changes=ignored)


def _turns(
    before: Sequence[Message],
    chosen: Sequence[Message],
    rejected: Sequence[Message],
    row: Mapping[str, Any],
    template: PromptTemplate,
    place: str,
) -> Record:
    """Returns the record of the conversation `before`, which two conversations continue that differ at their end."""
    common = _common(chosen[:-1], rejected[:-1])
    ends = chosen[len(common) :], rejected[len(common) :]
    answers = [*ends[0], *ends[1]]
    if any(len(end) != 1 or end[0].role != "assistant" or end[0].weight == 0 for end in ends):
        raise RowError(
            "no_two_answers",
            f"{place}: `chosen` and `rejected` must be the same conversation up to one last reply of the assistant in "
            f"each, which counts in the loss. Received: {len(common)} equal messages, then "
            f"{_roles(ends[0])} in `chosen` and {_roles(ends[1])} in `rejected`. "
            "Cut both after the reply in which they differ.",
        )
    context = with_system(_context(before, common, place), row, place)
    if not any(message.role != "system" for message in context):
        raise RowError(
            "no_prompt",
            f"{place}: `chosen` and `rejected` need a prompt: messages that both begin with, or a column `prompt`. "
            f"Received: {column_names(row)}. Add one of them.",
        )
    prompts, completions = template.turns([*context, answers[0]])
    features = {
        "prompt": prompts,
        "chosen": completions,
        "rejected": [*completions[:-1], answers[1].content],
        **weight_feature([0] * (len(prompts) - 1) + [1]),
    }
    return Record(features, [message.content for message in [*context, *answers] if message.role != "system"])


def _common(chosen: Sequence[Message], rejected: Sequence[Message]) -> list[Message]:
    """Returns the messages that both begin with; weights do not matter, because all of them are only context."""
    pairs = list(zip(chosen, rejected, strict=False))
    equal = [message[:2] == opposite[:2] for message, opposite in pairs]
    return list(chosen[: equal.index(False) if False in equal else len(equal)])


def _context(before: Sequence[Message], common: Sequence[Message], place: str) -> list[Message]:
    """Returns the messages before the answers, of which the prompt may be a part of both conversations, too."""
    texts = [message[:2] for message in common]
    repeated = [message[:2] for message in before]
    if not before or (texts and any(texts[at : at + len(before)] == repeated for at in range(len(texts)))):
        return list(common)
    if any(message.role != "system" for message in common):
        raise RowError(
            "two_prompts",
            f"{place}: the messages that `chosen` and `rejected` begin with must contain the prompt, or be missing. "
            "Received: another prompt. Remove the column `prompt`, or these messages.",
        )
    return [*common, *before]


def _roles(messages: Sequence[Message]) -> str:
    return ", ".join(message.role for message in messages[:5]) + (", …" if len(messages) > 5 else "") or "nothing"


def _whole_texts(row: Mapping[str, Any], template: PromptTemplate, place: str) -> Record:
    """Returns the record of two whole texts, whose common beginning is the prompt.

    Texts with labels (`Human: …`, `Assistant: …`) are read as messages. In others the prompt ends after the last line
    that is common to both or, if they differ in the first line, after the last common word:

    `"Is it hot?\\nYes, very."` and `"Is it hot?\\nYes, a bit."` give the prompt `"Is it hot?\\n"`.
    """
    chosen, rejected = (text_of(row, name, place) for name in _ANSWERS)
    labelled = [_labelled(text) for text in (chosen, rejected)]
    if labelled[0] and labelled[1]:
        return _turns([], labelled[0], labelled[1], row, template, place)
    pairs = enumerate(zip(chosen, rejected, strict=False))
    differs = next((at for at, (left, right) in pairs if left != right), min(len(chosen), len(rejected)))
    common = chosen[:differs]
    end = common.rfind("\n") + 1 or common.rfind(" ") + 1
    if not common[:end].strip():
        raise RowError(
            "no_prompt",
            f"{place}: rows without `prompt` need a common beginning of `chosen` and `rejected`, which becomes the "
            f"prompt. Received: {column_names(row)}, without one. Add the column `prompt`.",
        )
    if chosen == rejected:
        end = 0  # dropped later, and counted: there is no preference
    prompt = template.prompt(common[:end], system=system_text(row, place))
    features = {"prompt": [prompt], "chosen": [chosen[end:]], "rejected": [rejected[end:]]}
    return Record(features, [common[:end], chosen[end:], rejected[end:]])


def _labelled(text: str) -> list[Message]:
    """Returns the messages of a text with speakers' labels; nothing if it does not begin with one, or has no reply."""
    _, *parts = _LABEL.split(text)
    roles = [_LABEL_ROLES[label] for label in parts[::2]]
    is_conversation = _LABEL.match(text) and "assistant" in roles and "user" in roles
    return list(map(Message, roles, parts[1::2])) if is_conversation else []
