"""Keep secrets off the disk: the one place that decides what is a secret and how it is replaced.

Everything the tracker stores that a user typed (config values, the command line, the git remote
and diff, error messages) passes through a `Redactor` before it is written. The rules err towards
redacting: a lost word in a stored diff is an annoyance, a stored token is an incident.

Every pattern here is linear in the length of the text (possessive quantifiers, bounded look-back),
since a git diff may be large and its content is not ours.
"""

import re
import threading
from collections.abc import Callable, Iterable
from functools import lru_cache, partial
from typing import Final

from crackseg_tracker.errors import ConfigError

__all__ = ["REDACTED", "Redactor"]

REDACTED: Final = "[redacted]"

# Shorter values ("x", "none") would blank out innocent text wherever they happen to occur.
_MIN_REMEMBERED: Final = 6
_SINGLE_WORDS: Final = frozenset(
    {"password", "passwd", "secret", "token", "credentials", "apikey", "accesskey", "privatekey"}
)
_DOUBLE_WORDS: Final = frozenset({("api", "key"), ("access", "key"), ("private", "key")})

_INDEXES = re.compile(r"(?:\[\d++\])++\Z")
_CAMEL_BOUNDARY = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_NOT_WORD = re.compile(r"[\W_]++")

# An at sign after "://" and before the next slash or space: everything between is user info.
_URL_USER_INFO = re.compile(r"(?<=[A-Za-z0-9+.\-]://)([^\s/\"<>]++)")
_PRIVATE_KEY_BLOCK = re.compile(r"(-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----)(?:(?!-----)[\s\S])++")

# What may stand between a name and its value: the quote and bracket that close the name, then
# one of = : := == != += =>; or, after a flag, only blanks (or the comma of a printed argv).
_CLOSE: Final = r"""(?P<close>\\{0,3}["'`])?\]?"""
_SEPARATOR: Final = rf"""{_CLOSE}(?P<sep>[ \t]*+(?:[:!+]?=[=>]?|:)[ \t]*+|[ \t]*+,[ \t]*+|[ \t]++)"""
_SECRET_PAIR = re.compile(
    r"(?i:(?P<name>password|passwd|secret|token|credentials|authorization"
    rf"|(?:api|access|private)[-_. ]?key)){_SEPARATOR}"
)
_ANY_PAIR = re.compile(rf"(?<![\w.\-])(?P<name>[\w.\-]++){_SEPARATOR}")
_FLAG_SEPARATORS: Final = ("", ",")
_NAME_CHARS: Final = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-+~"
# How far back the start of a name is looked for. It bounds the work per match, and only the
# last words of a name matter.
_LOOK_BACK: Final = 64
_LONG: Final = 2000

_ANNOTATION = re.compile(
    r"(?:(?:Optional|list|List|Sequence)\[)?(?:str|bytes|int|float|bool|None|Any|object|SecretStr)\b"
    r"\]?(?:[ \t]*+\|[ \t]*+(?:str|bytes|int|float|bool|None|Any|SecretStr)\b)*+"
    r"[ \t]*+(?:(?P<default>=)[ \t]*+|(?=[,)\]}:]|\r?\n|\Z))"
)
_HARMLESS = re.compile(r"(?:None|null|[Tt]rue|[Ff]alse)(?=[\s,;)\]}]|\Z)")
_AUTH_SCHEME = re.compile(r"(?i:bearer|basic|token|digest|negotiate|apikey)[ \t]++(?=\S)")
_OPEN_QUOTE = re.compile(r"""[rbfuRBFU]{0,2}(?P<q>\\{0,3}(?:\"{3}|'{3}|["'`]))""")
# A quoted body ends at its quote; the odd tail of the ' pattern is how a shell writes a ' inside.
_QUOTED: Final = {
    '"': re.compile(r'(?:[^"\\\n]|\\.)*+'),
    "'": re.compile(r"""(?:[^'\\\n]|\\.)*+(?:'"'"'[^'\n]*+)*+"""),
    "`": re.compile(r"[^`\n]*+"),
    '"""': re.compile(r'(?:(?!""")[^\n])*+'),
    "'''": re.compile(r"(?:(?!''')[^\n])*+"),
}
_UP_TO_QUOTE: Final = {
    '"': re.compile(r'[^"\n]*+'),
    "'": re.compile(r"""[^'\n]*+(?:'"'"'[^'\n]*+)*+"""),
    "`": re.compile(r"[^`\n]*+"),
}
_REST_OF_LINE = re.compile(r"[^\r\n]*+")
# A quote or comma inside an unquoted value belongs to it unless it looks like the end of something.
_UNQUOTED = re.compile(
    r"""(?:[^\s"'`,]|,(?![ \t]*+["'`])|["'`](?![\s,;:)\]}>"'`]|\Z))++""",
)
_CLOSERS: Final = ",;)]}>"


class Redactor:
    """Replaces secrets in config values and in free text by `[redacted]`.

    A secret value met under a secret name is remembered for the life of the redactor, so that it
    is also found where nothing announces it, such as in the message of an exception.

    Args:
        patterns: Regular expressions of the user. What they match in a text is replaced, and a
            name in which one is found is a secret name.

    Raises:
        ConfigError: If a pattern is not a valid regular expression, or matches the empty string
            (it would match everything).

    Example:
        >>> redactor = Redactor()
        >>> redactor.value("wandb.api_key", "f00dcafe")
        '[redacted]'
        >>> redactor.text("login failed for f00dcafe")
        'login failed for [redacted]'
    """

    def __init__(self, patterns: Iterable[str] = ()) -> None:
        if isinstance(patterns, str):
            raise ConfigError(
                f"redaction patterns must be a list of regular expressions, not the single "
                f"string {patterns!r}; write [{patterns!r}]"
            )
        if not isinstance(patterns, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigError(f"redaction patterns {patterns!r} are no list; give a list of regular expressions")
        self._patterns = tuple(_compile(pattern) for pattern in patterns)
        self._lock = threading.Lock()
        self._remembered: list[str] = []

    def is_secret_name(self, name: str) -> bool:
        """Tell whether a value of this name is a secret.

        Args:
            name: A name, possibly dotted, in any spelling (snake, kebab, camel case).

        Returns:
            True when its last word or words are one of password, passwd, secret, token,
            credentials, api key, access key and private key, or when a pattern of the user is
            found in it.

        Example:
            >>> redactor = Redactor()
            >>> [redactor.is_secret_name(n) for n in ("HF_TOKEN", "wandb.apiKey", "max_tokens")]
            [True, True, False]
        """
        return _ends_in_secret_word(name) or self._matches_pattern(name)

    def value(self, name: str, value: str) -> str:
        """Redact one string value that has a name.

        Args:
            name: The (dotted) name of the value.
            value: The value.

        Returns:
            `[redacted]` when the name is secret, else `text(value)`. An empty string stays.

        Example:
            >>> Redactor().value("db.url", "postgres://me:pw@db/runs")
            'postgres://[redacted]@db/runs'
        """
        if not value:
            return value
        if self.is_secret_name(name):
            self._remember(value)
            return REDACTED
        return self.text(value)

    def text(self, text: str) -> str:
        """Redact the secrets in a free text: a command line, URL, diff, error or traceback.

        Args:
            text: The text.

        Returns:
            The text without user info in URLs, values of secret names (`token=x`, `token: x`,
            `--token x`, `"token": "x"`, `Authorization: Bearer x`), private key blocks, matches
            of the user's patterns, and secret values seen before.

        Example:
            >>> Redactor().text("train.py --hf-token abc lr=0.1 git@github.com:me/repo")
            'train.py --hf-token [redacted] lr=0.1 git@github.com:me/repo'
        """
        if not text:
            return text
        redact = _redacted_short if len(text) < _LONG else _redacted_long
        return redact(text, tuple(self._remembered), self._patterns)

    def _matches_pattern(self, name: str) -> bool:
        return _is_found(self._patterns, name)

    def share(self, remembered: list[str]) -> None:
        """Remember together with others: what one tracker saw in a config, no other may write down.

        Args:
            remembered: The list that all of them share; what is remembered so far is added to it.
        """
        own, self._remembered = self._remembered, remembered
        for secret in own:
            self._remember(secret)

    def _remember(self, secret: str) -> None:
        # A part of the replacement itself would make every later redaction grow.
        if len(secret) < _MIN_REMEMBERED or secret in REDACTED:
            return
        with self._lock:
            if secret not in self._remembered:
                # Longest first: a secret may contain another one.
                self._remembered.append(secret)
                self._remembered.sort(key=len, reverse=True)


def _redacted(text: str, remembered: tuple[str, ...], patterns: tuple[re.Pattern[str], ...]) -> str:
    for secret in remembered:
        text = text.replace(secret, REDACTED)
    if "://" in text:
        text = _URL_USER_INFO.sub(_redact_user_info, text)
    if "PRIVATE KEY" in text:
        text = _PRIVATE_KEY_BLOCK.sub(rf"\1{REDACTED}", text)
    text = _redact_pairs(text, _SECRET_PAIR, _ends_in_secret_word)
    if patterns:
        # Values first: afterwards the names that announce them may be gone.
        text = _redact_pairs(text, _ANY_PAIR, partial(_is_found, patterns))
        for pattern in patterns:
            text = pattern.sub(lambda m: REDACTED if m.group() else "", text)
    return text


#: A process that makes many experiments gives each the same git diff, and much the same command line and config.
_redacted_long = lru_cache(maxsize=4)(_redacted)
_redacted_short = lru_cache(maxsize=1024)(_redacted)


def _is_found(patterns: tuple[re.Pattern[str], ...], name: str) -> bool:
    return any(pattern.search(name) for pattern in patterns)


def _compile(pattern: object) -> re.Pattern[str]:
    if not isinstance(pattern, str):
        raise ConfigError(f"a redaction pattern must be a string, not {pattern!r}")
    try:
        compiled = re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise ConfigError(f"the redaction pattern {pattern!r} is not a valid regular expression: {error}") from error
    if compiled.search("") is not None:
        raise ConfigError(
            f"the redaction pattern {pattern!r} matches the empty string and so would redact "
            "everything; make it match at least one character"
        )
    return compiled


@lru_cache(maxsize=1024)  # a diff repeats few names many times
def _ends_in_secret_word(name: str) -> bool:
    bare = _INDEXES.sub("", name)
    words = [w for w in _NOT_WORD.split(_CAMEL_BOUNDARY.sub("_", bare).lower()) if w]
    return bool(words) and (words[-1] in _SINGLE_WORDS or tuple(words[-2:]) in _DOUBLE_WORDS)


def _redact_user_info(match: re.Match[str]) -> str:
    # The last @ ends the user info, so that an unescaped @ in a password does not leak its tail.
    user_info, at, host = match.group().rpartition("@")
    # "git" is the well-known user of every git server, not a secret.
    return match.group() if not at or user_info == "git" else f"{REDACTED}@{host}"


def _redact_pairs(text: str, finder: re.Pattern[str], is_secret: Callable[[str], bool]) -> str:
    """Replace the values of the names that `finder` proposes and `is_secret` confirms."""
    pieces: list[str] = []
    done = position = 0
    while match := finder.search(text, position):
        position = match.end()
        name_end = match.end("name")
        before = text[max(0, match.start("name") - _LOOK_BACK) : name_end]
        name = before[len(before[: match.start("name") - name_end].rstrip(_NAME_CHARS)) :]
        words = name.lstrip("-+~")
        separator = match["sep"].strip()
        if separator in _FLAG_SEPARATORS:
            is_flag = name[: len(name) - len(words)].endswith("--")
            # Another flag is no value, and `--token` in backquotes is prose.
            if not is_flag or text.startswith("--", position) or match["close"] == "`":
                continue
        if not (is_secret(words) or words.lower().endswith("authorization")):
            continue
        before_name = name_end - len(name) - 1
        quote = "" if match["close"] else text[max(0, before_name) : before_name + 1]
        # "key: two words" of YAML, "key = x or 'y'" of code. Not "KEY=x command", though.
        takes_line = (
            (separator == ":" or match["sep"] == " = ") and not match["close"] and _is_indent(text, before_name)
        )
        start, end = _find_value(text, position, separator, quote, takes_line)
        if end > start:
            pieces += (text[done:start], REDACTED)
            done = end
        position = max(position, end)
    if not pieces:
        return text
    pieces.append(text[done:])
    return "".join(pieces)


def _is_indent(text: str, last: int) -> bool:
    """Tell whether only blanks (or diff and list marks) stand before a name on its line."""
    before = text[max(0, last + 1 - _LOOK_BACK) : last + 1].rstrip(" \t+-\"'")
    return not before or before.endswith("\n")


def _find_value(text: str, start: int, separator: str, quote: str, takes_line: bool) -> tuple[int, int]:
    """Find the part of the text to replace; an empty one when there is nothing to hide."""
    if separator == ":" and (annotation := _ANNOTATION.match(text, start)):
        start = annotation.end()
        if annotation["default"] is None:
            return start, start
        takes_line = False
    if harmless := _HARMLESS.match(text, start):
        return harmless.end(), harmless.end()
    if scheme := _AUTH_SCHEME.match(text, start):
        start = scheme.end()
    if quote in _UP_TO_QUOTE and separator not in _FLAG_SEPARATORS:
        # The name stands inside quotes, as in '--password=two words': so does all of its value.
        end = _match_end(_UP_TO_QUOTE[quote], text, start)
        while end > start and text[end - 1] == "\\":
            end -= 1
        return start, end
    if opening := _OPEN_QUOTE.match(text, start):
        mark = opening["q"]
        body = opening.end()
        bare = mark.lstrip("\\")
        if mark == bare:
            end = _match_end(_QUOTED[bare], text, body)
            if not text.startswith(bare, end):
                # The closing quote is not on this line: what follows may all be secret.
                end = _match_end(_REST_OF_LINE, text, body)
        else:
            end = _match_end(_UP_TO_QUOTE[bare[0]], text, body)
            while end > body and text[end - 1] == "\\":
                end -= 1
        return body, end
    end = _match_end(_UNQUOTED, text, start)
    if takes_line or text.find("(", start, end) >= 0:
        # A call may have a secret among its arguments: token = getenv("TOKEN", "the secret").
        end = _match_end(_REST_OF_LINE, text, start)
    # Punctuation after a value is not part of it, except the bracket of an earlier redaction.
    while end > start and text[end - 1] in _CLOSERS and not text.endswith(REDACTED, start, end):
        end -= 1
    # A value made of nothing but brackets (an empty dict or list) hides nothing.
    return (start, end) if text[start:end].strip("([{<|&*") else (end, end)


def _match_end(pattern: re.Pattern[str], text: str, start: int) -> int:
    match = pattern.match(text, start)
    return match.end() if match else start
