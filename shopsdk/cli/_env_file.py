"""The files of ``--env-file``: the key, the shop and the base URL of a command, written as in a ``.env``.

No line of such a file stands in a message, and no value in a variable of a frame, where a traceback could show it. None
gets into the environment, which other programs inherit.
"""

import io
import os
import stat
import sys
from collections.abc import Callable, Mapping, Sequence
from itertools import repeat
from typing import Any

import attrs
from dotenv.parser import Binding, parse_stream

from shopsdk import AsyncSession
from shopsdk.cli._stdio import say

_KEY, _SHOP_ID, _BASE_URL = _NAMES = ("SHOPSDK_API_KEY", "SHOPSDK_SHOP_ID", "SHOPSDK_BASE_URL")
_PLACE = "{shop_id}"

_Hidden = Callable[[], str]


@attrs.frozen(kw_only=True)
class EnvFile:
    """The shop and the values that one file names."""

    path: str
    shop_id: int | None
    """Its shop; None if it names none."""
    values: Mapping[str, _Hidden]
    """The values by their names, the key among them."""
    exposed: bool
    """Whether other users of this machine can read it."""

    def session(self, shop_id: int | None, **settings: Any) -> AsyncSession:
        """Make a session with its key. What it does not name comes from the environment.

        Args:
            shop_id: the shop; None for its own.
            settings: those of the session.

        Raises:
            ValueError: its key or its base URL is refused.
        """
        shop = self.shop_id if shop_id is None else shop_id
        base_url = self.values.get(_BASE_URL)
        return AsyncSession(
            self.values[_KEY](), shop_id=shop, base_url=None if base_url is None else base_url(), **settings
        )


EnvFiles = Mapping[int | None, EnvFile]
"""The file of each shop; None stands for every shop that has no file of its own."""


def read_env_files(paths: Sequence[str], shop_ids: Sequence[int], *, quiet: bool = False) -> EnvFiles:
    """Read the files of a command: one for all shops, one for each, or those of a pattern with ``{shop_id}``.

    Args:
        paths: the files, or the pattern.
        shop_ids: the shops that were named beside them.
        quiet: whether to leave out the warning that others can read a file.

    Raises:
        ValueError: one cannot be read, or they do not say which key is whose. No message quotes a line.
    """
    files: EnvFiles
    if any(_PLACE in path for path in paths):
        files = _of_pattern(paths, shop_ids)
    elif len(paths) == 1:
        files = {None: _read(paths[0])}
    else:
        files = _of_each(paths, shop_ids)
    exposed = [file.path for file in files.values() if file.exposed]
    if exposed and not quiet:
        more = f" and {len(exposed) - 1} more" if len(exposed) > 1 else ""
        say(f"shopsdk: warning: others on this machine can read the key in {exposed[0]}{more}: chmod 600 prevents it")
    return files


def _of_pattern(paths: Sequence[str], shop_ids: Sequence[int]) -> EnvFiles:
    if len(paths) > 1:
        raise ValueError(f"--env-file with {_PLACE} stands for the files of all shops: give no other beside it")
    if not shop_ids:
        raise ValueError(f"--env-file with {_PLACE} needs to know the shop: give --shop-id")
    files: dict[int | None, EnvFile] = {}
    for shop_id in shop_ids:
        files[shop_id] = file = _read(paths[0].replace(_PLACE, str(shop_id)))
        if file.shop_id not in (None, shop_id):  # a copy that nobody has edited, maybe with the other's key
            raise ValueError(f"--env-file {file.path} names shop {file.shop_id}, and not shop {shop_id}")
    return files


def _of_each(paths: Sequence[str], shop_ids: Sequence[int]) -> EnvFiles:
    if paths and shop_ids:
        raise ValueError("of several --env-file, each names its own shop: leave out --shop-id and --shop-ids-file")
    files: dict[int | None, EnvFile] = {}
    for file in map(_read, paths):
        if file.shop_id is None:
            raise ValueError(f"--env-file {file.path} names no {_SHOP_ID}: of several files, each must")
        if file.shop_id in files:
            both = f"{files[file.shop_id].path} and {file.path}"
            raise ValueError(f"--env-file {both} name the same shop, {file.shop_id}")
        files[file.shop_id] = file
    return files


def _read(path: str) -> EnvFile:
    text, exposed = _text(path)
    values: dict[str, _Hidden] = {}
    for name, value, wrong in map(_hide, parse_stream(io.StringIO(text()))):
        if wrong:  # it may be the one with the key or the shop, and the environment has another
            raise ValueError(f"--env-file {path}, line {wrong}: it must be NAME=value, with both quotes or none")
        if value is not None and name in values:
            raise ValueError(f"--env-file {path} names {name} twice")
        if value is not None:
            values[name] = value
    if _KEY not in values:
        raise ValueError(f"--env-file {path} names no {_KEY}")
    shop_id = _shop_id(values[_SHOP_ID]) if _SHOP_ID in values else None
    if shop_id == 0:
        raise ValueError(f"--env-file {path}: {_SHOP_ID} must be a whole number, from 1")
    return EnvFile(path=path, shop_id=shop_id, values=values, exposed=exposed)


def _text(path: str) -> tuple[_Hidden, bool]:
    """Read a file, once: it may be a pipe. Returns its text, and whether other users can read it.

    Raises:
        ValueError: it cannot be read.
    """
    try:
        with open(path, encoding="utf-8-sig") as file:
            mode = os.fstat(file.fileno()).st_mode
            return repeat(file.read()).__next__, _is_exposed(mode)
    except UnicodeDecodeError:
        why = "it is not UTF-8"
    except OSError as error:
        why = error.strerror or type(error).__name__
    # Not within the block: that error holds what was read.
    raise ValueError(f"--env-file {path} cannot be read: {why}")


def _is_exposed(mode: int) -> bool:
    if sys.platform == "win32":  # it has no such modes
        return False
    return stat.S_ISREG(mode) and bool(mode & (stat.S_IRGRP | stat.S_IROTH))


def _hide(line: Binding) -> tuple[str, _Hidden | None, int]:
    """Return the name and the value of a line, if it is one of ours with a value, and its number if it is wrong."""
    if line.error:
        text = line.original.string
        blank = text[: len(text) - len(text.lstrip())]  # the parser counts from the blank lines before it
        return "", None, line.original.line + blank.count("\n")
    if line.key in _NAMES and line.value and line.value.strip():
        return line.key, repeat(line.value).__next__, 0
    return "", None, 0


def _shop_id(text: _Hidden) -> int:
    """Read a shop's id; 0 if it is none."""
    digits = text().strip()  # may be the key, by mistake, and is in no frame that raises
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 20 else 0
