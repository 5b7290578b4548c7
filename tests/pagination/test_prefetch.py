"""The window of a walk: pages in flight, pages held for their turn, and the end of both."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import attrs
import pytest

from shopsdk import AsyncSession, Page, ServerError, SessionStateError, iter_customers
from shopsdk._pagination.prefetch import Prefetcher
from shopsdk._pagination.walk import walk
from tests.pagination.test_walk import Row, Shelf, ids_of
from tests.support.servers import ReceivedRequest, Wire, answer, page_of, raw_server


class StallingShelf(Shelf):
    """A list of 200 pages of which one answers only when it is told to."""

    def __init__(self, stalled: int) -> None:
        super().__init__(list(range(1, 401)), 2)
        self.stalled = stalled
        self.go_on = asyncio.Event()
        self.asked: list[int] = []
        self.waiting: set[int] = set()
        self.most_waiting = 0

    async def read(self, number: int) -> Page[Row]:
        self.asked.append(number)
        self.waiting.add(number)
        self.most_waiting = max(self.most_waiting, len(self.waiting))
        try:
            if number == self.stalled:
                await self.go_on.wait()
            return await super().read(number)
        finally:
            self.waiting.discard(number)


async def settle() -> None:
    """Let everything happen that waits for nothing."""
    for _ in range(500):
        await asyncio.sleep(0)


@pytest.mark.parametrize("concurrency", [2, 4, 16])
async def test_a_stalled_page_holds_up_a_window_and_not_the_rest(concurrency: int) -> None:
    """While a page stalls, the pages of its window are read, and none behind it; then all are delivered in order."""
    shelf = StallingShelf(stalled=3)
    task = asyncio.create_task(ids_of(walk(shelf.plan(concurrency=concurrency))))
    await settle()
    assert max(shelf.asked) == 3 + 4 * concurrency - 1
    assert shelf.waiting == {3}
    shelf.go_on.set()
    assert await task == list(range(1, 401))
    assert shelf.most_waiting == concurrency


async def test_a_window_ends_with_the_list() -> None:
    """While a page near the end stalls, only the one behind a full last page is asked for as well."""
    shelf = StallingShelf(stalled=198)
    task = asyncio.create_task(ids_of(walk(shelf.plan(concurrency=2))))
    await settle()
    shelf.go_on.set()
    assert await task == list(range(1, 401))
    assert sorted(shelf.asked) == list(range(1, 202))


async def test_one_page_at_a_time_has_no_window() -> None:
    """At concurrency 1 there is one page in flight and none beyond it."""
    shelf = StallingShelf(stalled=3)
    task = asyncio.create_task(ids_of(walk(shelf.plan())))
    await settle()
    assert shelf.asked == [1, 2, 3]
    shelf.go_on.set()
    assert await task == list(range(1, 401))
    assert shelf.most_waiting == 1


async def drain_up_to(pages: AsyncGenerator[Page[Row], None], number: int) -> None:
    async for page in pages:
        if page.current_page == number:
            return


@pytest.mark.parametrize("concurrency", [1, 4])
async def test_a_slow_consumer_is_waited_for(concurrency: int) -> None:
    """While the consumer holds a page, the walk reads one window ahead, and no more."""
    shelf = StallingShelf(stalled=0)
    async with aclosing(walk(shelf.plan(concurrency=concurrency))) as pages:
        await drain_up_to(pages, 5)
        await settle()
        assert max(shelf.asked) == (6 if concurrency == 1 else 5 + 4 * concurrency)


async def test_leaving_a_walk_with_a_window_asks_for_nothing_more() -> None:
    """A walk that is left while pages are in flight cancels them, and requests none in their place."""
    before = asyncio.all_tasks()
    shelf = StallingShelf(stalled=7)
    async with aclosing(walk(shelf.plan(concurrency=4))) as pages:
        await drain_up_to(pages, 2)
        reads = len(shelf.asked)
    await settle()
    assert reads == len(shelf.asked)
    assert before == asyncio.all_tasks()


async def test_a_page_that_fails_behind_a_stalled_one_ends_the_reading_ahead() -> None:
    """A failed page stops the requests at once; the pages before it are delivered, and then its error."""
    shelf = StallingShelf(stalled=3)

    async def failing(number: int) -> Page[Row]:
        page = await shelf.read(number)
        if number == 6:
            raise ServerError("down", status=500)
        return page

    got: list[int] = []
    pages = walk(shelf.plan(fetch=failing, concurrency=2))

    async def collect() -> None:
        async with aclosing(pages):
            async for page in pages:
                got.extend(row.id for row in page.data)

    task = asyncio.create_task(collect())
    await settle()
    assert max(shelf.asked) <= 7
    shelf.go_on.set()
    with pytest.raises(ServerError) as caught:
        await task
    assert (caught.value.page, got) == (6, list(range(1, 11)))


async def test_a_walk_goes_on_behind_a_step_back_with_its_window() -> None:
    """After rows were deleted, the pages of the window that was dropped are read anew, and nobody is missed."""
    shelf = StallingShelf(stalled=10)
    task = asyncio.create_task(ids_of(walk(shelf.plan(concurrency=4))))
    await settle()
    assert max(shelf.asked) == 25
    shelf.ids = shelf.ids[4:]  # of the pages that were read; the stalled one answers without them
    shelf.go_on.set()
    assert await task == list(range(1, 401))
    assert shelf.asked.count(11) == 2


async def test_an_answer_while_the_session_closes_requests_nothing_more() -> None:
    """A page that arrives once its session is closed asks for no other, and the event loop reports no error."""
    reported: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: reported.append(context))
    shelf = StallingShelf(stalled=3)
    plan = shelf.plan(concurrency=2)
    closed = False

    def read(number: int) -> "asyncio.Task[Page[Row]]":
        if closed:
            raise SessionStateError("closed")
        return plan.read(number)

    async with aclosing(walk(attrs.evolve(plan, read=read))) as pages:
        await drain_up_to(pages, 2)
        closed = True
        await settle()
        asked = len(shelf.asked)
        shelf.go_on.set()
        with pytest.raises(SessionStateError):
            await drain_up_to(pages, 9)
    assert (asked, []) == (len(shelf.asked), reported)


async def test_a_session_that_closes_behind_a_stalled_page_requests_nothing_more() -> None:
    """Closing the session ends a walk of which a page stalls; no request is made in the place of those it cancels."""
    stalled = asyncio.Event()

    async def serve(heard: ReceivedRequest, wire: Wire) -> None:
        page = heard.json["page"]
        if page == 3:
            stalled.set()
            await asyncio.Event().wait()
        rows = [{"id": page * 2 + each, "email": "a@b"} for each in range(2)]
        wire.send(answer(page_of(rows, page, last=100, per_page=2, total=200)))

    async def read_all(session: AsyncSession) -> None:
        async with aclosing(iter_customers(session, per_page=2, concurrency=4)) as customers:
            async for _ in customers:
                pass

    async with raw_server(serve) as server:
        session = server.session()
        task = asyncio.create_task(read_all(session))
        await stalled.wait()
        await session.close()
        heard = len(server.heard)
        with pytest.raises(SessionStateError, match="closed"):
            await task
        await settle()
        assert heard == len(server.heard)


@pytest.mark.parametrize("failing", [True, False])
async def test_a_page_that_ends_as_the_walk_steps_back_is_forgotten(failing: bool) -> None:
    """A page that ends in the very turn of a step back, an error or not, has no part in what is read afterwards."""
    loop = asyncio.get_running_loop()
    gates: dict[int, asyncio.Future[None]] = {}
    reads: list[int] = []

    async def fetch(number: int) -> Page[Row]:
        reads.append(number)
        await gates.setdefault(number, loop.create_future())
        if failing and number == 3 and reads.count(3) == 1:
            raise ServerError("down", status=500)
        return Page(data=[Row(number)], current_page=number, last_page=50, per_page=1, total=100)

    async def open_all() -> None:
        while True:
            await asyncio.sleep(0)
            for gate in gates.values():
                if not gate.done():
                    gate.set_result(None)

    prefetcher = Prefetcher[Row](lambda number: loop.create_task(fetch(number)), lambda page: page, 2, 100)
    await prefetcher.prefetch(2, 3)
    await asyncio.sleep(0)
    gates[2].set_result(None)
    await prefetcher.get(2, 3)
    gates[3].set_result(None)
    await asyncio.sleep(0)  # page 3 has ended; nobody has taken note of it
    gates.clear()
    await prefetcher.rewind()
    opening = asyncio.create_task(open_all())
    assert [(await prefetcher.get(number, 4)).number for number in (2, 3, 4)] == [2, 3, 4]
    assert reads == [2, 3, 2, 3, 4]
    opening.cancel()
