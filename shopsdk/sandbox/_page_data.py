"""The data that the page shows of the shop and of the requests: plain values; nothing here changes them.

Ids and counts of the shop are text: JavaScript reads whole numbers beyond 2**53 inexactly.
"""

import json
import re
import secrets
from collections.abc import Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from typing import cast

import attrs

from shopsdk.sandbox._message import HTTPError, Request, parameters
from shopsdk.sandbox._paginator import find_last_page
from shopsdk.sandbox._requests import RecordedRequest, RequestLog
from shopsdk.sandbox._store import Store
from shopsdk.sandbox._validation import check_listing

PER_PAGE = 50
MAX_REQUESTS = 300
"""Requests in one answer, the latest."""
_VERSION = re.compile(r"[0-9]{1,18}")
_EDIT_FIELDS = ("amount", "description", "affiliate_code")
_MAX_BODY_BYTES = 4096
"""Bytes of a body that is read for the page; the body of an edit that the shop accepts has fewer."""
_SECRET_LENGTH = 8
"""Characters of a key that is masked within longer text too; a shorter one may be part of any word."""


class PageData:
    """Reads the shop and the log for the page; used from the server's loop alone."""

    def __init__(self, store: Store, log: RequestLog, *, api_key: str) -> None:
        self._store = store
        self._log = log
        key = re.escape(api_key) or "(?!)"  # an empty one is found nowhere
        if len(api_key) < _SECRET_LENGTH:
            key = rf"(?<![^/]){key}(?![^/])"
        # However a URL quotes a key, its letters and digits stay.
        runs = re.findall(rf"[\w-]{{{_SECRET_LENGTH},}}", api_key, re.ASCII)
        self._key = re.compile("|".join([key, *map(re.escape, runs)]))
        self._run = secrets.token_hex(8)  # tells the page that another sandbox has taken the address over

    def requests(self, request: Request) -> dict[str, object]:
        """The requests that came or were answered after a version of the log."""
        after = request.query.get("after")
        version = int(after) if isinstance(after, str) and _VERSION.fullmatch(after) else 0
        changed = self._log.changed_since(version, MAX_REQUESTS)
        return {
            **self._state(),
            "shops": list(self._store.shop_ids),
            "total": self._log.total,
            "version": self._log.version,
            "requests": [self._request(number, record) for number, record in changed],
        }

    def customers(self, shop: str, request: Request) -> dict[str, object]:
        """One page of a shop's customers, by the parameters of Get Customers; past the last page, the last.

        Raises:
            HTTPError: There is no such shop (404), or a parameter is not valid (422).
        """
        shop_id = self._find_shop(shop)
        listing = check_listing(request, {**parameters(request), "perPage": PER_PAGE})
        with self._store.lock:
            rows, total = self._store.page(shop_id, listing)
            last_page = find_last_page(total, PER_PAGE)
            if listing.page > last_page:
                listing = attrs.evolve(listing, page=last_page)
                rows, _ = self._store.page(shop_id, listing)
            customers = [_texts(json.loads(row)) for row in rows]
            return {**self._state(), **_place(listing.page, total), "customers": customers}

    def customer(self, shop: str, customer: str, request: Request) -> dict[str, object]:
        """A customer, and one page of its ledger, newest first; past the last page, the last.

        Raises:
            HTTPError: There is no such shop or customer (404), or the page is not valid (422).
        """
        shop_id = self._find_shop(shop)
        page = check_listing(request, {"page": parameters(request).get("page")}).page
        with self._store.lock:
            customer_id = self._store.find(shop_id, customer)
            if customer_id is None:
                raise HTTPError(404, "This shop has no such customer.")
            ledger = self._store.ledger(shop_id, customer_id)
            page = min(page, find_last_page(len(ledger), PER_PAGE))
            return {
                **self._state(),
                **_place(page, len(ledger)),
                "customer": _texts(json.loads(self._store.document(shop_id, customer_id))),
                "lines": [_texts(line) for line in ledger[(page - 1) * PER_PAGE : page * PER_PAGE]],
            }

    def _state(self) -> dict[str, object]:
        """The sandbox that answers, and the state of its shops."""
        return {"run": self._run, "changes": self._store.changes}

    def _find_shop(self, shop: str) -> int:
        shop_id = self._store.shop_ids.get(shop)
        if shop_id is None:
            raise HTTPError(404, "There is no such shop.")
        return shop_id

    def _request(self, number: int, record: RecordedRequest) -> dict[str, object]:
        return {
            "number": number,
            "received_at": _utc(record.received_at),
            "method": self._mask(record.method),
            "route": record.route,
            "path": self._mask(record.path),
            "parameters": [[self._mask(name), self._mask(text)] for name, text in _parameters(record)],
            "status": record.status,
            "elapsed": record.elapsed,
            "fault": record.fault,
        }

    def _mask(self, text: str) -> str:
        """Mask the key, which a wrong program may have written into a URL; a short one only where it stands alone."""
        return self._key.sub("***", text)


def _parameters(record: RecordedRequest) -> Iterator[tuple[str, str]]:
    """The parameters of the query, and those of the body where it is an edit's."""
    yield from record.query.items()
    if record.method not in {"POST", "PUT"} or len(record.body) > _MAX_BODY_BYTES:
        return
    document = record.json
    if isinstance(document, dict):
        given = cast("Mapping[str, object]", document)
        for name in _EDIT_FIELDS:
            value = given.get(name, [])
            if not isinstance(value, (list, dict)):
                yield name, str(value) if isinstance(value, (str, Decimal)) else json.dumps(value)


def _place(page: int, total: int) -> dict[str, object]:
    return {"page": page, "pages": find_last_page(total, PER_PAGE), "total": total}


def _texts(value: object) -> object:
    """Turn the whole numbers of a document to text."""
    if isinstance(value, dict):
        return {name: _texts(each) for name, each in cast("Mapping[str, object]", value).items()}
    return str(value) if isinstance(value, int) else value


def _utc(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
