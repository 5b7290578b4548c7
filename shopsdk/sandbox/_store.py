"""The shop's database: two tables in sqlite3, and the ids of the lists that were read last.

SQLite takes a step for each row before a page. So the ids of a list are read once, in order, and kept until a change
could reorder them: a page is then a slice, and the total is a length.
"""

import json
import os
import sqlite3
import stat
import threading
from array import array
from collections import Counter
from collections.abc import Callable, Generator, Iterable
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any
from zlib import crc32

from shopsdk import BalanceTransaction, Customer
from shopsdk.sandbox._fake_data import FIRST_ID
from shopsdk.sandbox._rows import DOCUMENTS, INSERT, TABLE, to_cents, to_customer, to_money, to_row
from shopsdk.sandbox._validation import Listing

_MAX_LISTS = 8
_MAX_PATTERN = 40_000
"""Bytes of a filter's text; SQLite refuses patterns somewhat longer. No column holds as much."""
_OTHERS_WRITE = 0o022
_SCHEMA = (
    TABLE,
    """CREATE TABLE transactions (
        id INTEGER PRIMARY KEY AUTOINCREMENT, customer_id INTEGER NOT NULL, amount INTEGER NOT NULL, description TEXT,
        created_at TEXT NOT NULL)""",
    "CREATE INDEX ledger ON transactions (customer_id, id)",
)
_VERSION = crc32("".join(_SCHEMA).encode()) >> 1
"""The version of the schema, in SQLite's 31 bits: a database of another schema is no sandbox's."""


class Store:
    """The database. Every method may be called from any thread."""

    def __init__(self, database: str | os.PathLike[str], customers: Iterable[Customer]) -> None:
        """Open the database, or make it and enter the customers.

        Raises:
            ValueError: As in ``open_database``.
        """
        self.lock = threading.RLock()
        self._versions: Counter[str] = Counter()
        self._ids = lru_cache(maxsize=_MAX_LISTS)(self._read_ids)
        self._db = open_database(database, customers)

    def close(self) -> None:
        """Close the database; one in a file lasts."""
        with self.lock:
            self._db.close()

    @property
    def changes(self) -> int:
        """A number that grows with every change."""
        with self.lock:
            return self._db.total_changes

    def page(self, listing: Listing) -> tuple[list[str], int]:
        """The rows of one page, each as JSON, and the number of rows in the whole list."""
        clauses, values = _conditions(listing)
        with self.lock:
            versions = tuple(self._versions[name] for name in ("rows", listing.column, *listing.filters))
            ids = self._ids(versions, clauses, values, listing.column, listing.direction)
            start = (listing.page - 1) * listing.per_page
            wanted = json.dumps(ids[start : start + listing.per_page].tolist())
            # CROSS JOIN keeps SQLite from turning the loop round; the key is the place in the list.
            rows = self._db.execute(
                "SELECT document FROM (SELECT key, value FROM json_each(?)) AS wanted"
                " CROSS JOIN documents ON id = wanted.value ORDER BY wanted.key",
                (wanted,),
            )
            return [document for (document,) in rows], len(ids)

    def document(self, customer_id: int) -> str:
        """A customer as JSON.

        Raises:
            KeyError: There is no such customer.
        """
        row = self._fetch_one("SELECT document FROM documents WHERE id = ?", customer_id)
        if row is None:
            raise KeyError(customer_id)
        return str(row[0])

    def find(self, customer_id: str) -> int | None:
        """Find the id that this text names, compared as a database compares text with numbers."""
        row = self._fetch_one("SELECT id FROM customers WHERE id = ?", customer_id)
        return None if row is None else row[0]

    def ledger(self, customer_id: int) -> list[dict[str, object]]:
        """A customer's transactions, newest first, as the API shows them."""
        with self.lock:
            rows = self._db.execute(
                "SELECT id, customer_id, amount, description, created_at FROM transactions"
                " WHERE customer_id = ? ORDER BY id DESC",
                (customer_id,),
            ).fetchall()
        return [
            {
                "id": number,
                "customer_id": owner,
                "amount": str(to_money(cents)),
                "description": text,
                "created_at": when,
            }
            for number, owner, cents, text, when in rows
        ]

    def edit_balance(self, customer_id: int, amount: Decimal, description: str | None) -> None:
        """Add a transaction and change the balance, both or neither."""
        cents = to_cents(amount)
        now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        with self._change("balance"):
            self._db.execute(
                "INSERT INTO transactions (customer_id, amount, description, created_at) VALUES (?, ?, ?, ?)",
                (customer_id, cents, description, now),
            )
            self._db.execute(
                "UPDATE customers SET balance = coalesce(balance, 0) + ? WHERE id = ?", (cents, customer_id)
            )

    def set_affiliate_code(self, customer_id: int, code: str | None) -> None:
        """Set the code, or clear it."""
        with self._change("affiliate_code"):
            self._db.execute("UPDATE customers SET affiliate_code = ? WHERE id = ?", (code, customer_id))

    def next_id(self) -> int:
        """An id that no customer has ever had."""
        row = self._fetch_one("SELECT seq + 1 FROM sqlite_sequence WHERE name = 'customers'")
        return FIRST_ID if row is None else row[0]

    def add(self, customer: Customer) -> Customer:
        """Add a customer, and return it as the database holds it.

        Raises:
            ValueError: The id is taken, or a value cannot be kept.
        """
        row = to_row(customer)
        with self._change("rows"):
            if self._fetch_one("SELECT 1 FROM customers WHERE id = ?", customer.id):
                raise ValueError(f"there is a customer {customer.id} already")
            self._db.execute(INSERT, row)
            return self.customer(customer.id)

    def replace(self, customer: Customer) -> Customer:
        """Overwrite a customer, and return it as the database holds it.

        Raises:
            KeyError: There is no such customer.
            ValueError: A value cannot be kept.
        """
        row = to_row(customer)
        with self._change("rows"):
            self.customer(customer.id)
            self._db.execute(INSERT, row)
            return self.customer(customer.id)

    def remove(self, customer_id: int) -> None:
        """Remove a customer and its transactions.

        Raises:
            KeyError: There is no such customer.
        """
        with self._change("rows"):
            self.customer(customer_id)
            self._db.execute("DELETE FROM transactions WHERE customer_id = ?", (customer_id,))
            self._db.execute("DELETE FROM customers WHERE id = ?", (customer_id,))

    def customer(self, customer_id: int) -> Customer:
        """One customer.

        Raises:
            KeyError: There is no such customer.
        """
        row = self._fetch_one("SELECT * FROM customers WHERE id = ?", customer_id)
        if row is None:
            raise KeyError(customer_id)
        return to_customer(row)

    def customers(self) -> list[Customer]:
        """All customers, by rising id."""
        with self.lock:
            return [to_customer(row) for row in self._db.execute("SELECT * FROM customers ORDER BY id")]

    def transactions(self, customer_id: int) -> list[BalanceTransaction]:
        """A customer's transactions, newest first.

        Raises:
            KeyError: There is no such customer.
        """
        with self.lock:
            self.customer(customer_id)
            rows = self._db.execute(
                "SELECT id, amount, description, created_at FROM transactions WHERE customer_id = ? ORDER BY id DESC",
                (customer_id,),
            ).fetchall()
        return [
            BalanceTransaction(
                id=number, amount=to_money(cents), description=text, created_at=datetime.fromisoformat(created_at)
            )
            for number, cents, text, created_at in rows
        ]

    @contextmanager
    def _change(self, what: str) -> Generator[None]:
        """Run the block as one transaction; lists that depend on what it changes are read again."""
        with self.lock, transaction(self._db):
            yield
            self._versions[what] += 1

    def _fetch_one(self, sql: str, *values: object) -> tuple[Any, ...] | None:
        with self.lock:
            row: tuple[Any, ...] | None = self._db.execute(sql, values).fetchone()
            return row

    def _read_ids(
        self, _versions: tuple[int, ...], clauses: str, values: tuple[str, ...], column: str, direction: str
    ) -> "array[int]":
        # Text sorts by bytes and null first, in SQLite as in the shop. The shop adds no tiebreaker, so that ties fall
        # as they may; here they fall the same way every time. Column and direction come from closed lists.
        order = f"ORDER BY {column} {direction}, id"
        rows = self._db.execute(f"SELECT id FROM customers {clauses} {order}", values)  # noqa: S608 - nothing of a caller's
        return array("q", (number for (number,) in rows))


def _conditions(listing: Listing) -> tuple[str, tuple[str, ...]]:
    clauses: list[str] = []
    values: list[str] = []
    for column, text in listing.filters.items():
        if len(text.encode()) > _MAX_PATTERN:
            clauses.append("0")
            continue
        clauses.append("id = ?" if column == "id" else f"{column} LIKE ?")
        values.append(text if column == "id" else f"%{text}%")
    if listing.subscribed is not None:
        clauses.append("newsletter_at IS NOT NULL" if listing.subscribed else "newsletter_at IS NULL")
    return f"WHERE {' AND '.join(clauses)}" if clauses else "", tuple(values)


def open_database(database: str | os.PathLike[str], customers: Iterable[Customer]) -> sqlite3.Connection:
    """Open the database, or make it and enter the customers, all or none.

    Raises:
        ValueError: The file is in use, cannot be made, holds something else or is somebody else's, or a customer cannot
            be kept.
    """
    name = os.fspath(database)
    try:
        with ExitStack() as leftovers, ExitStack() as undo:
            if name not in {"", ":memory:"}:
                name = _resolve(name)
                _create_files(name, leftovers, undo)
            connection = sqlite3.connect(name, timeout=0.2, isolation_level=None, check_same_thread=False)
            undo.callback(connection.close)
            # The lists that the store keeps are right only as long as nobody else writes to the file.
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("PRAGMA temp_store = MEMORY")
            with transaction(connection):
                _fill(connection, customers)
            undo.pop_all()
    except (sqlite3.DatabaseError, OSError) as error:
        raise ValueError(f"{os.fspath(database)} cannot be used as the sandbox's database: {error}") from error
    return connection


@contextmanager
def transaction(connection: sqlite3.Connection) -> Generator[None]:
    """Commit all that the block changes, or nothing of it."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _fill(connection: sqlite3.Connection, customers: Iterable[Customer]) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (things,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if things and version != _VERSION:
        raise sqlite3.DatabaseError("it is another program's database")
    if not things:
        for statement in _SCHEMA:
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {_VERSION}")
        connection.executemany(INSERT, map(to_row, customers))
    connection.execute(DOCUMENTS)


def _resolve(path: str) -> str:
    """Resolve a name to its absolute path, links followed; SQLite could take a relative one for a URI.

    Raises:
        DatabaseError: A link on the way is somebody else's.
        OSError: Links lead in a circle.
    """
    with suppress(FileNotFoundError):
        os.stat(path)  # a circle ends here, not in _check_links
    _check_links(Path(path))
    return os.path.realpath(path)


def _check_links(path: Path) -> None:
    """Refuse links of other users on the way to a path, and on the way to where its links lead."""
    for step in (*reversed(path.parents), path):
        if step.is_symlink():
            if os.lstat(step).st_uid not in {0, _user()} and os.stat(step.parent).st_mode & _OTHERS_WRITE:
                raise sqlite3.DatabaseError(f"{str(step)!r} is another user's link")
            _check_links(step.parent / os.readlink(step))


def _create_files(path: str, leftovers: ExitStack, undo: ExitStack) -> None:
    """Make the file and those that SQLite opens beside it, or check that they are this user's alone.

    Raises:
        DatabaseError: One is not this user's alone.
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


# Windows lacks these two calls, and shows 0 as the owner of every file.


def _user() -> int:
    geteuid: Callable[[], int] | None = getattr(os, "geteuid", None)
    return 0 if geteuid is None else geteuid()


def _set_private(handle: int) -> None:
    fchmod: Callable[[int, int], None] | None = getattr(os, "fchmod", None)
    if fchmod is not None:
        fchmod(handle, 0o600)  # whatever the umask
