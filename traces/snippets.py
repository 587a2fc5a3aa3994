"""How to point each SDK at this server: the text to copy, and what of its data is understood so far. Pure."""

import secrets
import time
from dataclasses import dataclass
from typing import Any

PLACEHOLDER = "YOUR_KEY"


@dataclass(frozen=True)
class Snippet:
    """One way to send. `text` holds @ENDPOINT@ and @KEY@; `gap` says what is not understood in full yet, or is empty."""

    key: str
    label: str
    install: str
    text: str
    note: str = ""
    gap: str = ""

    def filled(self, *, endpoint: str, key: str) -> str:
        """Return the text with the server's address and a key."""
        return self.text.replace("@ENDPOINT@", endpoint).replace("@KEY@", key)


PARTLY = "Spans, times, errors and all attributes are kept and shown; {what} not read into messages and tool calls yet."

SNIPPETS = (
    Snippet(
        "otel",
        "OpenTelemetry",
        "",
        """export OTEL_EXPORTER_OTLP_ENDPOINT=@ENDPOINT@
export OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf
export OTEL_EXPORTER_OTLP_HEADERS="Authorization=Bearer%20@KEY@"
export OTEL_SERVICE_NAME=support-agent""",
        note="Any OpenTelemetry SDK reads these variables. It adds /v1/traces itself, so leave that out.",
    ),
    Snippet(
        "openinference",
        "OpenInference",
        "pip install openinference-instrumentation-openai opentelemetry-sdk opentelemetry-exporter-otlp-proto-http",
        """from openinference.instrumentation.openai import OpenAIInstrumentor
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

exporter = OTLPSpanExporter(
    endpoint="@ENDPOINT@/v1/traces",
    headers={"Authorization": "Bearer @KEY@"},
)
provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(exporter))
OpenAIInstrumentor().instrument(tracer_provider=provider)""",
        note="For LangChain, smolagents and others take their openinference-instrumentation-… package; the rest stays.",
    ),
    Snippet(
        "genai",
        "OTel GenAI",
        "pip install opentelemetry-instrumentation-genai-openai opentelemetry-distro opentelemetry-exporter-otlp-proto-http",
        """export OTEL_EXPORTER_OTLP_ENDPOINT=@ENDPOINT@
export OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf
export OTEL_EXPORTER_OTLP_HEADERS="Authorization=Bearer%20@KEY@"
export OTEL_SERVICE_NAME=support-agent
export OTEL_METRICS_EXPORTER=none
export OTEL_SEMCONV_STABILITY_OPT_IN=gen_ai_latest_experimental
export OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT=SPAN_ONLY
opentelemetry-instrument python app.py""",
        note="Without the last two exports no message content is sent. EVENT_ONLY works too: content then comes by /v1/logs.",
    ),
    Snippet(
        "agents",
        "OpenAI Agents",
        "pip install openinference-instrumentation-openai-agents opentelemetry-sdk opentelemetry-exporter-otlp-proto-http",
        """from openinference.instrumentation.openai_agents import OpenAIAgentsInstrumentor
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

exporter = OTLPSpanExporter(
    endpoint="@ENDPOINT@/v1/traces",
    headers={"Authorization": "Bearer @KEY@"},
)
provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(exporter))
OpenAIAgentsInstrumentor().instrument(tracer_provider=provider)""",
        note="This goes over OpenTelemetry and holds the messages. The SDK's own exporter works too: see Agents SDK, native.",
    ),
    Snippet(
        "agents-native",
        "Agents SDK, native",
        "pip install openai-agents",
        """from agents import set_default_openai_client, set_trace_processors
from agents.tracing.processors import BackendSpanExporter, BatchTraceProcessor
from openai import AsyncOpenAI

client = AsyncOpenAI(base_url="@ENDPOINT@/v1", api_key="@KEY@")
set_default_openai_client(client, use_for_tracing=False)
exporter = BackendSpanExporter(api_key="@KEY@", endpoint="@ENDPOINT@/v1/traces/ingest")
set_trace_processors([BatchTraceProcessor(exporter)])""",
        note="Model calls go through the proxy of this server (docs/proxy.md), which gives the SDK's spans their text. "
        "Leave the client out to send spans alone: then model calls of the Responses API have tokens and no text.",
    ),
    Snippet(
        "proxy",
        "OpenAI client, by proxy",
        "pip install openai",
        """from openai import OpenAI

client = OpenAI(
    base_url="@ENDPOINT@/v1",
    api_key="@KEY@",
    default_headers={"X-Markbook-Agent": "support-agent", "X-Markbook-Environment": "production"},
)
client.chat.completions.create(
    model="gpt-4o-mini",
    messages=[{"role": "user", "content": "Where is my order?"}],
    extra_headers={"X-Markbook-Session": "chat-42", "X-Markbook-User": "user-7"},
)""",
        note="No tracing library: calls go to the provider of Settings, Model providers, and are recorded on the way. The key needs "
        "the scope write.",
    ),
    Snippet(
        "catalyst",
        "Catalyst",
        "",
        """export CATALYST_OTLP_ENDPOINT=@ENDPOINT@
export CATALYST_OTLP_TOKEN=@KEY@
export CATALYST_SERVICE_NAME=support-agent""",
        note="Two variables are enough for an application that uses Catalyst already. Its exporter does not retry.",
    ),
    Snippet(
        "openllmetry",
        "OpenLLMetry",
        "pip install traceloop-sdk",
        """export TRACELOOP_BASE_URL=@ENDPOINT@
export TRACELOOP_HEADERS="Authorization=Bearer%20@KEY@"
export TRACELOOP_METRICS_ENABLED=false
export TRACELOOP_TELEMETRY=false

# in the application
from traceloop.sdk import Traceloop
Traceloop.init(app_name="support-agent")""",
        gap="Model calls of current versions are understood. "
        + PARTLY.format(what="@workflow, @agent and @tool spans, and versions that send gen_ai.prompt.N, are"),
    ),
    Snippet(
        "langfuse",
        "Langfuse",
        "pip install langfuse",
        """export LANGFUSE_BASE_URL=@ENDPOINT@
export LANGFUSE_PUBLIC_KEY=markbook
export LANGFUSE_SECRET_KEY=@KEY@""",
        note="Older versions read LANGFUSE_HOST in place of LANGFUSE_BASE_URL. The public key may be any text.",
        gap=PARTLY.format(what="the langfuse.* attributes are"),
    ),
    Snippet(
        "vercel",
        "Vercel AI SDK",
        "npm install @opentelemetry/sdk-node @opentelemetry/exporter-trace-otlp-proto",
        """import { NodeSDK } from "@opentelemetry/sdk-node";
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-proto";

const sdk = new NodeSDK({
  serviceName: "support-agent",
  traceExporter: new OTLPTraceExporter({
    url: "@ENDPOINT@/v1/traces",
    headers: { Authorization: "Bearer @KEY@" },
  }),
});
sdk.start();

// on each call
await generateText({ model, prompt, experimental_telemetry: { isEnabled: true, functionId: "support-agent" } });

// before the process ends
await sdk.shutdown();""",
        gap=PARTLY.format(what="the ai.* attributes of version 6 and before are"),
    ),
    Snippet(
        "mlflow",
        "MLflow",
        "pip install mlflow opentelemetry-exporter-otlp-proto-http",
        """export OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=@ENDPOINT@/v1/traces
export OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/protobuf
export OTEL_EXPORTER_OTLP_TRACES_HEADERS="Authorization=Bearer%20@KEY@"
export OTEL_SERVICE_NAME=support-agent
export MLFLOW_ENABLE_OTEL_GENAI_SEMCONV=true""",
        note="The last variable makes MLflow send the GenAI attributes, which are understood. "
        "Session and user are not sent by it. "
        "Install mlflow itself: mlflow-tracing 3.17 alone sends nothing.",
        gap=PARTLY.format(what="without that variable, the mlflow.* attributes are"),
    ),
    Snippet(
        "curl",
        "curl",
        "",
        """curl @ENDPOINT@/v1/traces \\
  -H "Authorization: Bearer @KEY@" \\
  -H "Content-Type: application/json" \\
  -d @first-trace.json""",
        note="Download first-trace.json below: a refund request with four spans, dated now.",
    ),
)


def first_trace() -> dict[str, Any]:
    """Make one small trace as an OTLP/JSON request: a refund request with four spans, ending now, ids new each time."""
    now = time.time_ns()
    trace_id, root = secrets.token_hex(16), secrets.token_hex(8)
    question = "I was charged twice for my June box. Please refund one of them."
    answer = "You are right, order A-1001 was charged twice. I have refunded 24.00 USD; it takes 3 to 5 days to arrive."
    call = {"id": "call_1", "function": {"name": "get_order", "arguments": '{"order_id": "A-1001"}'}}
    model = {"openinference.span.kind": "LLM", "llm.model_name": "example-model", "llm.provider": "example"}
    spans: list[tuple[str, str, int, int, dict[str, Any]]] = [
        (
            "support-agent", root, 4200, 0,
            {
                "openinference.span.kind": "AGENT", "agent.name": "support-agent", "session.id": "first-session",
                "input.value": question, "output.value": answer,
            },
        ),
        (
            "chat example-model", secrets.token_hex(8), 4150, 2900,
            {
                **model, "llm.input_messages.0.message.role": "user", "llm.input_messages.0.message.content": question,
                "llm.output_messages.0.message.role": "assistant",
                "llm.output_messages.0.message.tool_calls.0.tool_call.id": call["id"],
                "llm.output_messages.0.message.tool_calls.0.tool_call.function.name": "get_order",
                "llm.output_messages.0.message.tool_calls.0.tool_call.function.arguments": '{"order_id": "A-1001"}',
                "llm.token_count.prompt": 180, "llm.token_count.completion": 24,
            },
        ),
        (
            "get_order", secrets.token_hex(8), 2850, 2600,
            {
                "openinference.span.kind": "TOOL", "tool.name": "get_order", "tool_call.id": call["id"],
                "input.value": '{"order_id": "A-1001"}', "input.mime_type": "application/json",
                "output.value": '{"order_id": "A-1001", "charges": [24.0, 24.0]}', "output.mime_type": "application/json",
            },
        ),
        (
            "chat example-model", secrets.token_hex(8), 2550, 50,
            {
                **model, "llm.input_messages.0.message.role": "user", "llm.input_messages.0.message.content": question,
                "llm.input_messages.1.message.role": "assistant",
                "llm.input_messages.1.message.tool_calls.0.tool_call.id": call["id"],
                "llm.input_messages.1.message.tool_calls.0.tool_call.function.name": "get_order",
                "llm.input_messages.1.message.tool_calls.0.tool_call.function.arguments": '{"order_id": "A-1001"}',
                "llm.input_messages.2.message.role": "tool", "llm.input_messages.2.message.tool_call_id": call["id"],
                "llm.input_messages.2.message.content": '{"order_id": "A-1001", "charges": [24.0, 24.0]}',
                "llm.output_messages.0.message.role": "assistant", "llm.output_messages.0.message.content": answer,
                "llm.token_count.prompt": 260, "llm.token_count.completion": 41,
            },
        ),
    ]  # fmt: skip
    return {
        "resourceSpans": [
            {
                "resource": {"attributes": [otlp_attribute("service.name", "support-agent")]},
                "scopeSpans": [
                    {
                        "scope": {"name": "first-trace"},
                        "spans": [
                            {
                                "traceId": trace_id,
                                "spanId": span_id,
                                **({} if span_id == root else {"parentSpanId": root}),
                                "name": name,
                                "kind": 1,
                                "startTimeUnixNano": str(now - start * 1_000_000),
                                "endTimeUnixNano": str(now - end * 1_000_000),
                                "attributes": [otlp_attribute(key, value) for key, value in attributes.items()],
                                "status": {"code": 1},
                            }
                            for name, span_id, start, end, attributes in spans
                        ],
                    }
                ],
            }
        ]
    }


def otlp_attribute(key: str, value: str | int) -> dict[str, Any]:
    """Write one attribute as OTLP/JSON."""
    typed = {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}
    return {"key": key, "value": typed}
