import pytest

from modules.data.prompt_templates import TEMPLATES, Message
from modules.serving.prompt_fitting import fit_prompt, template_tokens

HEADINGS = TEMPLATES["headings"]
HEAD, END = "### Instruction:\n", "\n\n### Response:\n"


def test_a_prompt_that_fits_is_not_changed() -> None:
    prompt = HEADINGS.prompt("Name a bird.")
    assert fit_prompt(prompt, template=HEADINGS, room=len(prompt) + 1, count_tokens=len) == (
        prompt, len(prompt), len(prompt),
    )  # fmt: skip
    assert fit_prompt("abc", template=None, room=3, count_tokens=len).left_out == 0


def test_plain_text_loses_its_beginning() -> None:
    fitted = fit_prompt("abcdef", template=None, room=4, count_tokens=len)
    assert (fitted.text, fitted.tokens, fitted.kept, fitted.left_out) == ("abcdef", 6, 4, 2)


@pytest.mark.parametrize("name", ["headings", "chat"])
def test_words_lose_their_middle_and_the_template_stays_whole(name: str) -> None:
    template = TEMPLATES[name]
    text = " ".join(f"word{number}" for number in range(500))
    whole = template.prompt(text)
    fitted = fit_prompt(whole, template=template, room=120, count_tokens=len)
    assert fitted.text.startswith(f"{template.user}word0 word1 ")
    assert fitted.text.endswith(f" word498 word499{template.after}{template.reply}")
    assert fitted.kept == len(fitted.text) <= 119
    assert fitted.kept > 100  # nearly all of the room is used
    assert fitted.left_out == len(whole) - fitted.kept


def test_an_instruction_before_a_long_input_stays() -> None:
    prompt = HEADINGS.prompt("Translate.", "x " * 300)
    fitted = fit_prompt(prompt, template=HEADINGS, room=120, count_tokens=len)
    assert fitted.text.startswith("### Instruction:\nTranslate.\n\n### Input:\nx ")
    assert fitted.text.endswith(f"x {END}")


def test_text_without_spaces_and_of_any_length_is_cut() -> None:
    fitted = fit_prompt(HEADINGS.prompt("字" * 10**6), template=HEADINGS, room=100, count_tokens=len)
    assert fitted.text.count("字") == 64
    few = fit_prompt(HEADINGS.prompt("字" * 10**6), template=HEADINGS, room=40, count_tokens=len)
    assert few.text == f"{HEAD}{'字' * 6}{END}"
    assert fitted.text.startswith(HEAD)
    assert fitted.text.endswith(END)


def test_a_template_without_room_for_a_word_is_cut_like_text() -> None:
    prompt = HEADINGS.prompt("Name a bird.")
    fitted = fit_prompt(prompt, template=HEADINGS, room=10, count_tokens=len)
    assert (fitted.text, fitted.kept) == (prompt, 10)
    assert template_tokens(HEADINGS, len) == len(HEAD + "a" + END) + 1


def count_words(text: str) -> int:
    return len(text.split())


@pytest.mark.parametrize("name", list(TEMPLATES))
@pytest.mark.parametrize("room", [100, 121, 160, 240])
def test_every_mark_stays_with_a_system_message_an_input_and_a_tool(name: str, room: int) -> None:
    template = TEMPLATES[name]
    texts = [" ".join(f"{part}{number}" for number in range(40)) for part in "abc"]
    with_input = template.prompt(texts[0], input=texts[1], system=texts[2])
    roles = ("system", "user", "tool")
    (with_tool, *_), _ = template.turns([*map(Message, roles, texts), Message("assistant", "Yes.")])
    for prompt, marks in (
        (with_input, [template.user, template.input, template.reply]),
        (with_tool, [template.user, template.tool, template.reply]),
    ):
        fitted = fit_prompt(prompt, template=template, room=room, count_tokens=len)
        places = [fitted.text.find(mark and template.after + mark) for mark in marks]
        assert -1 not in places
        assert places == sorted(places) or "" in marks
        assert fitted.text.endswith(template.after + template.reply)
        assert room - 20 < fitted.kept == len(fitted.text) < room
        assert fitted.left_out == len(prompt) - fitted.kept


@pytest.mark.parametrize("room", [8, 12, 20])
def test_the_longest_text_is_cut_first(room: int) -> None:
    prompt = HEADINGS.prompt("Translate.", input="x " * 50, system="Be brief.")
    fitted = fit_prompt(prompt, template=HEADINGS, room=room + 1, count_tokens=count_words)
    marks_and_short_texts = 9
    if room > marks_and_short_texts:
        assert fitted.text.startswith("Be brief.\n\n### Instruction:\nTranslate.\n\n### Input:\nx ")
        assert fitted.kept == room
    assert fitted.left_out == count_words(prompt) - fitted.kept
    assert all(mark in fitted.text for mark in ("### Instruction:\n", "### Input:\n", "### Response:\n"))


def test_a_pasted_conversation_keeps_the_first_and_the_last_mark() -> None:
    chat = TEMPLATES["chat"]
    few = chat.prompt("Sum up:\n\nUser:\nHi\n\nAssistant:\n" + "Hello! " * 50)
    assert fit_prompt(few, template=chat, room=80, count_tokens=len).text.count("User:\n") == 2
    many = chat.prompt("\n\nUser:\nHi" * 100)
    fitted = fit_prompt(many, template=chat, room=80, count_tokens=len)
    assert fitted.text.startswith("User:\n")
    assert fitted.text.endswith("\n\nAssistant:\n")
    assert 60 < fitted.kept < 80
