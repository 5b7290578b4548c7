"""The file, or the piece of memory, that the books are kept in."""

import os
import sqlite3
import stat
from collections.abc import Callable, Generator, Iterable
from contextlib import ExitStack, contextmanager

from shopsdk import Customer
from shopsdk.sandbox._rows import DOCUMENTS, INSERT, TABLE, to_row

_VERSION = 0x53484F01  # "SHO" and the version: other programs number theirs 1, 2, 3 too
_MAX_LINKS = 40
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
        ValueError: The file is in use, holds something else or is somebody else's, or a customer cannot be kept.
        OSError: The file cannot be made.
    """
    try:
        with ExitStack() as undo:
            if os.fspath(database) not in {"", ":memory:"}:
                database = _own_file(os.fspath(database))
            books = sqlite3.connect(database, timeout=0.2, isolation_level=None, check_same_thread=False)
            undo.callback(books.close)
            _prepare(books, customers)
            undo.pop_all()
    except sqlite3.DatabaseError as error:
        raise ValueError(f"{os.fspath(database)} cannot be used as the sandbox's database: {error}") from error
    return books


def _own_file(path: str) -> str:
    """Make the file, for its owner alone, unless it is there; give its name with links of our own resolved.

    SQLite gives the files beside it the same mode. Windows lacks users and modes of this kind, and is left to itself.

    Raises:
        ValueError: It, a file beside it or a link to it is somebody else's, or it is no file.
    """
    geteuid: Callable[[], int] | None = getattr(os, "geteuid", None)
    fchmod: Callable[[int, int], None] | None = getattr(os, "fchmod", None)
    user = None if geteuid is None else geteuid()
    for _ in range(_MAX_LINKS):
        if not os.path.islink(path):
            break
        if user is not None and os.lstat(path).st_uid not in {0, user}:
            raise ValueError(f"{path!r} cannot be used as the sandbox's database: it is somebody else's link")
        path = os.path.join(os.path.dirname(path), os.readlink(path))
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o600)
    except FileExistsError:
        pass
    else:
        if fchmod is not None:
            fchmod(handle, 0o600)  # whatever the umask
        os.close(handle)
    for name in (path, *(f"{path}{suffix}" for suffix in ("-wal", "-shm", "-journal"))):
        if not os.path.lexists(name):
            continue
        found = os.lstat(name)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1 or user not in {None, found.st_uid}:
            raise ValueError(f"{path!r} cannot be used as the sandbox's database: {name!r} is not a file of ours alone")
    return path


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


def _prepare(books: sqlite3.Connection, customers: Iterable[Customer]) -> None:
    # The lists that the store keeps are right only as long as nobody else writes to the file.
    books.execute("PRAGMA locking_mode = EXCLUSIVE")
    books.execute("PRAGMA journal_mode = WAL")
    books.execute("PRAGMA synchronous = NORMAL")
    books.execute("PRAGMA temp_store = MEMORY")
    with transaction(books):
        (version,) = books.execute("PRAGMA user_version").fetchone()
        (things,) = books.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if things and version != _VERSION:
            raise sqlite3.DatabaseError("it is another program's database")
        if not things:
            for statement in _SCHEMA:
                books.execute(statement)
            books.executemany(INSERT, map(to_row, customers))
        books.execute(DOCUMENTS)
