"""Each document is dropped for the first reason that applies, and wrong settings are named."""

import subprocess
import sys

import pydantic
import pytest

from modules.cleaning.filters import REASONS, CleaningSettings, reject_reason

ENGLISH = "The quick brown fox jumps over the lazy dog and runs away."
FRENCH = "Les enfants jouent dans la cour de l'école pendant que les parents discutent."
GERMAN = "Der Hund schläft heute im Garten, und die Katze sitzt auf dem Dach."
ADDRESS = "Write to jane.doe@mail.uni-bonn.de."


@pytest.mark.parametrize(
    ("text", "settings", "reason"),
    [
        ("abcd", {"min_characters": 5}, "too_short"),
        ("abcde", {"min_characters": 5, "max_characters": 5}, None),
        ("abcdef", {"max_characters": 5}, "too_long"),
        ("Caf\ufffd " * 20, {}, "charset"),
        ("Caf\ufffd " + "is 'café', decoded wrongly once in a hundred characters. " * 3, {}, None),
        ("Caf\ufffd " * 20, {"max_replacement_share": None}, None),
        ("Ein sch\u00c3\u00b6nes Caf\u00c3\u00a9 am Fluss.", {}, "charset"),
        ("It\u00e2\u20ac\u2122s open, isn\u00e2\u20ac\u2122t it?", {}, "charset"),
        (
            "Ein sch\u00f6nes Caf\u00e9, IRM\u00c3 \u2013 \u201cM\u00c3E\u201d, \u00a9 \u00c5, na\u00efve\u2026",
            {},
            None,
        ),
        ("C'est du caf\u00e9\u00a0\u00bb\u00a0!", {}, None),
        ("Der Umlaut \u201e\u00c4\u201c, la letra \u201c\u00d1\u201d", {}, None),
        ("Il est gi\u00c3\u00a0 l\u00c3\u00a0.", {}, "charset"),  # à has a no-break space as its second byte
        ("Hello.\u00c2\u00a0 World.", {}, "charset"),
        ("caf\u00e9\u00a0\u00bb \ufffd" + " is so" * 20, {}, None),  # U+FFFD proves nothing about the quote
        ("\x93It\x92s\x94 " * 20, {}, "charset"),  # quotes of Windows, read as Latin-1
        ("Wait\x85 " * 20, {}, "charset"),
        ("+---+---+\n| 1 | 2 |\n+---+---+", {}, None),
        ("+---+---+\n| 1 | 2 |\n+---+---+", {"min_alphabetic_words": 0.8}, "charset"),
        ("four words of 5", {"min_alphabetic_words": 0.75}, None),
        ("four words of 5", {"min_alphabetic_words": 0.8}, "charset"),
        (ENGLISH, {"languages": ["en"]}, None),
        (FRENCH, {"languages": ["en"]}, "language"),
        (FRENCH, {"languages": ["en", "fr"]}, None),
        (FRENCH, {}, None),
        ("Bonjour", {"languages": ["en"]}, None),
        ("Bonjour", {"languages": ["en"], "min_language_probability": 0.1}, "language"),
        ("1 2 3\n4 5 6\n7 8 9", {"languages": ["en"]}, None),
        (ADDRESS, {}, None),
        (ADDRESS, {"secrets": "off"}, None),
        (ADDRESS, {"secrets": "drop"}, "secret"),
        ("", {}, "too_short"),
    ],
)
def test_a_document_is_kept_or_dropped_for_a_reason(text, settings, reason):
    assert reject_reason(text, CleaningSettings(**settings)) == reason


def test_a_text_is_compared_with_all_languages_and_not_only_with_those_to_keep():
    """German is dropped from a corpus of English and French, instead of being taken for one of the two."""
    assert reject_reason(GERMAN, CleaningSettings(languages=("en", "fr"))) == "language"


def test_a_document_is_counted_by_the_first_reason():
    text = FRENCH + ADDRESS + "\ufffd" * 9
    settings = {"max_characters": 10, "languages": ("en",), "secrets": "drop"}
    reasons = []
    one_by_one = (
        {},
        {"max_characters": None},
        {"max_replacement_share": None},
        {"secrets": "off"},
        {"languages": None},
    )
    for lifted in one_by_one:
        settings |= lifted
        reasons.append(reject_reason(text, CleaningSettings(**settings)))
    assert reasons == ["too_long", "charset", "secret", "language", None]
    assert ("too_short", *reasons[:-1]) == REASONS


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"languages": ["enn"]}, r"Received: 'enn'\. Did you mean one of .*\ben\b"),
        ({"languages": ["de", "??"]}, r"Received: '\?\?'\. Did you mean one of ace, af, am"),
        ({"languages": []}, r"must name at least one language\. Received: none"),
        ({"min_characters": 9, "max_characters": 5}, r"at least `min_characters`\. Received: 5 and 9"),
        ({"min_characters": 0}, "greater than or equal to 1"),
        ({"near_duplicates": 0.3}, r"greater than or equal to 0\.5"),
        ({"leakage": 0}, "greater than 0"),
        ({"secrets": "hide"}, "'warn', 'drop' or 'off'"),
        ({"minimum_characters": 5}, "Extra inputs are not permitted"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(pydantic.ValidationError, match=message):
        CleaningSettings(**settings)


def test_settings_are_read_back_from_json():
    settings = CleaningSettings(languages=("en", "de"), near_duplicates=None, secrets="drop")
    assert CleaningSettings.model_validate_json(settings.model_dump_json()) == settings


def test_every_setting_is_described():
    assert all(field.description for field in CleaningSettings.model_fields.values())


def test_the_language_model_is_loaded_only_if_languages_are_set():
    code = (
        "import sys; from modules.cleaning.filters import *; reject_reason('text', CleaningSettings()); "
        "print([name for name in ('py3langid', 'tensorflow', 'scipy') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
