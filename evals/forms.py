"""Forms of datasets and comparisons: what was typed, checked, as plain values for the services."""

import json
from typing import Any

from django import forms
from django.forms.formsets import formset_factory

from accounts.models import Project
from evals.grader_rows import CODE_EXAMPLE, KINDS, METRICS, OPERATIONS
from evals.item_lines import MAX_BUCKET, MAX_KEY, ItemLines, check_values, read_item_lines
from evals.models import CandidateKind, Dataset
from evals.overview_words import count
from evals.queries.dataset_pages import revision_choices
from rubrics.models import RubricVersion

MAX_FILE_BYTES = 32 * 1024 * 1024
MAX_SHOWN_AGAIN = 1024 * 1024  # characters of an uploaded file that are put into the text field when lines are wrong
MAX_CANDIDATES = 26
MAX_GRADERS = 20


def clean_text(text: str) -> str:
    """Take out NUL, which no database keeps in text."""
    return text.replace("\x00", "")


class LinesField(forms.CharField):
    """A large text field whose spaces are kept and whose line ends are single."""

    widget = forms.Textarea(attrs={"rows": 10, "spellcheck": "false", "class": "mono"})

    def __init__(self, **options: Any) -> None:
        super().__init__(strip=False, **options)

    def to_python(self, value: Any) -> str:
        return (super().to_python(value) or "").replace("\r\n", "\n")


# Datasets --------------------------------------------------------------------------------------------------------


class ItemLinesForm(forms.Form):
    """Items from a file or pasted, one JSON object a line. After `is_valid`, `lines` says which are good and which wrong."""

    file = forms.FileField(
        required=False,
        label="File",
        help_text="JSONL, one object a line, up to 32 MB.",
        widget=forms.FileInput(attrs={"accept": ".jsonl,.json,.ndjson,.txt"}),
    )
    text = LinesField(
        required=False,
        label="Or paste the lines",
        help_text='For example {"input": "Where is my order?", "reference": "Say when it ships.", "key": "order-1", "bucket": "Orders"}',
    )
    keep_good = forms.BooleanField(required=False, label="Leave out the wrong lines and keep the good ones")
    lines: ItemLines | None = None
    shown_again: str = ""

    @property
    def all_lines(self) -> int:
        return len(self.lines.items) + self.lines.wrong_count if self.lines else 0

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        text = data.get("text") or ""
        file = data.get("file")
        if file is not None:
            if file.size > MAX_FILE_BYTES:
                self.add_error(
                    "file", f"The file has {file.size / 1024 / 1024:.1f} MB; at most 32 MB are taken at once."
                )
                return data
            try:
                text = file.read().decode("utf-8")
            except UnicodeDecodeError as error:
                self.add_error(
                    "file", f"The file is not UTF-8 text: byte {error.start:,} cannot be read. Save it as UTF-8."
                )
                return data
        if not text.strip():
            if not self.errors:
                self.add_error("text", "Choose a file or paste at least one line.")
            return data
        self.lines = read_item_lines(text)
        self.shown_again = text if len(text) <= MAX_SHOWN_AGAIN else ""
        if not self.lines.items:
            self.add_error("text", "No line can be used; the reasons are listed below.")
        elif self.lines.wrong_count and not data.get("keep_good"):
            wrong = self.lines.wrong_count
            said = "1 line is" if wrong == 1 else f"{wrong:,} lines are"
            self.add_error(
                "text", f"{said} wrong. Correct them, or keep only the {len(self.lines.items):,} good lines."
            )
        return data


class DatasetForm(ItemLinesForm):
    """A new dataset."""

    field_order = ["name", "description", "file", "text", "keep_good"]
    name = forms.CharField(max_length=120, label="Name", help_text="For example: Refund requests, hard cases")
    description = forms.CharField(
        required=False, max_length=2000, label="What it is for", widget=forms.Textarea(attrs={"rows": 2})
    )


class ItemForm(forms.Form):
    """One item. `content` is the JSON object that templates see as `item`."""

    key = forms.CharField(
        max_length=MAX_KEY,
        required=False,
        label="Key",
        help_text="Stays the same across revisions. Left empty, one is made.",
    )
    bucket = forms.CharField(
        max_length=MAX_BUCKET, required=False, label="Bucket", help_text="A topic or kind, to filter by."
    )
    content = LinesField(
        label="Content",
        help_text='A JSON object with an "input" or "messages"; "reference" is what a good answer holds.',
    )

    def clean_content(self) -> dict[str, Any]:
        text = self.cleaned_data["content"]
        try:
            value = json.loads(text)
            check_values(value)
        except json.JSONDecodeError as error:
            raise forms.ValidationError(
                f"Not JSON: {error.msg}, line {error.lineno}, character {error.colno}."
            ) from None
        except RecursionError:
            raise forms.ValidationError("Nested too deep.") from None
        except ValueError as error:
            raise forms.ValidationError(f"Cannot be kept: {error}.") from None
        if not isinstance(value, dict) or not value:
            raise forms.ValidationError('An object such as {"input": "…"} is needed.')
        return value


class FromTracesForm(forms.Form):
    """Where selected traces go: a new dataset or one that exists."""

    dataset = forms.ModelChoiceField(
        Dataset.objects.none(), required=False, to_field_name="slug", label="Dataset", empty_label="A new dataset"
    )
    name = forms.CharField(max_length=120, required=False, label="Name of the new dataset")
    take = forms.ChoiceField(
        choices=[
            ("first", "The first request, with what was answered to it as reference"),
            ("whole", "The whole conversation, with its last answer as reference"),
        ],
        required=False,
        initial="first",
        label="What an item takes",
        help_text="What is recorded can stand beside models too: it is marked as a whole run, and never against this reference, "
        "which is its own answer.",
    )

    def __init__(self, project: Project, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        datasets = Dataset.objects.filter(project=project, is_implicit=False)
        self.fields["dataset"].queryset = datasets.order_by("name")  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if not data.get("dataset") and not (data.get("name") or "").strip() and "dataset" not in self.errors:
            self.add_error("name", "Give the new dataset a name, or choose one that exists.")
        return data


# Comparisons -----------------------------------------------------------------------------------------------------


class ComparisonForm(forms.Form):
    """What a comparison is over, and how much of it."""

    name = forms.CharField(max_length=200, label="Name", help_text="For example: Reply model, June")
    revision = forms.TypedChoiceField(label="Dataset", coerce=int, choices=[])
    trials = forms.IntegerField(
        min_value=1,
        max_value=50,
        initial=1,
        label="Trials",
        help_text="Up to 50 attempts at each item; 2 or more also show reliability.",
    )
    ceiling_usd = forms.FloatField(
        min_value=0.0001,
        max_value=1_000_000,
        required=False,
        label="Stop at, US dollars",
        help_text="No call is started beyond it. Empty: no limit.",
    )

    def __init__(self, project: Project, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.revisions = {revision.pk: revision for revision in revision_choices(project)}
        field = self.fields["revision"]
        field.choices = [  # type: ignore[attr-defined]
            (
                pk,
                f"{revision.dataset.name}, revision {revision.number} ({count(revision.item_count, 'item')})",
            )
            for pk, revision in self.revisions.items()
        ]


class CandidateForm(forms.Form):
    """One candidate row. Which fields count depends on `kind`."""

    kind = forms.ChoiceField(choices=CandidateKind.choices, widget=forms.HiddenInput)
    label = forms.CharField(max_length=120, required=False, label="Label", help_text="Left empty: the model's name.")
    model = forms.CharField(
        max_length=200,
        required=False,
        label="Model",
        widget=forms.TextInput(attrs={"list": "models", "autocomplete": "off"}),
    )
    system_prompt = LinesField(
        required=False,
        label="System prompt",
        help_text="{{ item.x }} puts in a value of the item.",
        widget=forms.Textarea(attrs={"rows": 3}),
    )
    user_template = LinesField(
        required=False,
        label="User message",
        help_text="Empty: the item's messages, else its input.",
        widget=forms.Textarea(attrs={"rows": 2}),
    )
    temperature = forms.FloatField(min_value=0, max_value=2, required=False, label="Temperature")
    top_p = forms.FloatField(min_value=0, max_value=1, required=False, label="Top p")
    max_tokens = forms.IntegerField(min_value=1, max_value=1_000_000, required=False, label="Most tokens")
    seed = forms.IntegerField(min_value=-(2**53), max_value=2**53, required=False, label="Seed")

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if data.get("kind") == CandidateKind.MODEL and not (data.get("model") or "").strip():
            self.add_error("model", "Name a model.")
        for name in ("label", "system_prompt", "user_template"):
            data[name] = clean_text(data.get(name) or "")
        return data

    def sampling(self) -> dict[str, Any]:
        """Return the sampling parameters that were given."""
        names = ("temperature", "top_p", "max_tokens", "seed")
        return {name: self.cleaned_data[name] for name in names if self.cleaned_data.get(name) is not None}


class GraderForm(forms.Form):
    """One grader row. Which fields count depends on `kind`; `evals.grader_rows` makes its settings."""

    kind = forms.ChoiceField(choices=[(kind, about.title) for kind, about in KINDS.items()], widget=forms.HiddenInput)
    name = forms.CharField(
        max_length=120, required=False, label="Name", help_text="Left empty, one is made from the settings."
    )
    is_gate = forms.BooleanField(required=False, label="Gate: where it fails, no judge is asked")
    is_part = forms.BooleanField(required=False, label="Only a part of the formula, with no score of its own")
    rubric_version = forms.TypedChoiceField(choices=[], coerce=int, required=False, empty_value=None, label="Rubric")
    judge_model = forms.CharField(
        max_length=200,
        required=False,
        label="Judge",
        widget=forms.TextInput(attrs={"list": "models", "autocomplete": "off"}),
    )
    judge_temperature = forms.FloatField(
        min_value=0, max_value=2, required=False, label="Temperature", help_text="Empty: 0, where the judge takes it."
    )
    instructions = LinesField(
        required=False, label="Instructions to the judge", widget=forms.Textarea(attrs={"rows": 2})
    )
    prompt = LinesField(
        required=False,
        label="What it is asked",
        help_text="{{ item.x }} and {{ sample.output_text }} put in values.",
        widget=forms.Textarea(attrs={"rows": 6}),
    )
    range_low = forms.FloatField(required=False, label="Lowest score")
    range_high = forms.FloatField(required=False, label="Highest score")
    labels = LinesField(
        required=False, label="Labels, one a line", widget=forms.Textarea(attrs={"rows": 4, "spellcheck": "false"})
    )
    passing_labels = LinesField(
        required=False,
        label="Labels that pass, one a line",
        widget=forms.Textarea(attrs={"rows": 4, "spellcheck": "false"}),
    )
    operation = forms.ChoiceField(choices=list(OPERATIONS.items()), required=False, label="Passes when the text")
    metric = forms.ChoiceField(choices=list(METRICS.items()), required=False, label="Measure")
    embedding_model = forms.CharField(
        max_length=200,
        required=False,
        label="Embedding model",
        help_text="For cosine only. Empty: the one of this server's settings.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )
    input = forms.CharField(max_length=2000, required=False, label="Text", initial="{{ sample.output_text }}")
    reference = forms.CharField(
        max_length=20_000, required=False, label="Compared with", initial="{{ item.reference }}"
    )
    source = LinesField(
        required=False, label="Code", initial=CODE_EXAMPLE, help_text="Runs in a sandbox without network or files."
    )
    formula = forms.CharField(
        max_length=2000,
        required=False,
        label="Formula",
        widget=forms.TextInput(attrs={"class": "mono", "autocomplete": "off", "spellcheck": "false"}),
    )
    pass_threshold = forms.FloatField(
        required=False, label="Passes from", help_text="A score at or above it passes.", initial=0.5
    )

    def __init__(self, *arguments: Any, versions: list[RubricVersion], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.versions = {version.pk: version for version in versions}
        self.fields["rubric_version"].choices = [  # type: ignore[attr-defined]
            (version.pk, f"{version.rubric.name} v{version.number}") for version in versions
        ]

    @property
    def shown_lines(self) -> list[list[forms.BoundField]]:
        """Return the fields of the row's kind, line by line."""
        kind = KINDS.get(str(self["kind"].value() or ""))
        return [[self[name] for name in line] for line in kind.lines] if kind else []

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        kind = KINDS.get(data.get("kind") or "")
        if kind is None:
            return data
        for name in ("input", "reference", "source", "instructions", "prompt", "labels", "passing_labels", "name"):
            data[name] = clean_text(data.get(name) or "")
        if data["kind"] == "rubric" and not data.get("rubric_version") and "rubric_version" not in self.errors:
            self.add_error("rubric_version", "Choose a published version of a rubric.")
        if kind.asks_judge and not (data.get("judge_model") or "").strip():
            self.add_error("judge_model", "Name the model that judges.")
        for name in ("input", "reference"):
            is_shown = any(name in line for line in kind.lines)
            if is_shown and not data.get(name) and name not in self.errors:
                self.add_error(name, "Write a text or a template such as {{ item.reference }}.")
        if "prompt" in kind.fields.values() and not data["prompt"].strip():
            self.add_error("prompt", "Write what the judge is asked about an answer.")
        if data["kind"] == "python" and "def grade" not in data["source"]:
            self.add_error("source", "Define grade(sample, item), which returns a number.")
        return data


CandidateFormSet = formset_factory(
    CandidateForm,
    extra=0,
    min_num=1,
    max_num=MAX_CANDIDATES,
    absolute_max=MAX_CANDIDATES,
    validate_min=True,
    validate_max=True,
)
GraderFormSet = formset_factory(
    GraderForm, extra=0, min_num=0, max_num=MAX_GRADERS, absolute_max=MAX_GRADERS, validate_max=True
)
