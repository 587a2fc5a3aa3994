"""Text search over what was said: words, phrases and pieces of words, in any script, with few hits and with many."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.factories import make_project, make_span
from traces import list_queries, text_index, text_queries
from traces.filters import read_query
from traces.models import Trace
from traces.search import parse
from traces.services import ingest_spans

SAID = {
    "refund": "I want a refund for order A-1001, please. It was charged twice!",
    "refunded": "We refunded your order B-2002; nonrefundable fees stay.",
    "german": "Die Straße in Köln ist GROß und schön",
    "chinese": "我想申请退款，订单号是一二三",
    "japanese": "返金をお願いします。カメラが壊れました",
    "thai": "ฉันต้องการเงินคืน",
    "korean": "환불해 주세요",
    "arabic": "أريدُ استرداد المبلغ",
    "hebrew": "אני רוצה החזר כספי",
    "hindi": "मुझे पैसे वापस चाहिए",
    "russian": "Верните деньги, пожалуйста",
    "emoji": "great 🙂 that costs 5€",
    "code": "call get_order_status(order_id='x') -> 404?!",
    "long": "prefix " + "abcdefghij" * 12 + "needle" + "klmnopqrst" * 12,
}
CASES = [
    ("refund", {"refund", "refunded"}),
    ("REFUND", {"refund", "refunded"}),
    ('"refund"', {"refund"}),
    ("fund", {"refund", "refunded"}),
    ("nonref", {"refunded"}),
    ("ef", {"refund", "refunded", "long"}),
    ("b", {"refunded", "long"}),
    ('"b"', {"refunded"}),
    ('"a"', {"refund"}),
    ("A-1001", {"refund"}),
    ("a-10", {"refund"}),
    ("1001", {"refund"}),
    ('"charged twice"', {"refund"}),
    ('"twice charged"', set()),
    ('"charged twi"', set()),
    ("charged order", {"refund"}),
    ("ref*ded", {"refunded"}),
    ("strasse", {"german"}),
    ("KOLN", {"german"}),
    ("schön", {"german"}),
    ("退款", {"chinese"}),
    ("退", {"chinese"}),
    ("款", {"chinese"}),
    ("三", {"chinese"}),
    ("申请退款", {"chinese"}),
    ("款退", set()),
    ('"申请退款"', {"chinese"}),
    ("カメラ", {"japanese"}),
    ("ｶﾒﾗ", {"japanese"}),
    ("เงิน", {"thai"}),
    ("คืน", {"thai"}),
    ("환불", {"korean"}),
    ("불해", {"korean"}),
    ("استرداد", {"arabic"}),
    ("أريد", {"arabic"}),
    ("כספי", {"hebrew"}),
    ("वापस", {"hindi"}),
    ("ДЕНЬГИ", {"russian"}),
    ("🙂", {"emoji"}),
    ("€", {"emoji"}),
    ("5€", {"emoji"}),
    ("?!", {"code"}),
    ("get_order", {"code"}),
    ("order_id", {"code"}),
    ("needle", {"long"}),
    ("abcdefghij" * 4, {"long"}),
    ("abcdefghij" * 4 + "k", set()),
    ("%", set()),
    ("nothing-of-the-kind", set()),
    ("refund -order", set()),
    ("refund OR 退款", {"refund", "refunded", "chinese"}),
    ("(refund -nonrefundable) OR 환불", {"refund", "korean"}),
    ("(refund kind:llm) OR 환불", {"refund", "refunded", "korean"}),
    ("(refund -kind:llm) OR 환불", {"korean"}),
    ("(refund id:7700) OR (order (id:7701 OR 退款)) OR has:error", {"refund", "refunded"}),
    ("-(refund id:7700) order", {"refunded", "code"}),
    ("-(refund OR order)", set(SAID) - {"refund", "refunded", "code"}),
]


@pytest.fixture
def talks(project):
    for number, text in enumerate(SAID.values()):
        said = [{"role": "user", "content": text}]
        ingest_spans(project, [make_span(trace_id=f"77{number:02}", kind="llm", name="77", input_messages=said)])
    text_index.index_pending()
    return project


def found(project, text: str, **options) -> set[str]:
    return {trace.trace_id for trace in list_queries.trace_page(project, text, **options)}


def names_of(trace_ids) -> set[str]:
    return {list(SAID)[int(one) - 7700] for one in trace_ids}


@pytest.mark.parametrize(("text", "names"), CASES)
def test_words_find_what_was_said(talks, text, names):
    assert names_of(found(talks, text)) == names


@pytest.mark.parametrize(("many", "few", "traces"), [(0, 1500, 20_000), (20_000, 0, 20_000), (20_000, 1500, 0)])
def test_words_with_many_hits_are_found_along_the_list_alike(talks, monkeypatch, many, few, traces):
    monkeypatch.setattr(text_queries, "MANY", many)
    monkeypatch.setattr(text_queries, "FEW", few)
    monkeypatch.setattr(text_queries, "MOST_TRACES", traces)
    for text, names in CASES:
        assert names_of(found(talks, text)) == names, text
        assert names_of(list_queries.matching_traces(talks, text).values_list("trace_id", flat=True)) == names, text


def test_alternatives_with_many_hits_are_asked_along_the_list_and_not_of_the_whole_project(talks, monkeypatch):
    monkeypatch.setattr(text_queries, "MANY", 0)
    query = parse("refund OR kind:tool")
    with CaptureQueriesContext(connection) as asked:
        read_query(talks, query)
    assert not [one["sql"] for one in asked if "traces_tracetexts" in one["sql"]]
    query = parse("(refund OR kind:tool) 退款")
    assert read_query(talks, query).lazy == list(query.terms)
    assert not read_query(talks, query).parts
    both = parse("(refund id:7700) OR (order id:7701)")
    assert read_query(talks, both).few == sorted(
        Trace.objects.filter(trace_id__in=["7700", "7701"]).values_list("pk", flat=True)
    )


def test_words_for_which_too_many_words_stand_are_looked_for_in_the_texts(talks, monkeypatch):
    monkeypatch.setattr(text_queries, "MOST_WORDS", 1)
    assert names_of(found(talks, "ref")) == {"refund", "refunded"} | {"long"}
    assert names_of(found(talks, "e -refund")) == {"german", "emoji", "code", "long"}


def test_pages_of_words_with_many_hits_follow_each_other_in_any_order(project, monkeypatch):
    monkeypatch.setattr(text_queries, "MANY", 3)
    monkeypatch.setattr("traces.list_queries.looking.ASKED", 2)
    monkeypatch.setattr("traces.list_queries.pages.Clock", lambda: text_queries.Clock(60.0))
    names = [f"t{number:02}" for number in range(30)]
    for number, name in enumerate(names):
        text = "common word" if number % 3 else "other"
        ingest_spans(
            project,
            [
                make_span(
                    trace_id=name,
                    kind="llm",
                    start_ns=10**18 + number,
                    input_messages=[{"role": "user", "content": f"{text} {number}"}],
                )
            ],
        )
    text_index.index_pending()
    for sort in ("-started", "started", "-latency", "cost"):
        whole = [trace.trace_id for trace in list_queries.trace_page(project, "common", sort=sort)]
        assert len(whole) == 20
        walked, after = [], ""
        while True:
            page = list_queries.trace_page(project, "common", sort=sort, after=after, limit=7)
            walked += [trace.trace_id for trace in page]
            if not page.next_key:
                break
            after = page.next_key
        assert walked == whole
        back = list_queries.trace_page(project, "common", sort=sort, before=page.previous_key, limit=7)
        assert [trace.trace_id for trace in back] == whole[7:14]


def test_search_that_takes_too_long_gives_a_page_that_goes_on(project, monkeypatch):
    monkeypatch.setattr(text_queries, "MANY", 0)
    monkeypatch.setattr("traces.list_queries.looking.ASKED", 4)
    monkeypatch.setattr("traces.list_queries.pages.Clock", lambda: text_queries.Clock(-1.0))
    for number in range(10):
        ingest_spans(
            project,
            [make_span(trace_id=f"t{number}", start_ns=10**18 + number, input="rare" if number in (1, 8) else "x")],
        )
    text_index.index_pending()
    page = list_queries.trace_page(project, "rare")
    assert ([trace.trace_id for trace in page], page.is_cut, page.looked_to) == (["t8"], True, 10**18 + 6)
    second = list_queries.trace_page(project, "rare", after=page.next_key)
    assert ([trace.trace_id for trace in second], second.is_cut) == ([], True)
    third = list_queries.trace_page(project, "rare", after=second.next_key)
    assert ([trace.trace_id for trace in third], third.is_cut, third.next_key) == (["t1"], False, "")


def test_words_are_found_in_every_trace_that_holds_them(project):
    for name in "abc":
        history = [{"role": "system", "content": "You are kind"}, {"role": "user", "content": f"hello from {name}"}]
        ingest_spans(project, [make_span(trace_id=name, kind="llm", input_messages=history)])
    text_index.index_pending()
    assert found(project, '"are kind"') == {"a", "b", "c"}
    assert found(project, '"from b"') == {"b"}


def test_words_of_a_message_and_of_another_are_in_one_trace(project):
    messages = [{"role": "user", "content": "where is my parcel"}, {"role": "assistant", "content": "it is late"}]
    ingest_spans(project, [make_span(trace_id="a", kind="llm", input_messages=messages)])
    text_index.index_pending()
    assert found(project, "parcel late") == {"a"}
    assert found(project, '"parcel late"') == set()


def test_words_of_another_project_are_not_found(talks):
    assert found(make_project(), "refund") == set()


def test_summary_of_words_counts_what_the_page_shows(talks, monkeypatch):
    from datetime import UTC, datetime

    for many in (20_000, 0):
        monkeypatch.setattr(text_queries, "MANY", many)
        summary = list_queries.trace_summary(talks, parse("refund"), since_ns=None, now=datetime.now(UTC))
        assert (summary.figures.total, summary.figures.is_least) == (2, False)


def test_excerpts_show_the_place_with_what_was_found(talks):
    shown = text_queries.excerpts(talks, list(Trace.objects.all()), parse("strasse OR 退款 OR twice").said)
    parts = {list(SAID)[int(trace.trace_id) - 7700]: shown.get(trace.pk) for trace in Trace.objects.all()}
    assert {name for name, part in parts.items() if part} == {"german", "chinese", "refund"}
    assert (parts["german"].before, parts["german"].found) == ("Die ", "Straße")
    assert parts["chinese"].found == "退款"
    assert (parts["refund"].found, parts["refund"].after) == ("twice", "!")


def test_lag_says_how_many_traces_wait(talks):
    assert text_queries.lag(talks).waiting == 0
    ingest_spans(talks, [make_span(trace_id="new", input="fresh")])
    behind = text_queries.lag(talks)
    assert behind.waiting == 1
    assert behind.since_ns > 10**18
