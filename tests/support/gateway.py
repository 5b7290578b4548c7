"""One address for several shops, as the vendor has it: each request goes to the sandbox of its shop."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import attrs
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from shopsdk.sandbox import Sandbox


@attrs.define(eq=False)
class Held:
    """The first request for one page of one shop, which is kept from the shop until ``go_on`` is set."""

    shop_id: int
    page: int
    port: asyncio.Future[int] = attrs.Factory(asyncio.Future)
    """The port that it came from, once it has come."""
    go_on: asyncio.Event = attrs.Factory(asyncio.Event)


@attrs.define(eq=False)
class Gateway:
    """The address, and what is held there."""

    shops: Mapping[int, Sandbox]
    client: ClientSession
    base_url: str = ""
    held: list[Held] = attrs.Factory(list)

    def hold(self, shop_id: int, page: int) -> Held:
        """Hold the first request for a page."""
        self.held.append(Held(shop_id, page))
        return self.held[-1]

    def environment(self) -> dict[str, str]:
        """Make the environment of somebody who has a key for each shop."""
        keys = {f"SHOPSDK_API_KEY_{shop_id}": shop.api_key for shop_id, shop in self.shops.items()}
        return {"SHOPSDK_BASE_URL": self.base_url, **keys}

    async def forward(self, request: web.Request) -> web.Response:
        shop_id, body = int(request.match_info["shop_id"]), await request.read()
        page = json.loads(body)["page"]
        for held in self.held:
            if (shop_id, page) == (held.shop_id, held.page) and not held.port.done():
                assert request.transport is not None
                held.port.set_result(request.transport.get_extra_info("peername")[1])
                await held.go_on.wait()
        url = self.shops[shop_id].base_url.removesuffix("/v1") + request.path_qs
        headers = {name: request.headers[name] for name in ("Authorization", "Accept", "Content-Type")}
        async with self.client.request(request.method, url, data=body, headers=headers) as answer:
            headers = {name: answer.headers[name] for name in ("Content-Type", "Retry-After") if name in answer.headers}
            return web.Response(status=answer.status, body=await answer.read(), headers=headers)


@asynccontextmanager
async def gateway(shops: Mapping[int, Sandbox]) -> AsyncIterator[Gateway]:
    """Serve these shops at one address; the sandboxes are started already."""
    async with ClientSession() as client:
        gate = Gateway(shops, client)
        app = web.Application()
        app.router.add_route("*", "/v1/shops/{shop_id}/customers", gate.forward)
        async with TestServer(app) as server:
            gate.base_url = str(server.make_url("/v1"))
            yield gate
