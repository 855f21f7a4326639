"""Secrets are found with their kind and line, placeholders are not found, and no text is slow."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modules.cleaning.secrets import KINDS, Secret, find_secrets

# These secrets are invented. They are put together at run time, so that no scanner reports this file as a leak.
LETTERS = "q8Zr2LxV90bTn4WdKs7Yp3Gh6Jm1Fc5Rv" * 3
DIGITS_TO_LETTERS = str.maketrans("0123456789", "aBcDeFgHiJ")
SAMPLES = {
    "email_address": "jane.doe@mail.uni-bonn.de",
    "aws_access_key_id": "AKIA" + "Q7RZ2LXV5ABTN4WD",
    "private_key": "-----BEGIN RSA " + "PRIVATE KEY-----\n" + LETTERS[:64],
    "github_token": "ghp_" + LETTERS[:36],
    "slack_token": "xoxb-" + "718293645091-" + LETTERS[:24],
    "google_api_key": "AIza" + LETTERS[:35],
    "json_web_token": "eyJ" + LETTERS[:20] + ".eyJ" + LETTERS[:40] + "." + LETTERS[:43],
    "secret_api_key": "sk_live_" + LETTERS[:24],
    "service_token": "glpat-" + LETTERS[:20],
    "url_password": "://admin:" + LETTERS[:12] + "@",
    "authorization_header": "Authorization: Bearer " + LETTERS[:40],
    "assigned_secret": 'password = "' + LETTERS[:16] + '"',
}


def found(text: str) -> list[str]:
    return [secret.kind for secret in find_secrets(text)]


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_found_at_its_place(kind):
    text = "First line.\n\nThen: " + SAMPLES[kind] + "."
    if kind == "assigned_secret":
        text = text.replace("Then: ", "db_")
    if kind == "url_password":
        text = text.replace("Then: ", "Then: postgres").replace("@.", "@db.shop.net")
    start = text.index(SAMPLES[kind])
    assert list(find_secrets(text)) == [Secret(kind, start, 3)]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Write to <j_d+list@dept.cs.example-shop.co.uk>.", "email_address"),
        ("mailto:JANE@BONN.DE", "email_address"),
        ("ASIA" + "Q7RZ2LXV5ABTN4WD", "aws_access_key_id"),
        ('{"key": "-----BEGIN ' + "PRIVATE KEY-----\\n" + LETTERS[:64] + '\\n"}', "private_key"),
        ("-----BEGIN PGP " + "PRIVATE KEY BLOCK-----\nVersion: 2", "private_key"),
        ("github_pat_" + LETTERS[:22] + "_" + LETTERS[:59], "github_token"),
        ("xapp-1-" + LETTERS[:40], "slack_token"),
        ("sk-proj-" + LETTERS[:40], "secret_api_key"),
        ("export API_KEY=" + LETTERS[:32], "assigned_secret"),
        ("hf_" + LETTERS.translate(DIGITS_TO_LETTERS)[:34], "service_token"),
        ("npm_" + LETTERS[:36], "service_token"),
        ("SG." + LETTERS[:22] + "." + LETTERS[:43], "service_token"),
        ("https://hooks.slack.com/services/T0AB12CD3/B0AB12CD3/" + LETTERS[:24], "service_token"),
        ("AccountKey=" + LETTERS[:86] + "==", "service_token"),
        ("redis://:" + LETTERS[:16] + "@cache:6379/0", "url_password"),
        ("headers: {'Authorization': 'Basic " + LETTERS[:24] + "'}", "authorization_header"),
        ("aws_secret_access_key = " + LETTERS[:40], "assigned_secret"),
        ('"SecretAccessKey": "' + LETTERS[:40] + '"', "assigned_secret"),
        ("password = 'aQwErTzUiOp7'", "assigned_secret"),
        ('"client_secret": "' + LETTERS[:20] + '"', "assigned_secret"),
    ],
)
def test_other_forms_are_found(text, kind):
    assert found(text) == [kind]


@pytest.mark.parametrize(
    "text",
    [
        "jane@example.com, jane@mail.example.org, jane@host.invalid, a@b.test, user@localhost, user@host",
        "git clone git@github.com:owner/repository.git",
        "@functools.cache\ndef f(): ...\n@app.route('/')",
        "y = x @ w.T + a@b.T\nz = x@self.weight.to(device)\nz = q@keys.mT\nz = x@w.sum",
        "https://user@host.com/path, pkg@1.2.3, @jane.doe",
        "AKIA" + "IOSFODNN7EXAMPLE",
        "XAKIA" + "Q7RZ2LXV5ABTN4WD",
        "-----BEGIN " + "PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----",
        "-----BEGIN PUBLIC KEY-----\n" + LETTERS[:64],
        "ghp_" + "x" * 36,
        "hf_" + "x" * 34,
        "hf_hub_download(name); npm_config_cache; SG.mean(axis=0)",
        "postgres://user:password@localhost/db, mysql://<user>:<password>@<host>/db, https://u:${PASS}@host/x",
        "Authorization: Bearer <token>, Authorization: Bearer ACCESS_TOKEN_GOES_HERE",
        "xoxb-your-token-goes-here-please",
        "eyJhbGciOiJIUzI1NiJ9 alone is only a header",
        "<div class='sk-spinner-fading-circle-container'> sk-your-own-Key-1234567890",
        'password = "your-password-1"',
        'password = "changeme12345"',
        "token = tokenizer.encode(text_number_12)",
        "The password: correct horse battery staple.",
        'next_page_token = "q8Zr2LxV90bTn4Wd"',
        "secret = os.environ['CLIENT_SECRET_2024']",
        "A secret token is a password; keep it: nobody else should know.",
        "",
    ],
)
def test_placeholders_and_harmless_texts_are_not_found(text):
    assert found(text) == []


def test_several_secrets_are_found_kind_by_kind():
    text = f"{SAMPLES['github_token']}\n{SAMPLES['email_address']}\n{SAMPLES['email_address']}"
    assert [(secret.kind, secret.line) for secret in find_secrets(text)] == [
        ("email_address", 2),
        ("email_address", 3),
        ("github_token", 1),
    ]


PIECES = st.sampled_from([*"aA1@.-_=:'\" \n", "token", "eyJ", "sk-", "-----BEGIN ", "AKIA", *SAMPLES.values()])


@given(st.one_of(st.text(), st.lists(PIECES).map("".join)))
def test_every_secret_found_in_any_text_has_a_known_kind_and_its_line(text):
    for secret in find_secrets(text):
        assert secret.kind in KINDS
        assert secret.line == text.count("\n", 0, secret.start) + 1


ADVERSARIAL = ["a", "@", "a@", "a.", "a@a.", "@a.b", "a@b.co ", "-", "\n", "eyJ", "eyJaaaaaaaaaa.", "sk-a1B", "xoxb-1"]
ADVERSARIAL += ["ghp_a1A", "AIza", "AKIA", "-----BEGIN PRIVATE KEY-----\n"]
ADVERSARIAL += ["://", "://a:", "a://b:c1d2e3@", "authorization: bearer ", "hf_", "SG.", "secret_access_key"]
ADVERSARIAL += ["token=", "token = ", "password='a1", "api_key= \t"]


@pytest.mark.parametrize("piece", ADVERSARIAL)
def test_a_megabyte_of_anything_takes_linear_time(piece):
    """Quadratic time would be many minutes. Twice the text may take only a little more than twice the time."""
    needles = "@ token eyJ sk- xox api :// hf_ Authorization "
    half, whole = (seconds(needles + piece * (size // len(piece))) for size in (500_000, 1_000_000))
    assert whole < 4 * half + 0.5


def seconds(text: str) -> float:
    start = time.process_time()
    for _ in find_secrets(text):
        pass
    return time.process_time() - start
