"""Attributes whose content lives elsewhere in the record, and how to build them again. Pure.

An attribute that only repeats the record's messages, tools, input, output or tool call leaves `attributes`, and `moved` says
how to rebuild it. Whatever a rebuild would not give back equal stays in `attributes`, which wins: so
`rebuild_attributes(record)` is what was sent, by construction; of a JSON text, the same JSON (keys of a message may come in
another order).

`moved` maps a name to a recipe:

    llm.input_messages, llm.output_messages   {"form": "flat", "side", "arguments"?, "contents"?: [index], "absent"?: [name]}
    llm.tools                                 {"form": "flat_tools", "style"}
    gen_ai.input.messages, …                  {"form": "parts", "side", "style"?, "sizes"?, "each", "extra"?, "literal"?, …}
    input.value of an LLM request             {"form": "request", "style", "document", "keys": {key: how}}
    a bare chat list of input messages        {"form": "request", "only": key, …}
    gen_ai.prompt, gen_ai.completion          {"form": "flat", "dialect": "genai", "side", …}: OpenLLMetry's flattened messages
    any other that repeats them               {"form": "document", "document", "style"?}: see `documents.py`
    any other                                 {"form": "field", "field", "style"?}
"""

from typing import Any

from traces.conventions.documents import write_document
from traces.conventions.raw import json_style, object_style, parse_json, write_json
from traces.spans import Message, SpanRecord

SIDES = {"input": "input_messages", "output": "output_messages"}


def rebuild_attributes(record: SpanRecord) -> dict[str, Any]:
    """Return the attributes as they were sent: those kept, and those that moved, built again from the record."""
    if not record.moved:
        return record.attributes
    rebuilt: dict[str, Any] = {}
    for name in record.moved:
        rebuilt.update(rebuild_moved(record, name))
    rebuilt.update(record.attributes)
    return rebuilt


def restore_moved(record: SpanRecord, *names: str) -> None:
    """Put attributes that moved back into the record, before the place that they moved to changes."""
    for name in names:
        if name in record.moved:
            record.attributes = {**rebuild_moved(record, name), **record.attributes}
            del record.moved[name]


def rebuild_moved(record: SpanRecord, name: str) -> dict[str, Any]:
    """Return the attributes that one recipe of `moved` stands for."""
    recipe = record.moved[name]
    form = recipe["form"]
    if form == "flat":
        flat = write_flat(name, getattr(record, SIDES[recipe["side"]]), recipe)
        return {key: value for key, value in flat.items() if key not in recipe.get("absent", ())}
    if form == "flat_tools":
        tools = enumerate(record.available_tools or [])
        return {f"llm.tools.{index}.tool.json_schema": write_json(tool, recipe["style"]) for index, tool in tools}
    if form == "parts":
        return {name: write_styled(write_part_list(getattr(record, SIDES[recipe["side"]]), recipe), recipe)}
    if form == "request":
        document = write_request(record, recipe)
        return {name: write_styled(document[recipe["only"]] if "only" in recipe else document, recipe)}
    if form == "document":
        return {name: write_document(record, recipe)}
    return {name: write_styled(read_field(record, recipe["field"]), recipe)}


def write_styled(value: Any, recipe: dict[str, Any]) -> Any:
    """Return a value as the JSON text that it was, or as the nested value that it was."""
    style = recipe.get("style")
    return write_json(value, style) if style else value


def read_field(record: SpanRecord, field: str) -> Any:
    """Return a field of the record; "tool.result" is a key of its tool."""
    name, _, key = field.partition(".")
    value = getattr(record, name)
    return value[key] if key else value


# A value that became a field ---------------------------------------------------------------------------------------


def move_value(record: SpanRecord, name: str, field: str, sent: Any, value: Any) -> None:
    """Take an attribute out of the record where its field writes it again exactly."""
    if value is sent or (isinstance(value, str) and value == sent):
        recipe = {"form": "field", "field": field}
    elif isinstance(sent, str) and (style := json_style(sent, value)):
        recipe = {"form": "field", "field": field, "style": style}
    else:
        return
    record.moved[name] = recipe
    record.attributes.pop(name, None)


# Flattened messages and tools ----------------------------------------------------------------------------------------

# What stands between the parts of a flattened name, OpenInference's way and OpenLLMetry's.
DIALECTS = {
    "openinference": ("message.", "tool_call.", "function.name", "function.arguments"),
    "genai": ("", "", "name", "arguments"),
}


def move_flat_messages(
    record: SpanRecord,
    prefix: str,
    side: str,
    sent: dict[str, Any],
    contents: list[int] | None = None,
    dialect: str = "openinference",
) -> None:
    """Take flattened messages out of the record; names that would not come back equal stay."""
    messages: list[Message] = getattr(record, SIDES[side])
    if not messages:
        return
    recipe: dict[str, Any] = {"form": "flat", "side": side}
    if dialect != "openinference":
        recipe["dialect"] = dialect
    style = call_style(messages, sent, prefix, dialect)
    if style != "spaced":
        recipe["arguments"] = style
    if contents:
        recipe["contents"] = contents
    flat = write_flat(prefix, messages, recipe)
    attributes = record.attributes
    if flat == sent:
        for name in sent:
            attributes.pop(name, None)
    else:
        for name, value in sent.items():
            if name in flat and flat[name] == value:
                attributes.pop(name, None)
        absent = [name for name in flat if name not in sent]
        if absent:
            recipe["absent"] = absent
    record.moved[prefix] = recipe


def call_style(messages: list[Message], sent: dict[str, Any], prefix: str, dialect: str) -> str:
    """Return how the arguments of the first tool call were written as JSON; the rest is taken to be alike."""
    of_message, of_call, _, arguments = DIALECTS[dialect]
    for index, message in enumerate(messages):
        for place, call in enumerate(message.get("tool_calls", ())):
            if isinstance(call["arguments"], dict) and call["arguments"]:
                return (
                    object_style(sent.get(f"{prefix}.{index}.{of_message}tool_calls.{place}.{of_call}{arguments}"))
                    or "spaced"
                )
    return "spaced"


def write_flat(prefix: str, messages: list[Message], recipe: dict[str, Any]) -> dict[str, Any]:
    """Return messages as flattened attributes."""
    style, contents = recipe.get("arguments", "spaced"), recipe.get("contents", ())
    of_message, of_call, of_name, of_arguments = DIALECTS[recipe.get("dialect", "openinference")]
    flat: dict[str, Any] = {}
    for index, message in enumerate(messages):
        head = f"{prefix}.{index}.{of_message}"
        flat[head + "role"] = message["role"]
        content = message["content"]
        if isinstance(content, list) or index in contents:
            write_flat_parts(flat, head, content)
        elif content is not None:
            flat[head + "content"] = content
        if "tool_calls" in message:
            for place, call in enumerate(message["tool_calls"]):
                stem = f"{head}tool_calls.{place}.{of_call}"
                arguments = call["arguments"]
                if "id" in call:
                    flat[stem + "id"] = call["id"]
                flat[stem + of_name] = call["name"]
                flat[stem + of_arguments] = arguments if isinstance(arguments, str) else write_json(arguments, style)
        if "tool_call_id" in message:
            flat[head + "tool_call_id"] = message["tool_call_id"]
        if "name" in message:
            flat[head + "name"] = message["name"]
    return flat


def write_flat_parts(flat: dict[str, Any], head: str, content: Any) -> None:
    """Write the parts of one message as `contents.M.message_content.*`."""
    parts = content if isinstance(content, list) else [{"type": "text", "content": content}]
    for place, part in enumerate(parts):
        stem = f"{head}contents.{place}.message_content."
        if part.get("type") in ("text", "reasoning") and "content" in part:
            flat[stem + "type"] = part["type"]
            flat[stem + "text"] = part["content"]
        elif part.get("modality") == "image" and "uri" in part:
            flat[stem + "type"] = "image"
            flat[stem + "image.image.url"] = part["uri"]
        elif part.get("modality") == "image" and part.get("type") == "blob":
            flat[stem + "type"] = "image"
            flat[stem + "image.image.url"] = f"data:{part['mime_type']};base64,{part['content']}"


def move_flat_tools(record: SpanRecord, sent: dict[str, Any]) -> None:
    """Take `llm.tools.N.tool.json_schema` out of the record where all of them come back equal."""
    tools = record.available_tools or []
    first = sent.get("llm.tools.0.tool.json_schema")
    style = json_style(first, tools[0]) if tools and isinstance(first, str) else None
    if style and len(sent) == len(tools):
        names = [f"llm.tools.{index}.tool.json_schema" for index in range(len(tools))]
        if all(sent.get(name) == write_json(tool, style) for name, tool in zip(names, tools, strict=True)):
            record.moved["llm.tools"] = {"form": "flat_tools", "style": style}
            for name in names:
                record.attributes.pop(name, None)


# OTel GenAI: lists of {role, parts} --------------------------------------------------------------------------------


def move_part_list(
    record: SpanRecord, name: str, side: str, sent: Any, given: Any, *, start: int = 0, end: int | None = None
) -> None:
    """Take a list of `{role, parts}` out of the record: messages `start` to `end` of a side write it again.

    `given` is what the text that was sent holds.
    """
    items = given
    style = json_style(sent, items) if isinstance(sent, str) else None
    messages: list[Message] = getattr(record, SIDES[side])[start:end]
    if not isinstance(items, list) or (isinstance(sent, str) and style is None):
        return
    recipe: dict[str, Any] = {"form": "parts", "side": side}
    if style:
        recipe["style"] = style
    if start:
        recipe["start"] = start
    if end is not None:
        recipe["end"] = end
    if name == "gen_ai.system_instructions":
        recipe["bare"] = True
        items = [{"parts": items}]
    recipe |= part_dialect(items)
    is_equal = learn_parts(recipe, items, messages)
    if is_equal or write_part_list(getattr(record, SIDES[side]), recipe) == given:
        record.moved[name] = recipe
        record.attributes.pop(name, None)


def part_dialect(items: list[Any]) -> dict[str, Any]:
    """Return how a writer spells tool calls and results, from the first of each: see `write_parts`."""
    dialect: dict[str, Any] = {}
    for item in items:
        parts = item.get("parts") if isinstance(item, dict) else None
        for part in parts if isinstance(parts, list) else []:
            if not isinstance(part, dict):
                continue
            arguments = part.get("arguments")
            if part.get("type") == "tool_call" and isinstance(arguments, str) and "arguments" not in dialect:
                dialect["arguments"] = object_style(arguments) or "compact"
            if part.get("type") == "tool_call_response":
                key = "response" if "response" in part else "result"
                dialect.setdefault("result_key", key)
                dialect.setdefault("result_is_json", not isinstance(part.get(key), str))
    return dialect


def learn_parts(recipe: dict[str, Any], items: list[Any], messages: list[Message]) -> bool:
    """Add to a recipe how many messages each item gave, the small keys that messages do not keep, and what will not rebuild.

    Says whether what is written by it is equal for certain.
    """
    sizes: list[int] = []
    extras: list[dict[str, Any]] = []
    literal: dict[str, Any] = {}
    place = 0
    is_equal = not recipe.get("bare")
    for index, item in enumerate(items):
        parts = item.get("parts") if isinstance(item, dict) else None
        size = 0
        if isinstance(parts, list):
            results = 0
            for part in parts:
                results += isinstance(part, dict) and part.get("type") == "tool_call_response"
            size = results + (len(parts) > results or not results)
        group = messages[place : place + size]
        place += size
        written = write_part_item(group, recipe) if size and len(group) == size else None
        extra: dict[str, Any] = {}
        if written is not None and "role" not in item:
            written = {key: value for key, value in written.items() if key != "role"}
            is_equal = False  # what is written has a role
        if written is None or not written.items() <= item.items():
            literal[str(index)] = item
        elif len(written) < len(item):
            extra = {key: value for key, value in item.items() if key not in written}
        sizes.append(size)
        extras.append(extra)
    if any(size != 1 for size in sizes):
        recipe["sizes"] = sizes
    each = extras[0] if extras else {}
    if extras.count(each) < len(extras):
        each = max(extras, key=extras.count)
    recipe["each"] = each
    odd = {str(index): extra for index, extra in enumerate(extras) if extra != each and str(index) not in literal}
    if odd:
        recipe["extra"] = odd
    if literal:
        recipe["literal"] = literal
    return is_equal and place == len(messages)


def write_part_list(messages: list[Message], recipe: dict[str, Any]) -> list[Any]:
    """Return messages as a list of `{role, parts}`, or as bare parts where they are system instructions."""
    messages = messages[recipe.get("start", 0) : recipe.get("end")]
    sizes = recipe.get("sizes") or [1] * len(messages)
    literal, odd = recipe.get("literal", {}), recipe.get("extra", {})
    items: list[Any] = []
    place = 0
    for index, size in enumerate(sizes):
        key = str(index)
        if key in literal:
            items.append(literal[key])
        else:
            items.append(write_part_item(messages[place : place + size], recipe) | odd.get(key, recipe["each"]))
        place += size
    return items[0]["parts"] if recipe.get("bare") and items else items


def write_part_item(group: list[Message], recipe: dict[str, Any]) -> dict[str, Any]:
    """Return the messages of one item as `{role, parts}`."""
    parts: list[dict[str, Any]] = []
    for message in group:
        if message["role"] == "tool" and "tool_call_id" in message:
            content = message["content"]
            if recipe.get("result_is_json") and isinstance(content, str):
                content = parse_json(content) if parse_json(content) is not None else content
            part = {"type": "tool_call_response", "id": message["tool_call_id"]}
            parts.append({**part, recipe.get("result_key", "response"): content})
            continue
        content = message["content"]
        if isinstance(content, list):
            parts.extend(content)
        elif content is not None:
            parts.append({"type": "text", "content": content})
        for call in message.get("tool_calls", ()):
            arguments = call["arguments"]
            if "arguments" in recipe and not isinstance(arguments, str):
                arguments = write_json(arguments, recipe["arguments"])
            parts.append({"type": "tool_call", **call, "arguments": arguments})
    written: dict[str, Any] = {"role": group[-1]["role"], "parts": parts}
    if "name" in group[-1]:
        written["name"] = group[-1]["name"]
    return written


# A request that repeats the messages -------------------------------------------------------------------------------


def move_request(record: SpanRecord, name: str, sent: Any, document: Any) -> None:
    """Take out of an LLM call's request, given as JSON text, what repeats the input messages and the tools."""
    style = json_style(sent, document) if isinstance(sent, str) and isinstance(document, dict) else None
    if style is None:
        return
    keys: dict[str, Any] = {}
    rest = dict(document)
    for key in ("messages", "input"):
        if isinstance(document.get(key), list) and record.input_messages:
            how = learn_chat(document[key], record.input_messages, document)
            if how is not None:
                keys[key] = how
                del rest[key]
                break
    if document.get("tools") and document["tools"] == record.available_tools:
        keys["tools"] = {}
        del rest["tools"]
    if not keys:
        return
    # Equal by now: `learn_chat` compares each item with what is written of it.
    record.moved[name] = {"form": "request", "style": style, "document": rest, "order": list(document), "keys": keys}
    record.attributes.pop(name, None)


def move_chat_list(record: SpanRecord, name: str, sent: Any) -> None:
    """Take a list of chat messages, given as a value, out of the record where the input messages write it again."""
    if not isinstance(sent, list) or not record.input_messages:
        return
    how = learn_chat(sent, record.input_messages, {})
    if how is None:
        return
    record.moved[name] = {
        "form": "request",
        "only": "input",
        "document": {},
        "order": ["input"],
        "keys": {"input": how},
    }
    record.attributes.pop(name, None)


def learn_chat(items: list[Any], messages: list[Message], document: dict[str, Any]) -> dict[str, Any] | None:
    """Return how messages write a chat list again, or None where most of it would have to be kept as it is."""
    # the instructions of a Responses request come first among the messages, but not in its input
    offset = 1 if isinstance(document.get("instructions"), str) and messages[0]["role"] == "system" else 0
    style = next((found for item in items if (found := chat_style(item))), "spaced")
    extra: dict[str, Any] = {}
    literal: dict[str, Any] = {}
    for index, item in enumerate(items):
        place = index + offset
        written = write_chat(messages[place], style, item) if place < len(messages) and isinstance(item, dict) else None
        if written is None or not written.items() <= item.items():
            literal[str(index)] = item
        elif len(written) < len(item):
            extra[str(index)] = {key: value for key, value in item.items() if key not in written}
    if len(literal) * 2 > len(items):
        return None
    how: dict[str, Any] = {"offset": offset, "count": len(items)}
    if style != "spaced":
        how["arguments"] = style
    return how | ({"extra": extra} if extra else {}) | ({"literal": literal} if literal else {})


def chat_style(item: Any) -> str | None:
    """Return how the arguments of a chat message's tool calls were written as JSON: those of the first that tells; None where none does."""
    calls = item.get("tool_calls") if isinstance(item, dict) else None
    for call in calls if isinstance(calls, list) else []:
        function = call.get("function") if isinstance(call, dict) else None
        if isinstance(function, dict) and (style := object_style(function.get("arguments"))):
            return style
    return None


def write_chat(message: Message, style: str, like: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return a message in OpenAI chat form. `like`: the item it is meant to equal, for what the message does not say."""
    written: dict[str, Any] = {"role": message["role"]}
    content = message["content"]
    if isinstance(content, str):
        written["content"] = content
    elif content:
        written["content"] = [write_block(part) for part in content]
    if "tool_calls" in message:
        written["tool_calls"] = [
            {
                **({"id": call["id"]} if "id" in call else {}),
                "type": "function",
                "function": {
                    "name": call["name"],
                    "arguments": call["arguments"]
                    if isinstance(call["arguments"], str)
                    else write_json(call["arguments"], style),
                },
            }
            for call in message["tool_calls"]
        ]
    if "tool_call_id" in message:
        written["tool_call_id"] = message["tool_call_id"]
    if "name" in message:
        written["name"] = message["name"]
    return written


def write_block(part: dict[str, Any]) -> dict[str, Any]:
    """Return a part as an OpenAI content block."""
    if part.get("type") == "text" and "content" in part:
        return {"type": "text", "text": part["content"]}
    if part.get("modality") == "image" and "uri" in part:
        return {"type": "image_url", "image_url": {"url": part["uri"]}}
    if part.get("modality") == "image" and part.get("type") == "blob":
        return {"type": "image_url", "image_url": {"url": f"data:{part['mime_type']};base64,{part['content']}"}}
    return part


def write_request(record: SpanRecord, recipe: dict[str, Any]) -> dict[str, Any]:
    """Return a request with its messages and tools put back, keys in the order in which they were sent."""
    found = dict(recipe["document"])
    for key, how in recipe["keys"].items():
        if key == "tools":
            found[key] = record.available_tools
            continue
        style, extra, literal = how.get("arguments", "spaced"), how.get("extra", {}), how.get("literal", {})
        items: list[Any] = []
        for index in range(how["count"]):
            place = str(index)
            if place in literal:
                items.append(literal[place])
            else:
                items.append(write_chat(record.input_messages[index + how["offset"]], style) | extra.get(place, {}))
        found[key] = items
    return {key: found[key] for key in recipe["order"]}
