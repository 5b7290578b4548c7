"""The shop: one call in, one answer out, in the order in which Laravel goes about it.

Key, route, rate limit, shop and customer, parameters. It knows no sockets and no time, so a request has done
all that it does before anything can happen to its answer.
"""

import hmac
import re
from collections.abc import Callable, Mapping

import attrs

from shopsdk.sandbox._message import Answer, Call, HTTPError, error_answer, json_answer, parameters
from shopsdk.sandbox._paginator import envelope
from shopsdk.sandbox._store import Store
from shopsdk.sandbox._throttle import Throttle
from shopsdk.sandbox._validation import check_affiliate_code, check_edit, check_listing

Handler = Callable[[Store, Call, int], Answer]


def _customers(store: Store, call: Call, _: int) -> Answer:
    listing = check_listing(call, parameters(call))
    rows, total = store.page(listing)
    return Answer(200, envelope(rows, page=listing.page, per_page=listing.per_page, total=total, path=call.url))


def _customer(store: Store, _: Call, customer_id: int) -> Answer:
    return Answer(200, store.document(customer_id).encode())


def _transactions(store: Store, _: Call, customer_id: int) -> Answer:
    return json_answer(store.ledger(customer_id))


def _balance(store: Store, call: Call, customer_id: int) -> Answer:
    edit = check_edit(call, parameters(call))
    store.credit(customer_id, edit.amount, edit.description)
    return json_answer({"message": "Customer balance updated successfully."})


def _affiliate_code(store: Store, call: Call, customer_id: int) -> Answer:
    store.set_affiliate_code(customer_id, check_affiliate_code(call, parameters(call)))
    return json_answer({"message": "Affiliate code updated successfully."})


_ROUTES: dict[str, dict[str, Handler]] = {
    "/shops/{shop}/customers": {"GET": _customers, "HEAD": _customers},
    "/shops/{shop}/customers/{customer}": {"GET": _customer, "HEAD": _customer},
    "/shops/{shop}/customers/{customer}/balance-transactions": {"GET": _transactions, "HEAD": _transactions},
    "/shops/{shop}/customers/{customer}/balance": {"POST": _balance, "PUT": _balance},
    "/shops/{shop}/customers/{customer}/affiliate-code": {"PUT": _affiliate_code},
}
_PARAMETER = re.compile(r"\{(\w+)\}")
_PATTERNS = {route: re.compile("/v1" + _PARAMETER.sub(r"(?P<\1>[^/]+)", route) + "/?") for route in _ROUTES}


@attrs.frozen
class Target:
    """Where a path leads."""

    route: str
    shop: str
    customer: str | None


def resolve(path: str) -> Target | None:
    """The route that a path falls on, if any."""
    for route, pattern in _PATTERNS.items():
        if match := pattern.fullmatch(path):
            return Target(route, match["shop"], match.groupdict().get("customer"))
    return None


class Shop:
    """Answers calls from its books; used from the server's loop alone."""

    def __init__(self, store: Store, *, shop_id: int, api_key: str, throttle: Throttle | None) -> None:
        self._store = store
        self._shop_id = str(shop_id)
        self._api_key = api_key.encode()
        self._throttle = throttle

    def answer(self, call: Call, target: Target | None) -> Answer:
        """Carry out a call."""
        try:
            answer = self._carry_out(call, target)
        except HTTPError as refusal:
            answer = error_answer(call, refusal)
        return self.mark(answer)

    def mark(self, answer: Answer) -> Answer:
        """Put the rate limit's state on an answer, while there is a limit."""
        if self._throttle is None:
            return answer
        return attrs.evolve(answer, headers={**self._throttle.headers(), **answer.headers})

    def knows(self, headers: Mapping[str, str]) -> bool:
        """Do these headers hold the key?"""
        scheme, _, key = headers.get("Authorization", "").partition(" ")
        return scheme == "Bearer" and hmac.compare_digest(key.encode(errors="replace"), self._api_key)

    def _carry_out(self, call: Call, target: Target | None) -> Answer:
        if not self.knows(call.headers):
            raise HTTPError(401, "Unauthenticated.", redirect="/login")
        if target is None:
            raise HTTPError(404, "")
        handlers = _ROUTES[target.route]
        if call.method not in handlers:
            raise _not_allowed(call.method, ", ".join(handlers))
        if self._throttle is not None:
            self._throttle.hit()
        if target.shop != self._shop_id:
            raise HTTPError(404, f"No query results for model [Shop] {target.shop}")
        with self._store.lock:  # a customer that was found is still there when it is edited
            customer_id = 0 if target.customer is None else self._store.find(target.customer)
            if customer_id is None:
                raise HTTPError(404, f"No query results for model [Customer] {target.customer}")
            return handlers[call.method](self._store, call, customer_id)


def _not_allowed(method: str, supported: str) -> HTTPError:
    message = f"The {method} method is not supported for this route. Supported methods: {supported}."
    return HTTPError(405, message, headers={"Allow": supported})
