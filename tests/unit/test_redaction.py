import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crackseg_tracker.errors import ConfigError
from crackseg_tracker.redaction import REDACTED, Redactor


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "PASSWORD",
        "db.password",
        "db-password",
        "db passwd",
        "HF_TOKEN",
        "hfToken",
        "HFToken",
        "oauth2Token",
        "wandb.apiKey",
        "wandb.api_key",
        "API-KEY",
        "APIKey",
        "api key",
        "aws.access_key",
        "ssh_private_key",
        "credentials",
        "client.secret",
        "keys.token[0]",
        r"a\.password",
    ],
)
def test_secret_names(name: str) -> None:
    assert Redactor().is_secret_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "max_tokens",
        "tokenizer",
        "token_count",
        "tokenCount",
        "num_passwords",
        "password.length",
        "secretary",
        "mytoken",
        "key",
        "primary_key",
        "api_key_name",
        "keyboard",
    ],
)
def test_other_names(name: str) -> None:
    assert not Redactor().is_secret_name(name)


def test_patterns_make_names_secret() -> None:
    redactor = Redactor([r"(?i)license"])
    assert redactor.is_secret_name("data.License_no")
    assert redactor.value("data.license", "x") == REDACTED
    assert redactor.text("license=x y") == f"{REDACTED}={REDACTED} y"


def test_patterns_match_in_text() -> None:
    redactor = Redactor([r"sk-[a-z0-9]+", r"^(?=.*pin$)"])
    assert redactor.text("call sk-12ab now") == "call [redacted] now"
    assert redactor.is_secret_name("card.pin")
    assert redactor.text("pin") == "pin"


@pytest.mark.parametrize("pattern", ["(", "[a", "*", "(?P<x", "", "a*", "^", 3, b"x"])
def test_bad_pattern_is_named(pattern: object) -> None:
    with pytest.raises(ConfigError) as caught:
        Redactor([pattern])  # type: ignore[list-item]
    assert repr(pattern) in str(caught.value)


def test_one_string_is_not_a_list_of_patterns() -> None:
    with pytest.raises(ConfigError, match="list of regular expressions"):
        Redactor("abc")


def test_value() -> None:
    redactor = Redactor()
    assert redactor.value("token", "") == ""
    assert redactor.value("token", "x") == REDACTED
    assert redactor.value("model.name", "unet") == "unet"
    assert redactor.value("remote", "https://u:p@h/r") == "https://[redacted]@h/r"


def test_secret_values_are_remembered() -> None:
    redactor = Redactor()
    redactor.value("a.password", "hunter2")
    redactor.value("b.password", "hunter2-long")
    redactor.value("c.password", "short")
    redactor.value("d.password", REDACTED)
    redactor.value("e.password", "redacted")
    assert redactor.text("x hunter2-long, hunter2 short") == "x [redacted], [redacted] short"
    assert redactor.text(redactor.text("hunter2")) == REDACTED
    assert redactor.value("note", "is hunter2") == "is [redacted]"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # URLs
        ("https://user:pw@host/path", "https://[redacted]@host/path"),
        ("https://ghp_abc@github.com/a/b.git", "https://[redacted]@github.com/a/b.git"),
        ("https://u:p@ss@host:1/x", "https://[redacted]@host:1/x"),
        ("postgresql+psycopg://me:p#w?@db/x", "postgresql+psycopg://[redacted]@db/x"),
        ("https://oauth2:tok@h, then http://x/@vite", "https://[redacted]@h, then http://x/@vite"),
        # pairs
        ("train.py token=abc lr=0.1", "train.py token=[redacted] lr=0.1"),
        ("+wandb.api_key=abc", "+wandb.api_key=[redacted]"),
        ("export HF_TOKEN=abc", "export HF_TOKEN=[redacted]"),
        ("password: abc", "password: [redacted]"),
        ("  password: two words", "  password: [redacted]"),
        ("failed, password: abc, retry", "failed, password: [redacted], retry"),
        ("--token abc --lr 1", "--token [redacted] --lr 1"),
        ("--api-key=abc", "--api-key=[redacted]"),
        ("--token 'a b' x", "--token '[redacted]' x"),
        ("'--password=two words' x", "'--password=[redacted]' x"),
        ("""'--password=it'"'"'s me' x""", "'--password=[redacted]' x"),
        ("['--token', 'abc', '--x']", "['--token', '[redacted]', '--x']"),
        ('["--token","abc","--x"]', '["--token","[redacted]","--x"]'),
        ('{"token": "a b", "x": 1}', '{"token": "[redacted]", "x": 1}'),
        ('{"token":"a\\"b","x":1}', '{"token":"[redacted]","x":1}'),
        ("{'apiKey': 'abc'}", "{'apiKey': '[redacted]'}"),
        (r"{\"token\": \"abc\", \"x\": 1}", r"{\"token\": \"[redacted]\", \"x\": 1}"),
        ('{"password":123,"x":1}', '{"password":[redacted],"x":1}'),
        ("token = f'abc'", "token = f'[redacted]'"),
        ('token = """abc"""', 'token = """[redacted]"""'),
        ('os.environ["HF_TOKEN"] = "abc"', 'os.environ["HF_TOKEN"] = "[redacted]"'),
        ('token="abc def', 'token="[redacted]'),
        ("login(token=abc)", "login(token=[redacted])"),
        ("GET /x?a=1&token=abc", "GET /x?a=1&token=[redacted]"),
        ("api key: abc", "api key: [redacted]"),
        ("password='a' + x", "password='[redacted]' + x"),
        ('if token == "abc":', 'if token == "[redacted]":'),
        ('if (token := "abc"):', 'if (token := "[redacted]"):'),
        ('token = os.environ.get("HF_TOKEN", "abc")', "token = [redacted])"),
        ('    token = x or "abc"\n', "    token = [redacted]\n"),
        ('f(1, token=get("a", "abc"))\nx', "f(1, token=[redacted]))\nx"),
        ('def f(token: str = get("a", "abc")):', "def f(token: str = [redacted]"),
        ("TOKEN=abc python train.py", "TOKEN=[redacted] python train.py"),
        # headers
        ("Authorization: Bearer xyz", "Authorization: Bearer [redacted]"),
        ("-H 'Authorization: Basic eHl6' -v", "-H 'Authorization: Basic [redacted]' -v"),
        ('{"Authorization": "Bearer xyz"}', '{"Authorization": "[redacted]"}'),
        ("X-Auth-Token: xyz", "X-Auth-Token: [redacted]"),
        # diffs
        ("+    password: hunter", "+    password: [redacted]"),
        ("-TOKEN=abc\n+TOKEN=def\n", "-TOKEN=[redacted]\n+TOKEN=[redacted]\n"),
        ('def f(token: str = "abc"):', 'def f(token: str = "[redacted]"):'),
    ],
)
def test_text_is_redacted(text: str, expected: str) -> None:
    redactor = Redactor()
    assert redactor.text(text) == expected
    assert redactor.text(expected) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "git@github.com:me/repo.git",
        "ssh://git@github.com/me/repo.git",
        "https://github.com/me/repo",
        "http://localhost:8080/@vite/client",
        "def f(token: str) -> None:",
        "    token: str | None = None,",
        "    token: str,\n    password: bytes\n",
        "token: Optional[str] = None",
        'token = ""',
        "token=None, x",
        '{"token": null}',
        "max_tokens=100 tokenizer=bpe --token-count 5",
        "--use-token --verbose",
        "the `--token` flag, a token and a secret",
        "token:\n  x",
        "mail a@b.c",
        "credentials: {}",
        "\ud800 caf\xe9 \x00",
    ],
)
def test_text_is_kept(text: str) -> None:
    assert Redactor().text(text) == text


def test_private_key_block() -> None:
    text = "+key: |\n+  -----BEGIN RSA PRIVATE KEY-----\n+  MIIE\n+  -----END RSA PRIVATE KEY-----\n+b"
    redacted = Redactor().text(text)
    assert "MIIE" not in redacted
    assert redacted.endswith("-----END RSA PRIVATE KEY-----\n+b")


MEBIBYTE = 1 << 20


@pytest.mark.parametrize(
    "unit",
    [
        "a",
        "token",
        "token ",
        "token=",
        "token= ",
        "token: ",
        "token:\n",
        'token="',
        "token='",
        'token=\\"',
        'token="\\',
        'token = "x ',
        "token=\"'",
        "--token ",
        "--",
        "-token",
        "api_",
        "api_key",
        "aA",
        "://",
        "a://",
        "a://b:c@",
        "a://b@ ",
        "@",
        " ",
        "=",
        "\\",
        '"',
        "'\"'\"'",
        "token='\"'\"'",
        "-----BEGIN PRIVATE KEY-----",
        "-----BEGIN ",
        "token: str ",
        "token: str | ",
        "Authorization: Bearer ",
        "+    x = self.encoder(token, mask=None)  # note: see the docs\n",
    ],
)
@pytest.mark.parametrize("prefix", ["", 'token="', "token", "https://"])
def test_linear_on_adversarial_text(prefix: str, unit: str) -> None:
    text = prefix + unit * (MEBIBYTE // len(unit))
    redactor = Redactor()
    redactor.value("token", "abcdefgh")
    start = time.process_time()
    redactor.text(text)
    assert time.process_time() - start < 20  # seconds; quadratic would take minutes


@given(st.text())
def test_text_never_fails(text: str) -> None:
    Redactor().text(text)


SECRETS = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="\"'`\\"), min_size=8).filter(
    lambda s: not s.startswith(("-", "#")) and s[-1].isalnum() and s[0].isalnum()
)


@given(
    SECRETS,
    st.sampled_from(
        [
            "x --token {} y",
            "a.password={}",
            '{{"api_key": "{}"}}',
            "  password: '{}'",
            "token: {}",
            "'--passwd={}'",
        ]
    ),
)
def test_no_secret_survives(secret: str, template: str) -> None:
    if secret in template:
        return
    assert secret not in Redactor().text(template.format(secret))


@given(st.text(min_size=1), st.text(min_size=1))
def test_value_of_secret_name(prefix: str, value: str) -> None:
    assert Redactor().value(f"{prefix}.token", value) == REDACTED


@given(st.text(min_size=6), st.text(max_size=20))
def test_remembered_secret_never_survives(secret: str, around: str) -> None:
    redactor = Redactor()
    redactor.value("password", secret)
    if secret not in REDACTED:
        for piece in redactor.text(f"{around}{secret}{around}").split(REDACTED):
            assert secret not in piece
