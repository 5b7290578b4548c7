"""References: an edit that can be called again, since the ledger shows whether it was made."""

import asyncio
import logging
from decimal import Decimal
from enum import Enum
from typing import Any, Literal

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shopsdk import (
    Customer,
    DecodeError,
    NotSentError,
    PaginationError,
    RateLimitedError,
    ReferenceConflictError,
    RetryPolicy,
    ShopError,
    UnknownOutcomeError,
    edit_customer_balance,
    get_customer,
)
from shopsdk.sandbox import Fault, Sandbox
from shopsdk.testing import InstantClock
from tests.support.servers import ReceivedRequest, Wire, answer, page_of, raw_server, silence

Method = Literal["POST", "PUT"]
EDITED = answer({"message": "ok"})


def line(number: int, amount: str, description: str | None) -> dict[str, object]:
    return {"id": number, "amount": amount, "description": description, "created_at": None}


def edits(shop: Sandbox) -> int:
    return len([request for request in shop.requests if request.method != "GET"])


async def test_a_reference_ends_the_description(shop: Sandbox) -> None:
    """The marker ends the description, one space behind the caller's own text."""
    customer = shop.customers()[0].id
    async with shop.session() as session:
        await edit_customer_balance(session, customer, 1, reference="a")
        await edit_customer_balance(session, customer, 1, reference="b", description=" thanks ")
    assert [line.description for line in shop.transactions(customer)] == ["thanks [ref:b]", "[ref:a]"]


async def test_a_reference_that_was_used_is_not_sent_again(shop: Sandbox) -> None:
    """A reference that stands in the ledger with the same amount is not sent again."""
    customer = shop.customers()[0].id
    async with shop.session() as session:
        first = await edit_customer_balance(session, customer, "2.50", reference="refund-1187", description="sorry")
        again = await edit_customer_balance(session, customer, Decimal("2.5"), reference="refund-1187")
    assert (first.replayed, again.replayed) == (False, True)
    assert shop.transactions(customer) == [again.transaction]
    assert edits(shop) == 1


async def test_a_reference_used_with_another_amount_is_a_conflict(shop: Sandbox) -> None:
    """A reference that stands with another amount is a conflict, and nothing is sent."""
    customer = shop.customers()[0].id
    async with shop.session() as session:
        await edit_customer_balance(session, customer, "2.50", reference="r")
        with pytest.raises(ReferenceConflictError) as caught:
            await edit_customer_balance(session, customer, "-2.50", reference="r")
    assert (caught.value.reference, caught.value.maybe_applied) == ("r", False)
    assert edits(shop) == 1


async def test_a_reference_is_the_customers_own(shop: Sandbox) -> None:
    """One reference used for two customers makes an edit for each."""
    one, two = (customer.id for customer in shop.customers()[:2])
    async with shop.session() as session:
        for customer in (one, two):
            assert not (await edit_customer_balance(session, customer, 1, reference="run-5")).replayed
    assert edits(shop) == 2


@pytest.mark.parametrize("earlier", ["refund-118", "refund-11870", "xrefund-1187", "REFUND-1187"])
async def test_a_reference_that_looks_alike_is_another(shop: Sandbox, earlier: str) -> None:
    """A reference that is longer, shorter or of another case is another one."""
    customer = shop.customers()[0].id
    async with shop.session() as session:
        await edit_customer_balance(session, customer, 1, reference=earlier)
        assert not (await edit_customer_balance(session, customer, 1, reference="refund-1187")).replayed
    assert edits(shop) == 2


@pytest.mark.parametrize("description", ["[ref:r]", "x [ref:r]", "x [ref:r] \n", "[ref:q] [ref:r]"])
async def test_what_ends_in_the_marker_is_found(description: str) -> None:
    """An edit is found though its description came back trimmed, or with space behind it."""
    async with raw_server(answer([line(1, "1.00", description)]), EDITED) as server, server.session() as session:
        assert (await edit_customer_balance(session, 7, 1, reference="r")).replayed


@pytest.mark.parametrize("description", [None, "", "r", "[ref:r] and more", "[ref:r", "ref:r]", "[ref:rr]"])
async def test_what_does_not_end_in_the_marker_is_not(description: str | None) -> None:
    """A description that only mentions a marker is not the edit."""
    async with raw_server(answer([line(1, "1.00", description)]), EDITED) as server, server.session() as session:
        assert not (await edit_customer_balance(session, 7, 1, reference="r")).replayed


@pytest.mark.parametrize("method", ["POST", "PUT"])
@pytest.mark.parametrize(
    "fault",
    [
        Fault("drop_after", first=1, path="/balance", method="POST"),
        Fault("truncate", first=1, path="/balance", method="POST"),
        Fault("error_500", first=1, path="/balance", method="POST", applied=True),
        Fault("html_502", first=1, path="/balance", method="POST", applied=True),
    ],
    ids=lambda fault: fault.kind,
)
async def test_an_edit_whose_answer_was_lost_is_found(fault: Fault, method: Method) -> None:
    """An edit whose answer was lost succeeds when the ledger has it."""
    clock = InstantClock()
    async with Sandbox(3, faults=[attrs.evolve(fault, method=method)]) as shop, shop.session(clock=clock) as session:
        customer = shop.customers()[0].id
        edit = await edit_customer_balance(session, customer, 1, reference="r", method=method)
        assert (shop.transactions(customer)[0], False, None) == (edit.transaction, edit.replayed, edit.message)
        assert edits(shop) == 1
        assert sum(clock.slept) < 15


@pytest.mark.parametrize("kind", ["drop_before", "error_500", "html_502"])
async def test_an_edit_that_is_not_found_is_unknown_and_safe_to_call_again(kind: Any) -> None:
    """An edit that is not found is an unknown outcome that names the reference; calling again makes it once."""
    clock = InstantClock()
    async with Sandbox(3, faults=[Fault(kind, first=1, method="POST")]) as shop, shop.session(clock=clock) as session:
        customer = shop.customers()[0].id
        with pytest.raises(UnknownOutcomeError) as caught:
            await edit_customer_balance(session, customer, 1, reference="r")
        assert (caught.value.reference, caught.value.maybe_applied) == ("r", True)
        assert isinstance(caught.value.__cause__, ShopError)
        assert edits(shop) == 1
        assert len(clock.slept) > 1
        assert sum(clock.slept) < 15
        assert not (await edit_customer_balance(session, customer, 1, reference="r")).replayed
        assert len(shop.transactions(customer)) == 1


@pytest.mark.parametrize("status", [302, 200])
async def test_redirects_and_unreadable_successes_are_looked_up(status: int) -> None:
    """A redirect, or a success that cannot be read, is looked up in the ledger."""
    odd = answer(raw=b"<html>", status=status, headers={"Location": "/x"})
    found = answer([line(1, "1.00", "[ref:r]")])
    async with (
        raw_server(answer([]), odd, answer([]), found) as server,
        server.session(clock=InstantClock()) as session,
    ):
        edit = await edit_customer_balance(session, 7, 1, reference="r")
    assert edit.transaction is not None
    assert [heard.method for heard in server.heard] == ["GET", "POST", "GET", "GET"]


async def test_an_edit_that_commits_late_is_found_by_the_next_call(shop: Sandbox) -> None:
    """An edit that is carried out after the search is found by the next call."""
    customer = shop.customers()[0].id
    async with shop.session(clock=InstantClock()) as session:
        shop.fail_next("drop_before", method="POST")
        with pytest.raises(UnknownOutcomeError):
            await edit_customer_balance(session, customer, 1, reference="late")
        await edit_customer_balance(session, customer, 1, description="x [ref:late]")  # as the server would have
        again = await edit_customer_balance(session, customer, 1, reference="late")
    assert again.replayed
    assert len(shop.transactions(customer)) == 1


async def test_a_search_that_fails_leaves_the_outcome_unknown() -> None:
    """A ledger that cannot be read after a loss leaves the outcome unknown."""
    async with (
        raw_server(answer([]), b"", answer(None, 404)) as server,
        server.session(clock=InstantClock()) as session,
    ):
        with pytest.raises(UnknownOutcomeError) as caught:
            await edit_customer_balance(session, 7, 1, reference="r")
    assert caught.value.maybe_applied
    assert caught.value.reference == "r"


async def test_a_line_of_another_amount_after_a_loss_is_reported() -> None:
    """A search that finds the reference with another amount says so."""
    async with (
        raw_server(answer([]), b"", answer([line(1, "9.00", "[ref:r]")])) as server,
        server.session(clock=InstantClock()) as session,
    ):
        with pytest.raises(UnknownOutcomeError, match=r"'r' is in the ledger with the amount 9\.00") as caught:
            await edit_customer_balance(session, 7, 1, reference="r")
    assert caught.value.maybe_applied


@pytest.mark.parametrize("amounts", [("9.00", "1.00"), ("1.00", "9.00")])
async def test_our_line_is_found_beside_another_process_s(amounts: tuple[str, str]) -> None:
    """The edit's own line is found beside another process's, in whichever order they stand."""
    both = answer([line(number, amount, "[ref:r]") for number, amount in enumerate(amounts)])
    async with raw_server(answer([]), b"", both) as server, server.session() as session:
        edit = await edit_customer_balance(session, 7, 1, reference="r")
        with pytest.raises(ReferenceConflictError):
            await edit_customer_balance(session, 7, 1, reference="r")
    assert edit.transaction is not None
    assert (Decimal(1), False) == (edit.transaction.amount, edit.duplicated)


@pytest.mark.parametrize("lost", [b"", answer(None, 500), answer(raw=b"<html>")], ids=["cut", "500", "unreadable"])
async def test_the_error_of_a_lost_edit_has_its_attempts_and_time(lost: bytes) -> None:
    """The error of a lost edit has its attempts and the time it took."""
    limited = answer(None, 429, headers={"Retry-After": "5"})
    async with (
        raw_server(answer([]), limited, lost, answer([])) as server,
        server.session(clock=InstantClock()) as session,
    ):
        with pytest.raises(UnknownOutcomeError) as caught:
            await edit_customer_balance(session, 7, 1, reference="r", method="PUT")
    error = caught.value
    assert ("PUT", "/shops/38/customers/7/balance", 2, "r") == (
        error.method,
        error.path,
        error.attempts,
        error.reference,
    )
    assert 5 <= error.elapsed < 15


async def test_a_cancel_while_searching_names_the_reference() -> None:
    """A search that is cancelled leaves a note that names the reference."""
    async with raw_server(answer([]), b"", silence) as server, server.session() as session:
        task = asyncio.create_task(edit_customer_balance(session, 7, 1, reference="order-1"))
        while len(server.heard) < 3:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
    assert "'order-1'" in caught.value.__notes__[0]


async def test_the_search_after_a_loss_has_fifteen_seconds() -> None:
    """The search after a loss ends within 15 seconds."""
    clock = InstantClock()

    def slow(_heard: ReceivedRequest, wire: Wire) -> None:
        clock.time += 6
        wire.send(answer([]))

    async with raw_server(answer([]), b"", slow) as server, server.session(clock=clock) as session:
        with pytest.raises(UnknownOutcomeError):
            await edit_customer_balance(session, 7, 1, reference="r")
    assert len(server.heard) == 2 + 3


async def test_a_session_closed_while_searching_leaves_the_outcome_unknown() -> None:
    """A session that is closed during the search leaves the outcome unknown."""

    async def close(_heard: ReceivedRequest, wire: Wire) -> None:
        closing.append(asyncio.ensure_future(session.close()))
        await asyncio.sleep(0)
        wire.writer.close()

    closing: list[asyncio.Future[None]] = []
    async with raw_server(answer([]), close) as server:
        clock = InstantClock()
        session = server.session(clock=clock)
        with pytest.raises(UnknownOutcomeError) as caught:
            await edit_customer_balance(session, 7, 1, reference="r")
        await asyncio.gather(*closing)
    assert (True, "r") == (caught.value.maybe_applied, caught.value.reference)
    assert 1 > sum(clock.slept)


async def test_a_search_that_fails_before_sending_sends_nothing() -> None:
    """An edit with a reference is not sent where the ledger could not be read."""
    async with raw_server(answer(None, 500)) as server, server.session(clock=InstantClock()) as session:
        with pytest.raises(ShopError) as caught:
            await edit_customer_balance(session, 7, 1, reference="r")
    assert not caught.value.maybe_applied
    assert {"GET"} == {heard.method for heard in server.heard}


async def test_what_was_surely_not_applied_is_not_looked_up() -> None:
    """A plain rejection is raised at once, without a search."""
    async with raw_server(answer([]), answer({"message": "no"}, 422)) as server, server.session() as session:
        with pytest.raises(ShopError) as caught:
            await edit_customer_balance(session, 7, 1, reference="r")
    assert not caught.value.maybe_applied
    assert len(server.heard) == 2


def ledger(pages: list[list[dict[str, object]]], *, claim: int | None = None) -> Any:
    def behave(heard: ReceivedRequest, wire: Wire) -> None:
        if heard.method != "GET":
            wire.send(EDITED)
            return
        number = heard.json["page"] if heard.body else 1
        rows = pages[number - 1] if number <= len(pages) else []
        wire.send(answer(page_of(rows, claim or number, last=len(pages), per_page=2)))

    return behave


async def test_a_ledger_of_several_pages_is_read_to_its_end() -> None:
    """A reference is found on any page of the ledger."""
    pages = [[line(9, "1", "a"), line(8, "1", "b")], [line(8, "1", "b"), line(7, "1", None)], [line(6, "1", "[ref:r]")]]
    async with raw_server(ledger(pages)) as server, server.session() as session:
        assert (await edit_customer_balance(session, 7, 1, reference="r")).replayed
        assert not (await edit_customer_balance(session, 7, 1, reference="s")).replayed
    assert len(server.heard) == 7


@pytest.mark.parametrize("claim", [1, 2])
async def test_a_ledger_whose_pages_cannot_be_had_stops_the_edit(claim: int) -> None:
    """A ledger whose server repeats a page stops the edit, and the search ends."""
    pages = [[line(9, "1", "a")], [line(9, "1", "a")], [line(9, "1", "a")]]
    async with raw_server(ledger(pages, claim=claim)) as server, server.session() as session:
        with pytest.raises(PaginationError):
            await edit_customer_balance(session, 7, 1, reference="r")
    assert {"GET"} == {heard.method for heard in server.heard}


MORE = "https://api.example/next"


NOT_WHOLE: dict[str, list[Any]] = {
    "page 1 for page 2 of two": [page_of([line(9, "1", "a")], 1, last=2)] * 2,
    "an empty page in the middle": [page_of([line(9, "1", "a")], 1, last=3), page_of([], 2, last=3)],
    "a bare list for page 2 of three": [page_of([line(9, "1", "a")], 1, last=3), [line(8, "1", "b")]],
    "an empty page 1, twice": [page_of([], 1, last=2)] * 2,
    "more lines counted than shown": [page_of([line(9, "1", "a")], 1, last=1, total=2)],
    "a last page with a next one": [{**page_of([line(9, "1", "a")]), "next_page_url": MORE}],
}


@pytest.mark.parametrize("name", NOT_WHOLE)
async def test_a_ledger_that_was_not_read_whole_stops_the_edit(name: str) -> None:
    """A ledger with fewer lines than its total stops the edit."""
    pages = NOT_WHOLE[name]
    async with raw_server(*map(answer, pages), EDITED) as server, server.session() as session:
        with pytest.raises(PaginationError):
            await edit_customer_balance(session, 7, 1, reference="r")
    assert ["GET"] * len(pages) == [heard.method for heard in server.heard]


async def test_a_ledger_that_is_empty_at_first_is_read_on() -> None:
    """A ledger is read to the last page that it counts, though its first is empty."""
    pages = [[], [line(8, "1", "b")], [line(6, "1", "[ref:r]")]]
    async with raw_server(ledger(pages)) as server, server.session() as session:
        assert (await edit_customer_balance(session, 7, 1, reference="r")).replayed


async def test_a_ledger_that_only_claims_to_grow_is_given_up() -> None:
    """A ledger that counts one page more each time, without a new line, stops the edit."""

    def behave(heard: ReceivedRequest, wire: Wire) -> None:
        number = heard.json["page"] if heard.body else 1
        wire.send(answer(page_of([line(9, "1", "a")], number, last=number + 1)))

    async with raw_server(behave) as server, server.session() as session:
        with pytest.raises(PaginationError):
            await edit_customer_balance(session, 7, 1, reference="r")


@pytest.mark.parametrize(
    "body",
    [
        {"current_page": 1, "data": [], "next_page_url": MORE},
        {"current_page": 1, "data": []},
        {"data": [], "next_cursor": "abc"},
        {"data": [], "links": {"next": MORE}, "meta": {"current_page": 1}},
    ],
)
async def test_a_ledger_that_does_not_say_where_it_ends_stops_the_edit(body: dict[str, object]) -> None:
    """A ledger that does not say how many pages it has stops the edit."""
    async with raw_server(answer(body), EDITED) as server, server.session() as session:
        with pytest.raises(PaginationError, match="how many"):
            await edit_customer_balance(session, 7, 1, reference="r")
    assert ["GET"] == [heard.method for heard in server.heard]


async def test_a_ledger_that_is_an_empty_object_stops_the_edit() -> None:
    """An object that is no ledger is not read as an empty one, and stops the edit."""
    async with raw_server(answer({}), EDITED) as server, server.session() as session:
        with pytest.raises(DecodeError):
            await edit_customer_balance(session, 7, 1, reference="r")
    assert 1 == len(server.heard)


async def test_a_ledger_that_grows_by_a_page_is_still_read() -> None:
    """A ledger that grows while it is read is read to its end."""
    first, grown = [line(2, "1", "a")], [line(2, "1", "a")]
    pages = [page_of(first, 1, last=2, per_page=1), page_of(grown, 2, last=3, per_page=1)]
    end = page_of([line(1, "1", "[ref:r]")], 3, last=3, per_page=1)
    async with raw_server(*map(answer, [*pages, end])) as server, server.session() as session:
        assert (await edit_customer_balance(session, 7, 1, reference="r")).replayed
    assert 3 == len(server.heard)


async def test_two_callers_of_one_reference_are_served_in_turn(shop: Sandbox) -> None:
    """Two calls with one reference and customer make one edit."""
    customer = shop.customers()[0].id
    async with shop.session() as session:
        got = await asyncio.gather(*(edit_customer_balance(session, customer, 1, reference="r") for _ in range(20)))
    assert edits(shop) == 1
    assert len([edit for edit in got if not edit.replayed]) == 1


async def test_callers_of_different_references_do_not_wait_for_each_other() -> None:
    """Calls with different references run at the same time."""
    arrived = asyncio.Event()
    count = 0

    async def hold(_heard: ReceivedRequest, wire: Wire) -> None:
        nonlocal count
        count += 1
        if count == 3:
            arrived.set()
        await arrived.wait()
        wire.send(answer([line(1, "1", "[ref:a]"), line(2, "1", "[ref:b]"), line(3, "1", "[ref:c]")]))

    async with raw_server(hold) as server, server.session() as session:
        got = await asyncio.gather(*(edit_customer_balance(session, 7, 1, reference=r) for r in "abc"))
    assert [edit.replayed for edit in got] == [True] * 3


async def test_one_reference_for_sixteen_customers_delays_none() -> None:
    """Edits of sixteen customers with one reference do not wait for each other."""
    all_there = {"GET": asyncio.Barrier(16), "POST": asyncio.Barrier(16)}

    async def serve(heard: ReceivedRequest, wire: Wire) -> None:
        await all_there[heard.method].wait()  # for ever, where one customer waits for another
        wire.send(answer([]) if heard.method == "GET" else EDITED)

    async with raw_server(serve) as server, server.session() as session:
        edits = (edit_customer_balance(session, customer, 1, reference="run-5") for customer in range(1001, 1017))
        assert not any(edit.replayed for edit in await asyncio.gather(*edits))
    assert ["GET"] * 16 + ["POST"] * 16 == [heard.method for heard in server.heard]


async def test_a_customer_is_one_however_the_id_is_written(shop: Sandbox) -> None:
    """Calls for 1001, for "1001" and for a subclass of either are for one customer, and make one edit."""

    class Who(int, Enum):
        ADA = shop.customers()[0].id
        SHOP = shop.shop_id

    class Named(str, Enum):  # noqa: UP042 - what prints as its name
        ADA = str(shop.customers()[0].id)

    ids: list[tuple[int | str, int]] = [(Who.ADA.value, 38), (Named.ADA.value, 38), (Who.ADA, Who.SHOP)]
    ids.append((Named.ADA, Who.SHOP))
    async with shop.session() as session:
        edits = (edit_customer_balance(session, customer, 1, reference="r", shop_id=number) for customer, number in ids)
        got = await asyncio.gather(*edits)
    assert 1 == len([edit for edit in got if not edit.replayed])
    assert ["GET", "POST", "GET", "GET", "GET"] == [request.method for request in shop.requests]


async def test_a_reference_is_waited_for_in_its_own_shop_alone() -> None:
    """Edits of customer 7 in two shops with one reference do not wait for each other."""
    met = asyncio.Barrier(2)

    async def serve(heard: ReceivedRequest, wire: Wire) -> None:
        if heard.method == "GET":
            await met.wait()
        wire.send(answer([]) if heard.method == "GET" else EDITED)

    async with raw_server(serve) as server, server.session() as session:
        await asyncio.gather(*(edit_customer_balance(session, 7, 1, reference="r", shop_id=n) for n in (38, 39)))
    assert ["POST", "POST"] == [heard.method for heard in server.heard][2:]


TWICE = [line(2, "1.00", "a [ref:r]"), line(1, "1", "[ref:r]")]


@pytest.mark.parametrize("lost", [False, True], ids=["before sending", "after a loss"])
@pytest.mark.parametrize(("lines", "duplicated"), [(TWICE, True), (TWICE[:1], False)])
async def test_a_reference_that_stands_twice_is_reported(
    lost: bool, lines: list[dict[str, object]], duplicated: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """A reference that is twice in the ledger is reported in the result and the log, without the key or an address."""
    script = [answer([]), b"", answer(lines)] if lost else [answer(lines)]
    with caplog.at_level(logging.WARNING, "shopsdk"):
        async with raw_server(*script) as server, server.session(clock=InstantClock()) as session:
            edit = await edit_customer_balance(session, "a@example.com", 1, reference="r")
    assert (duplicated, not lost) == (edit.duplicated, edit.replayed)
    messages = [record.getMessage() for record in caplog.records if "stands" in record.getMessage()]
    assert duplicated == bool(messages)
    for text in messages:
        assert text.startswith("reference 'r' stands 2 times with the amount 1")
        assert "example.com" not in text
        assert "raw-key" not in text


async def test_an_edit_that_was_just_sent_is_not_called_a_duplicate(shop: Sandbox) -> None:
    """An edit that was just sent, or that has another reference, is not reported as a duplicate."""
    customer = shop.customers()[0].id
    async with shop.session() as session:
        await edit_customer_balance(session, customer, 1, reference="a")
        assert not (await edit_customer_balance(session, customer, 1, reference="b")).duplicated
        assert not (await edit_customer_balance(session, customer, 1, reference="b")).duplicated


amounts = st.integers(-500, 500).map(lambda cents: Decimal(cents) / 100)


@pytest.mark.slow
@settings(max_examples=3)
@given(st.lists(amounts, min_size=150, max_size=250), st.randoms(use_true_random=False))
def test_jobs_retried_until_they_succeed_leave_each_edit_exactly_once(jobs: list[Decimal], random: Any) -> None:
    """Jobs that are called again until they succeed leave each edit in the ledger exactly once, whatever fails."""
    kinds: list[Any] = ["drop_before", "drop_after", "error_500", "html_502", "truncate"]
    periods = random.sample([5, 7, 11], 3)  # without a common period, or one job could meet its fault for ever
    faults = [Fault(kind, every=n, path="/balance") for kind, n in zip(random.sample(kinds, 3), periods, strict=True)]

    async def credit(session: Any, number: int, amount: Decimal) -> None:
        for _ in range(200):
            try:
                await edit_customer_balance(session, 1000 + number % 3, amount, reference=f"job-{number}")
            except (UnknownOutcomeError, NotSentError, RateLimitedError, ShopError):
                continue
            return
        raise AssertionError(f"job {number} never succeeded")

    async def main(shop: Sandbox) -> None:
        async with shop.session(retry=RetryPolicy(attempts=2, wait_initial=0), clock=InstantClock()) as session:
            await asyncio.gather(*(credit(session, number, amount) for number, amount in enumerate(jobs)))
            for customer in (1000, 1001, 1002):
                total = sum(amount for number, amount in enumerate(jobs) if 1000 + number % 3 == customer)
                assert total == (await get_customer(session, customer)).balance

    people = [Customer(id=n, email=f"{n}@example.com", balance=Decimal(0)) for n in (1000, 1001, 1002)]
    with Sandbox(people, faults=faults) as shop:
        asyncio.run(main(shop))
        made = [line.description for n in (1000, 1001, 1002) for line in shop.transactions(n)]
    assert sorted(f"[ref:job-{number}]" for number in range(len(jobs))) == sorted(map(str, made))
