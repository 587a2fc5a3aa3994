"""Run an eval again with other models, print the table and the failing cases, and say by the exit code whether it passed."""

import asyncio
import json
import sys
import time
from argparse import ArgumentParser, ArgumentTypeError
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts.models import Project
from evals import services
from evals.api import report_document
from evals.gate import CANNOT_TELL, GateResult, judge_gate
from evals.graders import BadConfig
from evals.models import CandidateKind, Comparison, Eval
from evals.queries.datasets import latest_revision
from evals.queries.gate import gate_outcomes
from evals.queries.matrix import FailingCase, failing_cases
from evals.queries.progress import comparison_progress
from evals.queries.report import ComparisonReport, comparison_report
from evals.services import BadComparison, CandidateSpec
from evals.workers import worker_name
from providers.registry import shown_model

SHOWN_CASES = 50
ALL_CASES = 1_000_000
WAIT_S = 0.5


def share(text: str) -> float:
    """Read a pass rate: 0.9 or 90%."""
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise ArgumentTypeError(f"{text!r} is not a share from 0 to 1, such as 0.9 or 90%")
    return value


class Command(BaseCommand):
    help = (
        "Run the eval or comparison NAME over its dataset's newest revision. Exits 0 above the floor, 1 below it, 2 when it could not "
        "tell. Nothing run, or nothing graded, is never a pass."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", help="name or number of a comparison, or name of an eval")
        parser.add_argument(
            "--model", action="append", default=[], help="a candidate; repeat for more. Without it: those of NAME"
        )
        parser.add_argument("--trials", type=int, help="attempts at each item (default: as in NAME)")
        parser.add_argument(
            "--min-pass-rate", type=share, help="the floor, such as 0.9 or 90%%: every candidate must reach it"
        )
        parser.add_argument("--ceiling-usd", type=float, help="stop when the calls have cost this much")
        parser.add_argument("--json", action="store_true", help="print one JSON object in place of the table")
        parser.add_argument("--project", default="", help="slug (default: `default`, or the only project)")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            result = self.run_and_print(options)
        except KeyboardInterrupt:
            raise CommandError("Stopped by hand; the comparison is cancelled.", returncode=CANNOT_TELL) from None
        except (BadComparison, BadConfig) as error:
            raise CommandError(str(error), returncode=CANNOT_TELL) from None
        except CommandError:
            raise
        except Exception as error:
            # A crash must never read as "below the floor".
            import traceback

            traceback.print_exc()
            raise CommandError(f"Could not tell: {error}", returncode=CANNOT_TELL) from None
        if result.code:
            sys.exit(result.code)

    def run_and_print(self, options: dict[str, Any]) -> GateResult:
        project = find_project(options["project"])
        model_comparison = find_model(project, options["name"])
        revision = latest_revision(model_comparison.dataset_revision.dataset) or model_comparison.dataset_revision
        comparison = services.create_comparison(
            project,
            name=f"{model_comparison.name.removesuffix(' (command)')} (command)"[:200],
            revision=revision,
            candidates=candidates_for(model_comparison, options["model"]),
            eval=model_comparison.eval,
            trials=model_comparison.trials if options["trials"] is None else options["trials"],
            ceiling_usd=model_comparison.ceiling_usd if options["ceiling_usd"] is None else options["ceiling_usd"],
        )
        try:
            asyncio.run(pump_all([run.pk for run in comparison.runs.all()]))
            self.wait(comparison)
        except KeyboardInterrupt:
            services.cancel_comparison(comparison)
            raise
        comparison.refresh_from_db()
        report = comparison_report(comparison)
        outcomes = gate_outcomes(comparison)
        result = judge_gate(outcomes, options["min_pass_rate"])
        if not report.is_final:
            reasons = [entry.run.status_reason for entry in report.candidates if entry.run.status_reason]
            result = GateResult(
                CANNOT_TELL, f"Could not tell: {comparison.stop_reason or ' '.join(reasons) or 'it did not finish.'}"
            )
        cases = failing_cases(comparison, limit=ALL_CASES if options["json"] else SHOWN_CASES)
        if options["json"]:
            self.stdout.write(json.dumps(document(report, result, cases, outcomes), ensure_ascii=False, indent=2))
        else:
            self.stdout.write("\n".join(lines_of(report, result, cases, outcomes)))
        return result

    def wait(self, comparison: Comparison) -> None:
        """Wait while a worker elsewhere still holds samples of it; take over what it drops."""
        while True:
            progress = comparison_progress(comparison)
            if not progress.is_active:
                return
            active = [row.run.pk for row in progress.runs if row.run.status in ("queued", "running")]
            time.sleep(WAIT_S)
            asyncio.run(pump_all(active))


async def pump_all(runs: list[int]) -> None:
    """Pump all runs side by side in this process."""
    await asyncio.gather(*(services.pump_run(pk, worker=worker_name()) for pk in runs))


def find_project(slug: str) -> Project:
    """Return the project by slug; without one `default`, or the only one."""
    projects = Project.objects.all()
    found = projects.filter(slug=slug or "default").first()
    if found is None and not slug and projects.count() == 1:
        found = projects.get()
    if found is None:
        known = ", ".join(projects.order_by("slug").values_list("slug", flat=True)[:20]) or "none yet"
        raise CommandError(f"There is no project {slug or 'default'!r}; there are: {known}.", returncode=CANNOT_TELL)
    return found


def find_model(project: Project, name: str) -> Comparison:
    """Return the newest comparison of this name or number, else the newest one of the eval of this name."""
    rows = (
        Comparison.objects.filter(project=project).select_related("dataset_revision__dataset", "eval").order_by("-pk")
    )
    found = rows.filter(name=name).first() or rows.filter(eval__name=name).first()
    if found is None and name.isascii() and name.isdecimal() and len(name) < 18:
        found = rows.filter(pk=int(name)).first()
    if found is None and Eval.objects.filter(project=project, name=name).exists():
        raise CommandError(
            f"The eval {name!r} has no comparison yet, so its dataset is not known; make one first.",
            returncode=CANNOT_TELL,
        )
    if found is None:
        known = ", ".join(repr(row.name) for row in rows[:10]) or "none yet"
        raise CommandError(
            f"There is no comparison or eval {name!r} in {project.slug}; there are: {known}.", returncode=CANNOT_TELL
        )
    return found


def candidates_for(comparison: Comparison, models: list[str]) -> list[CandidateSpec]:
    """Return the candidates: the given models with the prompt and sampling of the first model of the comparison, else its own."""
    earlier = [run.candidate for run in comparison.runs.select_related("candidate").order_by("position", "pk")]
    if not models:
        return [
            CandidateSpec(
                model=row.model,
                kind=row.kind,
                label=row.label,
                system_prompt=row.system_prompt,
                user_template=row.user_template,
                sampling=row.sampling,
                input_messages=row.input_messages,
            )
            for row in earlier
        ]
    first = next((row for row in earlier if row.kind == CandidateKind.MODEL), None)
    return [
        CandidateSpec(
            model=model,
            system_prompt=first.system_prompt if first else "",
            user_template=first.user_template if first else "",
            sampling=first.sampling if first else {},
            input_messages=first.input_messages if first else {},
        )
        for model in models
    ]


def document(
    report: ComparisonReport, result: GateResult, cases: list[FailingCase], outcomes: list[Any]
) -> dict[str, Any]:
    """Return everything as one JSON object."""
    gate = {
        "exit_code": result.code,
        "reason": result.reason,
        "candidates": [
            {
                "label": entry.label,
                "passed": entry.passed,
                "failed": entry.failed,
                "unknown": entry.unknown,
                "pass_rate": entry.rate,
            }
            for entry in outcomes
        ],
    }
    return {**report_document(report), "gate": gate, "failing": [vars(case) for case in cases]}


def lines_of(report: ComparisonReport, result: GateResult, cases: list[FailingCase], outcomes: list[Any]) -> list[str]:
    """Return the table, the verdict and the failing cases as lines of text."""
    lines = [
        f"{report.comparison.name}: {report.dataset_name} revision {report.revision}, {report.item_count} items × {report.trials} trials",
        "",
    ]
    header = ["", "candidate", "passed", *(head.name for head in report.graders), "failed", "p50 s", "p95 s", "cost $"]
    rows = [header]
    for candidate, outcome in zip(report.candidates, outcomes, strict=True):
        rate = "–" if outcome.rate is None else f"{outcome.rate:.0%}"
        means = ["–" if entry.mean is None else f"{entry.mean:.2f} ({entry.n})" for entry in candidate.graders]
        rows.append(
            [
                candidate.letter,
                shown_model(candidate.label, candidate.answered_by) + (" (scripted)" if candidate.is_scripted else ""),
                f"{outcome.passed}/{outcome.total} {rate}",
                *means,
                str(candidate.samples.failed),
                in_seconds(candidate.p50_ms),
                in_seconds(candidate.p95_ms),
                "–" if candidate.cost_usd is None else f"{candidate.cost_usd:.4f}",
            ]
        )
    widths = [max(len(row[place]) for row in rows) for place in range(len(header))]
    lines += ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines += ["", report.verdict.text, *(f"Note: {warning}" for warning in report.warnings)]
    if cases:
        lines += ["", "Did not pass:"]
        for case in cases:
            reason = " ".join((case.reason or "no reason given").split())
            lines.append(f"  {case.letter} {case.item_key} #{case.trial}  {case.grader}: {reason[:300]}")
        if len(cases) == SHOWN_CASES:
            lines.append(f"  … only the first {SHOWN_CASES} are shown; --json or the comparison's page has them all")
    return [*lines, "", result.reason]


def in_seconds(ms: float | None) -> str:
    return "–" if ms is None else f"{ms / 1000:.2f}"
