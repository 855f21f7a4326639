"""The conversion of a file's rows to the features of examples: plain text, instructions or preferences."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from modules.data.bad_rows import RowError
from modules.data.examples import WEIGHT
from modules.data.messages import LEFT_OUT, LossOn, counted_turns, read_messages
from modules.data.prompt_templates import Message, PromptTemplate
from modules.data.row_values import column_names, present, received, text_of

Kind = Literal["text", "instruction", "preference"]
# The columns that rows of instructions and preferences may have. Other columns are ignored, but for `REFUSED_COLUMNS`.
INSTRUCTION_COLUMNS = (
    "messages", "conversations", "instruction", "input", "output", "prompt", "completion", "system",
    "system_prompt",
)  # fmt: skip
PREFERENCE_COLUMNS = ("instruction", "input", "prompt", "chosen", "rejected", "system", "system_prompt")
# The shapes of instructions: their columns, the one that decides first.
_SYSTEM = ("system", "system_prompt")
_SHAPES = (
    ("messages", *_SYSTEM),
    ("conversations", *_SYSTEM),
    ("instruction", "input", "output", *_SYSTEM),
    ("prompt", "completion", *_SYSTEM),
)
# Columns that would change what is learned, and for which there is no definition here: a row that has one is refused.
REFUSED_COLUMNS = (
    "tools", "functions", "function_call", "tool_calls", "history", "thinking", "reasoning_content", "image",
    "images", "video", "videos", "audio", "audios", "train", "train_on_turn", "loss", "loss_mask", "mask",
    "weight", "weights", "labels", "label",
)  # fmt: skip


class Record(NamedTuple):
    """An example made from a row.

    Attributes:
        features: The tf.Example's features by name.
        content: The row's own words, without the template and the system's messages.
        changes: The number of things of the row that are not in the features, by what they are.
    """

    features: dict[str, list[str]]
    content: list[str]
    changes: Mapping[str, int] = {}


def text_record(row: Mapping[str, Any], column: str, place: str) -> Record:
    """Returns the features `{"text": […]}` of one column, which may be nested: `meta.text`.

    Raises:
        RowError: The column is missing or does not hold text.
    """
    text = text_of(row, column, place)
    return Record({"text": [text]}, [text])


def instruction_record(row: Mapping[str, Any], template: PromptTemplate, place: str, loss_on: LossOn = "all") -> Record:
    """Returns the features `{"prompt": […], "completion": […]}`, a pair for each turn, and `weight` if it is needed.

    The shapes of a row are in `modules/data/README.md`. A column that is null counts as missing.

    Args:
        row: The row.
        template: Template of the prompts.
        place: The row's place, for messages.
        loss_on: The replies that count in the loss; see `messages.counted_turns`.

    Raises:
        RowError: The row has none of the shapes or two of them, or a column that cannot be honoured.
    """
    row = present(row)
    refuse_columns(row, place)
    _check_one_shape(row, place)
    conversation = _conversation(row, place)
    if conversation is not None:
        return _conversation_record(*conversation, template, place, loss_on)
    if row.get("instruction") or ("instruction" in row and "prompt" not in row):  # joined tables have empty columns
        prompt, content = instruction_prompt(row, template, place)
        answer = text_of(row, "output", place)
    elif "prompt" in row:
        content = [text_of(row, "prompt", place)]
        prompt, answer = template.prompt(content[0], system=system_text(row, place)), text_of(row, "completion", place)
    else:
        raise RowError(
            "unknown_shape",
            f"{place}: a row of instructions has `instruction` and `output` (and `input`), or `prompt` and "
            f"`completion`, or `messages`, or `conversations`. Received: {column_names(row)}. Rename the columns, or "
            "use `kind: text`.",
        )
    return Record({"prompt": [prompt], "completion": [answer]}, [*content, answer])


def check_answers(features: Mapping[str, Sequence[str]], place: str) -> None:
    """Checks that there is something to learn: an empty completion has no loss.

    Args:
        features: The features after `documents.tidy`, which may leave a text empty.
        place: The row's place, for the message.

    Raises:
        RowError: A completion that counts, `chosen` or `rejected` is empty, or a conversation has no reply.
    """
    for name in [name for name in ("completion", "chosen", "rejected") if name in features]:
        answers = features[name]
        weights = features.get(WEIGHT, ["1"] * len(answers))
        turns = enumerate(zip(answers, weights, strict=True), start=1)
        empty = [number for number, (answer, weight) in turns if weight != "0" and not answer.strip()]
        if empty or not answers:
            what = f"{name} {empty[0]} is empty" if answers else "no message of the assistant"
            raise RowError(
                "empty_completion" if answers else "no_reply",
                f"{place}: every prompt needs an answer to learn. Received: {what}. Complete or remove the row.",
            )


def refuse_columns(row: Mapping[str, Any], place: str) -> None:
    """Checks that a row has no column that would have to be honoured.

    Raises:
        RowError: It has one.
    """
    for name in REFUSED_COLUMNS:
        value = row.get(name)
        if value is None or value in ("", [], {}) or (name == "weight" and value in (1, "1")):
            continue
        if name == "label":
            if "completion" in row and not row.keys() >= {"chosen", "rejected"}:
                raise _judged(row, place)
            continue
        raise RowError(
            "unsupported_column",
            f"{place}: the column `{name}` changes what is learned, and it is not supported. "
            f"Received: {received(value)}. Remove or rename the column, or remove the row.",
        )


def system_text(row: Mapping[str, Any], place: str) -> str:
    """Returns the system's message of a row; "" if it has none."""
    names = [name for name in ("system", "system_prompt") if row.get(name)]
    if len(names) > 1:
        raise RowError("two_spellings", f"{place}: has both `system` and `system_prompt`. Remove one of them.")
    return text_of(row, names[0], place) if names else ""


def instruction_prompt(row: Mapping[str, Any], template: PromptTemplate, place: str) -> tuple[str, list[str]]:
    """Returns the prompt of a row with `instruction`, and the row's own words in it."""
    instruction = text_of(row, "instruction", place)
    text = text_of(row, "input", place) if row.get("input") is not None else None
    prompt = template.prompt(instruction, text or "", system_text(row, place))
    return prompt, [instruction, *([] if text is None else [text])]


def with_system(messages: list[Message], row: Mapping[str, Any], place: str) -> list[Message]:
    """Returns a conversation that begins with the row's own system message, unless it begins so already."""
    text = system_text(row, place)
    first = [Message("system", text)] if text else []
    return messages if messages[:1] == first else [*first, *messages]


def _judged(row: Mapping[str, Any], place: str) -> RowError:
    return RowError(
        "judged_completion",
        f"{place}: `label` judges one completion, and such rows (of KTO) are not supported: a preference compares two "
        f"answers to one prompt. Received: {column_names(row)}. Join the rows of a prompt to "
        '{"prompt": "…", "chosen": "…", "rejected": "…"}, with the completion whose label is true as `chosen` and the '
        "other as `rejected`. Or keep only the rows whose label is true, remove the column `label`, and use "
        "`kind: instruction`.",
    )


def _check_one_shape(row: Mapping[str, Any], place: str) -> None:
    """Checks that no column of another shape holds text: it would be left out in silence.

    Raises:
        RowError: The row has columns of two shapes.
    """
    filled = [name for name in INSTRUCTION_COLUMNS if row.get(name) not in (None, "", [])]
    shapes = [shape for shape in _SHAPES if shape[0] in filled]
    if not shapes:
        return
    # Data sets of messages often repeat the first one in `prompt`: then nothing is lost.
    turns = row[shapes[0][0]] if isinstance(row[shapes[0][0]], list) else []
    said = [turn.get(key) for turn in turns if isinstance(turn, Mapping) for key in ("content", "value")]
    others = [name for name in filled if name not in shapes[0] and row[name] not in said]
    if not others:
        return
    raise RowError(
        "two_shapes",
        f"{place}: a row must have one shape, because only one of them can be learned. Received: "
        f"{', '.join(name for name in filled if name in shapes[0])} and {', '.join(others)}. Remove the columns of the "
        "other.",
    )


def _conversation(row: Mapping[str, Any], place: str) -> tuple[list[Message], dict[str, int]] | None:
    """Returns the messages of a row and what was ignored in them; None if the row has no messages.

    Raises:
        RowError: The row has two shapes, or its messages cannot be read.
    """
    lists = [name for name in ("messages", "conversations") if row.get(name) not in (None, "", [])]
    if lists:
        messages, ignored = read_messages(row[lists[0]], lists[0], place)
        return with_system(messages, row, place), ignored
    if not any(isinstance(row.get(name), list) for name in ("prompt", "completion")) or "instruction" in row:
        return None
    # Of `{"prompt": [messages], "completion": [messages]}` only the completion counts.
    before, ignored = messages_of(row, "prompt", "user", place)
    after, more = messages_of(row, "completion", "assistant", place)
    before = [message._replace(weight=0) if message.role == "assistant" else message for message in before]
    return with_system([*before, *after], row, place), added(ignored, more)


def messages_of(row: Mapping[str, Any], column: str, role: str, place: str) -> tuple[list[Message], dict[str, int]]:
    """Returns the messages of a column, which may be one text of the given role, and what was ignored in them."""
    if isinstance(row.get(column), list):
        return read_messages(row[column], column, place)
    return [Message(role, text_of(row, column, place))], {}


def _conversation_record(
    messages: list[Message], ignored: Mapping[str, int], template: PromptTemplate, place: str, loss_on: LossOn
) -> Record:
    kept, weights, left_out = counted_turns(messages, loss_on, place)
    prompts, completions = template.turns(kept)
    features = {"prompt": prompts, "completion": completions, **weight_feature(weights)}
    content = [message.content for message in kept if message.role != "system"]
    return Record(features, content, added(ignored, {LEFT_OUT: left_out}))


def weight_feature(weights: Sequence[int]) -> dict[str, list[str]]:
    """Returns the feature `weight`, unless all turns count: `[0, 1]` gives `{"weight": ["0", "1"]}`."""
    return {} if all(weights) else {WEIGHT: [str(weight) for weight in weights]}


def added(counts: Mapping[str, int], more: Mapping[str, int]) -> dict[str, int]:
    """Returns the sums of two counts by name, without zeros."""
    names = {**counts, **more}
    return {name: number for name in names if (number := counts.get(name, 0) + more.get(name, 0))}
