"""The sandbox's page in a real browser: what it shows, that it is live, and that text of other people stays text."""

import asyncio
import shutil
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
import pytest_asyncio

from shopsdk import Customer, edit_customer_affiliate_code, edit_customer_balance, get_customers
from shopsdk.sandbox import Sandbox
from tests.support.needs import missing, need
from tests.support.software import reserve_port

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

_PATIENCE = 60_000
"""Milliseconds after which a test that waits in vain has failed."""


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def browser() -> AsyncIterator[Any]:
    """A browser for all tests of this module; each opens a window with a profile of its own."""
    need("playwright")
    path = shutil.which("chromium")
    if path is None:
        missing("chromium is not installed: .ci/system installs it")
    from playwright.async_api import async_playwright, expect

    expect.set_options(timeout=_PATIENCE)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])  # as root it needs that
        yield browser
        await browser.close()


def address(shop: Sandbox) -> str:
    return shop.base_url.removesuffix("v1")


@asynccontextmanager
async def window(browser: Any, shop: Sandbox, place: str = "", **options: Any) -> AsyncIterator[Any]:
    """Open the page. Nothing may fail in it, nor be forbidden by its policy, and it may ask nobody but the sandbox."""
    own, complaints = address(shop), list[str]()
    async with await browser.new_context(**{"viewport": {"width": 1400, "height": 900}, **options}) as context:
        page = await context.new_page()
        page.set_default_timeout(_PATIENCE)
        page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda sent: None if sent.url.startswith((own, "data:")) else complaints.append(sent.url))
        page.on("dialog", lambda dialog: complaints.append(dialog.message))
        page.complaints = complaints
        await page.goto(own + place)
        yield page
    assert [] == complaints


def rows(page: Any, table: str) -> Any:
    return page.locator(f"#{table} tr")


def link(page: Any, name: str) -> Any:
    return page.get_by_role("link", name=name, exact=True)


async def fits(page: Any) -> bool:
    """Whether nothing has to be scrolled sideways to be seen, and nothing is cut off."""
    inside: bool = await page.evaluate("""
        document.documentElement.scrollWidth <= innerWidth
        && [...document.querySelectorAll("td, dd, h2")].every(cell => cell.getBoundingClientRect().right <= innerWidth)
    """)
    return inside


async def test_customers_can_be_searched_and_paged(browser: Any) -> None:
    """The customers come in pages of 50, ordered and searched as asked; the address says which, for reload and back."""
    from playwright.async_api import expect

    with Sandbox(120) as shop:
        everybody = shop.customers()
        async with window(browser, shop) as page:
            await expect(rows(page, "rows")).to_have_count(50)
            await expect(rows(page, "rows").first).to_contain_text(everybody[0].email)
            await link(page, "Next").click()
            await expect(rows(page, "rows").first).to_contain_text(everybody[50].email)
            await expect(page.get_by_text("Page 2 of 3")).to_be_visible()
            await page.reload()
            await expect(rows(page, "rows").first).to_contain_text(everybody[50].email)
            await page.go_back()
            await expect(rows(page, "rows").first).to_contain_text(everybody[0].email)

            await page.get_by_label("Search customers").fill(everybody[77].email)
            await expect(rows(page, "rows")).to_have_count(1)
            await expect(rows(page, "rows")).to_contain_text(everybody[77].email)
            await page.get_by_label("Search customers").fill("nobody at all")
            await expect(page.get_by_text("No customer matches.")).to_be_visible()
            await page.get_by_label("Search in").select_option("Id")
            await page.get_by_label("Search customers").fill(str(everybody[5].id))
            await expect(rows(page, "rows")).to_contain_text([everybody[5].email])
            await page.get_by_label("Search customers").fill("")
            await expect(rows(page, "rows")).to_have_count(50)

            await link(page, "Balance").press("Enter")
            richest = max(everybody, key=lambda customer: (customer.balance or 0, -customer.id))
            await expect(rows(page, "rows").first).to_contain_text(richest.email)
            await expect(page.get_by_role("columnheader", name="Balance")).to_have_attribute("aria-sort", "descending")
            await expect(link(page, "Balance")).to_be_focused()
        assert [] == shop.requests


async def test_a_customer_s_ledger_is_shown_and_stays_live(browser: Any) -> None:
    """A customer's fields and ledger are shown, and change as the shop does; keyboard alone leads there."""
    from playwright.async_api import expect

    since = datetime(2025, 7, 27, 18, 4, 28, tzinfo=UTC)
    ada = Customer(id=2**62 + 1, email="ada@example.com", discord_username="ada", newsletter_at=since)
    with Sandbox([ada]) as shop:
        async with window(browser, shop, locale="en-GB", timezone_id="Asia/Tokyo") as page, shop.session() as session:
            await link(page, "ada@example.com").focus()
            await page.keyboard.press("Enter")
            await expect(page.get_by_text(f"Customer {ada.id}")).to_be_visible()
            await expect(page.get_by_role("heading", name="ada@example.com")).to_be_focused()
            await expect(page.get_by_text("No transactions yet.")).to_be_visible()
            newsletter = page.get_by_text("28 Jul 2025, 03:04")
            await expect(newsletter).to_have_attribute("title", "2025-07-27 18:04:28 UTC")
            await edit_customer_balance(session, ada.id, "25.00", description="welcome")
            await edit_customer_balance(session, ada.id, "-12.50", reference="order-1187")
            await expect(rows(page, "lines")).to_contain_text(["[ref:order-1187]", "welcome"])
            await expect(page.locator("#lines .money")).to_have_text(["-12.50", "+25.00"])
            await expect(page.locator("#balance")).to_have_text("12.50")
            await expect(page.locator("#lines .money").first).to_have_css("text-align", "right")
            shop.update_customer(ada.id, discord_username="countess")
            await expect(page.get_by_text("countess")).to_be_visible()
            await page.reload()
            await expect(rows(page, "lines")).to_have_count(2)
            await link(page, "All customers").click()
            await expect(rows(page, "rows")).to_contain_text(["countess"])
            shop.add_customer(email="grace@example.com", id=5)
            await expect(rows(page, "rows")).to_contain_text(["grace@example.com", "ada@example.com"])


async def test_the_requests_of_an_edit_whose_answer_was_lost_appear_as_they_come(browser: Any) -> None:
    """One POST with its fault, and the look-ups that find it, appear without a reload."""
    from playwright.async_api import expect

    with Sandbox([Customer(id=7, email="ada@example.com")]) as shop:
        async with window(browser, shop, "#/requests") as page, shop.session() as session:
            await expect(page.get_by_text("No requests yet.")).to_contain_text(shop.base_url)
            shop.fail_next("drop_after", method="POST")
            await edit_customer_balance(session, 7, "5.00", reference="order-1187")
            await get_customers(session, email="ada")
            made = [(request.method, request.status) for request in shop.requests]
            assert [("POST", None)] == [each for each in made if each[0] == "POST"]
            shown = rows(page, "requests")
            await expect(shown).to_have_count(len(made))
            await expect(shown.filter(has_text="POST")).to_have_count(1)
            lost = shown.filter(has_text="POST")
            await expect(lost).to_contain_text("/shops/{shop}/customers/{customer}/balance")
            await expect(lost).to_contain_text("/v1/shops/38/customers/7/balance")
            await expect(lost).to_contain_text("answer lost")
            await expect(lost).to_contain_text("drop_after carried out, answer lost")
            ledgers = shown.filter(has_text="balance-transactions").filter(has_text="200")
            await expect(ledgers).to_have_count(len(made) - 2)
            await expect(shown.first).to_contain_text("email=ada")
            await expect(shown.first).to_contain_text("ms")
            shop.fail_next("error_500")
            await get_customers(session)
            await expect(shown.filter(has_text="error_500")).to_contain_text("500")
            await link(page, "/v1/shops/38/customers/7/balance").click()
            await expect(rows(page, "lines")).to_contain_text(["[ref:order-1187]"])


async def test_a_request_is_shown_before_it_is_answered(browser: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that the shop has not answered waits in the list; its row is completed by the answer."""
    from playwright.async_api import expect

    answer = threading.Event()
    monkeypatch.setattr("shopsdk.sandbox._server.Server._pause", lambda *_: asyncio.to_thread(answer.wait))
    with Sandbox(1) as shop:
        async with window(browser, shop, "#/requests") as page, shop.session() as session:
            asking = asyncio.create_task(get_customers(session))
            try:
                await expect(rows(page, "requests").locator(".status")).to_have_text(["waiting"])
            finally:
                answer.set()
            await asking
            await expect(rows(page, "requests").locator(".status")).to_have_text(["200"])


async def test_a_client_that_is_gone_is_told_apart(browser: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change whose client did not wait for the answer is shown as such, not as answered or as lost by a fault."""
    from playwright.async_api import expect

    answer = threading.Event()
    monkeypatch.setattr("shopsdk.sandbox._server.Server._pause", lambda *_: asyncio.to_thread(answer.wait))
    head = "POST /v1/shops/38/customers/7/balance HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    head += "Authorization: Bearer sandbox-key\r\nContent-Length: 13\r\n\r\n"
    with Sandbox([Customer(id=7, email="ada@example.com")]) as shop:
        async with window(browser, shop, "#/requests") as page, shop.session() as session:
            shop.fail_next("slow", method="POST")
            with socket.create_connection(("127.0.0.1", int(shop.base_url.split(":")[2].split("/")[0]))) as client:
                client.sendall(head.encode() + b'{"amount": 5}')
                try:
                    await expect(rows(page, "requests").locator(".status")).to_have_text(["waiting"])
                finally:
                    client.close()
                    answer.set()
            await expect(rows(page, "requests").locator(".status")).to_have_text(["client gone"])
            await expect(rows(page, "requests")).to_contain_text(["slow carried out, answer held back"])
            await edit_customer_balance(session, 7, "5.00", description="of another client")
            await expect(rows(page, "requests").first).to_contain_text("amount=5.00description=of another client")


async def test_each_of_several_shops_can_be_chosen(browser: Any) -> None:
    """The page has a choice of shops if there are several; the address keeps it."""
    from playwright.async_api import expect

    with Sandbox(3, shop_id=[38, 39]) as shop:
        first, second = ([customer.email for customer in shop.customers(shop_id=each)] for each in shop.shop_ids)
        async with window(browser, shop) as page, shop.session(shop_id=39) as session:
            await expect(page.locator("#rows a")).to_have_text(first)
            await page.get_by_label("Shop", exact=True).select_option("39")
            await expect(page.locator("#rows a")).to_have_text(second)
            await page.reload()
            await expect(page.locator("#rows a")).to_have_text(second)
            customer = shop.customers(shop_id=39)[0]
            await link(page, customer.email).click()
            await edit_customer_balance(session, customer.id, 5, description="of the second shop")
            await expect(rows(page, "lines").first).to_contain_text("of the second shop")
            await page.get_by_label("Shop", exact=True).select_option("38")
            await expect(page.locator("#rows a")).to_have_text(first)
            await page.go_back()
            await expect(page.get_by_role("heading", name=customer.email)).to_be_visible()
    with Sandbox(3) as shop:
        async with window(browser, shop) as page:
            await expect(rows(page, "rows")).to_have_count(3)
            await expect(page.get_by_label("Shop", exact=True)).to_be_hidden()


async def test_a_customer_that_is_not_there_is_shown_once_it_is(browser: Any) -> None:
    """The page says that there is no such customer, and shows it as soon as there is."""
    from playwright.async_api import expect

    with Sandbox(0) as shop:
        async with window(browser, shop, "#/38/customers/7") as page:
            await expect(page.get_by_role("heading", name="This shop has no such customer.")).to_be_visible()
            page.complaints.clear()  # the browser says that the answer was a 404
            shop.add_customer(id=7, email="ada@example.com", balance=Decimal(5))
            await expect(page.get_by_role("heading", name="ada@example.com")).to_be_visible()
            await expect(rows(page, "lines")).to_contain_text(["+5.00"])


MARK_WHEN_READ = """() => {
    const json = Response.prototype.json;
    Response.prototype.json = async function () {
        const read = await json.call(this);
        // A task of its own begins when all that goes on with the answer has run.
        if (this.url.includes("/customers?")) setTimeout(() => { document.documentElement.dataset.read = "yes"; });
        return read;
    };
}"""


async def test_an_answer_that_is_no_longer_wanted_is_not_shown(browser: Any) -> None:
    """Customers that arrive when the requests are asked for already do not appear beside them."""
    from playwright.async_api import expect

    asked, answer = asyncio.Event(), asyncio.Event()

    async def hold(route: Any) -> None:
        asked.set()
        await answer.wait()
        await route.continue_()

    with Sandbox(3) as shop:
        async with window(browser, shop, "#/requests") as page:
            await page.route("**/customers?*", hold)
            await link(page, "Customers").click()
            await asked.wait()
            await link(page, "Requests").click()
            await expect(link(page, "Requests")).to_have_attribute("aria-current", "page")
            await page.evaluate(MARK_WHEN_READ)
            answer.set()
            await expect(page.locator("html[data-read]")).to_have_count(1)
            await expect(page.locator("#customers")).to_be_hidden()
            await link(page, "Customers").click()
            await expect(rows(page, "rows")).to_have_count(3)


HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "<script>alert(2)</script>",
    "</td><script>alert(3)</script>",
    "\u202egnp.exe\u202c",
    "'\"><svg onload=alert(4)>",
    "javascript:alert(5)",
    "&lt;b&gt;",
]


async def test_text_of_other_people_stays_text(browser: Any) -> None:
    """Customers, descriptions and requests that hold HTML or marks of direction are shown as the text that they are."""
    from playwright.async_api import expect

    customers = [
        Customer(id=n, email=text, discord_username=text, affiliate_code=text) for n, text in enumerate(HOSTILE, 1)
    ]
    with Sandbox(customers) as shop:
        async with window(browser, shop) as page, shop.session() as session, aiohttp.ClientSession() as client:
            await expect(rows(page, "rows")).to_have_count(len(HOSTILE))
            assert HOSTILE == await page.locator("#rows a").all_text_contents()
            for text in HOSTILE:
                await edit_customer_balance(session, 1, 1, description=text)
                await get_customers(session, email=text)
                await client.get(f"{shop.base_url}/shops/38/customers/{quote(text, safe='')}", allow_redirects=False)
            await link(page, HOSTILE[0]).click()
            await expect(rows(page, "lines")).to_have_count(len(HOSTILE))
            assert HOSTILE[::-1] == await page.locator("#lines bdi").all_text_contents()
            await expect(rows(page, "requests")).to_have_count(3 * len(HOSTILE))
            for text in HOSTILE:
                await expect(page.locator("#requests")).to_contain_text(f"email={text}")
                await expect(page.locator("#requests")).to_contain_text(f"/v1/shops/38/customers/{text}")
            assert 0 == await page.locator("img, svg, main script").count()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_it_is_light_or_dark_and_fits_a_phone(browser: Any, scheme: str) -> None:
    """The page follows the system's colours, and nothing on it is wider than a window of 400 pixels."""
    from playwright.async_api import expect

    long = Customer(id=2**63 - 1, email=f"{'x' * 300}@example.com", balance=Decimal("-123456789012.00"))
    with Sandbox([long]) as shop:
        phone: dict[str, Any] = {"viewport": {"width": 400, "height": 800}, "color_scheme": scheme}
        async with window(browser, shop, **phone) as page, shop.session() as session:
            await edit_customer_balance(session, long.id, 1, description="y" * 255)
            await get_customers(session, email="z" * 1000)
            await expect(rows(page, "rows")).to_have_count(1)
            colours = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)"
            assert (sum(await page.evaluate(colours)) > 600) is (scheme == "light")
            assert await fits(page)
            await expect(rows(page, "requests").first).to_be_hidden()  # beside the customers, in a wide window
            await page.locator("#rows a").click()
            await expect(page.get_by_text("y" * 255)).to_be_visible()
            assert await fits(page)
            await link(page, "Requests").click()
            await expect(page.get_by_text("z" * 1000)).to_be_visible()
            assert await fits(page)


CUT_WORDS = r"""() => {
    const cut = [];
    const check = (range) => {
        const lines = [...range.getClientRects()].map((line) => Math.round(line.top));
        if (new Set(lines).size > 1) cut.push(range.toString());
    };
    for (const parameter of document.querySelectorAll("#requests .parameter")) {
        const range = document.createRange();
        range.selectNodeContents(parameter);
        if (parameter.textContent.length < 30) check(range);
    }
    const texts = document.createTreeWalker(document.querySelector("#requests"), NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) {
        for (const word of texts.currentNode.data.matchAll(/[\w.{}]+/g)) {
            const range = document.createRange();
            range.setStart(texts.currentNode, word.index);
            range.setEnd(texts.currentNode, word.index + word[0].length);
            check(range);
        }
    }
    return cut;
}"""


@pytest.mark.parametrize("width", [1200, 900, 700, 400])
async def test_requests_break_between_words(browser: Any, width: int) -> None:
    """In a window of any width routes, paths and parameters break between words; each request begins at its top."""
    from playwright.async_api import expect

    filters: dict[str, Any] = {
        "email": "a.long.name.with.many.parts@subdomain.example-company.com",
        "affiliate_referrer_email": "somebody.of.the.customers@example.com",
        "discord_username": "somebody_with_a_name",
    }
    with Sandbox([Customer(id=7, email="ada@example.com")]) as shop:
        async with shop.session() as session:
            shop.fail_next("drop_after", method="POST")
            await edit_customer_balance(session, 7, "5.00", description="Refund, as agreed", reference="order-1187")
            await edit_customer_affiliate_code(session, 7, "SUMMER2026")
            await get_customers(session, order_column="last_completed_at", order_direction="desc", **filters)
        async with window(browser, shop, "#/requests", viewport={"width": width, "height": 900}) as page:
            await expect(rows(page, "requests")).to_have_count(len(shop.requests))
            await expect(page.locator("#requests")).to_contain_text("affiliate_code=SUMMER2026")
            assert [] == await page.evaluate(CUT_WORDS)
            assert await fits(page)
            lost = rows(page, "requests").filter(has_text="drop_after")
            top, first = [await lost.locator(part).bounding_box() for part in ("xpath=.", ".when time")]
            assert first["y"] - top["y"] < first["height"]


async def test_a_sandbox_that_closes_is_missed_and_another_is_picked_up(browser: Any) -> None:
    """A sandbox closes at once with a browser open. The page says so, and shows the next one at the address."""
    from playwright.async_api import expect

    with reserve_port() as port:
        first, second = Sandbox(3, port=port), Sandbox(0, port=port)
        with first:
            async with first.session() as session:
                await get_customers(session)
            async with window(browser, first) as page:
                await expect(rows(page, "rows")).to_have_count(3)
                await expect(rows(page, "requests")).to_have_count(1)
                first.close()
                await expect(page.get_by_text("is not running")).to_be_visible()
                page.complaints.clear()  # the browser says of each question that nobody answers
                with second:
                    await expect(page.get_by_text("is not running")).to_be_hidden()
                    await expect(page.get_by_text("This shop has no customers.")).to_be_visible()
                    await expect(page.get_by_text("No requests yet.")).to_be_visible()
                    second.add_customer(email="new@example.com")
                    await expect(rows(page, "rows")).to_contain_text(["new@example.com"])
                    await page.goto("about:blank")  # no question is left that finds nobody when this one closes
                    page.complaints.clear()


async def test_a_hidden_tab_asks_nothing(browser: Any) -> None:
    """A tab that nobody sees asks nothing; it goes on when it is seen."""
    from playwright.async_api import expect

    hide = """(hidden) => {
        Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
        document.dispatchEvent(new Event("visibilitychange"));
    }"""
    with Sandbox(3) as shop:
        async with window(browser, shop) as page:
            await expect(page.get_by_text("Live")).to_be_visible()
            await page.clock.install()
            await page.reload()
            await expect(page.get_by_text("Live")).to_be_visible()
            for _ in range(3):  # its timers are ours now, and it asks once for each
                async with page.expect_request("**/_sandbox/requests*") as asked:
                    await page.clock.run_for(1000)
                await (await asked.value).response()
            questions = list[str]()
            page.on("request", lambda sent: questions.append(sent.url))
            await page.evaluate(hide, True)
            await page.clock.run_for(60_000)
            assert [] == questions
            async with page.expect_request("**/_sandbox/requests*"):
                await page.evaluate(hide, False)
