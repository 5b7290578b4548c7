"""Progress that an export reports while it runs, and the counts of its summary."""

import asyncio
import logging
from contextlib import suppress
from pathlib import Path

import pytest

from shopsdk import AsyncSession, RetryPolicy
from shopsdk.export import ExportProgress, export_customers
from shopsdk.sandbox import Sandbox
from shopsdk.testing import InstantClock
from tests.support.export import read_rows
from tests.support.servers import CUSTOMER, ReceivedRequest, Wire, answer, page_of, raw_server


async def test_progress_is_reported_page_by_page(session: AsyncSession, tmp_path: Path) -> None:
    """Progress is reported after every page, and at the end."""
    reports: list[ExportProgress] = []
    await export_customers(session, tmp_path / "c.csv", on_progress=reports.append)
    assert [(p.stage, p.rows) for p in reports] == [
        ("reading", 0), ("reading", 100), ("reading", 200), ("reading", 250), ("assembling", 250), ("done", 250),
    ]  # fmt: skip
    assert {p.total for p in reports[1:]} == {250}
    assert reports[-1].seconds_left == 0
    assert reports[0].seconds_left is None


async def test_the_summary_counts_requests_retries_and_waits(tmp_path: Path) -> None:
    """The summary counts requests, retries and waits."""
    reports: list[ExportProgress] = []
    with Sandbox(250) as shop:
        shop.fail_next("rate_limit", retry_after="0.01")
        shop.fail_next("truncate")
        shop.fail_next("drop_before")
        async with shop.session(retry=RetryPolicy(wait_initial=0.001, wait_max=0.002)) as session:
            summary = await export_customers(session, tmp_path / "c.csv", on_progress=reports.append, concurrency=1)
        assert (summary.requests, summary.retries) == (len(shop.requests), 3)
        assert (len(shop.requests), summary.waited > 0.009) == (6, True)
    waits = [(p.waiting > 0, p.reason, p.status) for p in reports if p.stage == "waiting"]
    assert waits == [(True, "RateLimitedError", 429), (True, "TransportError", None), (True, "TransportError", None)]


async def test_a_wait_that_a_503_asks_for_is_no_rate_limit(tmp_path: Path) -> None:
    """A wait that a 503 asks for is reported with its status, by every export that it holds up."""
    reports: list[ExportProgress] = []

    def behave(heard: ReceivedRequest, wire: Wire) -> None:
        if len(server.heard) == 1:
            wire.send(answer(None, 503, headers={"Retry-After": "30"}))
        else:
            page = heard.json["page"]
            wire.send(answer(page_of([CUSTOMER] if page == 1 else [], page)))

    async with raw_server(behave) as server, server.session(clock=InstantClock()) as session:
        await asyncio.gather(
            *(export_customers(session, tmp_path / name, on_progress=reports.append) for name in ("a.csv", "b.csv"))
        )
    waits = [progress for progress in reports if progress.stage == "waiting"]
    assert waits
    assert {(progress.reason, progress.status) for progress in waits} == {("ServerError", 503)}


async def test_counting_needs_no_log(
    session: AsyncSession, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counting neither needs the log nor writes to it."""
    await export_customers(session, tmp_path / "a.csv")
    assert not [record for record in caplog.records if record.name == "shopsdk"]
    monkeypatch.setattr(logging.getLogger("shopsdk"), "disabled", True)
    assert (await export_customers(session, tmp_path / "b.csv")).requests == 3


async def test_exports_through_one_session_count_their_own(session: AsyncSession, tmp_path: Path) -> None:
    """Exports that share a session count their own requests."""
    made = await asyncio.gather(
        export_customers(session, tmp_path / "a.csv", per_page=50), export_customers(session, tmp_path / "b.csv")
    )
    assert [summary.requests for summary in made] == [6, 3]


async def test_a_callback_that_fails_while_it_waits_ends_the_export(tmp_path: Path) -> None:
    """An exception from a callback during a wait ends the export and is raised."""

    def give_up(progress: ExportProgress) -> None:
        if progress.stage == "waiting":
            raise ZeroDivisionError

    with Sandbox(250) as shop:
        shop.fail_next("rate_limit", retry_after="0.01")
        async with shop.session() as session:
            with pytest.raises(ZeroDivisionError):
                await export_customers(session, tmp_path / "c.csv", on_progress=give_up)


async def test_rows_that_slip_are_found_and_counted(tmp_path: Path) -> None:
    """Rows that move because others are deleted are found, and the pages that were read again are counted."""
    with Sandbox(1000) as shop:
        ids = [c.id for c in shop.customers()]

        def delete(progress: ExportProgress) -> None:
            if progress.page == 3 and progress.stage == "reading":
                for number in ids[50:90]:
                    with suppress(KeyError):
                        shop.remove_customer(number)

        async with shop.session() as session:
            summary = await export_customers(session, tmp_path / "c.csv", concurrency=1, on_progress=delete)
        got = [c.id for c in read_rows(tmp_path / "c.csv")]
        assert got == ids
        assert summary.reread >= 1
        assert summary.repeats >= 60
