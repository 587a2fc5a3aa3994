"""Evals, runs and results that were made elsewhere, from what users took out of the Evals API: kept as they are, and never run again.

An eval becomes an eval, its criteria our graders where we have that kind (so that it can be run again here), else graders of the kind
`imported`. A run becomes a run with a comparison of its own, its rows an implicit dataset, each output item a sample with its trace, each
result a score. Ids, times, verdicts and counts stay; what we have no column for stands in `Run.imported` and `Sample.imported`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.db import DatabaseError, transaction
from django.db.models import OuterRef, Subquery
from django.utils import timezone

from accounts.models import Project
from evals.chat import storable
from evals.graders import IMPORTED
from evals.graders.base import BadConfig, digest_of
from evals.models import (
    Candidate,
    CandidateKind,
    Comparison,
    Dataset,
    DatasetRevision,
    Eval,
    EvalGrader,
    File,
    Grader,
    GraderVersion,
    Item,
    Run,
    RunStatus,
    Sample,
    Score,
)
from evals.openai_api.criteria import read_criterion
from evals.openai_api.reading import BadRequest
from evals.openai_api.sources import read_data_source
from evals.openai_export import BadPart, Document, Export, RunEntry, find_object, read_export, without_nulls
from evals.services.comparisons import BadComparison, CandidateSpec, ensure_candidate
from evals.services.files import create_file
from evals.services.graders import GraderSpec, imported_grader
from evals.services.imported_results import (
    CannotImport,
    batches,
    checked_id,
    echoed_rows,
    empty_revision,
    given_of,
    is_number,
    listed,
    object_of,
    pieces_of,
    place_of,
    records_of,
    row_at,
    sample_of,
    scale_of,
    scores_of,
    source_of,
    text_of,
    time_of,
    trace_id_of,
    words_of,
)
from evals.services.openai_evals import MAX_GRADER_NAME, free_version
from evals.services.rows import RowValues, keep_rows
from evals.services.scores import write_scores
from traces.models import Source
from traces.services import ingest_spans

BATCH = 200  # output items in one transaction
MAX_BAD = 1000
SORTED_IN_MEMORY = 20_000  # rows of a run that are put in order in memory; beyond that each stays where it stands
STATUSES = {"completed": RunStatus.FINISHED, "failed": RunStatus.FAILED, "canceled": RunStatus.CANCELLED}


@dataclass
class OpenAIImport:
    """What became of an export. `known` counts what was here already; a repeat has nothing else."""

    evals: int = 0
    runs: int = 0
    items: int = 0
    scores: int = 0
    files: int = 0
    known_evals: int = 0
    known_runs: int = 0
    known_files: int = 0
    not_runnable: dict[str, str] = field(default_factory=dict)  # grader kind or name -> why nothing here can run it
    bad: list[BadPart] = field(default_factory=list)
    bad_count: int = 0

    def add_bad(self, part: BadPart) -> None:
        self.bad_count += 1
        if len(self.bad) < MAX_BAD:
            self.bad.append(part)


def import_openai_evals(
    project: Project, folder: Path, *, progress: Callable[[OpenAIImport], None] = lambda report: None
) -> OpenAIImport:
    """Import an export; the same export again changes nothing. What cannot be kept is listed, and the rest is kept."""
    export = read_export(folder)
    report = OpenAIImport()
    for part in export.bad:
        report.add_bad(part)
    importer = Importer(project, export, report, progress)
    for file_id, (path, content) in export.files.items():
        importer.attempt(f"file {file_id}", importer.keep_file, file_id, path, content)
    for eval_id, path in export.evals.items():
        importer.attempt(f"eval {eval_id}", importer.keep_eval, eval_id, path)
    for entry in export.runs.values():
        importer.attempt(f"run {entry.run_id}", importer.keep_run, entry)
    return report


class Importer:
    """One import into one project."""

    def __init__(
        self, project: Project, export: Export, report: OpenAIImport, progress: Callable[[OpenAIImport], None]
    ) -> None:
        self.project, self.export, self.report, self.progress = project, export, report, progress

    def attempt(self, place: str, work: Callable[..., None], *args: Any) -> None:
        """Do a piece of work; what it cannot keep is listed under `place`."""
        try:
            work(*args)
        except (CannotImport, BadConfig, BadComparison, BadRequest) as error:
            self.report.add_bad(BadPart(place, str(error)))
        except (DatabaseError, ValueError, TypeError, OverflowError) as error:
            self.report.add_bad(BadPart(place, f"it could not be kept: {error}"[:500]))
        self.progress(self.report)

    # Files and evals

    @transaction.atomic
    def keep_file(self, file_id: str, path: Path, content: Path | None) -> None:
        if File.objects.filter(project=self.project, public_id=file_id).exists():
            self.report.known_files += 1
            return
        document = storable(find_object(path, "file", file_id) or {})
        if content is None:
            raise CannotImport("its bytes are not in the folder")
        name, purpose = text_of(document, "filename"), text_of(document, "purpose")
        file = create_file(self.project, pieces_of(content), filename=name or file_id, purpose=purpose or "evals")
        file.public_id = checked_id(file_id)
        file.created_at = time_of(document) or file.created_at
        file.save(update_fields=["public_id", "created_at"])
        self.report.files += 1

    @transaction.atomic
    def keep_eval(self, eval_id: str, path: Path) -> None:
        if Eval.objects.filter(project=self.project, public_id=eval_id).exists():
            self.report.known_evals += 1
            return
        document = storable(find_object(path, "eval", eval_id))
        if not isinstance(document, dict):
            raise CannotImport("it is not in its file any more")
        criteria = [entry for entry in listed(document.get("testing_criteria")) if isinstance(entry, dict)]
        config = document.get("data_source_config")
        item_schema, source_config = source_of(config if isinstance(config, dict) else {})
        created_at = time_of(document) or timezone.now()
        first = text_of(criteria[0], "name") if criteria else ""
        created = Eval.objects.create(
            project=self.project,
            public_id=checked_id(eval_id),
            name=(text_of(document, "name") or (f"Eval of {first}" if first else eval_id))[:200],
            item_schema=item_schema,
            source_config=source_config,
            metadata=words_of(document.get("metadata")),
            created_at=created_at,
            updated_at=created_at,
        )
        used: set[int] = set()
        for position, criterion in enumerate(criteria):
            version = self.grader_of(criterion, position, used)
            used.add(version.grader_id)
            name = text_of(criterion, "name") or version.grader.name
            EvalGrader.objects.create(
                eval=created,
                grader_version=version,
                position=position,
                criterion_id=(text_of(criterion, "id") or name)[:400],
                criterion={key: value for key, value in criterion.items() if key != "id"},
            )
        self.report.evals += 1

    def grader_of(self, criterion: Document, position: int, used: set[int]) -> GraderVersion:
        """Return the grader of a criterion: one that can run again where we have that kind, else one whose scores are only kept."""
        place = f"testing_criteria[{position}]"
        try:
            found = read_criterion(
                without_nulls(criterion), place, self.project, needs_name=False, needs_threshold=False
            )
            spec = GraderSpec(found.name, found.kind, found.config, rubric_version=found.rubric_version, door="openai")
            with transaction.atomic():
                return free_version(self.project, spec, used)
        except (BadRequest, BadConfig) as error:
            name = text_of(criterion, "name") or text_of(criterion, "type") or "criterion"
            self.report.not_runnable[f"{name} ({text_of(criterion, 'type') or 'no type'})"] = str(error)
            return self.kept_grader(name, used, criterion)

    def kept_grader(self, name: str, used: set[int], criterion: Document) -> GraderVersion:
        """Return a grader of the kind `imported` under a name that is free for it."""
        base = " ".join(name.split())[: MAX_GRADER_NAME - 20] or "criterion"
        scale = scale_of(criterion)
        threshold: Any = criterion.get("pass_threshold")
        mark = float(threshold) if is_number(threshold) else None
        for number in range(1, 1000):
            chosen = base if number == 1 else f"{base} {number}"
            taken = Grader.objects.filter(project=self.project, name=chosen).first()
            if taken is None or (taken.kind == IMPORTED and taken.pk not in used):
                return imported_grader(self.project, chosen, scale=scale, pass_threshold=mark)
        raise CannotImport(f"there are too many graders called {base!r}")

    # Runs

    def keep_run(self, entry: RunEntry) -> None:
        existing = Run.objects.filter(project=self.project, public_id=entry.run_id).first()
        if existing is not None and (existing.imported is None or existing.imported.get("is_complete")):
            self.report.known_runs += 1
            return
        document = storable(find_object(entry.path, "run", entry.run_id))
        if not isinstance(document, dict):
            raise CannotImport("it is not in its file any more")
        chosen = Eval.objects.filter(project=self.project, public_id=entry.eval_id).first()
        if chosen is None:
            raise CannotImport(f"its eval {entry.eval_id or '(not named)'} is neither in the folder nor in the project")
        run = existing or self.make_run(chosen, document, entry)
        places = self.items_by_place(run)
        results = ResultGraders(self, chosen)
        for batch in batches(self.items_of(entry), BATCH):
            with transaction.atomic():
                self.keep_items(run, batch, places, results)
            self.progress(self.report)
        self.finish(run, document)
        self.report.runs += 1

    @transaction.atomic
    def make_run(self, chosen: Eval, document: Document, entry: RunEntry) -> Run:
        """Create a run with its rows, marked as not complete: an import that was cut off goes on with it."""
        name = text_of(document, "name")
        title = f"{chosen.name}: {name}" if name else chosen.name
        revision = self.revision_of(chosen, document, entry)
        created_at = time_of(document) or timezone.now()
        comparison = Comparison.objects.create(
            project=self.project, name=title[:200], eval=chosen, dataset_revision=revision, trials=1
        )
        Comparison.objects.filter(pk=comparison.pk).update(created_at=created_at)
        data_source = document.get("data_source")
        kept: Document = {"type": "jsonl", "source": {"type": "file_content"}}
        if isinstance(data_source, dict):
            kept = dict(data_source)
        if isinstance(kept.get("source"), dict):
            kept["source"] = {key: value for key, value in kept["source"].items() if key != "content"}
        return Run.objects.create(
            project=self.project,
            public_id=checked_id(entry.run_id),
            name=name[:200],
            eval=chosen,
            comparison=comparison,
            candidate=self.candidate_of(document),
            dataset_revision=revision,
            status=RunStatus.CANCELLED,
            status_reason="This run is being imported.",
            metadata=words_of(document.get("metadata")),
            data_source=kept,
            imported={"is_complete": False},
            created_at=created_at,
            started_at=created_at,
        )

    def finish(self, run: Run, document: Document) -> None:
        """Give an imported run its own state and figures, and mark it as complete where nothing can be added to it any more."""
        status = text_of(document, "status")
        error = object_of(document, "error")
        reason = text_of(error, "message")
        if status not in STATUSES:
            reason = f"It was {status.replace('_', ' ') or 'not over'} when it was taken from where it ran."
        last = Sample.objects.filter(run=run).order_by("-finished_at").values_list("finished_at", flat=True).first()
        apart = ("data_source", "object", "id", "eval_id")
        answered: Document = {name: value for name, value in document.items() if name not in apart}
        run.status = STATUSES.get(status, RunStatus.CANCELLED)
        run.status_reason, run.error_code = reason, text_of(error, "code")[:40]
        run.finished_at = last or run.created_at
        run.imported = {"is_complete": status in STATUSES, "run": answered}
        run.save(update_fields=["status", "status_reason", "error_code", "finished_at", "imported"])

    def items_of(self, entry: RunEntry) -> Iterator[Document]:
        """Give the output items of a run in their order, ready to be kept; what is wrong with the others is listed."""
        for document in received_items(entry, self.report.add_bad):
            yield storable(document)

    def candidate_of(self, document: Document) -> Candidate:
        """Return what was asked of which model, as far as it can be asked again here."""
        data_source = without_nulls(document.get("data_source") or {})
        source = data_source.get("source") if isinstance(data_source, dict) else None
        model = text_of(document, "model") or (text_of(data_source, "model") if isinstance(data_source, dict) else "")
        spec = CandidateSpec(model=model[:200]) if model else CandidateSpec(kind=CandidateKind.GIVEN)
        try:
            if isinstance(source, dict):
                spec = read_data_source({**data_source, "source": {"content": [], **source}}).candidate
            return ensure_candidate(self.project, spec)
        except (BadRequest, BadComparison):
            plain = CandidateSpec(model=model[:200]) if model else CandidateSpec(kind=CandidateKind.GIVEN)
            return ensure_candidate(self.project, plain)

    # Rows

    def revision_of(self, chosen: Eval, document: Document, entry: RunEntry) -> DatasetRevision:
        """Return the rows of a run: those that it echoes, else those of its output items, at their places in the source."""
        places = [place_of(item) for item in received_items(entry)]
        echoed = echoed_rows(document)
        name = f"Rows of {chosen.name}"
        if echoed and max([place for place in places if place is not None], default=-1) < len(echoed):
            revision = keep_rows(self.project, lambda: echoed, name=name)
            if revision is not None:
                return revision
        if not places:
            return empty_revision(self.project)
        in_order: list[int | None] = list(range(len(places)))
        if places == in_order:
            revision = keep_rows(self.project, lambda: self.rows_of_items(document, entry), name=name)
        elif len(places) <= SORTED_IN_MEMORY and sorted(places, key=lambda place: place or 0) == in_order:
            rows = dict(zip(places, self.rows_of_items(document, entry), strict=True))
            revision = keep_rows(self.project, lambda: [rows[place] for place in in_order], name=name)
        else:
            revision = self.keep_rows_at(document, entry, name=name)
        assert revision is not None
        return revision

    def rows_of_items(self, document: Document, entry: RunEntry) -> Iterator[RowValues]:
        brings_samples = not text_of(document, "model")
        for item in received_items(entry):
            given = given_of(storable(item)) if brings_samples else None
            yield storable(item["datasource_item"]), given, None

    def keep_rows_at(self, document: Document, entry: RunEntry, *, name: str) -> DatasetRevision:
        """Keep the rows of output items that are out of order, or not all there, at their own places."""
        digest = digest_of("rows of", self.project.pk, entry.run_id)
        found = Dataset.objects.filter(project=self.project, is_implicit=True, rows_digest=digest).first()
        if found is not None:
            return found.revisions.get()
        dataset = Dataset.objects.create(
            project=self.project, slug=f"rows-{digest}", name=name[:120], is_implicit=True, rows_digest=digest
        )
        used: set[int] = set()
        count, last = 0, 0
        rows = zip(received_items(entry), self.rows_of_items(document, entry), strict=True)
        for batch in batches(rows, BATCH):
            fresh = []
            for item, (content, sample, _) in batch:
                place = place_of(item)
                if place is None or place in used:
                    continue
                used.add(place)
                last = max(last, place)
                fresh.append(row_at(dataset, place, content, sample))
            Item.objects.bulk_create(fresh)
            count += len(fresh)
        return DatasetRevision.objects.create(dataset=dataset, number=1, item_count=count)

    def items_by_place(self, run: Run) -> dict[int, int]:
        """Return the rows of a run by their place in the source."""
        rows = Item.objects.filter(dataset=run.dataset_revision.dataset)
        return dict(rows.values_list("position", "pk"))

    # Output items

    def keep_items(self, run: Run, batch: list[Document], places: dict[int, int], results: "ResultGraders") -> None:
        """Keep a batch of output items as samples, traces and scores. Those that are here already stay as they are."""
        known = dict(
            Sample.objects.filter(project=self.project, public_id__in=[item["id"] for item in batch]).values_list(
                "public_id", "run"
            )
        )
        chosen = []
        for item in batch:
            place = place_of(item)
            if known.get(item["id"]) == run.pk:
                continue
            if item["id"] in known:
                self.report.add_bad(BadPart(f"output item {item['id']}", "another run here has this id"))
            elif len(item["id"]) > 80:
                self.report.add_bad(BadPart(f"output item {item['id'][:80]}", "its id is longer than 80 characters"))
            elif place is None:
                self.report.add_bad(BadPart(f"output item {item['id']}", "its datasource_item_id is no whole number"))
            else:
                if place not in places:
                    places[place] = self.add_row(run, item, place)
                chosen.append((item, places[place]))
        samples, records = [], []
        for item, row in chosen:
            sample = sample_of(run, item, row)
            samples.append(sample)
            records += records_of(run, sample, item)
        result = ingest_spans(self.project, records, source=Source.IMPORT)
        for reason in result.rejected:
            self.report.add_bad(BadPart(f"run {run.public_id}", f"a trace was not kept: {reason}"))
        for sample in samples:
            sample.trace_id = result.trace_pks.get(trace_id_of(sample))
        Sample.objects.bulk_create(samples)
        scores = [
            score
            for sample, (item, _) in zip(samples, chosen, strict=True)
            for score in scores_of(sample, item, results.versions)
        ]
        written = write_scores(self.project, scores)
        when = Sample.objects.filter(pk=OuterRef("sample")).values("finished_at")[:1]
        Score.objects.filter(sample__in=samples).update(created_at=Subquery(when))
        self.report.items += len(samples)
        self.report.scores += written

    def add_row(self, run: Run, item: Document, place: int) -> int:
        """Add the row of an output item that came after the run was kept for the first time."""
        revision = run.dataset_revision
        brings_samples = not run.candidate.model
        row = row_at(revision.dataset, place, item["datasource_item"], given_of(item) if brings_samples else None)
        row.save()
        DatasetRevision.objects.filter(pk=revision.pk).update(item_count=revision.dataset.items.count())
        return row.pk


def received_items(entry: RunEntry, on_bad: Callable[[BadPart], None] = lambda part: None) -> Iterator[Document]:
    """Give the output items of a run as they were received, in their order and each once. Those without a row are left out."""
    seen: set[str] = set()
    for source in entry.items:
        for document in source.read(on_bad):
            if document["id"] in seen:
                continue
            seen.add(document["id"])
            if isinstance(document.get("datasource_item"), dict):
                yield document
            else:
                on_bad(BadPart(f"output item {document['id']}", "it has no datasource_item, an object"))


class ResultGraders:
    """Finds the grader of a result by the name that the result gives: a criterion's id, or its bare name in older exports."""

    def __init__(self, importer: Importer, chosen: Eval) -> None:
        self.importer = importer
        self.rows = list(EvalGrader.objects.filter(eval=chosen).select_related("grader_version__grader"))
        self.others: dict[str, GraderVersion] = {}

    def versions(self, results: list[Document]) -> list[GraderVersion]:
        """Return a grader for each result of an output item; two of one name are told apart by their order."""
        left = list(self.rows)
        found = []
        for result in results:
            name = text_of(result, "name")
            row = next((row for row in left if row.criterion_id == name), None) or next(
                (row for row in left if is_name_of(row, name)), None
            )
            if row is not None:
                left.remove(row)
                found.append(row.grader_version)
                continue
            if name not in self.others:
                used = {other.grader_id for other in self.others.values()}
                used |= {row.grader_version.grader_id for row in self.rows}
                self.others[name] = self.importer.kept_grader(name or "criterion", used, {})
                self.importer.report.not_runnable[name or "criterion"] = (
                    "no testing criterion of the eval has this name"
                )
            found.append(self.others[name])
        return found


def is_name_of(row: EvalGrader, name: str) -> bool:
    own = text_of(row.criterion or {}, "name")
    return bool(own) and (name == own or name.startswith(f"{own}-"))
