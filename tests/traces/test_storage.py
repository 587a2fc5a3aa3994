"""What a conversation costs on disk, beside what it was as sent."""

import json

import pytest
from django.db import connection
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from bench.conversation import make_requests, size_of_database
from tests.factories import make_project
from traces.intake import take
from traces.models import MessageNode, Span
from traces.text_index import index_pending

PROTOBUF = "application/x-protobuf"


@pytest.mark.django_db(transaction=True)
def test_conversation_of_400_turns_takes_a_fifth_of_its_protobuf_with_the_index():
    project = make_project()
    size_before = size_of_database(connection.cursor(), connection.vendor)
    requests = make_requests(turns=400, seed=1)
    sent = sum(map(len, requests))
    for body in requests:
        assert take("spans", project, body, PROTOBUF) == []
    while index_pending():
        pass
    growth = size_of_database(connection.cursor(), connection.vendor) - size_before
    assert Span.objects.count() == 400
    assert MessageNode.objects.count() == 801
    assert growth <= sent / 5
    # The messages themselves, which nothing can make smaller, are in it.
    assert growth >= 800 * 200


def test_messages_of_the_load_are_incompressible_and_of_the_size_said():
    request = ExportTraceServiceRequest.FromString(make_requests(turns=3, seed=2)[-1])
    (span,) = request.resource_spans[-1].scope_spans[0].spans[-1:]
    attributes = {pair.key: pair.value.string_value for pair in span.attributes}
    said = json.loads(attributes["input.value"])["messages"]
    sizes = [len(one["content"].encode()) for one in said[1:]]
    assert len(said) == 6
    assert all(200 <= size <= 300 for size in sizes)
    assert attributes["llm.input_messages.5.message.content"] == said[-1]["content"]
    assert len(set("".join(one["content"] for one in said[1:]))) > 80
