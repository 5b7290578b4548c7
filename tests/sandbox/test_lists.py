"""Reading from the sandbox: the paginator's envelope, order, filters, and the checks on parameters."""

import json
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import aiohttp
import pytest
from yarl import URL

from shopsdk import AffiliateReferrer, Customer
from shopsdk.sandbox import Sandbox

NEWS = datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)
REFERRER = AffiliateReferrer(id=900, email="Ref@example.org")
PEOPLE = [
    Customer(id=10, email="Ann@example.com", balance=Decimal("-1.5"), total_completed=2, affiliate_code="ANN_10"),
    Customer(id=20, email="bob@example.com", balance=Decimal(100), discord_id="777", newsletter_at=NEWS),
    Customer(id=30, email="élan@example.net", discord_username="Elan", affiliate_referrer_id=900,
             affiliate_referrer=REFERRER),
    Customer(id=40, email="Zoe@example.net", balance=Decimal("9.99"), total_spent_usd=Decimal("1.35"),
             last_completed_at=NEWS),
]  # fmt: skip


class Reader:
    """A bare HTTP client, which knows nothing of the library under test."""

    def __init__(self, client: aiohttp.ClientSession, shop: Sandbox) -> None:
        self.client = client
        self.shop = shop

    async def page(self, params: dict[str, Any] | None = None, **body: Any) -> tuple[int, Any]:
        url = f"{self.shop.base_url}/shops/38/customers"
        async with self.client.get(url, params=params, json=body or None) as response:
            return response.status, await response.json()

    async def ids(self, **body: Any) -> list[int]:
        status, page = await self.page(**body)
        assert status == 200, page
        assert page["last_page"] > 1 or page["total"] == len(page["data"])
        return [row["id"] for row in page["data"]]


def reader_of(shop: Sandbox) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(headers={"Authorization": f"Bearer {shop.api_key}", "Accept": "application/json"})


@pytest.fixture(scope="module")
def small() -> Iterator[Sandbox]:
    with Sandbox(PEOPLE) as shop:
        yield shop


@pytest.fixture(scope="module")
def large() -> Iterator[Sandbox]:
    with Sandbox(250) as shop:
        yield shop


@pytest.fixture
async def few(small: Sandbox) -> AsyncIterator[Reader]:
    async with reader_of(small) as client:
        yield Reader(client, small)


@pytest.fixture
async def many(large: Sandbox) -> AsyncIterator[Reader]:
    async with reader_of(large) as client:
        yield Reader(client, large)


async def test_envelope(few: Reader) -> None:
    """The envelope is that of Laravel's paginator, key by key."""
    status, page = await few.page(page=2, perPage=3, orderColumn="id", orderDirection="asc")
    path = f"{few.shop.base_url}/shops/38/customers"
    assert status == 200
    assert page == {
        "current_page": 2,
        "data": page["data"],
        "first_page_url": f"{path}?page=1",
        "from": 4,
        "last_page": 2,
        "last_page_url": f"{path}?page=2",
        "links": [
            {"url": f"{path}?page=1", "label": "&laquo; Previous", "active": False},
            {"url": f"{path}?page=1", "label": "1", "active": False},
            {"url": f"{path}?page=2", "label": "2", "active": True},
            {"url": None, "label": "Next &raquo;", "active": False},
        ],
        "next_page_url": None,
        "path": path,
        "per_page": 3,
        "prev_page_url": f"{path}?page=1",
        "to": 4,
        "total": 4,
    }
    assert list(page) == sorted(page), "the keys come in Laravel's order"


async def test_rows(few: Reader) -> None:
    """A row is written as the API writes it: money as text, times without offset, nulls spelled out."""
    _, page = await few.page(orderColumn="id", orderDirection="asc")
    nothing = dict.fromkeys(
        ["discord_id", "discord_username", "balance", "total_completed", "total_spent_usd", "last_completed_at",
         "newsletter_at", "affiliate_code", "affiliate_referrer_id", "affiliate_referrer"]
    )  # fmt: skip
    assert page["data"] == [
        nothing
        | {
            "id": 10,
            "email": "Ann@example.com",
            "balance": "-1.50",
            "total_completed": 2,
            "affiliate_code": "ANN_10",
        },
        nothing
        | {
            "id": 20,
            "email": "bob@example.com",
            "balance": "100.00",
            "discord_id": "777",
            "newsletter_at": "2025-01-02 03:04:05",
        },
        nothing
        | {
            "id": 30,
            "email": "élan@example.net",
            "discord_username": "Elan",
            "affiliate_referrer_id": 900,
            "affiliate_referrer": {"id": 900, "email": "Ref@example.org"},
        },
        nothing
        | {
            "id": 40,
            "email": "Zoe@example.net",
            "balance": "9.99",
            "total_spent_usd": "1.35",
            "last_completed_at": "2025-01-02 03:04:05",
        },
    ]


async def test_one_customer_is_the_bare_row(few: Reader) -> None:
    """Get Customer answers the row of the list, without an envelope."""
    _, page = await few.page(id="30")
    async with few.client.get(f"{few.shop.base_url}/shops/38/customers/30") as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == "application/json"
        assert await response.json() == page["data"][0]


async def test_defaults(many: Reader) -> None:
    """Without parameters the shop answers the ten highest ids, which is what a dropped body looks like."""
    known = sorted((c.id for c in many.shop.customers()), reverse=True)
    _, page = await many.page()
    assert (page["current_page"], page["per_page"], page["total"]) == (1, 10, 250)
    assert [row["id"] for row in page["data"]] == known[:10]


async def test_walk_reads_everybody_once(many: Reader) -> None:
    """Pages neither overlap nor leave gaps."""
    seen: list[int] = []
    for number in range(1, 10):
        seen += await many.ids(page=number, perPage=30, orderColumn="id", orderDirection="asc")
    assert seen == [c.id for c in many.shop.customers()]


async def test_past_the_end(few: Reader) -> None:
    """A page past the last one is empty and keeps its number."""
    _, page = await few.page(page=9, perPage=2)
    path = page["path"]
    assert (page["data"], page["from"], page["to"], page["current_page"]) == ([], None, None, 9)
    assert (page["last_page"], page["next_page_url"], page["prev_page_url"]) == (2, None, f"{path}?page=8")
    assert [link["active"] for link in page["links"]] == [False] * 4


async def test_empty_list(few: Reader) -> None:
    """An empty list has one page."""
    _, page = await few.page(email="nobody")
    assert (page["data"], page["total"], page["last_page"], page["from"], page["to"]) == ([], 0, 1, None, None)
    assert [link["label"] for link in page["links"]] == ["&laquo; Previous", "1", "Next &raquo;"]


@pytest.mark.parametrize(
    ("page", "per_page", "labels"),
    [
        (1, 20, "1 2 3 4 5 6 7 8 9 10 11 12 13"),  # 13 pages still fit
        (1, 10, "1 2 3 4 5 6 7 8 9 10 ... 24 25"),
        (7, 10, "1 2 3 4 5 6 7 8 9 10 ... 24 25"),
        (8, 10, "1 2 ... 5 6 7 8 9 10 11 ... 24 25"),
        (18, 10, "1 2 ... 15 16 17 18 19 20 21 ... 24 25"),
        (19, 10, "1 2 ... 16 17 18 19 20 21 22 23 24 25"),
        (25, 10, "1 2 ... 16 17 18 19 20 21 22 23 24 25"),
        (99, 10, "1 2 ... 16 17 18 19 20 21 22 23 24 25"),
    ],
)
async def test_link_window(many: Reader, page: int, per_page: int, labels: str) -> None:
    """The window of links is Laravel's: three pages on either side of the current one."""
    _, answer = await many.page(page=page, perPage=per_page)
    before, *inner, after = answer["links"]
    assert (before["url"], after["url"]) == (answer["prev_page_url"], answer["next_page_url"])
    assert before["url"] == (f"{answer['path']}?page={page - 1}" if page > 1 else None)
    assert after["url"] == (f"{answer['path']}?page={page + 1}" if page < answer["last_page"] else None)
    assert " ".join(link["label"] for link in inner) == labels
    assert [link["label"] for link in inner if link["active"]] == ([str(page)] if page <= 25 else [])
    for link in inner:
        assert link["url"] == (None if link["label"] == "..." else f"{answer['path']}?page={link['label']}")


@pytest.mark.parametrize(
    ("column", "ascending"),
    [
        ("id", [10, 20, 30, 40]),
        ("email", [10, 40, 20, 30]),  # by bytes: capitals first, accents last
        ("discord_id", [10, 30, 40, 20]),  # null before everything
        ("discord_username", [10, 20, 40, 30]),
        ("balance", [30, 10, 40, 20]),  # as numbers: -1.50, 9.99, 100.00
        ("total_completed", [20, 30, 40, 10]),
        ("total_spent_usd", [10, 20, 30, 40]),
        ("last_completed_at", [10, 20, 30, 40]),
        ("newsletter_at", [10, 30, 40, 20]),
        ("affiliate_code", [20, 30, 40, 10]),
    ],
)
async def test_order(few: Reader, column: str, ascending: list[int]) -> None:
    """Each column sorts by its values, null first; descending is the reverse."""
    assert await few.ids(orderColumn=column, orderDirection="asc") == ascending
    values = [getattr(few.shop.customers()[number // 10 - 1], column) for number in ascending]
    descending = await few.ids(orderColumn=column, orderDirection="desc")
    assert [getattr(few.shop.customers()[number // 10 - 1], column) for number in descending] == values[::-1]


@pytest.mark.parametrize(
    ("filters", "ids"),
    [
        ({"id": "20"}, [20]),
        ({"id": 20}, [20]),
        ({"id": "2"}, []),
        ({"id": "20x"}, []),
        ({"id": "2_"}, []),
        ({"id": "%"}, []),
        ({"email": "EXAMPLE.NET"}, [30, 40]),
        ({"email": "b_b"}, [20]),
        ({"email": "a%example"}, [10, 30]),
        ({"email": "É"}, []),  # only ASCII folds
        ({"email": " bob "}, [20]),
        ({"discord_id": 77}, [20]),
        ({"discord_username": "LA"}, [30]),
        ({"affiliate_code": "ann_"}, [10]),
        ({"affiliate_referrer_email": "ref@"}, [30]),
        ({"subscribed": "1"}, [20]),
        ({"subscribed": "true"}, [20]),
        ({"subscribed": True}, [20]),
        ({"subscribed": "0"}, [10, 30, 40]),
        ({"subscribed": "yes"}, [10, 30, 40]),
        ({"subscribed": False}, [10, 30, 40]),
        ({"subscribed": ""}, [10, 20, 30, 40]),
        ({"email": "example.net", "subscribed": "0", "id": "40"}, [40]),
        ({"email": None, "id": "", "nonsense": "x"}, [10, 20, 30, 40]),
    ],
)
async def test_filters(few: Reader, filters: dict[str, Any], ids: list[int]) -> None:
    """Each filter lets the right rows through, and the total counts them alone."""
    _, page = await few.page(orderColumn="id", orderDirection="asc", **filters)
    assert [row["id"] for row in page["data"]] == ids
    assert page["total"] == len(ids)


@pytest.mark.parametrize(
    ("body", "errors"),
    [
        ({"perPage": 101}, {"perPage": ["The per page must not be greater than 100."]}),
        ({"perPage": 0}, {"perPage": ["The per page must be at least 1."]}),
        ({"perPage": "ten"}, {"perPage": ["The per page must be an integer."]}),
        ({"perPage": 1.5}, {"perPage": ["The per page must be an integer."]}),
        ({"perPage": [1]}, {"perPage": ["The per page must be an integer."]}),
        ({"page": 2**63}, {"page": ["The page must be an integer."]}),
        ({"page": "9" * 5000}, {"page": ["The page must be an integer."]}),
        ({"page": "one"}, {"page": ["The page must be an integer."]}),
        ({"orderColumn": "password"}, {"orderColumn": ["The selected order column is invalid."]}),
        ({"orderColumn": ["id"]}, {"orderColumn": ["The selected order column is invalid."]}),
        ({"orderDirection": "ASC"}, {"orderDirection": ["The selected order direction is invalid."]}),
        ({"email": ["a"]}, {"email": ["The email must be a string."]}),
        (
            {"page": "x", "perPage": 1000},
            {
                "page": ["The page must be an integer."],
                "perPage": ["The per page must not be greater than 100."],
            },
        ),
    ],
)
async def test_refused_parameters(few: Reader, body: dict[str, Any], errors: dict[str, list[str]]) -> None:
    """A parameter out of range is refused in Laravel's words."""
    status, answer = await few.page(**body)
    assert status == 422
    assert answer == {"message": "The given data was invalid.", "errors": errors}


@pytest.mark.parametrize(
    ("body", "current_page", "per_page"),
    [
        ({"page": 0}, 1, 10),
        ({"page": -3}, 1, 10),
        ({"page": "2", "perPage": "1"}, 2, 1),
        ({"page": " 2 ", "perPage": "+3"}, 2, 3),
        ({"page": 2.0}, 2, 10),
        ({"page": 2**63 - 1}, 2**63 - 1, 10),
        ({"page": None, "perPage": ""}, 1, 10),
        ({"perPage": 100}, 1, 100),
    ],
)
async def test_accepted_numbers(few: Reader, body: dict[str, Any], current_page: int, per_page: int) -> None:
    """Numbers as text, pages below 1 and empty values are read as Laravel reads them."""
    status, page = await few.page(**body)
    assert status == 200
    assert (page["current_page"], page["per_page"]) == (current_page, per_page)


async def test_query_and_body(few: Reader) -> None:
    """The query counts, and the body goes before it."""
    _, page = await few.page(params={"perPage": "1", "page": "3"})
    assert (page["per_page"], page["current_page"]) == (1, 3)
    _, page = await few.page(params={"perPage": "1", "page": "3"}, perPage=2)
    assert (page["per_page"], page["current_page"]) == (2, 3)
    _, page = await few.page(params={"perPage": "1"}, perPage=None)
    assert page["per_page"] == 10, "a null in the body hides the query, and counts as absent"
    _, answer = await few.page(params={"email[]": "x"})
    assert answer["errors"] == {"email": ["The email must be a string."]}


@pytest.mark.parametrize(
    ("content_type", "read"),
    [
        ("application/json", True),
        ("application/vnd.api+json; charset=utf-8", True),
        ("text/plain", False),
        (None, False),
    ],
)
async def test_body_needs_a_json_content_type(few: Reader, content_type: str | None, *, read: bool) -> None:
    """A body counts only under a JSON content type."""
    async with few.client.get(
        f"{few.shop.base_url}/shops/38/customers",
        data=json.dumps({"perPage": 2}).encode(),
        headers={} if content_type is None else {"Content-Type": content_type},
    ) as response:
        assert (await response.json())["per_page"] == (2 if read else 10)


@pytest.mark.parametrize(
    "body", [b"{", b"[1]", b"5", b"\xff", b'{"perPage": NaN}', b"[" * 100_000, b'{"email": "\\ud800"}']
)
async def test_unreadable_body_counts_as_none(few: Reader, body: bytes) -> None:
    """A body that is no JSON object counts as none."""
    async with few.client.get(
        f"{few.shop.base_url}/shops/38/customers", data=body, headers={"Content-Type": "application/json"}
    ) as response:
        page = await response.json()
        assert (response.status, page.get("per_page"), page.get("total")) == (200, 10, 4)


async def test_bytes_that_are_no_text(few: Reader) -> None:
    """Bytes that are no text are a filter that finds nobody, or a path that leads nowhere."""
    url = f"{few.shop.base_url}/shops/38/customers"
    async with few.client.get(URL(f"{url}?email=%FF", encoded=True)) as response:
        assert (await response.json())["total"] == 0
    async with few.client.get(URL(f"{url}/%FF", encoded=True)) as response:
        assert response.status == 404


async def test_lists_follow_the_database() -> None:
    """A list shows each change of the shop that comes before it."""
    with Sandbox(PEOPLE) as shop:
        async with reader_of(shop) as client:
            reader = Reader(client, shop)
            by_balance = {"orderColumn": "balance", "orderDirection": "asc"}
            assert await reader.ids(**by_balance) == [30, 10, 40, 20]
            async with client.post(f"{shop.base_url}/shops/38/customers/10/balance", json={"amount": 500}) as response:
                assert response.status == 200
            assert await reader.ids(**by_balance) == [30, 40, 20, 10]
            shop.update_customer(30, balance=Decimal(1000), newsletter_at=NEWS)
            assert await reader.ids(**by_balance) == [40, 20, 10, 30]
            assert await reader.ids(subscribed="1") == [30, 20]
            shop.remove_customer(20)
            assert await reader.ids(subscribed="1") == [30]
            shop.add_customer(id=50, newsletter_at=NEWS)
            assert await reader.ids(subscribed="1") == [50, 30]
            assert await reader.ids(affiliate_code="new") == []
            url = f"{shop.base_url}/shops/38/customers/40/affiliate-code"
            async with client.put(url, json={"affiliate_code": "NEW"}) as response:
                assert response.status == 200
            assert await reader.ids(affiliate_code="new") == [40]


async def test_head(few: Reader) -> None:
    """HEAD is answered where GET is, without a body."""
    async with few.client.head(f"{few.shop.base_url}/shops/38/customers") as response:
        assert response.status == 200
        assert int(response.headers["Content-Length"]) > 2
        assert await response.read() == b""
