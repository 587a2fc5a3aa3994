"""Graders as rows of a form, and as settings: the one made from the other, both ways. Pure.

A row is plain values by field name, typed in or checked. A formula names other rows of the same form; they go into its settings.
"""

import re
from dataclasses import dataclass, field
from typing import Any

from evals.formula import BadFormula, parse_formula
from evals.graders.base import BadConfig

Row = dict[str, Any]

CODE_EXAMPLE = """def grade(sample, item):
    answer = sample["output_text"].lower()
    return 1.0 if "refund" in answer else 0.0
"""
INSTRUCTIONS = "You grade answers of a support agent."
SCORE_PROMPT = """Give a score from 0 (wrong) to 1 (right and complete).

Question: {{ item.input }}
Good answer: {{ item.reference }}
Answer to grade: {{ sample.output_text }}"""
LABEL_PROMPT = """Is the answer right? Choose one label.

Question: {{ item.input }}
Good answer: {{ item.reference }}
Answer to grade: {{ sample.output_text }}"""
TEXTS = {"input": "{{ sample.output_text }}", "reference": "{{ item.reference }}"}


@dataclass(frozen=True)
class Kind:
    """One kind of grader in the form: its name, the words of the button, what it does, its fields line by line, and what a new row has."""

    title: str
    add: str
    about: str
    lines: tuple[tuple[str, ...], ...]
    start: Row = field(default_factory=dict)
    fields: dict[str, str] = field(default_factory=dict)  # the field where a setting of another name is typed
    asks_judge: bool = False


JUDGE_FIELDS = {"model": "judge_model", "input": "prompt", "range": "range_low", "sampling_params": "judge_temperature"}
KINDS: dict[str, Kind] = {
    "rubric": Kind(
        "Rubric",
        "Add a rubric",
        "A judge marks the answer by a published rubric, criterion by criterion, and quotes what decides.",
        (("rubric_version", "judge_model"),),
        fields={"judge": "judge_model"},
        asks_judge=True,
    ),
    "string_check": Kind(
        "String check",
        "Add a string check",
        "Compares two texts as they are. It gives 1 or 0.",
        (("input", "operation", "reference"),),
        {"operation": "ilike", **TEXTS},
    ),
    "text_similarity": Kind(
        "Text similarity",
        "Add text similarity",
        "Says how alike two texts are, from 0 to 1, by letters, by words, or by the vectors of an embedding model.",
        (("input", "metric", "reference"), ("pass_threshold", "embedding_model")),
        {"metric": "fuzzy_match", "pass_threshold": 0.8, **TEXTS},
        fields={"evaluation_metric": "metric"},
    ),
    "python": Kind(
        "Code",
        "Add code",
        "A function of yours gives the score, in a sandbox without network or files.",
        (("source",), ("pass_threshold",)),
        {"source": CODE_EXAMPLE, "pass_threshold": 0.5},
    ),
    "score_model": Kind(
        "Score by a model",
        "Add a score by a model",
        "A judge reads your prompt and gives a number. A rubric is firmer: it says what each number means.",
        (
            ("judge_model", "judge_temperature"),
            ("instructions",),
            ("prompt",),
            ("range_low", "range_high", "pass_threshold"),
        ),
        {"instructions": INSTRUCTIONS, "prompt": SCORE_PROMPT, "range_low": 0, "range_high": 1, "pass_threshold": 0.5},
        fields=JUDGE_FIELDS,
        asks_judge=True,
    ),
    "label_model": Kind(
        "Label by a model",
        "Add a label by a model",
        "A judge reads your prompt and chooses one of your labels. It gives 1 for those that pass, 0 for the others.",
        (("judge_model", "judge_temperature"), ("instructions",), ("prompt",), ("labels", "passing_labels")),
        {
            "instructions": INSTRUCTIONS,
            "prompt": LABEL_PROMPT,
            "labels": "right\npartly\nwrong",
            "passing_labels": "right",
        },
        fields=JUDGE_FIELDS,
        asks_judge=True,
    ),
    "multi": Kind(
        "Formula",
        "Add a formula",
        "Makes one score of other graders on this page, which it names. Knows + - * / ^, min, max, abs, floor, ceil, exp, sqrt and log.",
        (("formula",), ("pass_threshold",)),
        {"pass_threshold": 0.5},
        fields={"calculate_output": "formula", "graders": "formula"},
    ),
}
WITHIN_FORMULA = ("string_check", "text_similarity", "python", "score_model", "label_model")
OPERATIONS = {
    "eq": "is exactly",
    "ne": "is not",
    "like": "contains",
    "ilike": "contains, in any case",
    "starts_with": "starts with",
    "regex": "matches the pattern",
}
METRICS = {
    "fuzzy_match": "Letters: fuzzy match",
    "bleu": "Words in order: BLEU",
    "gleu": "Words in order: GLEU",
    "meteor": "Words and stems: METEOR",
    "rouge_1": "Words shared: ROUGE-1",
    "rouge_2": "Pairs shared: ROUGE-2",
    "rouge_3": "Runs of 3 shared: ROUGE-3",
    "rouge_4": "Runs of 4 shared: ROUGE-4",
    "rouge_5": "Runs of 5 shared: ROUGE-5",
    "rouge_l": "Longest shared order: ROUGE-L",
    "cosine": "Meaning: cosine of embeddings",
}
CHECK_NAMES = {
    "eq": "Exact match",
    "ne": "Differs",
    "like": "Contains",
    "ilike": "Contains, any case",
    "starts_with": "Starts with",
    "regex": "Matches a pattern",
}


def field_of(kind: str, param: str) -> str:
    """Return the field of the form where a setting is typed, for an error about it; empty where none is it alone."""
    name = re.split(r"[.\[]", param, maxsplit=1)[0]
    known = KINDS.get(kind)
    if known is None:
        return ""
    name = known.fields.get(name, name)
    return name if name == "name" or any(name in line for line in known.lines) else ""


def default_name(row: Row) -> str:
    """Return the name of a grader that was given none."""
    kind = row.get("kind")
    if kind == "string_check":
        return CHECK_NAMES.get(str(row.get("operation")), "String check")
    if kind == "text_similarity":
        return METRICS.get(str(row.get("metric")), "Text similarity").partition(": ")[2] or "Text similarity"
    known = KINDS.get(str(kind))
    return known.title if known else "Grader"


def names_of(
    rows: list[Row], *, taken: dict[str, str] | None = None, rubrics: dict[int, str] | None = None
) -> list[str]:
    """Return the name of each row: the one typed, else one made from its settings that no other row has.

    `taken` are names of graders that exist, with their kind: a made name is never that of another kind. `rubrics` are names by version.
    """
    typed = {str(row.get("name") or "").strip() for row in rows}
    names: list[str] = []
    for row in rows:
        name = str(row.get("name") or "").strip()
        if not name:
            base = (rubrics or {}).get(whole(row.get("rubric_version")) or 0, "") or default_name(row)
            made, number = base, 1
            while made in typed or made in names or (taken or {}).get(made, row.get("kind")) != row.get("kind"):
                number += 1
                made = f"{base} {number}"
            name = made
        names.append(name)
    return names


def variable_of(name: str) -> str:
    """Return a grader's name as a formula writes it: `Exact match` is exact_match."""
    text = re.sub(r"\W+", "_", name.strip().lower()).strip("_")
    return f"_{text}" if text[:1].isdigit() else text


def variables_of(rows: list[Row], names: list[str]) -> dict[str, int]:
    """Return what a formula on this page may name, each with the place of its row."""
    found: dict[str, int] = {}
    for place, (row, name) in enumerate(zip(rows, names, strict=True)):
        variable = variable_of(name)
        if row.get("kind") in WITHIN_FORMULA and variable:
            found.setdefault(variable, place)
    return found


def named_by(row: Row) -> tuple[str, ...]:
    """Return the names in a row's formula; nothing where it cannot be read or the row has none."""
    if row.get("kind") != "multi":
        return ()
    try:
        return parse_formula(str(row.get("formula") or "")).names
    except BadFormula:
        return ()


def config_of(rows: list[Row], place: int, names: list[str]) -> dict[str, Any]:
    """Return the settings of the grader in a row, unchecked but for a formula that names what is not there. Raises BadConfig."""
    row = rows[place]
    kind = row.get("kind")
    if kind == "rubric":
        return {"judge": words(row, "judge_model")}
    if kind == "string_check":
        return {name: row.get(name) or "" for name in ("input", "reference", "operation")}
    threshold = number(row.get("pass_threshold"))
    if kind == "text_similarity":
        model = {"embedding_model": words(row, "embedding_model")} if words(row, "embedding_model") else {}
        texts = {name: row.get(name) or "" for name in ("input", "reference")}
        if threshold is None:
            raise BadConfig("Say from which score it passes.", param="pass_threshold")
        return {**texts, "evaluation_metric": row.get("metric"), "pass_threshold": threshold, **model}
    if kind == "python":
        return {"source": row.get("source") or "", "pass_threshold": threshold}
    if kind in ("score_model", "label_model"):
        return judge_config(row, threshold)
    variables = variables_of(rows, names)
    try:
        formula = parse_formula(str(row.get("formula") or ""))
    except BadFormula as error:
        raise BadConfig(str(error), param="calculate_output") from None
    unknown = [name for name in formula.names if name not in variables]
    if unknown or not formula.names:
        there = f"it can name {', '.join(variables)}" if variables else "add some first; a rubric cannot be one of them"
        said = f"The formula names {unknown[0]!r}" if unknown else "The formula names no grader"
        raise BadConfig(f"{said}; of the graders on this page {there}.", param="calculate_output")
    graders = [
        {"name": name, "type": rows[variables[name]]["kind"], **config_of(rows, variables[name], names)}
        for name in formula.names
    ]
    return {"graders": graders, "calculate_output": formula.text, "pass_threshold": threshold}


def judge_config(row: Row, threshold: float | None) -> dict[str, Any]:
    """Return the settings of a score or label by a model."""
    texts = (("system", row.get("instructions")), ("user", row.get("prompt")))
    config: dict[str, Any] = {
        "model": words(row, "judge_model"),
        "input": [{"role": role, "content": text} for role, text in texts if str(text or "").strip()],
    }
    temperature = number(row.get("judge_temperature"))
    if temperature is not None:
        config["sampling_params"] = {"temperature": temperature}
    if row.get("kind") == "score_model":
        low, high = number(row.get("range_low")), number(row.get("range_high"))
        return {
            **config,
            "range": [0.0 if low is None else low, 1.0 if high is None else high],
            "pass_threshold": threshold,
        }
    return {**config, "labels": lines_of(row.get("labels")), "passing_labels": lines_of(row.get("passing_labels"))}


def rows_from(kind: str, name: str, config: dict[str, Any]) -> list[Row]:
    """Return the rows of a grader with these settings: one, or for a formula its parts and itself."""
    row: Row = {"kind": kind, "name": name, "pass_threshold": config.get("pass_threshold")}
    if kind == "rubric":
        return [row | {"judge_model": config.get("judge", "")}]
    if kind == "multi":
        parts = [
            {**part, "is_part": True}
            for settings in config.get("graders", [])
            for part in rows_from(settings["type"], settings["name"], settings)
        ]
        return [*parts, row | {"formula": config.get("calculate_output", "")}]
    if kind in ("score_model", "label_model"):
        row |= {"judge_model": config.get("model", ""), **prompts_from(config.get("input") or [])}
        row["judge_temperature"] = (config.get("sampling_params") or {}).get("temperature")
        low, high = config.get("range") or (None, None)
        row |= {"range_low": low, "range_high": high}
        row |= {key: "\n".join(config.get(key) or []) for key in ("labels", "passing_labels")}
        return [row]
    if kind == "text_similarity":
        row |= {"metric": config.get("evaluation_metric"), "embedding_model": config.get("embedding_model", "")}
    return [row | {key: config.get(key, "") for key in ("input", "reference", "source", "operation") if key in config}]


def prompts_from(messages: list[Any]) -> Row:
    """Return messages as the two texts of the form; several of one side are joined, and parts that are no text are left out."""
    texts: dict[str, list[str]] = {"instructions": [], "prompt": []}
    for message in messages:
        content = message.get("content")
        for part in content if isinstance(content, list) else [content]:
            text = part.get("text") if isinstance(part, dict) else part
            if isinstance(text, str):
                texts["instructions" if message.get("role") in ("system", "developer") else "prompt"].append(text)
    return {name: "\n\n".join(parts) for name, parts in texts.items()}


def words(row: Row, name: str) -> str:
    return str(row.get(name) or "").strip()


def lines_of(text: Any) -> list[str]:
    """Return the lines of a text that say something."""
    return [line.strip() for line in str(text or "").splitlines() if line.strip()]


def number(value: Any) -> float | None:
    """Return a typed number, or None for anything else."""
    try:
        found = float(value)
    except (TypeError, ValueError):
        return None
    return found if abs(found) < 1e300 else None


def whole(value: Any) -> int | None:
    text = str(value if value is not None else "").strip()
    return int(text) if text.isdecimal() and len(text) < 18 else None
