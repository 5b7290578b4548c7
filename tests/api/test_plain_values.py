"""Subclasses of str, int, float and Decimal are checked and sent as the plain values that they hold."""

import asyncio
import inspect
import json
import os
import re
import tempfile
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

import attrs
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import shopsdk
import shopsdk.export
from shopsdk import AsyncSession, Customer, PaginationError
from shopsdk._api import arguments
from shopsdk._api.arguments import balance_amount, customer_filters
from shopsdk._http.request import make_request, plain_json
from shopsdk._http.session import core_of
from shopsdk.export._plan import Query
from shopsdk.sandbox import Fault, Sandbox
from tests.support.servers import CUSTOMER, ReceivedRequest, Wire, answer, page_of, raw_server

Disguise = Callable[[Any], Any]


def _liar(name: str) -> Callable[..., Any]:
    answers: dict[str, Any] = {"__eq__": False, "__ne__": True, "__lt__": False, "__gt__": True, "__len__": 0}
    texts = {"__str__", "__repr__", "__format__", "strip", "upper", "lower", "replace"}
    return lambda *_args, **_kwargs: answers.get(name, "LIE" if name in texts else 666)


def _lying(kind: type[Any], *more: str) -> Any:
    lies = ("__str__", "__repr__", "__format__", "__eq__", "__ne__", "__lt__", "__gt__", *more)
    return type("Lying", (kind,), {name: _liar(name) for name in lies} | {"__hash__": kind.__hash__})


LYING: dict[type[Any], Any] = {
    str: _lying(str, "__len__", "strip", "upper", "replace"),
    int: _lying(int, "__int__", "__index__", "__add__"),
    float: _lying(float, "__float__"),
    Decimal: _lying(Decimal, "__int__", "__float__"),
}


def plain(value: Any) -> Any:
    return value


def mixed_in(value: Any) -> Any:
    """Make the value a member of a ``(str, Enum)``, ``(int, Enum)`` and so on, which print as their names."""
    make: Any = Enum
    return make("Mixed", {"MEMBER": value}, type=type(value)).MEMBER


def of_the_library(value: Any) -> Any:
    """Make the value a member of ``StrEnum`` or ``IntEnum``."""
    kind: Any = {str: StrEnum, int: IntEnum}.get(type(value))
    return mixed_in(value) if kind is None else kind("Known", {"MEMBER": value}).MEMBER


def lying(value: Any) -> Any:
    """Make the value an instance of a subclass whose methods answer wrongly."""
    return LYING[type(value)](value)


DISGUISES: list[Disguise] = [mixed_in, of_the_library, lying]


@attrs.frozen
class Values:
    """The values with which one run calls all functions."""

    number: int
    per_page: int
    text: str
    amount: Decimal
    reference: str
    column: str
    direction: str


TEXT = st.text(min_size=1, max_size=20).filter(
    lambda text: text.isprintable() and text.strip(arguments._INVISIBLE + " ") not in {"", ".", ".."}
)
VALUES = st.builds(
    Values,
    number=st.integers(1, 10**9),
    per_page=st.integers(1, 100),
    text=TEXT,
    amount=st.integers(-100_000, 100_000).map(lambda cents: Decimal(cents) / 100),
    reference=st.from_regex(r"[A-Za-z0-9._:-]{1,64}", fullmatch=True),
    column=st.sampled_from(["id", "email", "balance"]),
    direction=st.sampled_from(["asc", "desc"]),
)


def serve(heard: ReceivedRequest, wire: Wire) -> None:
    """Answer any operation in its shape; lists are empty and echo what was asked."""
    path = urlsplit(heard.target).path
    asked = dict(parse_qsl(urlsplit(heard.target).query)) | (json.loads(heard.body) if heard.body else {})
    if path.endswith("/balance-transactions"):
        wire.send(answer([]))
    elif "perPage" in asked:
        wire.send(answer(page_of([], int(asked["page"]), per_page=int(asked["perPage"]))))
    else:
        wire.send(answer(CUSTOMER if heard.method == "GET" else {"message": "ok"}))


def filters_of(values: Values, v: Disguise) -> dict[str, Any]:
    return {
        "id": v(values.number),
        "email": v(values.text),
        "discord_id": v(values.text),
        "discord_username": v(values.text),
        "subscribed": v("1"),
        "affiliate_code": v(values.text),
        "affiliate_referrer_email": v(values.text),
    }


def listing_of(values: Values, v: Disguise) -> dict[str, Any]:
    order = {"order_column": v(values.column), "order_direction": v(values.direction)}
    return {"per_page": v(values.per_page)} | order | filters_of(values, v)


Call = tuple[str, Callable[[AsyncSession], Any]]
"""A function's name, and a call of it."""


def call(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Call:
    return function.__name__, lambda session: function(session, *args, **kwargs)


def calls(values: Values, v: Disguise, folder: Path) -> Iterator[Call]:
    """Yield a call of every public function, with each of its arguments in disguise."""
    shop, number, text = v(values.number), v(values.number), v(values.text)
    here: dict[str, Any] = {"shop_id": shop}
    listing = listing_of(values, v)
    yield call(shopsdk.get_customers, page=v(3), **here, **listing)
    yield call(shopsdk.get_customers, id=v(str(values.number)))
    yield call(shopsdk.get_customer, v(7), **here)
    yield call(shopsdk.get_customer_balance_transactions, number, **here)
    reference = v(values.reference)
    for customer in (number, v(str(values.number)), v("x" + values.text)):
        for amount in (v(values.amount), v(str(values.amount)), v(int(values.amount))):
            edit = {"description": text, "reference": reference, "method": v("PUT")}
            yield call(shopsdk.edit_customer_balance, customer, amount, **edit, **here)
        yield call(shopsdk.edit_customer_balance, customer, v(1), method=v("POST"))
        yield call(shopsdk.edit_customer_affiliate_code, customer, text, **here)
        yield call(shopsdk.find_balance_edit, customer, reference, **here)
    for name in ("email", "discord_id", "discord_username", "affiliate_code"):
        yield call(shopsdk.find_customer, **{name: text}, **here)
    yield call(shopsdk.find_customer, discord_id=number)
    walking = {"start_page": v(3), "concurrency": v(2), **here, **listing}
    yield call(shopsdk.iter_customers, **walking)
    yield call(shopsdk.iter_customer_pages, **walking)
    path, params = [v("shops"), shop, text], {v("status"): text, v("n"): number, v("d"): v(values.amount)}
    paging = {"per_page": v(values.per_page), "start_page": v(2)}
    yield call(shopsdk.paginate, path, Customer, params=params, **paging)
    deep = {**params, v("deep"): [text, {v("k"): number}], v("float"): v(1.5)}
    yield call(shopsdk.paginate, path, Customer, params=deep, **paging)
    body = {v("name"): [text, number, v(values.amount), v(1.5), (text,)], v(values.number): {text: None, v("t"): True}}
    yield call(AsyncSession.request, v("post"), path, params=params, json=body)
    made = {"concurrency": v(2), "if_exists": v("replace"), "format": v("csv"), "columns": [v("id"), v("email")]}
    yield call(shopsdk.export.export_customers, v(str(folder / "one-{shop_id}.csv")), **here, **made, **listing)
    shops = [shop, values.number + 1, v(values.number + 2)]
    yield call(shopsdk.export.export_shops, v(str(folder / "many.csv")), shops, shops_at_once=v(1), **made, **listing)


async def carry_out(made: Any) -> None:
    if isinstance(made, AsyncGenerator):
        async with aclosing(made) as rows:
            assert [] == [row async for row in rows]
    else:
        await made


def on_the_wire(values: Values, v: Disguise) -> list[tuple[str, str, dict[str, str], bytes]]:
    """Return every request that is sent for these values, byte for byte, without its nonce."""

    async def main() -> list[ReceivedRequest]:
        with tempfile.TemporaryDirectory() as folder:
            async with raw_server(serve) as server:
                for mode in ("both", "body"):
                    async with AsyncSession(
                        v("raw-key"), shop_id=v(38), base_url=v(server.base_url), list_params=v(mode)
                    ) as session:
                        for _, made in calls(values, v, Path(folder)):
                            await carry_out(made(session))
            assert ["many.csv", f"one-{values.number}.csv"] == sorted(os.listdir(folder))
            return server.heard

    heard = asyncio.run(main())
    return [
        (
            each.method,
            re.sub(r"\b_=[0-9a-f]{16}$", "_=", each.target),
            {name: text for name, text in each.headers.items() if name != "host"},
            each.body,
        )
        for each in heard
    ]


@settings(max_examples=12, phases=[Phase.explicit, Phase.reuse, Phase.generate])  # to shrink takes minutes
@given(VALUES, st.sampled_from(DISGUISES))
def test_a_subclass_is_sent_as_its_plain_value(values: Values, disguise: Disguise) -> None:
    """Every function sends a subclass as its plain value, byte for byte, whatever it prints, compares or hashes as."""
    assert on_the_wire(values, plain) == on_the_wire(values, disguise)


def test_every_public_function_is_among_them() -> None:
    """These tests call every public function."""
    values = Values(1, 1, "a", Decimal(1), "r", "id", "asc")
    called = {name for name, _ in calls(values, plain, Path())}
    public = [getattr(shopsdk, name) for name in shopsdk.__all__]
    public += [getattr(shopsdk.export, name) for name in shopsdk.export.__all__ if name.startswith("export_")]
    assert called == {value.__name__ for value in public if inspect.isfunction(value)} | {"request"}, (
        "add it to calls here, and its answer to serve"
    )


# --- bodies


@dataclass
class Noted:
    """A dataclass of a caller's."""

    name: str
    codes: dict[str, int]


@attrs.frozen
class Kept:
    """An attrs class of a caller's."""

    name: str
    when: object


class Odd(str, Enum):  # noqa: UP042 - the text and the member's value differ
    """A text whose ``.value`` is something else."""

    MEMBER = "text", "value"

    def __new__(cls, text: str, value: str) -> Self:
        """Keep both: the text, and another ``.value``."""
        made = str.__new__(cls, text)
        made._value_ = value
        return made


class Level(Enum):
    """An enum whose members are of no other type."""

    HIGH = "high"
    LOW = 1


@pytest.mark.parametrize("disguise", [*DISGUISES, plain])
def test_a_body_is_plain_all_the_way_down(disguise: Disguise) -> None:
    """Values and names within lists, objects, dataclasses and attrs classes are sent as plain ones."""
    v = disguise
    given: dict[Any, Any] = {
        "scalars": [v("a"), v(5), v(1.5), v(Decimal("1.50")), None, True, False],
        v("name"): {v(7): v("x")},
        "tuple": (v("a"), [v("b")]),
        "note": Noted(v("n"), {v("c"): v(1)}),
        "kept": Kept(v("k"), v(2)),
    }
    expected = {
        "scalars": ["a", 5, 1.5, Decimal("1.50"), None, True, False],
        "name": {"7": "x"},
        "tuple": ["a", ["b"]],
        "note": {"name": "n", "codes": {"c": 1}},
        "kept": {"name": "k", "when": 2},
    }
    sent: Any = plain_json(given)
    assert expected == sent
    scalars: Any = sent["scalars"]
    assert [str, int, float, Decimal] == [type(value) for value in scalars][:4]


def test_an_enum_is_never_sent_as_its_name() -> None:
    """A text enum is sent as its text, whatever its ``.value`` is, and a member of no other type as its value."""
    assert ["text", {"text": "text"}] == plain_json([Odd.MEMBER, {Odd.MEMBER: Odd.MEMBER}])
    assert ["high", 1, {"high": 1}] == plain_json([Level.HIGH, Level.LOW, {Level.HIGH: 1}])


@pytest.mark.parametrize("names", [("a", LYING[str]("a")), (1, "1")])
def test_a_name_stands_once_in_an_object(names: tuple[Any, ...]) -> None:
    """Two names that would be one on the wire are refused."""
    with pytest.raises(ValueError, match=r"^json must not hold a name twice in one object$"):
        plain_json(dict.fromkeys(names, 1))
    with pytest.raises((ValueError, TypeError), match="params"):
        make_request("GET", ["x"], params=dict.fromkeys(names, 1))


@pytest.mark.parametrize("name", [1, None, b"a", 1.5])
def test_the_name_of_a_parameter_is_text(name: Any) -> None:
    """The name of a parameter is text."""
    with pytest.raises(TypeError, match=rf"^a name in params must be a str, not {type(name).__name__}$"):
        make_request("GET", ["x"], params={name: 1})


@pytest.mark.parametrize("taken", ["page", "perPage"])
@pytest.mark.parametrize("disguise", DISGUISES)
async def test_wrong_parameters_are_refused_in_any_form(taken: str, disguise: Disguise) -> None:
    """A parameter that the walk sets itself, a wrong column and an unknown filter are refused in any form."""
    async with raw_server(answer({})) as server, server.session() as session:
        with pytest.raises(ValueError, match="params must not hold"):
            shopsdk.paginate(session, ["x"], Customer, params={disguise(taken): 5})
        with pytest.raises(ValueError, match="order_column must be one of"):
            await shopsdk.get_customers(session, order_column=disguise("name"))
        with pytest.raises(TypeError, match="is not a filter"):
            customer_filters({disguise("nobody"): "x"})
        with pytest.raises(ValueError, match="at most two decimals"):
            balance_amount(disguise(Decimal("0.001")))
        with pytest.raises(ValueError, match="at least 1, not 0"):
            await shopsdk.get_customer(session, disguise(0))
    assert [] == server.heard


@pytest.mark.parametrize("disguise", DISGUISES)
def test_a_sessions_secrets_are_plain(disguise: Disguise) -> None:
    """The key, the base URL and the proxy are kept as plain texts."""
    place, proxy = disguise("https://api.example.com/v1/"), disguise("http://u:p@proxy.example:3128")
    options = core_of(AsyncSession(disguise(" key "), base_url=place, proxy=proxy)).options
    assert options.proxy is not None
    made = [options.key.reveal(), options.base_url, options.proxy.reveal()]
    assert ["key", "https://api.example.com/v1", "http://u:p@proxy.example:3128"] == made
    assert {str} == {type(text) for text in made}


@pytest.mark.parametrize("disguise", DISGUISES)
async def test_a_walk_checks_the_order_in_any_form(disguise: Disguise) -> None:
    """Rows out of order are refused, in whatever form the order was given."""
    rows = [{"id": 2, "email": "b@example.com"}, {"id": 1, "email": "a@example.com"}]
    order: dict[str, Any] = {"order_column": disguise("id"), "order_direction": disguise("asc")}
    async with raw_server(answer(page_of(rows))) as server, server.session() as session:
        with pytest.raises(PaginationError, match="rows out of order"):
            await carry_out(shopsdk.iter_customers(session, **order))


@pytest.mark.parametrize("disguise", DISGUISES)
async def test_a_checkpoint_keeps_plain_values(disguise: Disguise) -> None:
    """An export that began with one form of its parameters can be resumed with another."""
    async with raw_server(answer({})) as server, server.session() as session:

        async def parameters(v: Disguise) -> dict[str, object]:
            how: Any = {"shop_id": v(38), "concurrency": v(1), "per_page": v(50)}
            order: Any = {"order_column": v("email"), "order_direction": v("desc")}
            filters: Any = {"email": v("a"), "id": v(7), "subscribed": True}
            return (await Query(session=session, filters=filters, **how, **order).checked()).parameters()

        assert json.dumps(await parameters(plain)) == json.dumps(await parameters(disguise))


# --- the sandbox


@pytest.mark.parametrize("disguise", DISGUISES)
async def test_a_sandbox_is_made_of_plain_values(disguise: Disguise) -> None:
    """A sandbox keeps its shop id, key, host, customers and faults as plain values."""
    v = disguise
    faults = [Fault(v("rate_limit"), first=v(1), method=v("GET"), path=v("/customers"), retry_after=v("0"))]
    ada = Customer(id=v(7), email=v("ada@example.com"))
    with Sandbox([ada], shop_id=v(39), api_key=v("k"), host=v("127.0.0.1"), seed=v(3), faults=faults) as shop:
        async with AsyncSession("k", shop_id=39, base_url=shop.base_url) as session:
            assert "ada@example.com" == (await shopsdk.get_customer(session, 7)).email
        assert (["rate_limit", None], [429, 200]) == (
            [request.fault for request in shop.requests],
            [request.status for request in shop.requests],
        )
        assert "ADA" == shop.update_customer(v(7), discord_username=v("ADA")).discord_username
        made = shop.add_customer(id=v(9))
        shop.remove_customer(v(9))
        assert made == shop.add_customer(id=9)
        assert [] == shop.transactions(v(7))
    assert (int, str) == (type(shop.shop_id), type(shop.api_key))
