"""The command behind a proxy and a company's authority, and what ``-v`` prints."""

import asyncio
import os
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest

from shopsdk.sandbox import Sandbox
from tests.support.cli import COMMAND, Shell
from tests.support.proxy import certificate_file, tls_server, tunnel
from tests.support.servers import CUSTOMER, Behaviour, ReceivedRequest, Wire, answer

PASSWORD = "hunter2-hunter2-hunter2"
KEY = "12345|abcdefghijklmnopqrstuvwxyz0123456789"


async def run(*words: str, cwd: Path, port: int, **environment: str) -> tuple[int | None, str, str]:
    """Run the command for a shop behind TLS; return its exit code, stdout and stderr."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("SHOPSDK_")}
    shop = {
        "SHOPSDK_API_KEY": KEY,
        "SHOPSDK_SHOP_ID": "38",
        "SHOPSDK_BASE_URL": f"https://shop.example:{port}/v1",
        "SSL_CERT_FILE": certificate_file(cwd),
    }
    process = await asyncio.create_subprocess_exec(
        *COMMAND, *words, cwd=cwd, env=plain | shop | environment, stdout=PIPE, stderr=PIPE
    )
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


@pytest.mark.slow
async def test_the_command_goes_through_the_proxy_of_the_environment(tmp_path: Path) -> None:
    """HTTPS_PROXY and SSL_CERT_FILE are honoured, and -v names the proxy without its password."""
    async with tls_server(answer(CUSTOMER)) as server, tunnel() as proxy:
        url = proxy.url.replace("//", f"//me:{PASSWORD}@")
        code, out, err = await run("customer", "7", "--json", "-v", cwd=tmp_path, port=server.port, HTTPS_PROXY=url)
    assert code == 0
    assert '"seven@example.com"' in out
    assert err.splitlines()[0] == f"shopsdk: requests go through the proxy {proxy.url}"
    assert err.splitlines()[1].startswith("shopsdk: GET /shops/{shop_id}/customers/{customer_id}: 200 after ")
    assert [heard.target for heard in proxy.heard] == [f"shop.example:{server.port}"]
    assert PASSWORD not in out + err
    assert KEY[6:] not in out + err
    assert "seven@" not in err


@pytest.mark.slow
async def test_a_proxy_that_wants_a_password_is_named(tmp_path: Path) -> None:
    """A 407 is the proxy's: the message names proxy and status, and not the key."""

    def refuse(_heard: ReceivedRequest, wire: Wire) -> None:
        wire.send(answer({}, 407, headers={"Proxy-Authenticate": "Basic"}))

    async with tunnel(refuse) as proxy:
        code, out, err = await run("customer", "7", cwd=tmp_path, port=1, ALL_PROXY=proxy.url)
    assert (code, out) == (1, "")
    assert "the proxy answered 407 to CONNECT: it wants a user name and a password" in err
    assert "SHOPSDK_API_KEY" not in err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("HTTPS_PROXY", "ftp://a", "HTTPS_PROXY must be like http://proxy.example:3128"),
        ("HTTPS_PROXY", f"socks5://me:{PASSWORD}@a:1", "HTTPS_PROXY must be an HTTP proxy"),
        ("ALL_PROXY", f"socks5://me:{PASSWORD}@a:1", "ALL_PROXY must be an HTTP proxy"),
        ("SSL_CERT_FILE", "/nowhere", "SSL_CERT_FILE must name a file of certificates (PEM): No such file"),
    ],
)
async def test_a_wrong_environment_is_a_wrong_command(variable: str, value: str, says: str, tmp_path: Path) -> None:
    """A proxy or a file of certificates that cannot be used is exit code 2 and a sentence, before anything is sent."""
    code, out, err = await run("balance", "7", "5", "--yes", cwd=tmp_path, port=1, **{variable: value})
    assert (code, out) == (2, "")
    assert says in err
    assert PASSWORD not in err
    assert "Traceback" not in err


PAGE = b"<html><title>Sign in to the office network</title></html>"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sent", "blamed"), [(answer(raw=PAGE, status=401), False), (answer({"message": "Unauthenticated."}, 401), True)]
)
async def test_a_401_with_a_page_is_not_blamed_on_the_key(sent: Behaviour, blamed: bool, tmp_path: Path) -> None:
    """The command asks whether the key is right only where the API refused it."""
    async with tls_server(sent) as server, tunnel() as proxy:
        code, _, err = await run("customer", "7", cwd=tmp_path, port=server.port, HTTPS_PROXY=proxy.url)
    assert code == 3
    assert ("is SHOPSDK_API_KEY the key of your account?" in err) is blamed
    assert ("Sign in to the office network" in err) is not blamed


def test_v_prints_requests_retries_and_waits(shell: Shell, shop: Sandbox) -> None:
    """With -v, requests, retries and their reasons stand on stderr; stdout is as without it; nothing tells the key."""
    one = shop.customers()[0]
    plain = shell.run("customer", str(one.id), "--json")
    shop.fail_next("rate_limit", retry_after=0)
    told = shell.run("customer", str(one.id), "--json", "-v")
    assert (told.code, told.out) == (0, plain.out)
    assert plain.err == ""
    lines = told.err.splitlines()
    assert [line.partition(" after ")[0].partition(", again in")[0] for line in lines] == [
        "shopsdk: GET /shops/{shop_id}/customers/{customer_id}: 429",
        "shopsdk: GET /shops/{shop_id}/customers/{customer_id}: RateLimitedError",
        "shopsdk: GET /shops/{shop_id}/customers/{customer_id}: 200",
    ]
    assert shop.api_key not in told.err
    assert shell.run("customer", str(one.id), "--json").err == ""  # the next one is quiet again
