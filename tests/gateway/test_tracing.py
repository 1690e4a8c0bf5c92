"""Spans of requests, by the real SDK, kept in memory."""

import pytest
from live import ask, call, eventually

from avengers_pro.errors import MissingExtraError
from avengers_pro.gateway.settings import TelemetrySettings
from avengers_pro.gateway.tracing import Tracing

pytest.importorskip("opentelemetry.sdk")
TRACE = "0af7651916cd43dd8448eb211c80319c"


def traced(live):
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter, tracer = InMemorySpanExporter(), TracerProvider()
    tracer.add_span_processor(SimpleSpanProcessor(exporter))
    live.app.gateway.tracing = Tracing(TelemetrySettings(otel=True), tracer)
    return exporter


def test_a_request_is_a_span_in_the_clients_trace(provider, gateway):
    live = gateway(provider)
    exporter = traced(live)
    answer = call(live.url, body=ask("the secret question"), traceparent=f"00-{TRACE}-b7ad6b7169203331-01")
    (span,) = eventually(exporter.get_finished_spans)
    found = dict(span.attributes)
    assert f"{span.context.trace_id:032x}" == TRACE
    assert span.name == "chat avengers-pro"
    assert found["gen_ai.operation.name"] == "chat"
    assert found["gen_ai.response.model"] == answer.headers["x-avengers-pro-model"]
    assert found["gen_ai.usage.input_tokens"] == answer.json["usage"]["prompt_tokens"]
    assert found["avengers_pro.decision.id"] == answer.decision
    assert found["http.response.status_code"] == 200
    assert span.status.is_ok or span.status.is_unset
    assert span.end_time > span.start_time
    assert "secret" not in str(found)


def test_a_failure_is_an_error_span(provide, gateway):
    from avengers_pro.demo.provider import Fault

    live = gateway(provide(faults={"*": [Fault(fault="500")]}))
    exporter = traced(live)
    assert live.ask().status == 500
    (span,) = eventually(exporter.get_finished_spans)
    assert not span.status.is_ok
    assert span.attributes["error.type"] == "upstream-error"


def test_without_otel_nothing_is_traced():
    tracing = Tracing(TelemetrySettings())
    assert not tracing.is_on
    tracing.close()


def test_the_missing_extra_is_named(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(MissingExtraError, match=r"avengers-pro\[otel\]"):
        Tracing(TelemetrySettings(otel=True))
