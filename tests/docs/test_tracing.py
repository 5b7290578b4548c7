"""OpenTelemetry: the recipe in tests/programs/tracing.py, with an exporter that keeps the spans in memory."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from shopsdk import AsyncSession, find_balance_edit, find_customer
from tests.support.needs import need

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pytest
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    from shopsdk.sandbox import Sandbox


@asynccontextmanager
async def traced(
    shop: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[AsyncSession, TracerProvider, InMemorySpanExporter]]:
    """A session of the program's on this shop, and where its spans go."""
    need("opentelemetry.instrumentation.aiohttp_client")
    need("opentelemetry.sdk")
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    from tests.programs.tracing import traced_session

    monkeypatch.setenv("SHOPSDK_API_KEY", shop.api_key)
    monkeypatch.setenv("SHOPSDK_SHOP_ID", str(shop.shop_id))
    monkeypatch.setenv("SHOPSDK_BASE_URL", shop.base_url)
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    async with traced_session(provider) as session:
        yield session, provider, exporter
    provider.shutdown()


async def test_each_request_is_a_span(shop: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each attempt of a call is a span under the caller's own, and none holds the key."""
    shop.fail_next("error_500")
    async with traced(shop, monkeypatch) as (session, provider, exporter):
        from tests.programs.tracing import look_up

        await look_up(session, shop.customers()[0].id, provider)
    first, second, whole = exporter.get_finished_spans()
    assert ("look up a customer", None) == (whole.name, whole.parent)
    assert whole.context is not None
    assert [whole.context.span_id] * 2 == [span.parent.span_id for span in (first, second) if span.parent]
    statuses = [dict(span.attributes or {}).get("http.status_code") for span in (first, second)]
    assert [500, 200] == statuses
    assert shop.api_key not in "".join(span.to_json() for span in (first, second, whole))


async def test_no_filter_stands_in_a_span(shop: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a customer is looked for by stands in the URL and in no span; the path does."""
    async with traced(shop, monkeypatch) as (session, _, exporter):
        assert await find_customer(session, email="secret-person@example.com") is None
        await find_balance_edit(session, shop.customers()[0].id, "r")
    assert "secret-person" in str(shop.requests[0].query)
    urls = [dict(span.attributes or {}).get("http.url") for span in exporter.get_finished_spans()]
    assert [f"{shop.base_url}{request.path.removeprefix('/v1')}" for request in shop.requests] == urls
    assert "secret-person" not in "".join(span.to_json() for span in exporter.get_finished_spans())
