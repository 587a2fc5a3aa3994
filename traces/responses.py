"""Traces of the OpenAI Agents SDK come in, and their spans that only name a response get the text of the proxied call.

The SDK sends `response` spans without prompt and answer: its maker's server has them. Here they were recorded by the proxy where
the application uses it. A `ProxiedResponse` row has both sides of a response id, and whoever writes the second side joins: the
agent's span takes over what the proxied call says, and the proxied call's own trace goes, so that nothing is listed or counted
twice (docs/decisions/0004-proxied-responses.md).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import orjson
from django.db import transaction
from django.db.models import ForeignObjectRel, Q

from accounts.models import Project
from traces.agents_sdk import DecodedAgents, TraceHead
from traces.models import ProxiedResponse, Source, Span, Trace, TraceItem
from traces.queries import read_records, span_record
from traces.services import (
    Batch,
    IngestResult,
    choose_store,
    find_price_usd,
    ingest_spans,
    unpriced,
)
from traces.spans import SpanRecord
from traces.storable import TooDeep, is_storable, json_bytes
from traces.stored_spans import Bodies, store_span

OF_CALL = ("model", "provider", "available_tools", "display_name", "task", "environment", "agent_id")
MAX_LATE = 5000  # spans that are changed when the item of their trace comes after them


@dataclass(frozen=True)
class ProxiedCall:
    """A recorded call of the proxy: its span, the id of the response where it has one, and of the one before it."""

    record: SpanRecord
    response_id: str = ""
    previous_id: str = ""


# Spans of the Agents SDK -------------------------------------------------------------------------------------------


@transaction.atomic
def ingest_agents(project: Project, decoded: DecodedAgents) -> IngestResult:
    """Keep what the SDK's exporter sent, in one transaction, in any order and number of times."""
    rejected: list[str] = []
    heads = {head.trace_id: head for head in decoded.heads if is_storable(head.trace_id)}
    trace_ids = sorted({*heads, *(one.trace_id for one in decoded.records if is_storable(one.trace_id))})
    choose_store().lock_joins(project.pk, trace_ids, alone=True)
    stored = keep_heads(project, heads, rejected)
    known = read_heads(project, trace_ids)
    for record in decoded.records:
        head = known.get(record.trace_id)
        if head is not None:
            head.apply(record)
    names = {place: one for place, one in decoded.responses.items() if is_storable("".join((*place, one)))}
    links = name_spans(project, names)
    before = read_joined(project, links)
    result = ingest_spans(project, decoded.records)
    arrived = {(one.trace_id, one.span_id) for one in decoded.records}
    late = [record for head in stored for record in late_spans(project, head, arrived)]
    if late:
        result.trace_pks.update(ingest_spans(project, late).trace_pks)
    for link in links:
        if link.proxied_span_id or link.response_id in before:
            join(project, link, text=before.get(link.response_id))
    return IngestResult(result.accepted + len(stored), [*rejected, *result.rejected], result.trace_pks)


def keep_heads(project: Project, heads: dict[str, TraceHead], rejected: list[str]) -> list[TraceHead]:
    """Write items of traces. Returns those that are new or changed."""
    rows: dict[str, bytes] = {}
    for trace_id, head in sorted(heads.items()):
        values = {"workflow_name": head.workflow_name, "group_id": head.group_id, "metadata": head.metadata}
        try:
            rows[trace_id] = json_bytes(values)
        except TooDeep as error:
            rejected.append(f"trace {trace_id}: {error}")
    there = {
        trace_id: bytes(content)
        for trace_id, content in TraceItem.objects.filter(project=project, trace_id__in=rows).values_list(
            "trace_id", "content"
        )
    }
    fresh = {trace_id: content for trace_id, content in rows.items() if there.get(trace_id) != content}
    TraceItem.objects.bulk_create(
        [TraceItem(project=project, trace_id=trace_id, content=content) for trace_id, content in fresh.items()],
        update_conflicts=True,
        unique_fields=["project", "trace_id"],
        update_fields=["content"],
    )
    return [heads[trace_id] for trace_id in fresh]


def read_heads(project: Project, trace_ids: Sequence[str]) -> dict[str, TraceHead]:
    """Return the items of traces that are there."""
    rows = TraceItem.objects.filter(project=project, trace_id__in=trace_ids).values_list("trace_id", "content")
    return {trace_id: TraceHead(trace_id, **orjson.loads(bytes(content))) for trace_id, content in rows}


def late_spans(project: Project, head: TraceHead, arrived: set[tuple[str, str]]) -> list[SpanRecord]:
    """Return the stored spans of a trace with what its item says, where the item came after them."""
    trace = Trace.objects.filter(project=project, trace_id=head.trace_id).first()
    if trace is None:
        return []
    keys = [(pk, head.trace_id) for pk in Span.objects.filter(trace=trace).values_list("pk", flat=True)[:MAX_LATE]]
    return [
        head.apply(record) for record in read_records(keys).values() if (record.trace_id, record.span_id) not in arrived
    ]


# Both sides of a response ----------------------------------------------------------------------------------------


def name_spans(project: Project, names: dict[tuple[str, str], str]) -> list[ProxiedResponse]:
    """Write which spans name which responses. Returns the rows, locked until the end of the transaction."""
    wanted = {response_id: place for place, response_id in names.items()}
    rows = [
        ProxiedResponse(project=project, response_id=one, agent_trace_id=place[0][:128], agent_span_id=place[1][:128])
        for one, place in sorted(wanted.items())
    ]
    return write_links(project, rows, ["agent_trace_id", "agent_span_id"])


def write_links(project: Project, rows: list[ProxiedResponse], fields: list[str]) -> list[ProxiedResponse]:
    """Write one side of links; a writer of the other side waits here until the first one has committed."""
    if not rows:
        return []
    ProxiedResponse.objects.bulk_create(
        rows, update_conflicts=True, unique_fields=["project", "response_id"], update_fields=fields
    )
    wanted = [row.response_id for row in rows]
    return list(ProxiedResponse.objects.filter(project=project, response_id__in=wanted).order_by("response_id"))


def read_joined(project: Project, links: Iterable[ProxiedResponse]) -> dict[str, SpanRecord]:
    """Return, by response id, the stored spans that have their text already: a version that comes again must not take it away."""
    found = {}
    for link in links:
        record = None if link.proxied_span_id else find_record(project, link.agent_trace_id, link.agent_span_id)
        if record is not None and record.content_recorded:
            found[link.response_id] = record
    return found


def find_record(project: Project, trace_id: str, span_id: str) -> SpanRecord | None:
    """Return a stored span, or None."""
    trace = Trace.objects.filter(project=project, trace_id=trace_id).first() if trace_id else None
    return span_record(trace, span_id) if trace is not None else None


def join(project: Project, link: ProxiedResponse, *, text: SpanRecord | None = None) -> bool:
    """Give the span that names a response the text of its call, and let the call's own trace go. False: one side is gone."""
    agent = find_record(project, link.agent_trace_id, link.agent_span_id)
    call = text or find_record(project, link.proxied_trace_id, link.proxied_span_id)
    if agent is None or call is None:
        return False
    if not agent.content_recorded or not agent.model:
        keep_joined(project, merge_call(agent, call))
    if text is None:
        drop_lone_trace(project, link)
    return True


def merge_call(agent: SpanRecord, call: SpanRecord) -> SpanRecord:
    """Return the agent's span with what its proxied call says. What the span says itself stays."""
    if not agent.content_recorded:
        agent.input_messages, agent.output_messages = call.input_messages, call.output_messages
        agent.content_recorded = call.content_recorded
    for name in OF_CALL:
        if not getattr(agent, name):
            setattr(agent, name, getattr(call, name))
    own, sent = unpriced(agent).usage, call.usage
    for name in ("input_tokens", "output_tokens", "cached_input_tokens", "cache_write_tokens", "reasoning_tokens"):
        if getattr(own, name) is None:
            setattr(own, name, getattr(sent, name))
    if own.cost_usd is None:  # the call may be priced by the model that was asked, which the answer does not name
        own.cost_usd, own.cost_source = sent.cost_usd, sent.cost_source
    agent.session_id = agent.session_id or call.session_id
    agent.user_id = agent.user_id or call.user_id
    agent.metadata = {**call.metadata, **agent.metadata}
    agent.tags = list(dict.fromkeys([*agent.tags, *call.tags]))
    agent.attributes = {**call.attributes, **agent.attributes}
    return agent


def keep_joined(project: Project, record: SpanRecord) -> None:
    """Write a joined span over the stored one. It keeps the digest of what was sent, so that the same again is known."""
    digests = Span.objects.filter(trace__project=project, trace__trace_id=record.trace_id, span_id=record.span_id)
    digest = bytes(digests.values_list("digest", flat=True).get())
    bodies = Bodies()
    span = store_span(record, bodies, find_price_usd())
    span.digest = span.columns[-1] = digest
    Batch(project, source=Source.INGEST, bodies=bodies, is_rewrite=True).write([span])


def drop_lone_trace(project: Project, link: ProxiedResponse) -> None:
    """Delete the proxied call's own trace, and forget its place. One of several spans, or one that something points at, stays."""
    trace = Trace.objects.filter(project=project, trace_id=link.proxied_trace_id, source=Source.PROXY).first()
    if trace is not None and trace.span_count == 1 and not is_pointed_at(trace):
        trace.delete()
    ProxiedResponse.objects.filter(pk=link.pk).update(proxied_trace_id="", proxied_span_id="")


def is_pointed_at(trace: Trace) -> bool:
    """Say whether a row of another room points at a trace: a score, an item of a dataset."""
    for relation in Trace._meta.get_fields(include_hidden=True):
        model = relation.related_model
        if not isinstance(relation, ForeignObjectRel) or model is None or isinstance(model, str):
            continue
        if model._meta.app_label == "traces":
            continue
        if model._base_manager.filter(Q(**{relation.field.name: trace.pk})).exists():
            return True
    return False


# Calls of the proxy ----------------------------------------------------------------------------------------------


@transaction.atomic
def ingest_proxied(project: Project, calls: Sequence[ProxiedCall]) -> IngestResult:
    """Keep proxied calls, in one transaction; those whose response a span of an agent SDK names go into that span's trace."""
    by_id = {call.response_id: call for call in calls if 0 < len(call.response_id) <= 200}
    rows = [
        ProxiedResponse(
            project=project,
            response_id=one,
            proxied_trace_id=by_id[one].record.trace_id,
            proxied_span_id=by_id[one].record.span_id,
        )
        for one in sorted(by_id)
        if is_storable(one)
    ]
    links = write_links(project, rows, ["proxied_trace_id", "proxied_span_id"])
    records = [call.record for call in calls]
    records += continue_sessions(project, calls)
    result = ingest_spans(project, records, source=Source.PROXY)
    for link in links:
        if link.agent_span_id:
            join(project, link)
    return result


def continue_sessions(project: Project, calls: Sequence[ProxiedCall]) -> list[SpanRecord]:
    """Put calls that go on from an earlier response into its session; the first one gets a session when it is gone on from.

    Returns the stored spans that change by it.
    """
    changed: dict[str, SpanRecord] = {}
    here = {call.response_id: call.record for call in calls if call.response_id}
    for call in calls:
        if not call.previous_id or call.record.session_id or not is_storable(call.previous_id):
            continue
        earlier = here.get(call.previous_id) or changed.get(call.previous_id)
        if earlier is None:
            earlier = find_response(project, call.previous_id)
            if earlier is None:
                call.record.session_id = call.previous_id
                continue
            if not earlier.session_id:
                changed[call.previous_id] = earlier
        earlier.session_id = call.record.session_id = earlier.session_id or call.previous_id
    return list(changed.values())


def find_response(project: Project, response_id: str) -> SpanRecord | None:
    """Return the stored span of a response: its proxied call, or the agent's span that took it over."""
    link = ProxiedResponse.objects.filter(project=project, response_id=response_id[:200]).first()
    if link is None:
        return None
    return find_record(project, link.proxied_trace_id, link.proxied_span_id) or find_record(
        project, link.agent_trace_id, link.agent_span_id
    )
