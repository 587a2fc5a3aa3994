"""Data sources of runs: which rows, and what is asked of which model. Pure: rows are fetched by the caller."""

from dataclasses import dataclass, field
from typing import Any

from evals.models import CandidateKind
from evals.openai_api.criteria import answered_messages
from evals.openai_api.reading import (
    BadRequest,
    one_of,
    optional_object,
    read_metadata,
    required_object,
    required_words,
)
from evals.services.comparisons import CandidateSpec

SOURCES = {
    "jsonl": ("file_content", "file_id", "traces"),
    "completions": ("file_content", "file_id", "stored_completions", "logs"),
    "responses": ("file_content", "file_id", "responses", "logs"),
}
FILES = ("file_content", "file_id")
ROLES = ("system", "developer", "user", "assistant", "tool")
PARTS = ("input_text", "output_text", "text", "input_image", "image_url", "input_audio", "file")
NUMBERS = {"temperature": (0, 2), "top_p": (0, 1)}
MAX_LOG_ROWS = 100_000


@dataclass(frozen=True)
class LogFilters:
    """Which recorded requests (or traces) become rows. Times are Unix seconds, both inclusive."""

    model: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    created_after: float | None = None
    created_before: float | None = None
    limit: int | None = None
    instructions_search: str = ""
    reasoning_effort: str = ""
    temperature: float | None = None
    top_p: float | None = None
    tools: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    workflow_name: str = ""


@dataclass(frozen=True)
class DataSource:
    """A checked data source. `answered` is what is kept and answered of it: everything but the rows."""

    kind: str
    source: str
    candidate: CandidateSpec
    answered: dict[str, Any]
    content: Any = None
    file_id: str = ""
    filters: LogFilters = LogFilters()

    @property
    def model(self) -> str:
        return self.candidate.model


def read_data_source(value: Any) -> DataSource:
    """Return the data source of a run. Raises BadRequest naming the place."""
    body = {"data_source": value}
    data = required_object(body, "data_source")
    kind = one_of(data.get("type"), SOURCES, "data_source.type")
    source = required_object(data, "source", "data_source")
    source_type = one_of(source.get("type"), SOURCES[kind], "data_source.source.type")
    place = "data_source.source"
    answered = {**data, "source": dict(source)}
    content, file_id, filters = None, "", LogFilters()
    if source_type == "file_content":
        if "content" not in source:
            raise BadRequest(f"`{place}.content` is required: a list of rows.", param=f"{place}.content")
        content = source["content"]
        del answered["source"]["content"]
    elif source_type == "file_id":
        file_id = required_words(source, "id", place)
    else:
        filters = read_filters(source, place)
    candidate = CandidateSpec(kind=CandidateKind.GIVEN)
    if kind != "jsonl":
        answered = {"sampling_params": None, **answered}
        candidate = read_candidate(data, kind, source_type)
        if isinstance(data.get("input_messages"), dict) and "template" in data["input_messages"]:
            wanted = data["input_messages"]
            answered["input_messages"] = {**wanted, "template": answered_messages(wanted["template"])}
    return DataSource(kind, source_type, candidate, answered, content, file_id, filters)


def read_candidate(data: dict[str, Any], kind: str, source_type: str) -> CandidateSpec:
    """Return what is asked of which model; what the rows bring along where no model is named. Raises BadRequest."""
    messages = optional_object(data, "input_messages", "data_source")
    model = data.get("model")
    if model is not None and not isinstance(model, str):
        raise BadRequest("`data_source.model` must be a text.", param="data_source.model")
    sampling = read_sampling(optional_object(data, "sampling_params", "data_source"), kind)
    if not model:
        if messages:
            raise BadRequest(
                "`data_source.model` is required where there are input messages.", param="data_source.model"
            )
        return CandidateSpec(kind=CandidateKind.GIVEN)
    if len(model) > 200:
        raise BadRequest("`data_source.model` is longer than 200 characters.", param="data_source.model")
    if not messages:
        if source_type in FILES:
            raise BadRequest(
                "`data_source.input_messages` is required where a model is named: what is it asked?",
                param="data_source.input_messages",
            )
        messages = {"type": "item_reference", "item_reference": "item.input"}
    return CandidateSpec(model=model, sampling=sampling, input_messages=read_input_messages(messages))


def read_input_messages(value: dict[str, Any]) -> dict[str, Any]:
    """Return checked input messages. Raises BadRequest naming the place."""
    place = "data_source.input_messages"
    kind = one_of(value.get("type"), ("template", "item_reference"), f"{place}.type")
    if kind == "item_reference":
        path = required_words(value, "item_reference", place)
        if not path.startswith("item.") or len(path) == len("item."):
            raise BadRequest(
                f"`{place}.item_reference` must start with `item.`, such as item.input.",
                param=f"{place}.item_reference",
            )
        return {"type": kind, "item_reference": path}
    template = value.get("template")
    if not isinstance(template, list) or not template:
        raise BadRequest(f"`{place}.template` must be a list of at least one message.", param=f"{place}.template")
    return {
        "type": kind,
        "template": [read_message(entry, f"{place}.template[{n}]") for n, entry in enumerate(template)],
    }


def read_message(value: Any, place: str) -> dict[str, Any]:
    """Return a message of a template in chat form. Raises BadRequest naming the place."""
    if not isinstance(value, dict):
        raise BadRequest(f"`{place}` must be an object with role and content.", param=place)
    role = one_of(value.get("role"), ROLES, f"{place}.role")
    content = value.get("content")
    if isinstance(content, dict):
        content = [content]
    if isinstance(content, list):
        content = [read_part(part, f"{place}.content[{number}]") for number, part in enumerate(content)]
    elif not isinstance(content, str) and not (content is None and value.get("tool_calls")):
        raise BadRequest(f"`{place}.content` must be a text, a part, or a list of them.", param=f"{place}.content")
    kept = {name: value[name] for name in ("tool_calls", "tool_call_id", "name") if value.get(name) is not None}
    return {"role": role, "content": content, **kept}


def read_part(value: Any, place: str) -> Any:
    """Return a part of a message. Raises BadRequest naming the place."""
    if isinstance(value, str):
        return value
    if not isinstance(value, dict):
        raise BadRequest(f"`{place}` must be a text or a part with a type.", param=place)
    kind = one_of(value.get("type"), PARTS, f"{place}.type")
    if kind.endswith("text"):
        if not isinstance(value.get("text"), str):
            raise BadRequest(f"`{place}.text` must be a text.", param=f"{place}.text")
    elif kind == "input_image" and not isinstance(value.get("image_url"), str):
        raise BadRequest(f"`{place}.image_url` must be a text.", param=f"{place}.image_url")
    elif kind in ("input_audio", "image_url", "file"):
        required_object(value, kind, place)
    return value


def read_sampling(value: dict[str, Any], kind: str) -> dict[str, Any]:
    """Return sampling parameters by their chat names. Raises BadRequest naming the place."""
    place = "data_source.sampling_params"
    sampling: dict[str, Any] = {}
    for name, (low, high) in NUMBERS.items():
        number = value.get(name)
        if number is not None:
            if isinstance(number, bool) or not isinstance(number, int | float) or not low <= number <= high:
                raise BadRequest(f"`{place}.{name}` must be a number from {low} to {high}.", param=f"{place}.{name}")
            sampling[name] = number
    for name in ("seed", "max_completion_tokens", "max_completions_tokens", "max_tokens"):
        number = value.get(name)
        if number is not None:
            if isinstance(number, bool) or not isinstance(number, int) or abs(number) >= 2**63:
                raise BadRequest(f"`{place}.{name}` must be a whole number.", param=f"{place}.{name}")
            if name != "seed" and number < 1:
                raise BadRequest(f"`{place}.{name}` must be 1 or more.", param=f"{place}.{name}")
            sampling["seed" if name == "seed" else "max_completion_tokens"] = number
    effort = value.get("reasoning_effort")
    if effort is not None:
        sampling["reasoning_effort"] = one_of(
            effort, ("none", "minimal", "low", "medium", "high", "xhigh", "max"), f"{place}.reasoning_effort"
        )
    form = (
        value.get("response_format") if kind == "completions" else optional_object(value, "text", place).get("format")
    )
    if form is not None:
        sampling["response_format"] = read_format(
            form, f"{place}.response_format" if kind == "completions" else f"{place}.text.format"
        )
    if sampling.get("response_format") == {"type": "text"}:
        del sampling["response_format"]
    if value.get("tools") is not None:
        sampling["tools"] = read_tools(value["tools"], f"{place}.tools")
    return sampling


def read_format(value: Any, place: str) -> dict[str, Any]:
    """Return a response format in chat form: the flat one of the Responses API is wrapped. Raises BadRequest."""
    if not isinstance(value, dict):
        raise BadRequest(f"`{place}` must be an object with a type.", param=place)
    kind = one_of(value.get("type"), ("text", "json_object", "json_schema"), f"{place}.type")
    if kind != "json_schema":
        return {"type": kind}
    if "json_schema" in value:
        return {"type": kind, "json_schema": required_object(value, "json_schema", place)}
    required_object(value, "schema", place)
    names = ("name", "description", "schema", "strict")
    flat = {"name": "answer", **{name: value[name] for name in names if value.get(name) is not None}}
    return {"type": kind, "json_schema": flat}


def read_tools(value: Any, place: str) -> list[dict[str, Any]]:
    """Return function tools in chat form. Raises BadRequest, also for built-in tools: models are asked by chat completions."""
    if not isinstance(value, list):
        raise BadRequest(f"`{place}` must be a list of tools.", param=place)
    tools = []
    for number, tool in enumerate(value):
        where = f"{place}[{number}]"
        if not isinstance(tool, dict):
            raise BadRequest(f"`{where}` must be an object with a type.", param=where)
        if tool.get("type") != "function":
            raise BadRequest(
                f"`{where}.type` is {str(tool.get('type'))[:40]!r}; here models are asked by chat completions, which have function tools "
                "only. Run a built-in tool yourself and give its answers as samples of the rows.",
                param=f"{where}.type",
            )
        names = ("name", "description", "parameters", "strict")
        function = tool.get("function")
        if not isinstance(function, dict):
            function = {name: tool[name] for name in names if tool.get(name) is not None}
        if not isinstance(function.get("name"), str) or not function["name"]:
            raise BadRequest(f"`{where}.name` is required.", param=f"{where}.name")
        tools.append({"type": "function", "function": function})
    return tools


def read_filters(source: dict[str, Any], place: str) -> LogFilters:
    """Return the filters of a source over recorded requests. Raises BadRequest naming the place."""
    limit = source.get("limit")
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MAX_LOG_ROWS):
        raise BadRequest(f"`{place}.limit` must be 1 to {MAX_LOG_ROWS:,}.", param=f"{place}.limit")
    numbers: dict[str, float | None] = {}
    for name in ("created_after", "created_before", "temperature", "top_p"):
        number = source.get(name)
        if number is not None and (isinstance(number, bool) or not isinstance(number, int | float)):
            raise BadRequest(f"`{place}.{name}` must be a number.", param=f"{place}.{name}")
        numbers[name] = number
    words: dict[str, str] = {}
    for name in ("model", "instructions_search", "reasoning_effort", "workflow_name"):
        text = source.get(name)
        if text is not None and not isinstance(text, str):
            raise BadRequest(f"`{place}.{name}` must be a text.", param=f"{place}.{name}")
        words[name] = text or ""
    lists: dict[str, tuple[str, ...]] = {}
    for name in ("tools", "users"):
        values = source.get(name)
        if values is not None and not (isinstance(values, list) and all(isinstance(entry, str) for entry in values)):
            raise BadRequest(f"`{place}.{name}` must be a list of texts.", param=f"{place}.{name}")
        lists[name] = tuple(values or ())
    metadata = read_metadata(source.get("metadata"), f"{place}.metadata")
    return LogFilters(metadata=metadata, limit=limit, **numbers, **words, **lists)  # type: ignore[arg-type]  # read by name
