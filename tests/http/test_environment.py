"""Proxies and certificates, by argument and by the environment."""

import logging
import pickle
import ssl
import traceback
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from shopsdk import AsyncSession, NotSentError, RetryPolicy, edit_customer_balance, get_customer
from shopsdk._http.session import core_of
from shopsdk.sandbox import Sandbox
from tests.support.needs import need
from tests.support.proxy import certificate_file, client_tls, server_tls, socks_server, tls_server, tunnel
from tests.support.servers import CUSTOMER, ReceivedRequest, Wire, answer

SHOP = "https://shop.example/v1"
PASSWORD = "hunter2-hunter2-hunter2"


def session_at(base_url: str, **options: Any) -> AsyncSession:
    return AsyncSession("key", shop_id=38, base_url=base_url, retry=RetryPolicy(attempts=1), **options)


def proxy_of(session: AsyncSession) -> str | None:
    proxy = core_of(session).options.proxy
    return None if proxy is None else proxy.reveal()


FOUND = {
    "HTTPS_PROXY": ({"HTTPS_PROXY": "http://a:1"}, "http://a:1"),
    "https_proxy": ({"https_proxy": "http://a:1"}, "http://a:1"),
    "small letters before capitals": ({"HTTPS_PROXY": "http://a:1", "https_proxy": "http://b:1"}, "http://b:1"),
    "ALL_PROXY": ({"ALL_PROXY": "http://a:1"}, "http://a:1"),
    "HTTPS_PROXY before ALL_PROXY": ({"ALL_PROXY": "http://a:1", "HTTPS_PROXY": "http://b:1"}, "http://b:1"),
    "HTTPS_PROXY before a SOCKS proxy for all": (
        {"ALL_PROXY": "socks5://a:1", "HTTPS_PROXY": "http://b:1"},
        "http://b:1",
    ),
    "HTTP_PROXY is for http": ({"HTTP_PROXY": "http://a:1"}, None),
    "no scheme": ({"HTTPS_PROXY": "proxy.example:3128"}, "http://proxy.example:3128"),
    "a user, and no scheme": ({"HTTPS_PROXY": "me:pw@proxy.example:3128"}, "http://me:pw@proxy.example:3128"),
    "by TLS": ({"HTTPS_PROXY": "https://a:1"}, "https://a:1"),
    "space around it": ({"HTTPS_PROXY": " http://a:1 "}, "http://a:1"),
    "empty": ({"HTTPS_PROXY": ""}, None),
    "none": ({}, None),
    "NO_PROXY, the name": ({"HTTPS_PROXY": "http://a:1", "NO_PROXY": "shop.example"}, None),
    "NO_PROXY, a suffix": ({"HTTPS_PROXY": "http://a:1", "NO_PROXY": "x.test, EXAMPLE"}, None),
    "NO_PROXY, a suffix with its dot": ({"HTTPS_PROXY": "http://a:1", "no_proxy": ".example"}, None),
    "NO_PROXY, everything": ({"HTTPS_PROXY": "http://a:1", "NO_PROXY": "*"}, None),
    "NO_PROXY for a bad proxy": ({"HTTPS_PROXY": "::", "NO_PROXY": "*"}, None),
    "NO_PROXY, another name": ({"HTTPS_PROXY": "http://a:1", "NO_PROXY": "op.example,hop.example"}, "http://a:1"),
    "NO_PROXY, another port": ({"HTTPS_PROXY": "http://a:1", "NO_PROXY": "shop.example:8443"}, "http://a:1"),
}


@pytest.mark.parametrize(("environment", "found"), FOUND.values(), ids=FOUND)
def test_the_environment_names_the_proxy(
    environment: dict[str, str], found: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HTTPS_PROXY, else ALL_PROXY, unless NO_PROXY names the host, is the proxy of a session that trusts them."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert proxy_of(session_at(SHOP, trust_env=True)) == found
    assert proxy_of(session_at(SHOP)) is None
    assert proxy_of(session_at(SHOP, trust_env=True, proxy="http://mine:1")) == "http://mine:1"


@pytest.mark.parametrize("base", ["http://127.0.0.1:9", "http://localhost:9", "https://127.0.0.1", "https://[::1]:9"])
def test_a_shop_on_this_machine_has_no_proxy_of_the_environment(base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy of the environment is taken for a loopback host, nor looked at."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "no url")
    assert proxy_of(session_at(f"{base}/v1", trust_env=True)) is None


def test_the_environment_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that is set, or removed, after the session was made changes nothing."""
    monkeypatch.setenv("HTTPS_PROXY", "http://a:1")
    session = session_at(SHOP, trust_env=True)
    monkeypatch.delenv("HTTPS_PROXY")
    assert proxy_of(session) == "http://a:1"


SOCKS = "must be an HTTP proxy: (for SOCKS give connector=aiohttp_socks|set HTTPS_PROXY to one, or name the host)"
WRONG = {
    "socks5://a:1": SOCKS,
    "SOCKS5h://a:1": SOCKS,
    "socks://a": SOCKS,
    "ftp://a:1": "must be like http://proxy.example:3128",
    "http://": "must be like http://proxy.example:3128",
    "http://:3128": "must be like http://proxy.example:3128",
    "http://a:99999": "must be like http://proxy.example:3128",
    f"http://me:{PASSWORD}@": "must be like http://proxy.example:3128",
    f"socks5://me:{PASSWORD}@a:1": "must be an HTTP proxy",
    f"http://me:{PASSWORD}@a b:1": "must be like http://proxy.example:3128",
    "http://a:1/x": "must end with the port",
    "http://a:1?x": "must end with the port",
    f"http://joe:2024#{PASSWORD}@a:1": "must end with the port",
    f"http://joe:12/{PASSWORD}@a:1": "must end with the port",
    f"http://joe:{PASSWORD}\u20ac@a:1": "must end with the port",
    f"http://joe:{PASSWORD}\t@a:1": "must hold no backslash and no control character",
    f"http://m%3Ae:{PASSWORD}@a:1": "must hold no colon in the user's name",
}


@pytest.mark.parametrize("name", ["proxy", "HTTPS_PROXY", "ALL_PROXY"])
@pytest.mark.parametrize("url", WRONG, ids=range(len(WRONG)))
def test_a_wrong_proxy_is_refused_by_the_name_that_it_was_given_by(
    url: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy that is no URL of an HTTP proxy is a ValueError that names argument or variable, not the password."""
    if name != "proxy":
        monkeypatch.setenv(name, url)
    with pytest.raises(ValueError, match=f"^{name} {WRONG[url]}") as caught:
        session_at(SHOP, **({"proxy": url} if name == "proxy" else {"trust_env": True}))
    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    frames = [frame for frame in shown.stack if "shopsdk/" in frame.filename]
    assert frames
    assert PASSWORD not in str(caught.value)
    assert PASSWORD not in "".join(str(frame.locals) for frame in frames)


@pytest.mark.parametrize("url", ["proxy.example:3128", "proxy.example", "//proxy.example:3128", ""])
def test_a_proxy_without_a_scheme_is_refused_as_an_argument(url: str) -> None:
    """A proxy= without a scheme is a ValueError that names the argument."""
    with pytest.raises(ValueError, match=r"^proxy must be like http://proxy\.example:3128$"):
        session_at(SHOP, proxy=url)


@pytest.mark.parametrize("value", [None, 1, "yes"])
def test_trust_env_is_a_bool(value: Any) -> None:
    """Anything but a bool is refused."""
    with pytest.raises(TypeError, match=r"^trust_env must be"):
        session_at(SHOP, trust_env=value)


async def test_requests_go_through_the_proxy_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """Every request goes through that proxy, with its password, which the log does not show; ~/.netrc is not read."""
    caplog.set_level(logging.DEBUG, "shopsdk")
    netrc = tmp_path / "netrc"
    netrc.write_text("default login somebody password else\n", encoding="utf-8")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    async with tls_server(answer(CUSTOMER), answer({"message": "ok"})) as server, tunnel() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url.replace("//", f"//me:{PASSWORD}@"))
        async with session_at(f"https://shop.example:{server.port}/v1", trust_env=True, ssl=client_tls()) as session:
            assert (await get_customer(session, 7)).id == 7
            await edit_customer_balance(session, 7, 1)
    assert [heard.target for heard in proxy.heard] == [f"shop.example:{server.port}"] * 2
    assert all(heard.headers["proxy-authorization"].startswith("Basic ") for heard in proxy.heard)
    assert [heard.headers["authorization"] for heard in server.heard] == ["Bearer key"] * 2
    assert f"requests go through the proxy {proxy.url}" in caplog.text
    assert PASSWORD not in caplog.text
    assert "key" not in caplog.text


@pytest.mark.parametrize(
    ("status", "says"),
    [(401, ""), (403, ""), (407, ": it wants a user name and a password, or refuses these"), (502, ""), (503, "")],
)
async def test_what_a_proxy_refuses_is_the_proxy_s(status: int, says: str) -> None:
    """A proxy's refusal names the proxy and its status, and neither the key nor the password."""

    def refuse(_heard: ReceivedRequest, wire: Wire) -> None:
        wire.send(answer({"message": "Unauthenticated."}, status, headers={"Proxy-Authenticate": "Basic"}))

    async with tunnel(refuse) as proxy:
        url = proxy.url.replace("//", f"//me:{PASSWORD}@")
        async with session_at(SHOP, proxy=url) as session:
            with pytest.raises(NotSentError) as caught:
                await edit_customer_balance(session, 7, 1)
    text = f"POST /shops/38/customers/7/balance was not sent: the proxy answered {status} to CONNECT{says}"
    assert str(caught.value) == text
    assert PASSWORD not in repr(caught.value) + "".join(traceback.format_exception(caught.value))
    assert PASSWORD.encode() not in pickle.dumps(caught.value)


async def test_a_socks_proxy_is_a_connector() -> None:
    """Requests go through a SOCKS proxy by a connector of aiohttp_socks, which resolves the shop's name."""
    need("aiohttp_socks")
    import aiohttp_socks

    async with (
        tls_server(answer(CUSTOMER), answer({"message": "ok"})) as server,
        socks_server(b"me", PASSWORD.encode()) as (port, targets),
        aiohttp_socks.ProxyConnector.from_url(f"socks5://me:{PASSWORD}@127.0.0.1:{port}", ssl=client_tls()) as way,
        session_at(f"https://shop.example:{server.port}/v1", connector=way) as session,
    ):
        assert (await get_customer(session, 7)).id == 7
        await edit_customer_balance(session, 7, 1)
    assert targets == [f"shop.example:{server.port}"] * 2


async def test_a_socks_proxy_that_refuses_the_password_sends_nothing() -> None:
    """A SOCKS proxy that refuses is a NotSentError without the password."""
    need("aiohttp_socks")
    import aiohttp_socks

    async with (
        socks_server(b"me", b"another") as (port, targets),
        aiohttp_socks.ProxyConnector.from_url(f"socks5://me:{PASSWORD}@127.0.0.1:{port}") as way,
        session_at(SHOP, connector=way) as session,
    ):
        with pytest.raises(NotSentError) as caught:
            await edit_customer_balance(session, 7, 1)
    assert not targets
    assert PASSWORD not in repr(caught.value) + "".join(traceback.format_exception(caught.value))


async def test_a_context_of_the_caller_s_is_used() -> None:
    """A company's authority is trusted by ssl=, and only there."""
    async with tls_server(answer(CUSTOMER)) as server:
        base = f"https://localhost:{server.port}/v1"
        async with session_at(base, ssl=client_tls()) as session:
            assert (await get_customer(session, 7)).id == 7
        async with session_at(base) as session:
            with pytest.raises(NotSentError, match="certificate verification failed: unable to get local issuer"):
                await get_customer(session, 7)


async def test_the_system_s_store_is_a_context_of_truststore(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A context of the package truststore is taken, and trusts what the system trusts."""
    need("truststore")
    import truststore

    monkeypatch.setenv("SSL_CERT_FILE", certificate_file(tmp_path))  # the system's store, as OpenSSL finds it
    async with tls_server(answer(CUSTOMER)) as server:
        context = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        async with session_at(f"https://localhost:{server.port}/v1", ssl=context) as session:
            assert (await get_customer(session, 7)).id == 7


async def test_ssl_cert_file_is_read_when_the_session_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SSL_CERT_FILE counts though it is set after the import, and a session keeps what it was made with."""
    async with tls_server(answer(CUSTOMER)) as server:
        base = f"https://localhost:{server.port}/v1"
        monkeypatch.setenv("SSL_CERT_FILE", certificate_file(tmp_path))
        session = session_at(base)
        monkeypatch.delenv("SSL_CERT_FILE")
        async with session:
            assert (await get_customer(session, 7)).id == 7


@pytest.mark.parametrize(
    ("content", "says"), [(None, "No such file"), ("", "it holds none"), ("no PEM", "it holds none")]
)
def test_a_file_of_certificates_that_cannot_be_read_is_refused(
    content: str | None, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An SSL_CERT_FILE that is missing or holds no certificate is a ValueError that names the variable."""
    path = tmp_path / "authority.pem"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    with pytest.raises(ValueError, match=rf"^SSL_CERT_FILE must name a file of certificates \(PEM\): {says}"):
        session_at(SHOP)


async def test_certificates_matter_to_tls_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shop on this machine without TLS, and a session with a connector or a context, look at no SSL_CERT_FILE."""
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere")
    monkeypatch.setenv("SSL_CERT_DIR", "/nowhere")
    with Sandbox(customers=1) as shop:
        async with shop.session() as session:
            assert (await get_customer(session, shop.customers()[0].id)).id
    async with aiohttp.TCPConnector() as connector:
        session_at(SHOP, connector=connector)
    session_at(SHOP, ssl=client_tls())


def unverified() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def any_host() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    return context


def anonymous() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_ciphers("ALL:@SECLEVEL=0")
    return context


def verifying_server() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    context.check_hostname = True
    return context


@pytest.mark.parametrize("make", [unverified, any_host, server_tls, anonymous, verifying_server])
def test_a_context_that_does_not_verify_is_refused(make: Any) -> None:
    """A context that takes any certificate, any host's, or none, is a ValueError: the key would go to anyone."""
    with pytest.raises(ValueError, match=r"^ssl must be a client's context that verifies"):
        session_at(SHOP, ssl=make())


async def test_a_context_that_stops_to_verify_sends_nothing() -> None:
    """A context that is loosened after the session was made is found out before a request is sent."""
    context = client_tls()
    async with tls_server(answer(CUSTOMER)) as server:
        async with session_at(f"https://localhost:{server.port}/v1", ssl=context) as session:
            assert (await get_customer(session, 7)).id == 7
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            with pytest.raises(NotSentError, match="given as ssl no longer verifies the server") as caught:
                await edit_customer_balance(session, 7, 1)
    assert (caught.value.attempts, caught.value.repeatable, len(server.heard)) == (1, False, 1)


async def test_a_proxy_that_is_down_is_named() -> None:
    """A proxy that nothing listens at is named in the error, without its password."""
    async with session_at(SHOP, proxy=f"http://me:{PASSWORD}@127.0.0.1:9") as session:
        with pytest.raises(NotSentError, match=r"was not sent: cannot connect to the proxy: Connection refused$"):
            await get_customer(session, 7)


def test_a_file_of_certificates_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions share what SSL_CERT_FILE holds until the file changes."""
    monkeypatch.setenv("SSL_CERT_FILE", certificate_file(tmp_path))
    one, other = (core_of(session_at(SHOP)).options.tls for _ in range(2))
    assert one is other
    (tmp_path / "authority.pem").write_text("changed", encoding="utf-8")
    with pytest.raises(ValueError, match="it holds none"):
        session_at(SHOP)


async def test_a_context_beside_a_connector_is_refused() -> None:
    """A context beside a connector, which has its own, is a ValueError that names both."""
    async with aiohttp.TCPConnector() as connector:
        with pytest.raises(ValueError, match=r"^ssl goes without connector"):
            session_at(SHOP, ssl=client_tls(), connector=connector)


@pytest.mark.parametrize("value", [False, True, "authority.pem"])
def test_ssl_is_a_context(value: Any) -> None:
    """Anything but a context is refused; False would switch verification off in aiohttp."""
    with pytest.raises(TypeError, match=r"^ssl must be"):
        session_at(SHOP, ssl=value)
