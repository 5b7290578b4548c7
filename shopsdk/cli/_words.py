"""What the library says of its arguments, in the words of whoever runs the command."""

import os
import re
import shlex

from shopsdk.cli._stdio import printable

_WORDS = (
    ("if_exists='replace'", "--force"),
    ("resume=True", "--resume"),
    ("give format=", "give --format"),
    ("give it open to stream into it", "to write to a stream, the name is -"),
    ("bom is for", "--bom is for"),
    ("columns must", "--columns must"),
    ("columns: ", "--columns: "),
    ("amount must", "AMOUNT must"),
    ("description must", "--description must"),
    ("reference must", "--reference must"),
    ("affiliate_code must not be empty: None clears it", "CODE must not be empty: --clear takes the code away"),
    ("affiliate_code must be at most", "CODE must be at most"),
    ("base_url must", "SHOPSDK_BASE_URL must"),
    ("api_key must", "SHOPSDK_API_KEY must"),
    ("api_key is", "SHOPSDK_API_KEY is"),
    ("give api_key= or set SHOPSDK_API_KEY", "set it to the key of your account, or try --sandbox"),
)
_FILTER = re.compile(r"^[a-z_]+(?= must not be empty: the server )")


def in_words_of_the_command(text: str) -> str:
    """Name options where the library names arguments."""
    for argument, option in _WORDS:
        text = text.replace(argument, option)
    return _FILTER.sub(lambda found: f"--{found[0].replace('_', '-')}", text)


def shell_line(*words: str) -> str:
    """Write a command so that a shell can take it up again, whatever a file's name holds."""
    return " ".join(shlex.quote(word) if printable(word) == word else _as_bytes(word) for word in words)


def _as_bytes(word: str) -> str:
    """Quote a word in the way of bash, zsh and POSIX 2024, which needs no characters that are not printable."""
    plain = b"-./0123456789_abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    return "".join(["$'", *(chr(byte) if byte in plain else f"\\{byte:03o}" for byte in os.fsencode(word)), "'"])
