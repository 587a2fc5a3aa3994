"""What a gate needs of a comparison: how many samples of each candidate passed."""

from collections import defaultdict

from evals.gate import Outcomes, sample_outcome
from evals.models import Comparison, Run, Sample, SampleStatus, Score
from evals.queries.report import letter_of


def gate_outcomes(comparison: Comparison) -> list[Outcomes]:
    """Return the outcomes of each candidate's samples, in the comparison's order."""
    runs = list(Run.objects.filter(comparison=comparison).order_by("position", "pk"))
    verdicts: dict[int, list[tuple[str, bool | None]]] = defaultdict(list)
    scores = Score.objects.filter(run__in=runs, is_current=True, criterion="").values_list("sample", "state", "passed")
    for sample, state, passed in scores.iterator(chunk_size=5000):
        verdicts[sample].append((state, passed))
    found: dict[int, list[bool | None]] = defaultdict(list)
    for pk, run, status in (
        Sample.objects.filter(run__in=runs).values_list("pk", "run", "status").iterator(chunk_size=5000)
    ):
        found[run].append(sample_outcome(status == SampleStatus.DONE, verdicts[pk]))
    return [
        Outcomes(
            label=f"{letter_of(position)} {run.name}",
            passed=found[run.pk].count(True),
            failed=found[run.pk].count(False),
            unknown=found[run.pk].count(None),
        )
        for position, run in enumerate(runs)
    ]
