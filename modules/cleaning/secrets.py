"""A search for likely secrets and personal addresses in texts, so that a model is not trained to repeat them.

Every kind of secret contains a fixed string. The search looks for that string first, so a clean text costs only a
few substring searches. All patterns take linear time: each repetition is bounded or can match in one way only.
"""

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple


class Secret(NamedTuple):
    """The kind and the place of a secret, but never the secret itself.

    Attributes:
        kind: One of `KINDS`.
        start: The index of the secret's first character in the text.
        line: The number of its line, from 1.
    """

    kind: str
    start: int
    line: int


class _Pattern(NamedTuple):
    needles: tuple[str, ...]
    expression: re.Pattern[str]
    is_secret: Callable[[re.Match[str]], bool] = lambda match: True


# These names are reserved for documentation and tests (RFC 2606 and RFC 6761).
_RESERVED_DOMAIN = re.compile(r"(?:^|\.)(?:example(?:\.(?:com|net|org))?|invalid|test|localhost)$")
# Country codes have two letters (ISO 3166-1). Of the longer domains (listed in
# https://data.iana.org/TLD/tlds-alpha-by-domain.txt) only the common ones count: code such as `weights@self.sum` would
# be an address otherwise.
_TOP_LEVEL_DOMAIN = re.compile(
    r"[a-z]{2}|com|org|net|edu|gov|mil|int|info|biz|name|pro|mobi|arpa|aero|coop|museum|travel|jobs|app|dev|page|"
    r"cloud|online|site|website|tech|store|shop|blog|email|mail|xyz|club|live|news|world|agency|company|systems|"
    r"solutions|digital|network|academy|university|science|berlin|london|paris|tokyo|nyc"
)
_PLACEHOLDER = re.compile(
    r"example|your|placeholder|change.?me|dummy|sample|test|redacted|(.)\1{4}|1234567|abcdef", re.IGNORECASE
)
_MANY_KINDS = re.compile(r"(?=.*[a-z])(?=.*[A-Z])(?=.*[0-9])", re.DOTALL)
_MIXED_CASE = re.compile(r"(?=.*[a-z])(?=.*[A-Z])", re.DOTALL)
_NO_WORD = re.compile(r"(?=.*[a-z])(?=.*[A-Z])|(?=.*[A-Za-z])(?=.*[0-9])", re.DOTALL)
_IN_URL = re.compile(r"://[^\s/@]{0,64}:$")
_LETTER_AND_DIGITS = re.compile(r"(?=.*[A-Za-z])(?=(?:[^0-9]*[0-9]){2})", re.DOTALL)


def find_secrets(text: str) -> Iterator[Secret]:
    """Yields the likely secrets of a text, kind by kind in the order of `KINDS`.

    `'token = "q8Zr2LxV90bTn4Wd"'` holds a secret of kind `assigned_secret` in line 1. Placeholders as in
    documentation do not count: `user@example.com`, `AKIA…EXAMPLE`, `password = "your-password-1"`.
    """
    for kind, pattern in _PATTERNS.items():
        for needle in pattern.needles:
            if needle in text:
                break
        else:
            continue
        line, counted = 1, 0
        for match in pattern.expression.finditer(text):
            if pattern.is_secret(match):
                line, counted = line + text.count("\n", counted, match.start()), match.start()
                yield Secret(kind, counted, line)


def _is_personal_address(match: re.Match[str]) -> bool:
    user, domain = match["user"], match["domain"]
    top = domain.rpartition(".")[2]
    return bool(
        # `git@github.com:…` is the address of a repository, not of a person.
        user != "git"
        # `postgres://user:word@host.com`: the word is a password.
        and not _IN_URL.search(match.string[max(0, match.start() - 80) : match.start()])
        and (top.islower() or domain.isupper())
        and _TOP_LEVEL_DOMAIN.fullmatch(top.lower())
        and not _RESERVED_DOMAIN.search(domain.lower())
    )


def _is_no_example(match: re.Match[str]) -> bool:
    return not match.group().endswith("EXAMPLE")


def _looks_random(match: re.Match[str]) -> bool:
    return bool(_MANY_KINDS.match(match["value"]) and not _PLACEHOLDER.search(match["value"]))


def _is_mixed(match: re.Match[str]) -> bool:
    return bool(_MIXED_CASE.match(match["value"]) and not _PLACEHOLDER.search(match["value"]))


def _is_no_word(match: re.Match[str]) -> bool:
    return bool(_NO_WORD.match(match["value"]) and not _PLACEHOLDER.search(match["value"]))


def _is_no_placeholder(match: re.Match[str]) -> bool:
    value = match["value"] or match["bare"]
    # Without quotes, the value may be a name in code.
    looks_drawn = _LETTER_AND_DIGITS.match(value) or (match["value"] and _MANY_KINDS.match(value))
    return bool(looks_drawn and not _PLACEHOLDER.search(value))


_PATTERNS = {
    # RFC 5322, 3.4.1, without quoted users. A match before `(` or `[` is code: `x@self.weight.to(device)`.
    "email_address": _Pattern(
        ("@",),
        re.compile(
            r"(?<![A-Za-z0-9._%+/@-])(?P<user>[A-Za-z0-9][A-Za-z0-9._%+-]{0,63})"
            r"@(?P<domain>(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}+)(?![A-Za-z0-9_(\[@-]|\.[A-Za-z0-9])"
        ),
        _is_personal_address,
    ),
    # AWS, IAM user guide, "IAM identifiers", unique identifiers: AKIA is a permanent key, ASIA a temporary key.
    # AWS's own examples end in EXAMPLE.
    "aws_access_key_id": _Pattern(
        ("AKIA", "ASIA"), re.compile(r"(?<![A-Za-z0-9])(?:AKIA|ASIA)[A-Z2-7]{16}(?![A-Za-z0-9])"), _is_no_example
    ),
    # RFC 7468, sections 10 and 11; OpenSSH, PROTOCOL.key; RFC 4880, 6.2. Key material must follow the header.
    "private_key": _Pattern(
        ("-----BEGIN",),
        re.compile(
            r"-----BEGIN (?:(?:RSA|EC|DSA|OPENSSH|ENCRYPTED|PGP) )?PRIVATE KEY(?: BLOCK)?-----"
            r"(?:\s|\\r|\\n){1,8}(?:[A-Za-z0-9+/]{20}|Proc-Type:|Version:|Comment:)"
        ),
    ),
    # GitHub Docs, "About authentication to GitHub", token formats.
    "github_token": _Pattern(
        ("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"),
        re.compile(
            r"(?<![A-Za-z0-9_])(?P<value>gh[pousr]_[A-Za-z0-9]{36,251}+|github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59})(?!\w)"
        ),
        _looks_random,
    ),
    # Slack, "Tokens" (https://docs.slack.dev/authentication/tokens): xoxb is for bots, xoxp for users, xapp for apps,
    # and xoxe expires.
    "slack_token": _Pattern(
        ("xox", "xapp-"),
        re.compile(r"(?<![A-Za-z0-9])(?:xox[abceoprs](?:\.xox[bp])?|xapp)-[0-9][A-Za-z0-9-]{20,250}(?![A-Za-z0-9])"),
    ),
    # Google Cloud, "Manage API keys": strings that start with AIza, 39 characters.
    "google_api_key": _Pattern(("AIza",), re.compile(r"(?<![A-Za-z0-9_-])AIza[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])")),
    # RFC 7519: header, claims and signature in base64url. A JSON object starts with {", which is eyJ in base64url.
    "json_web_token": _Pattern(
        ("eyJ",),
        re.compile(r"(?<![A-Za-z0-9_.-])eyJ[A-Za-z0-9_-]{10,}+\.eyJ[A-Za-z0-9_-]{10,}+\.[A-Za-z0-9_-]{10,}+"),
    ),
    # OpenAI, API reference, "Authentication" (sk-…, sk-proj-…); Stripe Docs, "API keys" (sk_live_…, rk_live_…).
    "secret_api_key": _Pattern(
        ("sk-", "sk_live_", "sk_test_", "rk_live_", "rk_test_"),
        re.compile(r"(?<![A-Za-z0-9_-])(?P<value>sk-[A-Za-z0-9_-]{20,200}+|[sr]k_(?:live|test)_[A-Za-z0-9]{16,250}+)"),
        _looks_random,
    ),
    # By the services' documentation: Hugging Face, GitLab, npm, PyPI, SendGrid, Google (OAuth), Slack, Azure storage.
    "service_token": _Pattern(
        ("hf_", "glpat-", "npm_", "pypi-AgE", "SG.", "GOCSPX-", "hooks.slack.com/services/", "AccountKey="),
        re.compile(
            r"(?<![A-Za-z0-9_-])(?P<value>hf_[A-Za-z0-9]{34}|glpat-[A-Za-z0-9_-]{20}|npm_[A-Za-z0-9]{36}|"
            r"pypi-AgE[A-Za-z0-9_-]{60,250}+|SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}|GOCSPX-[A-Za-z0-9_-]{28}|"
            r"hooks\.slack\.com/services/T[A-Z0-9]{6,12}/B[A-Z0-9]{6,12}/[A-Za-z0-9]{24}|AccountKey=[A-Za-z0-9+/]{86}==)"
            r"(?![A-Za-z0-9_-])"
        ),
        _is_mixed,
    ),
    # RFC 3986, 3.2.1: `user:password@` before the host.
    "url_password": _Pattern(
        ("://",),
        re.compile(r"(?<=[a-z0-9])://[^\s:/@\"'<>]{0,64}:(?P<value>[^\s:/@\"'<>{}$]{6,64})@(?=[A-Za-z0-9\[])"),
        _is_no_word,
    ),
    # RFC 6750, 2.1. A JSON web token is found by itself.
    "authorization_header": _Pattern(
        ("uthorization", "UTHORIZATION"),
        re.compile(
            r"authorization[\"']?[ \t]{0,8}[:=][ \t]{0,8}[\"']?(?:bearer|basic|token)[ \t]{1,8}"
            r"(?!eyJ)(?P<value>[A-Za-z0-9._~+/=-]{16,512}+)",
            re.IGNORECASE,
        ),
        _is_no_word,
    ),
    # A name, a sign and a long value. The value is in quotes, or without quotes at the end of its line (.env files).
    "assigned_secret": _Pattern(
        ("assword", "ASSWORD", "asswd", "ASSWD", "ecret", "ECRET", "oken", "OKEN", "api", "Api", "API"),
        re.compile(
            # The token of a page of results is not a secret.
            r"(?<!page_)(?<!page)(?<!page )(?:password|passwd|secret|token|api[_-]?key)"
            r"(?:[_-]?(?:access|id|key|value)){0,3}[\"']?[ \t]{0,8}[:=][ \t]{0,8}"
            r"(?:(?P<quote>[\"'])(?P<value>[^\s\"'<>{}()\[\]]{12,256})(?P=quote)"
            r"|(?P<bare>[A-Za-z0-9+/_=-]{16,256}+)(?=\s|$))",
            re.IGNORECASE,
        ),
        _is_no_placeholder,
    ),
}

KINDS = tuple(_PATTERNS)
