"""The base URL: the key goes only to the host that it names for the client that uses it."""

from ipaddress import ip_address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from yarl import URL

from shopsdk import AsyncSession, NotSentError, edit_customer_balance, get_customer
from shopsdk.testing import InstantClock

OTHER_HOSTS = [
    "http://[::1]evil.example/v1",
    "https://[::1]evil.example/v1",
    "https://[::1].evil.example",
    "https://[127.0.0.1]/v1",
    "https://[v1.evil]/v1",
    "https://[::1",
    "https://::1]/v1",
    "http://127.0.0.1.evil.example/v1",
    "http://localhost.evil.example",
    "http://evil.example/127.0.0.1",
    "http://evil.example\\@127.0.0.1/",
    "http://127.0.0.1\\.evil.example/",
    "http://127.0.0.1@evil.example",
    "http://evil.example#@127.0.0.1",
    "http://evil.example?@127.0.0.1",
    "http://127.0.0.1\t.evil.example",
    "http://127.0.0.1%2eevil.example",
    "http://127.0.0.1%00.evil.example",
    "http://127.0.0.1,evil.example",
    "http://127.0.0.1;evil.example",
    "http://localhost%252eevil.example",
    "http://[::ffff:1.2.3.4]/",
    "http://[::]/",
    "http://0.0.0.0/",
    "http://0/",
    "http://0x7f000001/",
    "http://2130706433/",
    "http://127.1/",
    "http://0177.0.0.1/",
    "http://①27.0.0.1/",
    "http://localhost。/",
    "http://localhost:٣/",
    "http://localhost:80:80/",
    "http://localhost:8 0/",
    "http://localhost:-1/",
    "http://localhost:0/",
    "http://localhost:65536/",
    "http:localhost/v1",
    "http:/localhost/v1",
    "http:///localhost/v1",
    "//localhost/v1",
    "https://:443/v1",
    "https://%6cocalhost/v1",
    "https://a%2fb/v1",
    "https://a,b/v1",
    "https://a b/v1",
    "https://a..b/v1",
    f"https://{'a' * 64}.example/v1",
    "https://shop.example/v1/../v2",
    "https://shop.example/v1/./x",
]


@pytest.mark.parametrize("base_url", OTHER_HOSTS)
def test_what_looks_like_another_host_is_refused(base_url: str) -> None:
    """A base URL that two parsers may read differently is refused when the session is made."""
    with pytest.raises(ValueError, match=r"^base_url must"):
        AsyncSession("key", base_url=base_url)


@pytest.mark.parametrize(
    "base_url",
    [
        "http://localhost:8000/v1",
        "http://LOCALHOST/v1",
        "http://127.0.0.1/v1",
        "http://127.8.9.1:1",
        "http://[::1]:8000/v1",
        "https://shop.example",
        "https://shop_a.internal:8443/a/b%20c/v1",
        "https://xn--bcher-kva.example/v1",
        "https://[2001:db8::1]/v1",
        "https://192.0.2.7/v1",
    ],
)
def test_what_names_one_host_is_taken(base_url: str) -> None:
    """A base URL is taken as it is written, whatever kind of host it names."""
    assert base_url == AsyncSession("key", base_url=base_url).base_url


PIECES = [
    *(
        "http://",
        "https://",
        "HTTP://",
        "localhost",
        "127.0.0.1",
        "[::1]",
        "[",
        "]",
        "::1",
        "evil.example",
        "@",
        ":",
        "80",
    ),
    *("/", "//", "v1", "\\", "#", "?", "%", "%40", "%2f", "%00", ".", "..", ";", ",", "\t", " ", "x:y", "٣", "。"),
]


@given(
    st.lists(st.sampled_from(PIECES), max_size=7).map("".join) | st.text(max_size=20).map(lambda text: f"http://{text}")
)
@example("http://[::1]evil.example")
@example("https://HTTP://")
def test_a_base_url_is_judged_as_it_is_used(base_url: str) -> None:
    """Any base URL that is taken leads to one host, by TLS or on this machine."""
    try:
        session = AsyncSession("key", base_url=base_url)
    except ValueError:
        return
    used = URL(f"{session.base_url}/shops/38", encoded=True)
    host = (used.raw_host or "").lower()
    authority = session.base_url.partition("://")[2].partition("/")[0].lower()
    assert authority in {form for name in (host, f"[{host}]") for form in (name, f"{name}:", f"{name}:{used.port}")}
    assert used.scheme == "https" or host == "localhost" or ip_address(host).is_loopback
    assert used.raw_path.endswith("/shops/38")


async def test_an_edit_to_a_host_that_nobody_has_was_not_sent() -> None:
    """An edit whose host cannot be reached was surely not made."""
    async with AsyncSession("key", shop_id=38, base_url="https://nobody.invalid/v1", clock=InstantClock()) as session:
        for call in (get_customer(session, 7), edit_customer_balance(session, 7, 1)):
            with pytest.raises(NotSentError):
                await call


@pytest.mark.parametrize(
    "proxy",
    ["http://[::1]evil.example", "http://[proxy", "http://a%2fb", "http://u:p@", "http://x:99999", "proxy.example:1"],
)
def test_a_proxy_that_two_parsers_read_differently_is_refused(proxy: str) -> None:
    """A proxy's URL is judged by the parser that uses it, and never echoed."""
    with pytest.raises(ValueError, match=r"^proxy must be like http://proxy\.example:3128$"):
        AsyncSession("key", base_url="https://shop.example", proxy=proxy)
