"""The tree of errors: its classes, their fields, and the class for each answer."""

import copy
import inspect
import json
import pickle
import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from multidict import CIMultiDict

import shopsdk
from shopsdk import (
    AuthenticationError,
    DecodeError,
    InvalidRequestError,
    MultipleCustomersError,
    NotFoundError,
    NotSentError,
    PaginationError,
    PermissionDeniedError,
    RateLimitedError,
    ReferenceConflictError,
    ResponseError,
    RetryPolicy,
    ServerError,
    SessionStateError,
    ShopError,
    TransportError,
    UnknownOutcomeError,
    edit_customer_affiliate_code,
    edit_customer_balance,
    get_customer,
    get_customers,
    iter_customers,
)
from shopsdk._http.request import Request, make_request
from shopsdk._http.response import Response, response_error
from shopsdk.sandbox import Sandbox
from tests.support.servers import answer, page_of, raw_server


def descendants(cls: type[ShopError]) -> Iterator[type[ShopError]]:
    yield cls
    for child in cls.__subclasses__():
        if (
            child.__module__ == ShopError.__module__
        ):  # what else grows on the tree, such as the export's, has its own tests
            yield from descendants(child)


TREE = list(descendants(ShopError))


def test_the_tree_is_as_documented() -> None:
    """Each error has the base that the documents name."""
    assert {
        ShopError: Exception,
        SessionStateError: ShopError,
        TransportError: ShopError,
        NotSentError: TransportError,
        UnknownOutcomeError: TransportError,
        ResponseError: ShopError,
        AuthenticationError: ResponseError,
        PermissionDeniedError: ResponseError,
        NotFoundError: ResponseError,
        InvalidRequestError: ResponseError,
        RateLimitedError: ResponseError,
        ServerError: ResponseError,
        DecodeError: ShopError,
        PaginationError: ShopError,
        MultipleCustomersError: ShopError,
        ReferenceConflictError: ShopError,
    } == {cls: cls.__base__ for cls in TREE}


def test_the_drawing_shows_every_class_in_its_place() -> None:
    """The drawing on ShopError shows every class, each below its base."""
    drawn: dict[str, str] = {}
    above: list[tuple[int, str]] = []
    for line in inspect.cleandoc(ShopError.__doc__ or "").splitlines():
        if match := re.match(r"([│├└─ ]*)([A-Z]\w+Error)\b", line):
            depth = len(match[1])
            above = [entry for entry in above if entry[0] < depth]
            drawn[match[2]] = above[-1][1] if above else "Exception"
            above.append((depth, match[2]))
    assert {cls.__name__: str(cls.__base__ and cls.__base__.__name__) for cls in TREE} == drawn


def test_all_is_exact_and_sorted() -> None:
    """``__all__`` holds the public names, sorted, and no others."""
    assert sorted(shopsdk.__all__) == shopsdk.__all__
    assert {cls.__name__ for cls in TREE} <= set(shopsdk.__all__)
    public = {
        name
        for name, value in vars(shopsdk).items()
        if name == "__version__" or not (name.startswith("_") or inspect.ismodule(value))
    }
    assert public == set(shopsdk.__all__)


# --- the fields of an error


def filled(cls: type[ShopError]) -> ShopError:
    """An error with a value of its own in every field."""
    given: dict[str, Any] = {}
    for number, (name, parameter) in enumerate(inspect.signature(cls).parameters.items(), 1):
        kind = inspect.formatannotation(parameter.annotation).split("[")[0].split(" ")[0].split(".")[-1]
        samples: dict[str, object] = {"bool": not parameter.default, "Mapping": {"field": ["line"]}, "Sequence": (1, 2)}
        samples |= {"int": number, "float": number + 0.5, "str": f"{name} {number}"}
        given[name] = samples[kind]
    error = cls(given.pop("message"), **given)
    declared = {name for base in cls.__mro__ for name in vars(base).get("__annotations__", {})}
    assert declared - {"message"} <= given.keys()
    error.add_note("a note")
    return error


def pickled(protocol: int, error: ShopError) -> object:
    return pickle.loads(pickle.dumps(error, protocol))


COPIES: dict[str, Callable[[ShopError], Any]] = {
    **{f"pickle {protocol}": partial(pickled, protocol) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)},
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
}


@pytest.mark.parametrize("cls", TREE)
@pytest.mark.parametrize("how", list(COPIES))
def test_an_error_survives_being_copied(cls: type[ShopError], how: str) -> None:
    """An error that is copied, or comes from another process, has all that the first one had."""
    error = filled(cls)
    twin = COPIES[how](error)
    assert cls is type(twin)
    assert vars(error) == vars(twin)
    assert (str(error), error.args, ["a note"]) == (str(twin), twin.args, twin.__notes__)
    assert error.page is not None
    documented = {name for base in cls.__mro__ for name in vars(base).get("__annotations__", {})}
    assert documented <= vars(twin).keys()


@pytest.mark.parametrize("cls", TREE)
def test_a_deep_copy_shares_nothing(cls: type[ShopError]) -> None:
    """A change to a deep copy leaves the original as it is."""
    error = filled(cls)
    twin = copy.deepcopy(error)
    if isinstance(error, ResponseError) and isinstance(twin, ResponseError):
        assert error.errors is not twin.errors


@pytest.mark.parametrize("cls", TREE)
def test_an_error_can_be_made_of_its_message_alone(cls: type[ShopError]) -> None:
    """Each error can be made from its message alone."""
    error = cls("what happened")
    assert ("what happened", None, issubclass(cls, UnknownOutcomeError)) == (
        str(error),
        error.page,
        error.maybe_applied,
    )
    assert "" == str(cls())


@pytest.mark.parametrize("cls", TREE)
def test_every_class_and_field_is_documented(cls: type[ShopError]) -> None:
    """Each error and each of its fields has a docstring."""
    assert "__doc__" in vars(cls)
    assert cls.__doc__
    source = inspect.getsource(cls)
    for name in vars(cls).get("__annotations__", {}):
        assert re.search(rf'^    {name}: [^\n]+\n    """', source, re.MULTILINE)


# --- the class for each answer

CLASSES: list[tuple[int, type[ResponseError]]] = [
    *((status, ResponseError) for status in (300, 301, 302, 303, 307, 308, 399)),
    *((status, ResponseError) for status in (402, 405, 408, 409, 410, 413, 418, 419, 451, 499, 600, 999)),
    (400, InvalidRequestError),
    (401, AuthenticationError),
    (403, PermissionDeniedError),
    (404, NotFoundError),
    (422, InvalidRequestError),
    (429, RateLimitedError),
    *((status, ServerError) for status in (500, 501, 502, 503, 504, 520, 527, 599)),
]


@pytest.mark.parametrize(("status", "cls"), CLASSES)
async def test_a_status_becomes_its_class(status: int, cls: type[ResponseError]) -> None:
    """Each status is raised as its class."""
    body = {"message": "No query results for model [Customer] 7"}
    headers = {"X-Request-Id": "abc-1", "Location": "http://127.0.0.1:1/x"}
    async with (
        raw_server(answer(body, status, headers=headers)) as server,
        server.session(retry=RetryPolicy(attempts=1)) as session,
    ):
        with pytest.raises(ResponseError) as caught:
            await get_customer(session, 7)
    error = caught.value
    hint = " (a redirect, which is never followed: check base_url)" if status < 400 else ""
    assert cls is type(error)
    assert f"GET /shops/38/customers/7 answered {status}{hint}: {body['message']}" == str(error)
    assert (status, body["message"], {}, "abc-1") == (error.status, error.message, error.errors, error.request_id)
    assert ("GET", "/shops/38/customers/7", 1) == (error.method, error.path, error.attempts)
    assert (json.dumps(body), False, None) == (error.body, error.maybe_applied, error.retry_after)
    assert 1 == len(server.heard)


@pytest.mark.parametrize("status", [302, 400, 401, 403, 404, 405, 408, 409, 413, 422, 500, 502, 503, 504, 522])
async def test_an_edit_says_whether_it_may_have_been_made(status: int) -> None:
    """``maybe_applied`` of an edit follows from the status."""
    async with raw_server(answer({}, status)) as server, server.session() as session:
        with pytest.raises(ResponseError) as caught:
            await edit_customer_balance(session, 7, 1)
    assert (not 400 <= status < 500 or status == 408) == caught.value.maybe_applied
    assert 1 == len(server.heard)


async def test_validation_messages_come_by_field(shop: Sandbox) -> None:
    """The messages of a 422 are read by field."""
    async with shop.session() as session:
        with pytest.raises(InvalidRequestError) as caught:
            await session.request("GET", ["shops", shop.shop_id, "customers"], json={"perPage": 101, "page": "x"})
    assert {"perPage", "page"} == set(caught.value.errors)
    assert all(line for lines in caught.value.errors.values() for line in lines)
    assert 422 == caught.value.status


@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        ({"a": ["x", "y"]}, {"a": ["x", "y"]}),
        ({"a": "x"}, {"a": ["x"]}),
        ({"a": None, "b": 5, "c": 1.5, "d": True}, {"a": ["null"], "b": ["5"], "c": ["1.5"], "d": ["a boolean"]}),
        ({"a.0.b": [{"c": 1}, [["x"], "y"]]}, {"a.0.b": ["1", "x", "y"]}),
        ({"a": [], "b": {}}, {"a": [], "b": []}),
        ({"a": json.loads(f"{'[' * 900}1{']' * 900}")}, {"a": ["1"]}),
        (["x"], {}),
        ("x", {}),
        (None, {}),
    ],
)
async def test_validation_messages_of_any_shape(errors: object, expected: dict[str, list[str]]) -> None:
    """A 422 keeps its status whatever shape its messages have."""
    async with raw_server(answer({"message": "x", "errors": errors}, 422)) as server, server.session() as session:
        with pytest.raises(InvalidRequestError) as caught:
            await get_customers(session)
    assert expected == caught.value.errors


async def test_an_error_of_a_quarter_megabyte_is_not_read_as_json() -> None:
    """An error of more than 256 KiB keeps its status and the start of its body, and its JSON is not read."""
    body = {"message": "x", "errors": {"a": ["y" * 2**18]}}
    async with raw_server(answer(body, 422)) as server, server.session() as session:
        with pytest.raises(InvalidRequestError) as caught:
            await get_customers(session)
    assert ("", {}, json.dumps(body)[:2_000]) == (caught.value.message, caught.value.errors, caught.value.body)


async def test_endless_validation_messages_are_cut() -> None:
    """The messages of an error are bounded in number and in length."""
    errors = {f"field{n}": ["y" * 1_000] * 3 for n in range(60)}
    async with (
        raw_server(answer({"message": "z" * 10_000, "errors": errors}, 422)) as server,
        server.session() as session,
    ):
        with pytest.raises(InvalidRequestError) as caught:
            await get_customers(session)
    error = caught.value
    assert 32 == sum(map(len, error.errors.values()))
    assert {"y" * 500} == {line for lines in error.errors.values() for line in lines}
    assert ("z" * 500, 2000) == (error.message, len(error.body))
    assert len(str(error)) < 600


BODIES: dict[str, tuple[bytes, str]] = {
    "HTML": (b"<html><h1>502 Bad Gateway</h1></html>", "<html><h1>502 Bad Gateway</h1></html>"),
    "a JSON list": (b'[{"message":"x"}]', '[{"message":"x"}]'),
    "a JSON text": (b'"message"', '"message"'),
    "a JSON number": (b"5", "5"),
    "null": (b"null", "null"),
    "a message that is no text": (b'{"message":{"a":1}}', '{"message":{"a":1}}'),
    "no message": (b'{"error":"x"}', '{"error":"x"}'),
    "nothing": (b"", ""),
    "bytes": (b"\xff\xfe\x00a", "\ufffd\ufffd\x00a"),
    "cut JSON": (b'{"message":"x', '{"message":"x'),
    "deep JSON": (b"[" * 50_000, "[" * 2000),
    "long": ("é".encode() * 5000, "é" * 2000),
    "longer than its letters": ("\U0001f600".encode() * 5000, "\U0001f600" * 2000),
}


@pytest.mark.parametrize("name", list(BODIES))
@pytest.mark.parametrize("status", [404, 502])
async def test_a_body_of_any_kind_leaves_the_error_what_it_is(name: str, status: int) -> None:
    """An error keeps its status and the start of its body, whatever the body is."""
    sent, expected = BODIES[name]
    async with (
        raw_server(answer(raw=sent, status=status)) as server,
        server.session(retry=RetryPolicy(attempts=1)) as session,
    ):
        with pytest.raises(NotFoundError if status == 404 else ServerError) as caught:
            await get_customer(session, 7)
    assert (expected, "", {}) == (caught.value.body, caught.value.message, caught.value.errors)
    page = ", with a web page" if name == "HTML" else ", without the API's JSON" if sent[:1] not in b"{" else ""
    assert f"GET /shops/38/customers/7 answered {status}{page}" == str(caught.value)


REQUEST = make_request("GET", ["x"])


def error_of(headers: dict[str, str], status: int = 429, request: Request = REQUEST) -> ResponseError:
    response = Response(status=status, headers=CIMultiDict(headers), body=b"")
    return response_error(request, response, payload=None, attempts=1, redact=str, hints={})


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"x-request-id": "a"}, "a"),
        ({"CF-Ray": "b"}, "b"),
        ({"X-Request-ID": "a", "cf-ray": "b"}, "a"),
        ({"X-Request-ID": "", "cf-ray": "b"}, "b"),
        ({"X-Request-ID": " a\tb\x00 "}, "a b"),
        ({"X-Request-ID": "y" * 9000}, "y" * 500),
        ({}, None),
    ],
)
def test_the_servers_own_name_for_a_request(headers: dict[str, str], expected: str | None) -> None:
    """The server's id of a request is kept, bounded and printable."""
    assert expected == error_of(headers).request_id


@pytest.mark.parametrize(
    ("limit", "remaining", "expected"),
    [
        ("60", "0", (60, 0)),
        ("60", None, (60, None)),
        ("", "-1", (None, None)),
        ("many", "1.5", (None, None)),
        ("٦٠", "9" * 30, (None, None)),
    ],
)
def test_a_rate_limit_has_its_window(
    limit: str | None, remaining: str | None, expected: tuple[int | None, int | None]
) -> None:
    """A 429 has the limit and the remaining requests that its headers name."""
    given = {"X-RateLimit-Limit": limit, "X-RateLimit-Remaining": remaining}
    error = error_of({name: value for name, value in given.items() if value is not None})
    assert isinstance(error, RateLimitedError)
    assert expected == (error.limit, error.remaining)


async def test_a_rate_limit_that_asks_for_too_long_raises_at_once() -> None:
    """A 429 with a longer wait than the policy allows is raised at once, with its wait."""
    headers = {"Retry-After": "3600", "X-RateLimit-Limit": "60", "X-RateLimit-Remaining": "0"}
    limited = answer({"message": "Too Many Attempts."}, 429, headers=headers)
    async with raw_server(limited) as server, server.session() as session:
        with pytest.raises(RateLimitedError) as caught:
            await edit_customer_affiliate_code(session, 7, "A")
    error = caught.value
    assert (3600.0, 60, 0, 1, False) == (
        error.retry_after,
        error.limit,
        error.remaining,
        error.attempts,
        error.maybe_applied,
    )
    assert 1 == len(server.heard)


async def test_an_error_out_of_a_walk_names_its_page() -> None:
    """An error out of a walk has the page that failed."""
    first = page_of([{"id": 1, "email": "a"}], last=2, per_page=1, total=2)
    async with raw_server(answer(first), answer({}, 404)) as server, server.session() as session:
        with pytest.raises(NotFoundError) as caught:
            assert [] == [customer async for customer in iter_customers(session, per_page=1)]
    assert 2 == caught.value.page
    assert 2 == pickle.loads(pickle.dumps(caught.value)).page
