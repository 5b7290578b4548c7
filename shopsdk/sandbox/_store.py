"""The shops' database: three tables in sqlite3, and the keys of the lists that were read last.

SQLite takes a step for each row before a page. So the keys of a list are read once, in order, and kept until a change
could reorder them: a page is then a slice, and the total is a length.

The sum of a customer's ledger is its balance: whatever changes the one changes the other in the same transaction.
"""

import json
import os
import sqlite3
import stat
import threading
from array import array
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterable
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any
from zlib import crc32

from shopsdk import BalanceTransaction, Customer
from shopsdk.sandbox._fake_data import FIRST_ID
from shopsdk.sandbox._rows import (
    DOCUMENTS,
    INSERT,
    INSERT_LINE,
    LEDGER,
    TABLE,
    Entry,
    Line,
    balance_line,
    is_id,
    line_time,
    to_cents,
    to_customer,
    to_money,
    to_row,
)
from shopsdk.sandbox._validation import Listing

_MAX_LISTS = 8
"""Lists that are kept for each shop."""
_MAX_PATTERN = 40_000
"""Bytes of a filter's text; SQLite refuses patterns somewhat longer. No column holds as much."""
_OTHERS_WRITE = 0o022
_ENTRIES_AT_ONCE = 100
"""Few enough that no garbage collection begins between two of these: they would take half of the time again."""
_OPENING = "Opening balance"
_ADJUSTMENT = "Adjustment"
_SCHEMA = (
    "CREATE TABLE shops (id INTEGER PRIMARY KEY, last_customer_id INTEGER)",
    TABLE,
    LEDGER,
)
_INDEX = "CREATE INDEX ledger ON transactions (shop_id, customer_id, id)"
_VERSION = crc32("".join((*_SCHEMA, _INDEX)).encode()) >> 1
"""The version of the schema, in SQLite's 31 bits: a database of another schema is no sandbox's."""


class Store:
    """The database. Every method may be called from any thread."""

    def __init__(self, database: str | os.PathLike[str], shop_ids: Collection[int], entries: Iterable[Entry]) -> None:
        """Open the database, or make it and enter the shops and their customers.

        Raises:
            ValueError: As in ``open_database``.
        """
        self.lock = threading.RLock()
        self.shop_ids = {str(shop_id): shop_id for shop_id in shop_ids}
        """The id of each shop, by its text in a path."""
        self._versions: Counter[tuple[int, str]] = Counter()
        self._keys = lru_cache(maxsize=_MAX_LISTS * len(shop_ids))(self._read_keys)
        self._db = open_database(database, shop_ids, entries)

    def close(self) -> None:
        """Close the database; one in a file lasts."""
        with self.lock:
            self._db.close()

    @property
    def changes(self) -> int:
        """A number that grows with every change."""
        with self.lock:
            return self._db.total_changes

    def page(self, shop_id: int, listing: Listing) -> tuple[list[str], int]:
        """The rows of one page, each as JSON, and the number of rows in the whole list."""
        clauses, values = _conditions(listing)
        with self.lock:
            versions = tuple(self._versions[shop_id, name] for name in ("rows", listing.column, *listing.filters))
            keys = self._keys(versions, clauses, (shop_id, *values), listing.column, listing.direction)
            start = (listing.page - 1) * listing.per_page
            wanted = json.dumps(keys[start : start + listing.per_page].tolist())
            # CROSS JOIN keeps SQLite from turning the loop round.
            rows = self._db.execute(
                "SELECT document FROM (SELECT key AS place, value FROM json_each(?)) AS wanted"
                " CROSS JOIN documents ON key = wanted.value ORDER BY place",
                (wanted,),
            )
            return [document for (document,) in rows], len(keys)

    def document(self, shop_id: int, customer_id: int) -> str:
        """A customer as JSON.

        Raises:
            KeyError: There is no such customer.
        """
        row = self._fetch_one("SELECT document FROM documents WHERE shop_id = ? AND id = ?", shop_id, customer_id)
        if row is None:
            raise KeyError(customer_id)
        return str(row[0])

    def find(self, shop_id: int, customer_id: str) -> int | None:
        """Find the id that this text names, compared as a database compares text with numbers."""
        row = self._fetch_one("SELECT id FROM customers WHERE shop_id = ? AND id = ?", shop_id, customer_id)
        return None if row is None else row[0]

    def ledger(self, shop_id: int, customer_id: int) -> list[dict[str, object]]:
        """A customer's transactions, newest first, as the API shows them."""
        return [
            {
                "id": number,
                "customer_id": customer_id,
                "amount": str(to_money(cents)),
                "description": text,
                "created_at": when,
            }
            for number, cents, text, when in self._lines(shop_id, customer_id)
        ]

    def edit_balance(self, shop_id: int, customer_id: int, amount: Decimal, description: str | None) -> None:
        """Add a transaction and change the balance, both or neither."""
        cents = to_cents(amount)
        with self._change(shop_id, "balance"):
            self._add_lines(shop_id, customer_id, [(cents, description, line_time(datetime.now(UTC)))])
            self._db.execute(
                "UPDATE customers SET balance = coalesce(balance, 0) + ? WHERE shop_id = ? AND id = ?",
                (cents, shop_id, customer_id),
            )

    def set_affiliate_code(self, shop_id: int, customer_id: int, code: str | None) -> None:
        """Set the code, or clear it."""
        with self._change(shop_id, "affiliate_code"):
            self._db.execute(
                "UPDATE customers SET affiliate_code = ? WHERE shop_id = ? AND id = ?", (code, shop_id, customer_id)
            )

    def next_id(self) -> int:
        """An id that no customer of any shop has ever had."""
        row = self._fetch_one("SELECT max(last_customer_id) + 1 FROM shops")
        return FIRST_ID if row is None or row[0] is None else row[0]

    def add(self, shop_id: int, customer: Customer, lines: Iterable[Line] | None = None) -> Customer:
        """Add a customer, and return it as the database holds it.

        Args:
            shop_id: The shop's id.
            customer: The customer.
            lines: Its ledger, oldest first, whose sum is the balance; None: one line for the balance.

        Raises:
            ValueError: The id is taken, or a value cannot be kept.
        """
        row = to_row(shop_id, customer)
        with self._change(shop_id, "rows"):
            if self._fetch_one("SELECT 1 FROM customers WHERE shop_id = ? AND id = ?", shop_id, customer.id):
                raise ValueError(f"there is a customer {customer.id} already")
            self._db.execute(INSERT, row)
            self._db.execute(
                "UPDATE shops SET last_customer_id = max(coalesce(last_customer_id, ?1), ?1) WHERE id = ?2",
                (customer.id, shop_id),
            )
            self._add_lines(shop_id, customer.id, opening_lines(customer) if lines is None else lines)
            return self.customer(shop_id, customer.id)

    def replace(self, shop_id: int, customer: Customer) -> Customer:
        """Overwrite a customer, and return it as the database holds it.

        Raises:
            KeyError: There is no such customer.
            ValueError: A value cannot be kept.
        """
        row = to_row(shop_id, customer)
        with self._change(shop_id, "rows"):
            before = self.customer(shop_id, customer.id).balance
            self._db.execute(INSERT, row)
            self._add_lines(shop_id, customer.id, balance_line(customer.balance, _ADJUSTMENT, before=before))
            return self.customer(shop_id, customer.id)

    def remove(self, shop_id: int, customer_id: int) -> None:
        """Remove a customer and its transactions.

        Raises:
            KeyError: There is no such customer.
        """
        with self._change(shop_id, "rows"):
            self.customer(shop_id, customer_id)
            self._db.execute("DELETE FROM transactions WHERE shop_id = ? AND customer_id = ?", (shop_id, customer_id))
            self._db.execute("DELETE FROM customers WHERE shop_id = ? AND id = ?", (shop_id, customer_id))

    def customer(self, shop_id: int, customer_id: int) -> Customer:
        """One customer.

        Raises:
            KeyError: There is no such customer.
        """
        row = None
        if is_id(customer_id):
            row = self._fetch_one("SELECT * FROM customers WHERE shop_id = ? AND id = ?", shop_id, customer_id)
        if row is None:
            raise KeyError(customer_id)
        return to_customer(row)

    def customers(self, shop_id: int) -> list[Customer]:
        """All customers of a shop, by rising id."""
        with self.lock:
            rows = self._db.execute("SELECT * FROM customers WHERE shop_id = ? ORDER BY id", (shop_id,))
            return [to_customer(row) for row in rows]

    def transactions(self, shop_id: int, customer_id: int) -> list[BalanceTransaction]:
        """A customer's transactions, newest first.

        Raises:
            KeyError: There is no such customer.
        """
        with self.lock:
            self.customer(shop_id, customer_id)
            rows = self._lines(shop_id, customer_id)
        return [
            BalanceTransaction(
                id=number, amount=to_money(cents), description=text, created_at=datetime.fromisoformat(created_at)
            )
            for number, cents, text, created_at in rows
        ]

    def _lines(self, shop_id: int, customer_id: int) -> list[tuple[int, int, str | None, str]]:
        with self.lock:
            return self._db.execute(
                "SELECT id, amount, description, created_at FROM transactions"
                " WHERE shop_id = ? AND customer_id = ? ORDER BY id DESC",
                (shop_id, customer_id),
            ).fetchall()

    def _add_lines(self, shop_id: int, customer_id: int, lines: Iterable[Line]) -> None:
        self._db.executemany(INSERT_LINE, [(shop_id, customer_id, *line) for line in lines])

    @contextmanager
    def _change(self, shop_id: int, what: str) -> Generator[None]:
        """Run the block as one transaction; the shop's lists that depend on what it changes are read again."""
        with self.lock, transaction(self._db):
            yield
            self._versions[shop_id, what] += 1

    def _fetch_one(self, sql: str, *values: object) -> tuple[Any, ...] | None:
        with self.lock:
            row: tuple[Any, ...] | None = self._db.execute(sql, values).fetchone()
            return row

    def _read_keys(
        self, _versions: tuple[int, ...], clauses: str, values: tuple[int | str, ...], column: str, direction: str
    ) -> "array[int]":
        # Text sorts by bytes and null first, in SQLite as in the shop. The shop adds no tiebreaker, so that ties fall
        # as they may; here they fall the same way every time. Column and direction come from closed lists.
        order = f"ORDER BY {column} {direction}, id"
        rows = self._db.execute(f"SELECT key FROM customers {clauses} {order}", values)  # noqa: S608 - nothing of a caller's
        return array("q", (key for (key,) in rows))


def _conditions(listing: Listing) -> tuple[str, tuple[str, ...]]:
    clauses = ["shop_id = ?"]
    values: list[str] = []
    for column, text in listing.filters.items():
        if len(text.encode()) > _MAX_PATTERN:
            clauses.append("0")
            continue
        clauses.append("id = ?" if column == "id" else f"{column} LIKE ?")
        values.append(text if column == "id" else f"%{text}%")
    if listing.subscribed is not None:
        clauses.append("newsletter_at IS NOT NULL" if listing.subscribed else "newsletter_at IS NULL")
    return f"WHERE {' AND '.join(clauses)}", tuple(values)


def opening_lines(customer: Customer) -> list[Line]:
    """Make the ledger of a customer that is given with its balance."""
    return balance_line(customer.balance, _OPENING)


def open_database(
    database: str | os.PathLike[str], shop_ids: Collection[int], entries: Iterable[Entry]
) -> sqlite3.Connection:
    """Open the database, or make it and enter the shops and their customers, all or none.

    Raises:
        ValueError: The file is in use, cannot be made, holds something else or other shops or is somebody else's, or a
            customer cannot be kept.
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
                _fill(connection, shop_ids, entries)
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


def _fill(connection: sqlite3.Connection, shop_ids: Collection[int], entries: Iterable[Entry]) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (things,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if not things:
        for statement in _SCHEMA:
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {_VERSION}")
        _enter(connection, shop_ids, entries)
    elif version != _VERSION:
        raise sqlite3.DatabaseError("it is another program's database, or that of another version")
    else:
        held = [shop_id for (shop_id,) in connection.execute("SELECT id FROM shops ORDER BY id")]
        if held != sorted(shop_ids):
            raise sqlite3.DatabaseError(
                f"it holds {_name_shops(held)}, and was opened for {_name_shops(sorted(shop_ids))}"
            )
    connection.execute(DOCUMENTS)


def _enter(connection: sqlite3.Connection, shop_ids: Collection[int], entries: Iterable[Entry]) -> None:
    connection.executemany("INSERT INTO shops (id) VALUES (?)", [(shop_id,) for shop_id in shop_ids])
    left = iter(entries)
    while some := list(islice(left, _ENTRIES_AT_ONCE)):
        connection.executemany(INSERT, [to_row(shop_id, customer) for shop_id, customer, _ in some])
        connection.executemany(
            INSERT_LINE, [(shop_id, customer.id, *line) for shop_id, customer, lines in some for line in lines]
        )
    connection.execute(_INDEX)
    connection.execute("UPDATE shops SET last_customer_id = (SELECT max(id) FROM customers WHERE shop_id = shops.id)")


def _name_shops(shop_ids: Collection[int]) -> str:
    if not shop_ids:
        return "no shop"
    *most, last = map(str, shop_ids)
    return f"shops {', '.join(most)} and {last}" if most else f"shop {last}"


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
