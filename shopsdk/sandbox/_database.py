"""The file, or the piece of memory, that the books are kept in.

**Problem.** The file may lie in a folder that others may write to. SQLite opens whatever is at its name and at two
names beside it (``-journal``, ``-wal``): another user's file would be written to, or read as if it were ours.

**Invariants.** Before SQLite opens anything, each of these names belongs to a file of ours: a new one, mode 0600
whatever the umask, or a regular file of this user's with one name. SQLite treats an empty file beside the database as
none, and uses it. No link is followed that another user has put into a folder that others may write to.

**Limits.** In a folder without a sticky bit, others may rename and remove files at any time. On file systems that show
all files as one user's (FAT, SMB), that user's files count as ours. An existing database keeps its mode.
"""

import os
import sqlite3
import stat
from collections.abc import Callable, Generator, Iterable
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from shopsdk import Customer
from shopsdk.sandbox._rows import DOCUMENTS, INSERT, TABLE, to_row

_VERSION = 0x53484F01  # "SHO" and the version: other programs number theirs 1, 2, 3 too
_OTHERS_WRITE = 0o022
_SCHEMA = (
    TABLE,
    """CREATE TABLE transactions (
        id INTEGER PRIMARY KEY AUTOINCREMENT, customer_id INTEGER NOT NULL, amount INTEGER NOT NULL, description TEXT,
        created_at TEXT NOT NULL)""",
    "CREATE INDEX ledger ON transactions (customer_id, id)",
    f"PRAGMA user_version = {_VERSION}",
)


def open_books(database: str | os.PathLike[str], customers: Iterable[Customer]) -> sqlite3.Connection:
    """Open the books, or make them and enter the customers, all or none.

    Raises:
        ValueError: The file is in use, cannot be made, holds something else or is somebody else's, or a customer cannot
            be kept.
    """
    name = os.fspath(database)
    try:
        with ExitStack() as leftovers, ExitStack() as undo:
            if name not in {"", ":memory:"}:
                name = _resolved(name)
                _claim(name, leftovers, undo)
            books = sqlite3.connect(name, timeout=0.2, isolation_level=None, check_same_thread=False)
            undo.callback(books.close)
            # The lists that the store keeps are right only as long as nobody else writes to the file.
            books.execute("PRAGMA locking_mode = EXCLUSIVE")
            books.execute("PRAGMA journal_mode = WAL")
            books.execute("PRAGMA synchronous = NORMAL")
            books.execute("PRAGMA temp_store = MEMORY")
            with transaction(books):
                _fill(books, customers)
            undo.pop_all()
    except (sqlite3.DatabaseError, OSError) as error:
        raise ValueError(f"{os.fspath(database)} cannot be used as the sandbox's database: {error}") from error
    return books


@contextmanager
def transaction(books: sqlite3.Connection) -> Generator[None]:
    """All that happens in the block, or nothing of it."""
    books.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        books.execute("ROLLBACK")
        raise
    books.execute("COMMIT")


def _fill(books: sqlite3.Connection, customers: Iterable[Customer]) -> None:
    (version,) = books.execute("PRAGMA user_version").fetchone()
    (things,) = books.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if things and version != _VERSION:
        raise sqlite3.DatabaseError("it is another program's database")
    if not things:
        for statement in _SCHEMA:
            books.execute(statement)
        books.executemany(INSERT, map(to_row, customers))
    books.execute(DOCUMENTS)


def _resolved(path: str) -> str:
    """Give the absolute path that a name means, links followed; SQLite could take a relative one for a URI.

    Raises:
        DatabaseError: A link on the way is somebody else's.
        OSError: Links lead in a circle.
    """
    with suppress(FileNotFoundError):
        os.stat(path)  # a circle ends here, not in _check_links
    _check_links(Path(path))
    return os.path.realpath(path)


def _check_links(path: Path) -> None:
    """Refuse the links of others, on the way to a path or on the way to where a link leads."""
    for step in (*reversed(path.parents), path):
        if step.is_symlink():
            if os.lstat(step).st_uid not in {0, _user()} and os.stat(step.parent).st_mode & _OTHERS_WRITE:
                raise sqlite3.DatabaseError(f"{str(step)!r} is another user's link")
            _check_links(step.parent / os.readlink(step))


def _claim(path: str, leftovers: ExitStack, undo: ExitStack) -> None:
    """Make the file, and those that SQLite looks for beside it, or find them to be ours.

    Raises:
        DatabaseError: One is not ours.
        OSError: One cannot be made.
    """
    owners = {_user()}
    for name, removal in ((f"{path}-journal", leftovers), (f"{path}-wal", undo), (path, None)):
        try:
            handle = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)  # with these two, no link is followed
        except FileExistsError:
            found = os.lstat(name)
            if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1 or found.st_uid not in owners:
                raise sqlite3.DatabaseError(f"{name!r} is not a file of this user's alone") from None
            continue
        if removal is not None:
            removal.callback(_remove, name)
        try:
            owners.add(os.fstat(handle).st_uid)  # FAT and SMB show another user
            _set_private(handle)
        finally:
            os.close(handle)


def _remove(name: str) -> None:
    with suppress(OSError):  # gone already, or Windows has it open
        os.unlink(name)


# What Windows lacks is looked up here, when it is needed. It shows 0 as the owner of every file.


def _user() -> int:
    geteuid: Callable[[], int] | None = getattr(os, "geteuid", None)
    return 0 if geteuid is None else geteuid()


def _set_private(handle: int) -> None:
    fchmod: Callable[[int, int], None] | None = getattr(os, "fchmod", None)
    if fchmod is not None:
        fchmod(handle, 0o600)  # whatever the umask
