"""Discord as a bot sees it, REST API and gateway, on loopback; and members who type commands and press buttons."""

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import attrs
from aiohttp import WSMsgType, web

APPLICATION, GUILD, CHANNEL = "900000000000000001", "900000000000000002", "900000000000000003"
STAFF, MEMBER = 1 << 5, 0
"""The permissions of who may manage the server, and of who may nothing."""
_EPOCH = 1420070400000
_MESSAGE, _LOADING, _UPDATE = 4, 5, 7


@attrs.define(eq=False)
class Interaction:
    """A command or a press, and the answers to it."""

    payload: dict[str, Any]
    source: dict[str, Any] | None = None
    """The message whose button was pressed."""
    response: int | None = None
    original: dict[str, Any] | None = None
    """The message that answers it; of a press that updates its message, that message."""
    refused: int = 0
    """Number of second answers to it that were refused."""
    acknowledged: asyncio.Event = attrs.Factory(asyncio.Event)
    answered: asyncio.Event = attrs.Factory(asyncio.Event)

    @property
    def time(self) -> int:
        """When it was made, in whole seconds."""
        return ((int(self.payload["id"]) >> 22) + _EPOCH) // 1000

    @property
    def flags(self) -> int:
        """The flags of its answer: 64 is for the member alone."""
        assert self.original is not None
        return int(self.original["flags"])

    @property
    def text(self) -> str:
        """Text that the member reads in the end."""
        assert self.original is not None
        return str(self.original["content"])


@attrs.define(eq=False)
class Discord:
    """A Discord server with one channel; ``said`` has every text and embed that was ever posted or edited."""

    url: str = ""
    commands: list[dict[str, Any]] = attrs.Factory(list)
    channel: list[dict[str, Any]] = attrs.Factory(list)
    said: list[dict[str, Any]] = attrs.Factory(list)
    broken: list[str] = attrs.Factory(list)
    """Texts that Discord would have refused, or that should not have been sent."""
    posted: asyncio.Queue[dict[str, Any]] = attrs.Factory(asyncio.Queue)
    _interactions: dict[str, Interaction] = attrs.Factory(dict)
    _sockets: list[web.WebSocketResponse] = attrs.Factory(list)
    _identified: asyncio.Event = attrs.Factory(asyncio.Event)
    _numbers: "itertools.count[int]" = attrs.Factory(lambda: itertools.count(1))
    _started: float = attrs.Factory(time.time)

    @property
    def gateway_url(self) -> str:
        """The address of the gateway."""
        return self.url.replace("http", "ws") + "/gateway"

    @property
    def interactions(self) -> list[Interaction]:
        """All that were delivered."""
        return list(self._interactions.values())

    # What members do.

    async def command(self, name: str, *, by: int = STAFF, guild: str = GUILD, **options: str) -> Interaction:
        """Type a command, and return it once it has been answered; ``member`` is the id of a user."""
        types = {"member": 6}
        data: dict[str, Any] = {"id": self._snowflake(), "name": name, "type": 1, "guild_id": guild}
        data["options"] = [{"name": key, "type": types.get(key, 3), "value": options[key]} for key in options]
        if "member" in options:
            data["resolved"] = {"users": {options["member"]: _user(options["member"], "bob")}}
        return await self._ended(await self.send(self._interaction(2, data, by, guild)))

    def pressed(self, message: dict[str, Any], *, by: int = STAFF, guild: str = GUILD, after: float = 0) -> Interaction:
        """Make a press on a message's button as the message is now, ``after`` seconds from the start."""
        (button,) = message["components"][0]["components"]
        return self.forged(message, button["custom_id"], by=by, guild=guild, after=after)

    def forged(
        self, message: dict[str, Any], custom_id: str, *, by: int = STAFF, guild: str = GUILD, after: float = 0
    ) -> Interaction:
        """Make a press with any custom_id, which Discord itself would not take."""
        data = {"custom_id": custom_id, "component_type": 2}
        made = self._interaction(3, data, by, guild, after, message={**message})
        made.source = message
        return made

    async def press(self, message: dict[str, Any], **how: Any) -> Interaction:
        """Press a message's button, and return the press once it has been answered."""
        return await self._ended(await self.send(self.pressed(message, **how)))

    async def send(self, interaction: Interaction, to: Sequence[int] = (-1,)) -> Interaction:
        """Deliver an interaction to these bots, by the order in which they came."""
        await self._identified.wait()
        self._interactions[interaction.payload["token"]] = interaction
        for bot in to:
            await self._sockets[bot].send_json({"op": 0, "s": 2, "t": "INTERACTION_CREATE", "d": interaction.payload})
        return interaction

    async def _ended(self, interaction: Interaction) -> Interaction:
        await interaction.answered.wait()
        return interaction

    def _interaction(
        self, kind: int, data: dict[str, Any], by: int, guild: str, after: float = 0, **more: Any
    ) -> Interaction:
        payload = {
            "id": self._snowflake(after),
            "application_id": APPLICATION,
            "type": kind,
            "token": f"token-{next(self._numbers)}",
            "version": 1,
            "data": data,
            "guild_id": guild,
            "guild": {"id": guild, "locale": "en-US", "features": []},
            "channel": {"id": CHANNEL, "type": 0, "name": "staff", "guild_id": guild, "position": 0},
            "channel_id": CHANNEL,
            "member": {
                "user": _user("700000000000000001", "ann"),
                "roles": [],
                "joined_at": "2024-01-01T00:00:00+00:00",
                "deaf": False,
                "mute": False,
                "flags": 0,
                "permissions": str(by),
            },
            "app_permissions": "0",
            "locale": "en-US",
            "guild_locale": "en-US",
            "entitlements": [],
            "authorizing_integration_owners": {"0": guild},
            "context": 0,
            "attachment_size_limit": 10485760,
        }
        return Interaction(payload | more)

    def _snowflake(self, after: float = 0) -> str:
        milliseconds = int((self._started + after) * 1000) - _EPOCH
        return str((milliseconds << 22) + next(self._numbers))

    # What the bot asks for.

    async def callback(self, request: web.Request) -> web.Response:
        """Take the first answer to an interaction, and refuse any other."""
        interaction = self._interactions[request.match_info["token"]]
        body = await request.json()
        if interaction.response is not None:
            interaction.refused += 1
            error = {"code": 40060, "message": "Interaction has already been acknowledged."}
            return _json(error, status=400)
        interaction.response = body["type"]
        data = body.get("data") or {}
        if body["type"] == _UPDATE:
            assert interaction.source is not None
            interaction.original = interaction.source
            self._edit(interaction.source, data)
        else:
            interaction.original = self._message(data)
        interaction.acknowledged.set()
        if body["type"] == _MESSAGE:
            interaction.answered.set()
        resource = {"type": body["type"], "message": interaction.original}
        ids = {"id": interaction.payload["id"], "type": interaction.payload["type"], "response_message_id": None}
        return _json({"interaction": ids, "resource": resource})

    async def edit_original(self, request: web.Request) -> web.Response:
        """Edit the answer to an interaction."""
        interaction = self._interactions[request.match_info["token"]]
        if interaction.original is None:
            return _json({"code": 10015, "message": "Unknown Webhook"}, status=404)
        self._edit(interaction.original, await request.json())
        interaction.answered.set()
        return _json(interaction.original)

    async def follow_up(self, request: web.Request) -> web.Response:
        """Post another message in the channel."""
        message = self._message(await request.json())
        if not message["flags"] & 64:
            self.channel.append(message)
        self.posted.put_nowait(message)
        return _json(message)

    def _message(self, data: dict[str, Any]) -> dict[str, Any]:
        message: dict[str, Any] = {
            "id": self._snowflake(),
            "channel_id": CHANNEL,
            "type": 20,
            "author": _user(APPLICATION, "shop", bot=True),
            "content": "",
            "embeds": [],
            "components": [],
            "attachments": [],
            "mentions": [],
            "mention_roles": [],
            "mention_everyone": False,
            "pinned": False,
            "tts": False,
            "timestamp": "2026-01-01T00:00:00+00:00",
            "edited_timestamp": None,
            "flags": data.get("flags") or 0,
        }
        self._edit(message, data)
        return message

    def _edit(self, message: dict[str, Any], data: dict[str, Any]) -> None:
        """Put new contents into a message, within Discord's bounds."""
        self.said.append(data)
        content = data.get("content")
        if content is not None and not 1 <= len(content) <= 2000:
            self.broken.append(f"a text of {len(content)} characters")
        if "content" in data and {"parse": []} != data.get("allowed_mentions"):
            self.broken.append(f"a text that may notify people: {data}")
        buttons = [button for row in data.get("components") or [] for button in row["components"]]
        self.broken += [f"a custom_id of another length: {each}" for each in buttons if len(each["custom_id"]) > 100]
        message |= {key: data[key] for key in ("content", "embeds", "components") if data.get(key) is not None}

    async def register(self, request: web.Request) -> web.Response:
        """Take the commands of the server."""
        assert GUILD == request.match_info["guild"]
        self.commands = await request.json()
        return _json([])

    async def gateway(self, request: web.Request) -> web.WebSocketResponse:
        """Speak as the gateway does, in plain text."""
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_json({"op": 10, "d": {"heartbeat_interval": 41250}})
        async for message in socket:
            assert message.type is WSMsgType.TEXT
            said = message.json()
            if said["op"] == 1:
                await socket.send_json({"op": 11})
            elif said["op"] == 2:
                ready = {
                    "v": 10,
                    "user": _user(APPLICATION, "shop", bot=True),
                    "guilds": [],
                    "session_id": "1",
                    "resume_gateway_url": self.gateway_url,
                    "application": {"id": APPLICATION, "flags": 0},
                }
                await socket.send_json({"op": 0, "s": 1, "t": "READY", "d": ready})
                self._sockets.append(socket)
                self._identified.set()
        self._sockets.remove(socket)
        if not self._sockets:
            self._identified.clear()
        return socket


def _json(value: object, status: int = 200) -> web.Response:
    """Answer as Discord does: discord.py takes no charset beside the content type."""
    return web.Response(body=json.dumps(value), status=status, headers={"Content-Type": "application/json"})


def _user(number: str, name: str, *, bot: bool = False) -> dict[str, Any]:
    return {"id": number, "username": name, "discriminator": "0", "global_name": None, "avatar": None, "bot": bot}


@asynccontextmanager
async def discord_server() -> AsyncIterator[Discord]:
    """Serve it."""
    server = Discord()
    me = _user(APPLICATION, "shop", bot=True)
    about = {
        "id": APPLICATION,
        "name": "shop",
        "icon": None,
        "description": "",
        "summary": "",
        "verify_key": "",
        "flags": 0,
        "owner": me,
        "bot_public": False,
        "bot_require_code_grant": False,
    }

    async def answer(request: web.Request) -> web.Response:
        return _json(me if request.path == "/users/@me" else about)

    app = web.Application()
    app.add_routes(
        [
            web.get("/users/@me", answer),
            web.get("/oauth2/applications/@me", answer),
            web.get("/gateway", server.gateway),
            web.put("/applications/{app}/guilds/{guild}/commands", server.register),
            web.post("/interactions/{id}/{token}/callback", server.callback),
            web.patch("/webhooks/{app}/{token}/messages/@original", server.edit_original),
            web.post("/webhooks/{app}/{token}", server.follow_up),
        ]
    )
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield server
        assert [] == server.broken
    finally:
        await runner.cleanup()
