"""The shop's refund agent under a real SDK's instrumentation, run as a program of its own: `python -m tests.sdk_programs NAME`.

OTLP goes where OTEL_EXPORTER_OTLP_ENDPOINT says, the model is where OPENAI_BASE_URL says. NAME is `openinference` or `openai_v2`.
"""

import json
import sys
from typing import Any

from openai import OpenAI
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

SYSTEM = "You are a support agent of Acme Shop. Use the tools before you answer."
QUESTION = "I want a refund for order A-1001. Can I get one?"
TOOLS: list[Any] = [
    {
        "type": "function",
        "function": {
            "name": "get_order",
            "description": "Get an order by its id.",
            "parameters": {"type": "object", "properties": {"order_id": {"type": "string"}}, "required": ["order_id"]},
        },
    }
]


def get_order(order_id: str) -> str:
    return json.dumps({"order_id": order_id, "item": "Trail shoes"})


def answer(client: OpenAI) -> None:
    """Ask the model until it has no more calls to make."""
    messages: list[Any] = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": QUESTION}]
    for _ in range(3):
        choice = client.chat.completions.create(model="gpt-4o-mini", messages=messages, tools=TOOLS).choices[0]
        messages.append(choice.message.model_dump(exclude_none=True))
        if not choice.message.tool_calls:
            return
        for call in choice.message.tool_calls:
            arguments = json.loads(call.function.arguments)  # type: ignore[union-attr]
            messages.append({"role": "tool", "tool_call_id": call.id, "content": get_order(**arguments)})


def run_openinference() -> None:
    """OpenInference's instrumentation, with its decorators for the agent and the session."""
    from openinference.instrumentation import TracerProvider as InferenceProvider
    from openinference.instrumentation import using_attributes
    from openinference.instrumentation.openai import OpenAIInstrumentor

    provider = InferenceProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    OpenAIInstrumentor().instrument(tracer_provider=provider)
    tracer = provider.get_tracer("shop")
    with (
        using_attributes(
            session_id="session-refund-42", user_id="user-7", metadata={"channel": "web"}, tags=["refund"]
        ),
        tracer.start_as_current_span("support-agent", openinference_span_kind="agent") as span,
    ):
        span.set_input(QUESTION)
        answer(OpenAI())
    provider.shutdown()


def run_openai_v2() -> None:
    """OpenTelemetry's instrumentation with its defaults: content goes as log records beside the spans."""
    from opentelemetry._logs import set_logger_provider
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.instrumentation.openai_v2 import OpenAIInstrumentor
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor

    provider, logs = TracerProvider(), LoggerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    logs.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter()))
    trace.set_tracer_provider(provider)
    set_logger_provider(logs)
    OpenAIInstrumentor().instrument(tracer_provider=provider, logger_provider=logs)
    operation = {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.name": "support-agent",
        "gen_ai.conversation.id": "s-42",
    }
    with provider.get_tracer("shop").start_as_current_span("invoke_agent support-agent", attributes=operation):
        answer(OpenAI())
    provider.shutdown()
    logs.shutdown()


if __name__ == "__main__":
    {"openinference": run_openinference, "openai_v2": run_openai_v2}[sys.argv[1]]()
