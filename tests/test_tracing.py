"""OpenTelemetry: the recipe in tests/programs/tracing.py, with an exporter that keeps the spans in memory."""

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from shopsdk.sandbox import Sandbox
from tests.programs.tracing import look_up, traced_session


async def test_each_request_is_a_span(shop: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Traces would end at our door; or carry the key out of the program."""
    monkeypatch.setenv("SHOPSDK_API_KEY", shop.api_key)
    monkeypatch.setenv("SHOPSDK_SHOP_ID", str(shop.shop_id))
    monkeypatch.setenv("SHOPSDK_BASE_URL", shop.base_url)
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    shop.fail_next("error_500")
    async with traced_session(provider) as session:
        await look_up(session, shop.customers()[0].id, provider)
    first, second, whole = exporter.get_finished_spans()
    assert ("look up a customer", None) == (whole.name, whole.parent)
    assert whole.context is not None
    assert [whole.context.span_id] * 2 == [span.parent.span_id for span in (first, second) if span.parent]
    statuses = [dict(span.attributes or {}).get("http.status_code") for span in (first, second)]
    assert [500, 200] == statuses
    assert shop.api_key not in "".join(span.to_json() for span in (first, second, whole))
    provider.shutdown()
