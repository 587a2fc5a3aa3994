import asyncio

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from providers.ledger import Ending, Ledger, mark_unknown, write_batch
from providers.models import Call, CallState


def make_call(project, **fields):
    return Call(
        **{
            "project": project,
            "provider": "p",
            "model": "m",
            "purpose": "generate",
            "started_at": timezone.now(),
            **fields,
        }
    )


@pytest.mark.django_db(transaction=True)
def test_start_returns_when_the_row_is_on_disk(project):
    async def main():
        ledger = Ledger()
        keys = await asyncio.gather(*(ledger.start(make_call(project, subject=f"sample:{n}")) for n in range(60)))
        found = await asyncio.to_thread(lambda: dict(Call.objects.values_list("pk", "subject")))
        assert [found[key] for key in keys] == [f"sample:{n}" for n in range(60)]
        for key in keys:
            ledger.end(Ending(key, CallState.ANSWERED, timezone.now(), 3, 4, 0.5, "a\x00b"))
        await ledger.aclose()

    asyncio.run(main())

    assert set(Call.objects.values_list("state", "input_tokens", "output_tokens", "cost_usd", "error")) == {
        ("answered", 3, 4, 0.5, "ab")
    }


@pytest.mark.django_db
def test_a_batch_of_many_is_written_in_few_statements(project):
    with CaptureQueriesContext(
        connection,
    ) as queries:
        write_batch([make_call(project) for _ in range(50)], [])

    assert len([query for query in queries if "INSERT" in query["sql"]]) <= 2


@pytest.mark.django_db(transaction=True)
def test_start_that_cannot_be_written_raises_and_the_next_one_works(project):
    from django.db import DatabaseError

    async def main():
        ledger = Ledger()
        lost = make_call(project)
        lost.project_id = None
        with pytest.raises(DatabaseError):
            await ledger.start(lost)
        assert await ledger.start(make_call(project))
        await ledger.aclose()

    asyncio.run(main())

    assert Call.objects.count() == 1


@pytest.mark.django_db
def test_mark_unknown_closes_only_the_open_calls_that_are_meant(project):
    rows = [("run:1", "sample:1", "started"), ("run:1", "sample:2", "answered"), ("run:2", "sample:3", "started")]
    for job, subject, state in rows:
        make_call(project, job=job, subject=subject, state=state).save()

    assert mark_unknown(subjects=["sample:1", "sample:2"]) == 1
    assert list(Call.objects.order_by("pk").values_list("state", flat=True)) == ["unknown", "answered", "started"]
    assert mark_unknown(job="run:2") == 1
    assert "may have been charged" in Call.objects.get(subject="sample:3").error


@pytest.mark.django_db(transaction=True)
def test_settle_returns_when_the_ends_told_so_far_are_on_disk_though_calls_go_on_coming(project):
    async def main():
        ledger = Ledger()
        key = await ledger.start(make_call(project))
        going_on = True

        async def keep_starting():
            while going_on:
                await ledger.start(make_call(project))

        others = asyncio.gather(*(keep_starting() for _ in range(5)))
        ledger.end(Ending(key, CallState.ANSWERED, timezone.now()))
        await asyncio.wait_for(ledger.settle(), 10)
        state = await asyncio.to_thread(lambda: Call.objects.get(pk=key).state)
        going_on = False
        await others
        await ledger.settle()  # nothing to wait for
        await ledger.aclose()
        return state

    assert asyncio.run(main()) == CallState.ANSWERED
