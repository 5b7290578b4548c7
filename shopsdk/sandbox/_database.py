"""The file, or the piece of memory, that the books are kept in."""

import os
import sqlite3
from collections.abc import Generator, Iterable
from contextlib import ExitStack, contextmanager

from shopsdk import Customer
from shopsdk.sandbox._rows import DOCUMENTS, INSERT, TABLE, to_row

_VERSION = 0x53484F01  # "SHO" and the version: other programs number theirs 1, 2, 3 too
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
        ValueError: The file is in use or holds something else, or a customer cannot be kept.
    """
    try:
        with ExitStack() as undo:
            books = sqlite3.connect(database, timeout=0.2, isolation_level=None, check_same_thread=False)
            undo.callback(books.close)
            _prepare(books, customers)
            undo.pop_all()
    except sqlite3.DatabaseError as error:
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
