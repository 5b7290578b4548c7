"""Every request as an OpenTelemetry span: hand aiohttp's own instrumentation to the session.

A span is a request on the wire, so a call that is tried three times has three. For a span of the whole call, start one
of your own around it, as ``look_up`` does. Filters stand in the query of a URL, e-mail addresses among them, so spans
carry URLs without it.
"""

import asyncio

from opentelemetry import trace
from opentelemetry.instrumentation.aiohttp_client import create_trace_config
from opentelemetry.trace import TracerProvider
from yarl import URL

from shopsdk import AsyncSession, Customer, get_customer


def traced_session(provider: TracerProvider | None = None) -> AsyncSession:
    """Make a session whose requests are spans; key, shop and place come from the environment."""
    return AsyncSession(trace_configs=[create_trace_config(url_filter=without_query, tracer_provider=provider)])


def without_query(url: URL) -> str:
    """Remove the query, which customers are looked for by, from the URL of a span."""
    return str(url.with_query(None))


async def look_up(session: AsyncSession, customer_id: int, provider: TracerProvider | None = None) -> Customer:
    """Look a customer up inside a span of our own."""
    tracer = trace.get_tracer("my-program", tracer_provider=provider)
    with tracer.start_as_current_span("look up a customer"):
        return await get_customer(session, customer_id)


async def main() -> None:
    """Trace one look-up, with whatever exporter the environment configures."""
    async with traced_session() as session:
        print((await look_up(session, 42)).email)


if __name__ == "__main__":
    asyncio.run(main())
