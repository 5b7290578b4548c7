"""The page that shows the sandbox in a browser, and the data that it loads. Nothing can be changed through it.

It needs no key, so a browser's request that a page of another origin has made is refused. The caller has checked the
request's host (DNS rebinding).
"""

import base64
import hashlib
import importlib.resources
import json
import logging
import re
from collections.abc import Mapping
from functools import cache

import attrs

from shopsdk.sandbox._message import HTTPError, Request, Response
from shopsdk.sandbox._page_data import PageData

_logger = logging.getLogger("shopsdk.sandbox")
_DATA = "/_sandbox/"
_REQUESTS = re.compile(_DATA + "requests")
_CUSTOMERS = re.compile(_DATA + r"shops/([^/]+)/customers")
_CUSTOMER = re.compile(_DATA + r"shops/([^/]+)/customers/([^/]+)")
_FOREIGN = HTTPError(403, "Another site's link or script led here. Type the address into the address bar.")
_HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def is_page(path: str) -> bool:
    """Whether this path belongs to the page and not to the API; a browser asks for an icon by itself."""
    return path in {"/", "/favicon.ico"} or path.startswith(_DATA)


def is_foreign(headers: Mapping[str, str]) -> bool:
    """Whether a browser asks for a page of another origin, whose requests must not fill the log, say."""
    return headers.get("Sec-Fetch-Site", "none") not in {"none", "same-origin"}


class Page:
    """Answers the requests of the page: they need no key, and count as none of the shop's."""

    def __init__(self, data: PageData) -> None:
        self._data = data

    def respond(self, request: Request) -> Response:
        """Answer a request for the page or its data."""
        try:
            _check(request)
            response = self._show(request)
        except HTTPError as error:
            response = _error(request, error)
        except Exception:  # the server's boundary: a bug of the page is a 500 with the headers below, and is logged
            _logger.exception("the sandbox's page failed at %s %r", request.method, request.path)
            response = _error(request, HTTPError(500, "The page failed; the sandbox's log says why."))
        _, policy = _load()
        headers = {**_HEADERS, "Content-Security-Policy": policy, **response.headers}
        return attrs.evolve(response, headers=headers)

    def _show(self, request: Request) -> Response:
        if request.path == "/":
            page, _ = _load()
            return Response(200, page, "text/html")
        if _REQUESTS.fullmatch(request.path):
            return _json(self._data.requests(request))
        if match := _CUSTOMERS.fullmatch(request.path):
            return _json(self._data.customers(match[1], request))
        if match := _CUSTOMER.fullmatch(request.path):
            return _json(self._data.customer(match[1], match[2], request))
        raise HTTPError(404, "There is no such page.")


def _check(request: Request) -> None:
    """Refuse what a page of another origin asks for (a browser tells), and any verb that could mean a change."""
    origin = request.headers.get("Origin")
    own = f"http://{request.headers.get('Host', '')}"
    if origin is not None and origin.lower() != own.lower():
        raise _FOREIGN
    if is_foreign(request.headers):
        raise _FOREIGN
    if request.method not in {"GET", "HEAD"}:
        raise HTTPError(405, "This page only shows the sandbox.", headers={"Allow": "GET, HEAD"})


def _error(request: Request, error: HTTPError) -> Response:
    if request.path == "/":  # a person reads it
        return Response(error.status, f"{error.message}\n".encode(), "text/plain", error.headers)
    return attrs.evolve(_json({"message": error.message}), status=error.status, headers=error.headers)


def _json(document: object) -> Response:
    return Response(200, json.dumps(document).encode())


@cache
def _load() -> tuple[bytes, str]:
    """The page, and the policy by which a browser runs the script and the style in it and no others."""
    page = importlib.resources.files("shopsdk.sandbox").joinpath("page.html").read_text(encoding="utf-8")
    policy = (
        "default-src 'none'",
        f"script-src {_hash(page, 'script')}",
        f"style-src {_hash(page, 'style')}",
        "img-src data:",  # the page's icon
        "connect-src 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
        "form-action 'none'",
        "require-trusted-types-for 'script'",  # no text becomes HTML
        "trusted-types 'none'",
    )
    return page.encode(), "; ".join(policy)


def _hash(page: str, element: str) -> str:
    content = page.partition(f"<{element}>")[2].partition(f"</{element}>")[0]
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
