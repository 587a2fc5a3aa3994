"""Runs from files: spans through the same door as live ones, and the scores that came with them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from functools import partial
from typing import IO

from accounts.access import DEFAULT_PROJECT
from accounts.models import Project
from accounts.services import AccountError, create_project
from evals.graders import BadConfig
from evals.models import GraderVersion, RaterKind
from evals.services.graders import imported_grader
from evals.services.scores import NewScore, record_scores
from traces.formats import BadLine, ImportedScore, ImportedTrace, read_traces
from traces.models import Source, Trace
from traces.otlp import LogItem
from traces.services import ingest_logs, ingest_spans

BATCH_SPANS = 1000
SLIP = 0.8  # of 1: two words that share so much are one, mistyped
MAX_BAD = 1000  # bad lines that are kept with their reason; the others are only counted


@dataclass
class ImportReport:
    """What became of a file. `fresh` counts what was not there before; the same file again has none."""

    name: str
    runs: int = 0
    fresh_runs: int = 0
    spans: int = 0
    scores: int = 0
    fresh_scores: int = 0
    bad: list[BadLine] = field(default_factory=list)
    bad_count: int = 0

    def add_bad(self, line: BadLine) -> None:
        self.bad_count += 1
        if len(self.bad) < MAX_BAD:
            self.bad.append(line)


def project_by_slug(slug: str, *, create: bool = False) -> tuple[Project, bool]:
    """Return the project of a slug, and whether it was made just now.

    Raises AccountError for a slug that cannot be one, and for one that looks like a slip of a known one, unless told to `create` it.
    """
    slug = slug or DEFAULT_PROJECT
    found = Project.objects.filter(slug=slug).first()
    if found is not None:
        return found, False
    known = Project.objects.order_by("slug").values_list("slug", flat=True)
    meant = None if create else next((other for other in known if is_slip(slug, other)), None)
    if meant is not None:
        raise AccountError(f"There is no project {slug!r}; did you mean {meant!r}? To make it, add --create-project.")
    return create_project(slug.replace("-", " ").capitalize(), slug=slug), True


def is_slip(written: str, known: str) -> bool:
    """Say whether a slug looks like another one mistyped: hyphens or capitals apart, or one word nearly the same.

    Words that differ in a figure or are shorter than four letters are meant as they stand: tau1 and tau2, team-a and team-b.
    """
    written, known = written.lower(), known.lower()
    if written.replace("-", "") == known.replace("-", ""):
        return True
    ours, theirs = written.split("-"), known.split("-")
    differing = [pair for pair in zip(ours, theirs, strict=False) if pair[0] != pair[1]]
    if len(ours) != len(theirs) or len(differing) != 1:
        return False
    mine, other = differing[0]
    figures = any(letter.isdigit() for letter in mine + other)
    return not figures and min(len(mine), len(other)) >= 4 and SequenceMatcher(None, mine, other).ratio() >= SLIP


def import_file(
    project: Project,
    stream: IO[bytes],
    *,
    name: str = "",
    format_name: str = "",
    progress: Callable[[ImportReport], None] = lambda report: None,
) -> ImportReport:
    """Import the runs of a file, batch by batch; the same file again changes nothing.

    Bad lines are left out and reported, the others kept. Raises ValueError for a format that is not known.
    """
    report = ImportReport(name)
    importer = Importer(project, report)
    try:
        for found in read_traces(stream, name=name, format_name=format_name):
            if isinstance(found, BadLine):
                report.add_bad(found)
            else:
                importer.add(found)
            progress(report)
    except (OSError, EOFError) as error:
        report.add_bad(BadLine(f"after {report.runs} runs", f"the file breaks off: {error}"))
    importer.flush()
    return report


class Importer:
    """Collects runs into batches; used for one file."""

    def __init__(self, project: Project, report: ImportReport) -> None:
        self.project, self.report = project, report
        self.waiting: list[ImportedTrace] = []
        self.logs: list[LogItem] = []
        self.span_count = 0
        self.seen: set[str] = set()
        self.unwritten: set[str] = set()
        self.graders: dict[tuple[str, tuple[float, float], float | None], GraderVersion] = {}

    def add(self, run: ImportedTrace) -> None:
        """Take one run."""
        self.waiting.append(run)
        self.logs.extend(run.logs)
        self.span_count += len(run.records)
        for record in run.records[:1]:
            if record.trace_id not in self.seen:
                self.seen.add(record.trace_id)
                self.unwritten.add(record.trace_id)
                self.report.runs += 1
        if self.span_count >= BATCH_SPANS:
            self.flush()

    def flush(self) -> None:
        """Write what was collected."""
        runs, self.waiting, self.span_count = self.waiting, [], 0
        records = [record for run in runs for record in run.records]
        if records:
            known = Trace.objects.filter(project=self.project, trace_id__in=self.unwritten).count()
            result = ingest_spans(self.project, records, source=Source.IMPORT)
            self.report.fresh_runs += len(self.unwritten & result.trace_pks.keys()) - known
            self.unwritten.clear()
            self.report.spans += result.accepted
            for reason in result.rejected:
                self.report.add_bad(BadLine(f"{runs[0].place} to {runs[-1].place}", reason))
            self.write_scores(runs, result.trace_pks)
        if self.logs:
            logs, self.logs = self.logs, []
            for reason in ingest_logs(self.project, logs).rejected:
                self.report.add_bad(BadLine("a log record", reason))

    def write_scores(self, runs: list[ImportedTrace], trace_pks: dict[str, int]) -> None:
        """Write the scores of a batch of runs."""
        scores: list[NewScore] = []
        for run in runs:
            if not run.scores or not run.records or run.records[0].trace_id not in trace_pks:
                continue
            root = run.records[0]
            for score in run.scores:
                scores.append(
                    NewScore(
                        grader_version=self.grader(score),
                        trace=trace_pks[root.trace_id],
                        rater_kind=RaterKind.IMPORTED,
                        rater=(score.rater or root.convention or "imported")[:200],
                        value=score.value,
                        passed=score.passed,
                        label=score.label[:120],
                        explanation=score.explanation,
                        evidence=score.evidence,
                    )
                )
        self.report.scores += len(scores)
        self.report.fresh_scores += record_scores(self.project, scores)

    def grader(self, score: ImportedScore) -> GraderVersion:
        """Return the grader version of a score's name; a name that another kind of grader has gets “(imported)” after it."""
        key = score.name, score.scale, score.pass_threshold
        if key not in self.graders:
            make = partial(imported_grader, self.project, scale=score.scale, pass_threshold=score.pass_threshold)
            name = score.name.strip()[:100] or "score"
            try:
                self.graders[key] = make(name)
            except BadConfig:
                self.graders[key] = make(f"{name} (imported)")
        return self.graders[key]
