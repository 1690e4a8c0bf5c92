"""OpenTelemetry spans of chat completions, by the GenAI semantic conventions; nothing without the extra ``otel``.

Prompts and answers are never put into a span.
"""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from avengers_pro.errors import MissingExtraError
from avengers_pro.gateway.refused import Headers
from avengers_pro.gateway.settings import TelemetrySettings

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

    from avengers_pro.gateway.bookkeeping import Course
    from avengers_pro.gateway.deciding import Plan

_CARRIED = (b"traceparent", b"tracestate")


class Tracing:
    """Makes one span a request, as part of the client's trace if it names one."""

    def __init__(self, settings: TelemetrySettings, provider: Any = None) -> None:
        """Prepare; ``settings.otel`` False makes every call do nothing.

        Args:
            settings: As read.
            provider: A tracer provider; None = one that sends to the OTLP endpoint of the environment.

        Raises:
            MissingExtraError: If tracing is asked for and OpenTelemetry is not installed.
        """
        self._tracer: Tracer | None = None
        self._provider = provider
        if settings.otel:
            self._provider = _provider(settings.service_name) if provider is None else provider
            self._tracer = self._provider.get_tracer("avengers_pro.gateway")

    @property
    def is_on(self) -> bool:
        """Whether spans are made."""
        return self._tracer is not None

    def record(self, plan: "Plan", course: "Course", headers: Headers) -> None:
        """Make the span of a request that has ended.

        Args:
            plan: What was decided.
            course: How it went.
            headers: Of the request; its trace context becomes the parent.
        """
        if self._tracer is None:
            return
        from opentelemetry.propagate import extract
        from opentelemetry.trace import SpanKind, Status, StatusCode

        started_ns = time.time_ns() - round((time.perf_counter() - course.started) * 1e9)
        carrier = {name.decode(): value.decode("latin-1") for name, value in headers if name in _CARRIED}
        span = self._tracer.start_span(
            f"chat {plan.chat.model}", extract(carrier), SpanKind.SERVER, attributes=_attributes(plan, course),
            start_time=started_ns,
        )  # fmt: skip
        if course.outcome not in {"ok", "client-gone"}:
            span.set_status(Status(StatusCode.ERROR, course.outcome))
        span.end()

    def close(self) -> None:
        """Send what is left."""
        if self._tracer is not None:
            self._provider.shutdown()


def _attributes(plan: "Plan", course: "Course") -> Mapping[str, Any]:
    usage = course.usage
    found: dict[str, Any] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "avengers-pro",
        "gen_ai.request.model": plan.chat.model,
        "gen_ai.response.model": None if course.served is None else course.served.name,
        "gen_ai.response.finish_reasons": None if course.finish_reason is None else (course.finish_reason,),
        "gen_ai.usage.input_tokens": None if usage is None else usage.prompt_tokens,
        "gen_ai.usage.output_tokens": None if usage is None else usage.completion_tokens,
        "http.response.status_code": course.status or None,
        "error.type": None if course.outcome == "ok" else course.outcome,
        "avengers_pro.decision.id": plan.id,
        "avengers_pro.decision.micros": plan.micros,
        "avengers_pro.upstream": course.endpoint,
        "avengers_pro.fallbacks": course.walk.fallbacks,
        "avengers_pro.cost_usd": course.cost,
    }
    return {name: value for name, value in found.items() if value is not None}


def _provider(service: str) -> Any:
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise MissingExtraError("opentelemetry", "otel", "sending traces ([telemetry] otel = true)") from error
    provider = TracerProvider(resource=Resource.create({"service.name": service}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider
