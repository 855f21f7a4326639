"""Errors about text that is not in the expected encoding; they propose the encoding in which it reads well."""

import dataclasses
import shlex
from collections.abc import Sequence

from charset_normalizer import from_bytes

from modules.common.errors import InputError

SAMPLE_BYTES = 2**16
# Bytes of UTF-8 that continue a character.
_CONTINUATION = bytes(range(0x80, 0xC0))
# Few lines of another encoding are UTF-8 by chance, if they are short.
_CHANCE = 0.1
_SHOWN_CHARACTERS = 60
_SHOWN_LINES = 20
# The encodings of the web (https://encoding.spec.whatwg.org/) and UTF-16 and UTF-32 without a mark. Where a text reads
# as well in several of them, the earliest is proposed.
_CANDIDATES = (
    *("cp1252", "cp1251", "cp1250", "gb18030", "cp932", "euc_jp", "cp949", "big5hkscs"),
    *("utf_16_le", "utf_16_be", "utf_32_le", "utf_32_be", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257"),
    *("cp1258", "cp874", "koi8_r", "koi8_u", "iso8859_2", "iso8859_5", "iso8859_7", "cp866", "mac_roman"),
)
_WIDE = ("utf_16_le", "utf_16_be", "utf_32_le", "utf_32_be")
# A worse candidate than the best by less than this much chaos (0 to 1, of charset-normalizer) counts as equally good.
_TOLERANCE = 0.02


class EncodingError(InputError):
    """An error about the encoding of a file.

    Attributes:
        by_conversion: The same error with the conversion of the file as its cure, for files that are not read by the
            settings `data`.
    """

    by_conversion: InputError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Undecodable:
    """A place at which a file is not in its encoding.

    Attributes:
        path: The file.
        encoding: The encoding that was expected.
        is_marked: True if a byte order mark decided the encoding.
        line: Number of the line.
        position: Number of bytes in the file before the place.
        byte: The byte there.
        reason: The codec's own words.
        bytes: A part of the file that contains the place.
        start: Index of the place in `bytes`.
        first_line: Number of the line in which `bytes` begins.
        at_end: True if the file ends in the middle of a character.
        non_ascii_before: True if characters beyond ASCII were decoded before the place.
    """

    path: str
    encoding: str
    is_marked: bool
    line: int
    position: int
    byte: int
    reason: str
    bytes: bytes
    start: int
    first_line: int
    at_end: bool
    non_ascii_before: bool


def undecodable(place: Undecodable) -> InputError:
    """Returns the error about bytes that are not in the expected encoding, with a cure."""
    name = place.encoding.upper() if place.encoding.startswith("utf") else place.encoding
    message = (
        f"{place.path} is not {name}: line {place.line}, byte {place.position}. "
        f"Received: 0x{place.byte:02x} ({place.reason}). "
    )
    cut = (
        "The end of the file is missing: copy it again, or remove the incomplete character with "
        f"`{_rewritten(place.path, f'head -c {place.position}')}`."
    )
    if place.is_marked and place.encoding != "utf-8":
        damaged = f"The file begins with the byte order mark of {name} and is damaged here: copy it again."
        return InputError(message + (cut if place.at_end else damaged))
    if place.encoding != "utf-8" and _is_utf8(place.bytes.lstrip(_CONTINUATION), may_be_cut=True):
        return InputError(message + _utf8_cure(place.path, place.encoding, place.bytes[place.start :]))
    if place.at_end and place.non_ascii_before:
        return InputError(message + cut)
    if place.encoding == "utf-8" and (mixed := _mixed_lines(place)):
        return InputError(message + mixed)
    after = f" If it is {name} after all: {cut}" if place.at_end else ""
    return _proposing(message, place.path, *_proposal(place), after)


def check_no_wide_characters(raw: bytes, path: str) -> None:
    """Checks the beginning of a file with null bytes, which UTF-8 allows: it may be UTF-16 or UTF-32 without a mark.

    Raises:
        InputError: It reads well as UTF-16 or UTF-32.
    """
    sample = raw[:SAMPLE_BYTES]
    # Every second character of UTF-16 that has null bytes is at least a space or a line break.
    if sample.count(0) < len(sample) / 40:
        return
    encoding = _guess(sample, _WIDE)
    if encoding:
        message = (
            f"{path} is not UTF-8: it has null bytes, as UTF-16 and UTF-32 do. Received: 0x00 in byte {raw.index(0)}. "
        )
        raise _proposing(message, path, encoding, sample.decode(encoding, "ignore"))


def is_utf8(path: str, encoding: str, sample: bytes) -> InputError:
    """Returns the error about a file that is UTF-8 and was to be read in another encoding."""
    return InputError(f"{path} is UTF-8. Received: `data.encoding: {encoding}`. {_utf8_cure(path, encoding, sample)}")


def _utf8_cure(path: str, encoding: str, sample: bytes) -> str:
    start = next((index for index, byte in enumerate(sample) if byte > 127), 0)
    part = sample[start : start + 4 * _SHOWN_CHARACTERS].split(b"\n")[0]
    right, wrong = (part.decode(codec, "replace")[:_SHOWN_CHARACTERS] for codec in ("utf-8", encoding))
    mark = _rewritten(path, "sed '1s/^/\\xef\\xbb\\xbf/'")
    return (
        f"It would read {wrong!r} instead of {right!r}. If all files are UTF-8, remove `data.encoding`. If only this "
        f"one is, give it a byte order mark: `{mark}`. If it is {encoding} after all, convert it: "
        f"`{_rewritten(path, f'iconv -f {encoding} -t UTF-8')}`, and give it the mark."
    )


def _rewritten(path: str, command: str) -> str:
    """Returns a shell command that replaces a file by what a filter makes of it."""
    old, new = shlex.quote(path), shlex.quote(f"{path}.new")
    for ending, program in ((".gz", "gzip"), (".zst", "zstd")):
        if path.lower().endswith(ending):
            return f"{program} -dc {old} | {command} | {program} > {new} && mv {new} {old}"
    return f"{command} < {old} > {new} && mv {new} {old}"


def _mixed_lines(place: Undecodable) -> str:
    """Returns the cure for a file in which many other lines are UTF-8 beyond ASCII; "" if it is not such a file."""
    parts = place.bytes.split(b"\n")
    # The last line may end in the middle of a character.
    lines = enumerate(parts if place.at_end or len(parts) == 1 else parts[:-1], place.first_line)
    beyond = [(number, _is_utf8(line)) for number, line in lines if not line.isascii()]
    wrong = [number for number, is_sound in beyond if not is_sound]
    if b"\0" in place.bytes or not wrong or len(beyond) - len(wrong) <= _CHANCE * len(wrong):
        return ""
    remove = "sed '" + ";".join(f"{number}d" for number in wrong[:_SHOWN_LINES]) + "'"
    return (
        f"Other lines are UTF-8, so the file mixes encodings: correct line {place.line} and those like it, or remove "
        f"{'them' if len(wrong) > 1 else 'it'} with `{_rewritten(place.path, remove)}`."
    )


def _proposal(place: Undecodable) -> tuple[str | None, str]:
    """Returns the encoding in which the file reads best, or None, and how the line reads in it."""
    sample = _sample(place)
    # Two bytes can always be a character of UTF-16.
    may_be_wide = b"\0" in sample or len(sample) > _SHOWN_CHARACTERS
    names = [name for name in _CANDIDATES if name != place.encoding and (may_be_wide or name not in _WIDE)]
    encoding = _guess(sample, names)
    if encoding is None:
        return None, ""
    if encoding in _WIDE:
        return encoding, place.bytes[: SAMPLE_BYTES // 4 * 4].decode(encoding, "ignore")
    begin = max(place.bytes.rfind(b"\n", 0, place.start) + 1, place.start - _SHOWN_CHARACTERS)
    return encoding, place.bytes[begin : begin + 8 * _SHOWN_CHARACTERS].decode(encoding, "ignore")


def _proposing(message: str, path: str, encoding: str | None, text: str, after: str = "") -> EncodingError:
    """Returns the error that proposes an encoding, with a line of the text as it would read."""
    line = next((line for line in text.splitlines() if line.strip()), "")
    name = encoding or "NAME"
    proposal = (
        f"It looks like {encoding}, in which the line reads {line.strip()[: 2 * _SHOWN_CHARACTERS]!r}: "
        if encoding
        else "No encoding was found in which it reads as text. If you know it, "
    )
    choice = ", or the name of another encoding if it reads wrongly" if encoding else ""
    error = EncodingError(f"{message}{proposal}add `--set data.encoding={name}`{choice}.{after}")
    command = _rewritten(path, f"iconv -f {name} -t UTF-8")
    error.by_conversion = InputError(f"{message}{proposal}convert it with `{command}`{choice}.{after}")
    return error


def _sample(place: Undecodable) -> bytes:
    """Returns the lines with characters beyond ASCII near the place, or the beginning if there are null bytes."""
    if b"\0" in place.bytes:
        return place.bytes[:SAMPLE_BYTES]
    begin = max(place.bytes.rfind(b"\n", 0, place.start) + 1, place.start - SAMPLE_BYTES // 4)
    lines = [line for line in place.bytes[begin : begin + SAMPLE_BYTES].split(b"\n") if not line.isascii()]
    # The last line may end in the middle of a character.
    return b"\n".join(lines[:-1] if len(lines) > 1 else lines) + b"\n"


def _guess(sample: bytes, candidates: Sequence[str]) -> str | None:
    """Returns the candidate in which the bytes read best, by charset-normalizer, or None."""
    matches = [*from_bytes(sample, cp_isolation=[*candidates], enable_fallback=False)]
    if not matches:
        return None
    good = [match for match in matches if match.chaos <= matches[0].chaos + _TOLERANCE]
    names = {name: str(match) for match in good for name in match.could_be_from_charset if name in candidates}
    return min(names, key=lambda name: (_odd_characters(names[name]), candidates.index(name)), default=None)


def _odd_characters(text: str) -> int:
    """Returns the number of characters that texts rarely have: C1 controls, half-width kana, Hangul next to Han."""
    controls = sum("\x80" <= character <= "\x9f" for character in text)
    kana = sum("\uff61" <= character <= "\uff9f" for character in text)
    hangul = sum("\uac00" <= character <= "\ud7a3" for character in text)
    return controls + kana + min(hangul, sum("\u4e00" <= character <= "\u9fff" for character in text))


def _is_utf8(raw: bytes, *, may_be_cut: bool = False) -> bool:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError as error:
        return may_be_cut and error.reason == "unexpected end of data"
    return True
