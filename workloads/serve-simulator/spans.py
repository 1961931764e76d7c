"""A span for each request, by OTLP to where OTEL_EXPORTER_OTLP_ENDPOINT points.

Name and attributes are those of vLLM (vllm/tracing), whose place the simulator takes.
"""

import os

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, StatusCode

from proxy import Answer, OnAnswer

# Well within the two scrape intervals that the collector waits after the load.
SEND_EVERY_MS = 1000


def span_sender(model: str) -> OnAnswer | None:
    """What takes the answers; None where the variable is not set: nobody wants spans then."""
    if not os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"):
        return None
    # A provider of its own: Ray sets the process-wide one.
    provider = TracerProvider()
    provider.add_span_processor(
        BatchSpanProcessor(OTLPSpanExporter(), schedule_delay_millis=SEND_EVERY_MS)
    )
    tracer = provider.get_tracer("llmeval.serve_simulator")

    def send(answer: Answer) -> None:
        attributes = {
            "gen_ai.request.id": answer.request_id,
            "gen_ai.response.model": model,
            "gen_ai.latency.e2e": (answer.end_unix_ns - answer.start_unix_ns) / 1e9,
        }
        if answer.first_chunk_unix_ns is not None:
            attributes["gen_ai.latency.time_to_first_token"] = (
                answer.first_chunk_unix_ns - answer.start_unix_ns
            ) / 1e9
        if answer.status is not None:
            attributes["http.response.status_code"] = answer.status
        span = tracer.start_span(
            "llm_request",
            kind=SpanKind.SERVER,
            start_time=answer.start_unix_ns,
            attributes=attributes,
        )
        if not answer.complete:
            span.set_status(StatusCode.ERROR, "the answer broke off")
        span.end(answer.end_unix_ns)

    return send
