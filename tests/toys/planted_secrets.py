"""Texts with invented secrets of each kind, and look-alikes: what documentation and code write in their place.

The secrets are put together at run time, so that no scanner reports this file as a leak.
"""

import random
import string
from collections.abc import Iterator

from tests.toys.planted_faults import Planted

_ALPHANUMERIC = string.ascii_letters + string.digits
_BASE64 = _ALPHANUMERIC + "+/"
_PER_KIND = 5
_SEED = 16

LOOK_ALIKES = {
    "addresses of examples and of code": (
        "jane@example.com",
        "admin@mail.example.org",
        "user@localhost",
        "git clone git@github.com:owner/repository.git",
        "y = x @ w.T + a@b.T",
        "z = x@self.weight.to(device)",
        "@app.route('/')",
        "pkg@1.2.3, @jane.doe, @types/node@20.1",
        "a@b.test, root@db.invalid",
        "The operator @ multiplies matrices, e.g. A@B.",
    ),
    "names without a value": (
        "Set the environment variable AWS_SECRET_ACCESS_KEY before the first call.",
        "The password: correct horse battery staple.",
        "A secret token is a password; keep it: nobody else should know.",
        "secret = os.environ['CLIENT_SECRET_2024']",
        "token = tokenizer.encode(text_number_12)",
        "password = getpass.getpass('Password: ')",
        "api_key = settings.api_key_for_region_2",
        "next_page_token = 'q8Zr2LxV90bTn4Wd'",
        "def login(user: str, password: str = '') -> None: ...",
        "Authorization: Bearer <token>",
        "curl -H 'Authorization: Bearer $TOKEN' https://host.example/v1",
        "headers = {'Authorization': f'Bearer {token}'}",
        "postgres://user:password@localhost:5432/db",
        "mysql://<user>:<password>@<host>/<db>",
        "https://user:${PASSWORD}@host.example/path",
        "http://localhost:8080/a@b",
        "ftp://anonymous:guest@ftp.example.org",
        "AccountKey=<your-account-key>;EndpointSuffix=core.windows.net",
    ),
    "placeholders": (
        "AKIA" + "IOSFODNN7EXAMPLE",
        "aws_secret_access_key = " + "wJalrXUtnFEMI/K7MDENG/bPxRfiCY" + "EXAMPLEKEY",
        "ghp_" + "x" * 36,
        "xoxb-your-token-goes-here-please",
        "sk-your-own-Key-1234567890",
        "password = 'your-password-1'",
        "password = 'changeme12345'",
        "API_KEY=" + "X" * 32,
        "hf_" + "x" * 34,
        "glpat-" + "x" * 20,
        "-----BEGIN " + "PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----",
        "eyJhbGciOiJIUzI1NiJ9 is only a header",
    ),
    "hashes, identifiers, names in code": (
        "tokens = 'camelCaseWords'",
        "const secretName = 'ClientSecretOfTheShop';",
        "secret_key_value = load_secret_from_vault_2024_v1(name)",
        "sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "commit 3b18e512dba79e4c8300dd08aeb37f8e728b8dad",
        "id: 550e8400-e29b-41d4-a716-446655440000",
        "<div class='sk-spinner-fading-circle-container'>",
        "hf_hub_download(repo_id='gpt2', filename='config.json')",
        "npm_config_registry_and_cache_folder_location=1",
        "SG.mean(axis=0).reshape(shape)",
        "-----BEGIN PUBLIC KEY-----\n" + "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIB",
        "-----BEGIN CERTIFICATE-----\n" + "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIB",
        "data:image/png;base64," + "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ",
        "token_count=1234567890123456",
        "max_tokens: 16384, tokens = 1048576",
        "integrity sha512-" + "q8Zr2LxV90bTn4WdKs7Yp3Gh6Jm1Fc5RvAbCdEf",
    ),
}


def secrets() -> Iterator[Planted]:
    """Yields sentences that each contain one secret, and look-alikes."""
    rng = random.Random(_SEED)
    for _ in range(_PER_KIND):
        for kind, secret in _secrets(rng):
            yield Planted("secrets", kind, True, f"This line was in a file.\n{secret}\nIt was the last one.")
    for kind, texts in LOOK_ALIKES.items():
        for text in texts:
            yield Planted("secrets", kind, False, f"This line was in a file.\n{text}\nIt was the last one.")


def _secrets(rng: random.Random) -> Iterator[tuple[str, str]]:
    """Yields a secret of each kind, in several forms."""

    def drawn(length: int, letters: str = _ALPHANUMERIC) -> str:
        value = "".join(letters[int(rng.random() * len(letters))] for _ in range(length - 3))
        return value + ("q7Z" if letters in (_ALPHANUMERIC, _BASE64) else letters[:3])

    name = drawn(6, string.ascii_lowercase.replace("q", ""))
    base32, digits = string.ascii_uppercase + "234567", string.digits
    yield "e-mail address", f"Write to {name}.meier@{name}-gruppe.de today."
    yield "e-mail address", f"mailto:{name}+news@{name}.co.uk"
    yield "e-mail address", f"{name.upper()}@{name.upper()}.ORG"
    yield "AWS access key", f"key {rng.choice(['AKIA', 'ASIA'])}{drawn(16, base32)}"
    yield "AWS secret key", f"aws_secret_access_key = {drawn(40, _BASE64)}"
    yield "AWS secret key", f'"SecretAccessKey": "{drawn(40, _BASE64)}"'
    for header in ("RSA PRIVATE KEY", "OPENSSH PRIVATE KEY", "EC PRIVATE KEY", "PRIVATE KEY"):
        yield "private key", f"-----BEGIN {header}-----\n{drawn(64, _BASE64)}"
    yield "private key", "-----BEGIN PGP PRIVATE KEY " + f"BLOCK-----\n\n{drawn(64, _BASE64)}"
    for prefix in ("ghp_", "gho_", "ghs_"):
        yield "GitHub token", prefix + drawn(36)
    yield "GitHub token", f"github_pat_{drawn(22)}_{drawn(59)}"
    yield "GitLab token", f"glpat-{drawn(20)}"
    yield "Slack token", f"xoxb-{drawn(12, digits)}-{drawn(24)}"
    yield "Slack token", f"xapp-1-{drawn(40)}"
    yield "Slack webhook", f"https://hooks.slack.com/services/T{drawn(8, base32)}/B{drawn(8, base32)}/{drawn(24)}"
    yield "Google key", f"AIza{drawn(35)}"
    yield "Google key", f"GOCSPX-{drawn(28)}"
    yield "JSON web token", f"eyJ{drawn(20)}.eyJ{drawn(40)}.{drawn(43)}"
    yield "OpenAI, Anthropic or Stripe key", f"sk-{drawn(48)}"
    yield "OpenAI, Anthropic or Stripe key", f"sk-proj-{drawn(48)}"
    yield "OpenAI, Anthropic or Stripe key", f"sk-ant-api03-{drawn(90)}"
    yield "OpenAI, Anthropic or Stripe key", f"sk_live_{drawn(24)}"
    yield "Hugging Face token", f"hf_{drawn(34, string.ascii_letters)}"
    yield "token of a package registry", f"npm_{drawn(36)}"
    yield "token of a package registry", f"pypi-AgEIcHlwaS5vcmc{drawn(120)}"
    yield "SendGrid key", f"SG.{drawn(22)}.{drawn(43)}"
    yield "password in a URL", f"postgres://{name}:{drawn(12)}@db.{name}.net:5432/shop"
    yield "password in a URL", f"https://{name}:{drawn(16)}@{name}.com/feed.xml"
    yield "password in a URL", f"redis://:{drawn(16)}@cache:6379/0"
    yield "authorization header", f"Authorization: Bearer {drawn(40)}"
    yield "Azure account key", f"AccountName={name};AccountKey={drawn(86, _BASE64)}=="
    yield "assigned password, 16 characters", f"password = '{drawn(16)}'"
    yield "assigned password, 16 characters", f"DB_PASSWORD={drawn(16)}"
    yield "assigned password, 16 characters", f'{{"client_secret": "{drawn(16)}"}}'
    yield "assigned password, 16 characters", f"password: {drawn(16)}"
    yield "assigned password, 12 characters", f'passwd = "{drawn(12)}"'
    yield "assigned password, 8 characters", f'password = "{drawn(8)}"'
