"""The API of the shops: it answers requests in the order in which Laravel goes about it.

That order is: key, route, rate limit, shop and customer, parameters. It knows no sockets and no time, so all that a
request changes is changed before anything can happen to its answer.
"""

import hmac
import re
from collections.abc import Callable, Mapping

import attrs

from shopsdk.sandbox._message import HTTPError, Request, Response, error_response, json_response, parameters
from shopsdk.sandbox._paginator import envelope
from shopsdk.sandbox._store import Store
from shopsdk.sandbox._throttle import Throttle
from shopsdk.sandbox._validation import check_affiliate_code, check_edit, check_listing

Handler = Callable[[Store, Request, int, int], Response]


def _customers(store: Store, request: Request, shop_id: int, _: int) -> Response:
    listing = check_listing(request, parameters(request))
    rows, total = store.page(shop_id, listing)
    return Response(200, envelope(rows, page=listing.page, per_page=listing.per_page, total=total, path=request.url))


def _customer(store: Store, _: Request, shop_id: int, customer_id: int) -> Response:
    return Response(200, store.document(shop_id, customer_id).encode())


def _transactions(store: Store, _: Request, shop_id: int, customer_id: int) -> Response:
    return json_response(store.ledger(shop_id, customer_id))


def _balance(store: Store, request: Request, shop_id: int, customer_id: int) -> Response:
    edit = check_edit(request, parameters(request))
    store.edit_balance(shop_id, customer_id, edit.amount, edit.description)
    return json_response({"message": "Customer balance updated successfully."})


def _affiliate_code(store: Store, request: Request, shop_id: int, customer_id: int) -> Response:
    store.set_affiliate_code(shop_id, customer_id, check_affiliate_code(request, parameters(request)))
    return json_response({"message": "Affiliate code updated successfully."})


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
class RouteMatch:
    """The route of a path, and the ids in it."""

    route: str
    shop: str
    customer: str | None


def match_route(path: str) -> RouteMatch | None:
    """Find the route of a path; None where there is none."""
    for route, pattern in _PATTERNS.items():
        if match := pattern.fullmatch(path):
            return RouteMatch(route, match["shop"], match.groupdict().get("customer"))
    return None


class Shop:
    """Answers requests to its shops from their database; used from the server's loop alone."""

    def __init__(self, store: Store, *, api_key: str, throttle: Throttle | None) -> None:
        self._store = store
        self._api_key = api_key.encode()
        self._throttle = throttle

    def respond(self, request: Request, match: RouteMatch | None) -> Response:
        """Carry out a request."""
        try:
            response = self._carry_out(request, match)
        except HTTPError as error:
            response = error_response(request, error)
        return self.add_rate_limit(response)

    def add_rate_limit(self, response: Response) -> Response:
        """Add the rate limit's headers to an answer, if there is a limit."""
        if self._throttle is None:
            return response
        return attrs.evolve(response, headers={**self._throttle.headers(), **response.headers})

    def is_authenticated(self, headers: Mapping[str, str]) -> bool:
        """Whether these headers hold the key."""
        scheme, _, key = headers.get("Authorization", "").partition(" ")
        return scheme == "Bearer" and hmac.compare_digest(key.encode(errors="replace"), self._api_key)

    def _carry_out(self, request: Request, match: RouteMatch | None) -> Response:
        if not self.is_authenticated(request.headers):
            raise HTTPError(401, "Unauthenticated.", redirect="/login")
        if match is None:
            raise HTTPError(404, "")
        handlers = _ROUTES[match.route]
        if request.method not in handlers:
            raise _not_allowed(request.method, ", ".join(handlers))
        if self._throttle is not None:
            self._throttle.hit()
        shop_id = self._store.shop_ids.get(match.shop)
        if shop_id is None:
            raise HTTPError(404, f"No query results for model [Shop] {match.shop}")
        with self._store.lock:  # a customer that was found is still there when it is edited
            customer_id = 0 if match.customer is None else self._store.find(shop_id, match.customer)
            if customer_id is None:
                raise HTTPError(404, f"No query results for model [Customer] {match.customer}")
            return handlers[request.method](self._store, request, shop_id, customer_id)


def _not_allowed(method: str, supported: str) -> HTTPError:
    message = f"The {method} method is not supported for this route. Supported methods: {supported}."
    return HTTPError(405, message, headers={"Allow": supported})
