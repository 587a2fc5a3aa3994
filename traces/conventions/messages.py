"""Messages in the forms that SDKs send, read into `Message`s: OpenAI chat, OpenAI Responses, Anthropic blocks, OTel GenAI parts. Pure.

See `traces.spans.Message`. The same thing said in two forms gives the same Message, so that bodies are stored once and a
history is recognised whoever repeats it.
"""

from collections.abc import Iterable
from typing import Any

import orjson

from traces.conventions.raw import parse_json
from traces.spans import Message

ROLES = {"human": "user", "ai": "assistant", "model": "assistant", "developer": "system", "function": "tool"}
PLAIN_ROLES = ("user", "assistant", "tool", "system")
TEXT_TYPES = {"text", "input_text", "output_text"}


def read_role(role: Any, default: str = "user") -> str:
    """Return system, user, assistant or tool for the spellings in use; another word stays as it is, lower-case."""
    if role in PLAIN_ROLES:
        return str(role)
    text = role.strip().lower() if isinstance(role, str) else ""
    return ROLES.get(text, text) or default


def read_arguments(value: Any) -> Any:
    """Return a tool call's arguments: an object where the text parses as one, else the text as the model wrote it."""
    if isinstance(value, str):
        found = parse_json(value)
        return found if isinstance(found, dict) else value
    return value


def make_message(
    role: str,
    content: Any = None,
    *,
    tool_calls: list[dict[str, Any]] | None = None,
    tool_call_id: Any = None,
    name: Any = None,
) -> Message:
    """Return a message; keys without a value are absent."""
    message: Message = {"role": role, "content": content}
    if tool_calls:
        message["tool_calls"] = tool_calls
    if tool_call_id:
        message["tool_call_id"] = str(tool_call_id)
    if name and isinstance(name, str):
        message["name"] = name
    return message


def make_call(call_id: Any, name: Any, arguments: Any) -> dict[str, Any]:
    """Return a tool call; an id that was not sent is absent."""
    call = {"id": str(call_id)} if call_id else {}
    return {**call, "name": name if isinstance(name, str) else "", "arguments": read_arguments(arguments)}


def as_text(value: Any) -> str:
    """Return a value as text: as it is where it is one, else as JSON."""
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def fold_parts(parts: list[dict[str, Any]]) -> Any:
    """Return parts as content: the text alone where there is nothing but one text, None where there is nothing."""
    if not parts:
        return None
    if len(parts) == 1 and parts[0].get("type") == "text" and len(parts[0]) == 2:
        return parts[0]["content"]
    return parts


# OpenAI chat, OpenAI Responses and Anthropic -----------------------------------------------------------------------


def read_chat_messages(items: Any) -> list[Message]:
    """Return the messages of a list in OpenAI chat, Responses or Anthropic form (LangChain's wrappers too). Others are skipped."""
    if isinstance(items, dict):
        items = [items]
    if not isinstance(items, list):
        return [make_message("user", items)] if isinstance(items, str) and items else []
    if len(items) == 1 and isinstance(items[0], list):  # LangChain sends a list of batches
        items = items[0]
    messages: list[Message] = []
    for item in items:
        if isinstance(item, dict):
            messages.extend(read_chat_message(item))
        elif isinstance(item, str):
            messages.append(make_message("user", item))
    return messages


def read_chat_message(item: dict[str, Any]) -> list[Message]:
    """Return the messages that one object of a chat stands for; a user turn with tool results stands for several."""
    if isinstance(item.get("message"), dict) and "role" not in item:
        item = item["message"]
    if isinstance(item.get("parts"), list) and "content" not in item:
        return read_part_message(item)
    if "lc" in item and isinstance(item.get("kwargs"), dict):
        item = unwrap_constructor(item)
    kind = item.get("type")
    if kind == "function_call" and "name" in item:
        call = make_call(item.get("call_id") or item.get("id"), item.get("name"), item.get("arguments"))
        return [make_message("assistant", tool_calls=[call])]
    if kind == "function_call_output":
        return [make_message("tool", as_text(item.get("output")), tool_call_id=item.get("call_id"))]
    if kind == "reasoning" and "role" not in item:
        summary = item.get("summary")
        found = [part.get("text") for part in summary if isinstance(part, dict)] if isinstance(summary, list) else []
        notes = [note for note in found if isinstance(note, str)]
        return [make_message("assistant", [{"type": "reasoning", "content": "\n".join(notes)}])] if any(notes) else []
    data = item.get("data")
    if isinstance(data, dict) and "role" not in item and isinstance(kind, str):  # LangChain's message_to_dict
        item = {**data, "role": kind}
    elif "role" not in item and isinstance(kind, str) and "content" in item:
        item = {**item, "role": kind}
    if "role" not in item and "content" not in item and "tool_calls" not in item:
        return []
    return read_role_message(item)


def unwrap_constructor(item: dict[str, Any]) -> dict[str, Any]:
    """Return the message that LangChain's `dumps` wrote as a call of its class: `{"lc": 1, "id": [..., "AIMessage"], "kwargs"}`."""
    path, fields = item.get("id"), item["kwargs"]
    name = path[-1] if isinstance(path, list) and path and isinstance(path[-1], str) else ""
    role = fields.get("role") or fields.get("type") or name.removesuffix("Chunk").removesuffix("Message")
    more = fields.get("additional_kwargs")
    calls = fields.get("tool_calls") or (more.get("tool_calls") if isinstance(more, dict) else None)
    found = {key: fields[key] for key in ("content", "name", "tool_call_id") if key in fields}
    return {**found, "role": role, "tool_calls": calls}


def read_response_items(items: Any, speaker: str) -> list[Message]:
    """Return the messages of one side of a Responses call: a text, or items. `speaker`: who says what names nobody.

    An item of a kind that is no message (a web search, code that was run) is one message of the assistant with the item as its part.
    """
    if isinstance(items, str):
        return [make_message(speaker, items)] if items else []
    messages: list[Message] = []
    for item in items if isinstance(items, list) else []:
        if not isinstance(item, dict):
            continue
        found = read_chat_message({"role": speaker, **item} if item.get("type") == "message" else item)
        if not found and isinstance(item.get("type"), str) and item["type"] not in ("reasoning", "item_reference"):
            found = [make_message("assistant", [item])]
        messages.extend(found)
    return messages


def read_request(document: Any) -> list[Message]:
    """Return the messages of a request to a model, as its API or its framework writes it: an object, a list, or a prompt."""
    if not isinstance(document, dict):
        return read_chat_messages(document)
    if isinstance(document.get("messages"), list):
        system = document.get("system")  # Anthropic's, Vercel's
        head = read_chat_messages([{"role": "system", "content": system}]) if system else []
        return head + read_chat_messages(document["messages"])
    head = []
    for name in ("instructions", "system", "system_instruction"):
        if isinstance(document.get(name), str) and document[name]:
            head = [make_message("system", document[name])]
            break
    for name in ("input", "contents", "prompt", "prompts"):
        given = document.get(name)
        if isinstance(given, str) and given:
            return [*head, make_message("user", given)]
        if isinstance(given, list) and given:
            return head + read_chat_messages(given)
    return []


def read_answer(document: Any) -> list[Message]:
    """Return the messages of a model's answer: chat, completions, Responses, Anthropic, Gemini, LangChain, or text."""
    if isinstance(document, str):
        return [make_message("assistant", document)] if document else []
    if isinstance(document, list):
        named = [{"role": "assistant", **item} if is_bare_answer(item) else item for item in document]
        return read_chat_messages(named)
    if not isinstance(document, dict):
        return []
    if len(document) == 1 and "output" in document and not isinstance(document["output"], list):
        return read_answer(document["output"])
    if isinstance(document.get("choices"), list):
        return [message for item in document["choices"] if isinstance(item, dict) for message in read_choice(item)]
    if isinstance(document.get("generations"), list):
        return read_generations(document["generations"])
    if isinstance(document.get("candidates"), list):
        contents = [item.get("content") for item in document["candidates"] if isinstance(item, dict)]
        return read_chat_messages([item for item in contents if isinstance(item, dict)])
    for name in ("output", "messages"):
        if isinstance(document.get(name), list):
            return read_answer(document[name])
    if isinstance(document.get("message"), dict):
        return read_answer(document["message"])
    if is_bare_answer(document):
        return read_chat_messages([{"role": "assistant", **document}])
    return read_chat_messages([document]) if "lc" in document else []


def is_bare_answer(item: Any) -> bool:
    """Say whether an object is a message by what it holds, whoever said it."""
    return isinstance(item, dict) and "type" not in item and ("content" in item or "tool_calls" in item)


def read_choice(item: dict[str, Any]) -> list[Message]:
    """Return the message of one choice; completions give a text."""
    if isinstance(item.get("message"), dict):
        return read_chat_messages([{"role": "assistant", **item["message"]}])
    text = item.get("text")
    return [make_message("assistant", text)] if isinstance(text, str) else []


def read_generations(generations: list[Any]) -> list[Message]:
    """Return the messages of LangChain's `generations`: a list, or a list of lists."""
    found: list[Message] = []
    for outer in generations:
        for item in outer if isinstance(outer, list) else [outer]:
            if not isinstance(item, dict):
                continue
            message, text = item.get("message"), item.get("text")
            read = read_chat_messages([message]) if isinstance(message, dict) else []
            found.extend(read or ([make_message("assistant", text)] if isinstance(text, str) else []))
    return found


def read_role_message(item: dict[str, Any]) -> list[Message]:
    """Return the messages of an object with role and content."""
    role = read_role(item.get("role"))
    parts, calls, results = read_blocks(item.get("content"))
    sent_calls = item.get("tool_calls")
    for call in sent_calls if isinstance(sent_calls, list) else []:
        if isinstance(call, dict):
            inner = call.get("function")
            function: dict[str, Any] = inner if isinstance(inner, dict) else call
            arguments = function.get("arguments", function.get("args", function.get("input")))
            calls.append(make_call(call.get("id") or call.get("tool_call_id"), function.get("name"), arguments))
    legacy = item.get("function_call")
    if isinstance(legacy, dict):
        calls.append(make_call(None, legacy.get("name"), legacy.get("arguments")))
    thought = item.get("reasoning_content") or item.get("reasoning")
    if isinstance(thought, str) and thought:
        parts.insert(0, {"type": "reasoning", "content": thought})
    content = fold_parts(parts)
    if item.get("content") == "" and content is None:
        content = ""
    if content is None and not calls and results:
        return results
    call_id = item.get("tool_call_id") or (item.get("id") if role == "tool" else None)
    message = make_message(role, content, tool_calls=calls, tool_call_id=call_id, name=item.get("name"))
    return [*results, message]


def read_blocks(content: Any) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[Message]]:
    """Return the parts, tool calls and tool results of a content that is text or a list of blocks."""
    if content is None or content == "":
        return [], [], []
    if not isinstance(content, list):
        return [{"type": "text", "content": as_text(content)}], [], []
    parts: list[dict[str, Any]] = []
    calls: list[dict[str, Any]] = []
    results: list[Message] = []
    for block in content:
        if not isinstance(block, dict):
            parts.append({"type": "text", "content": as_text(block)})
            continue
        kind = block.get("type")
        if kind == "tool_use":
            calls.append(make_call(block.get("id"), block.get("name"), block.get("input")))
        elif kind == "tool-call":  # Vercel's
            calls.append(
                make_call(block.get("toolCallId"), block.get("toolName"), block.get("input", block.get("args")))
            )
        elif kind == "tool-result":
            inner = unwrap_output(block.get("output", block.get("result")))
            results.append(make_message("tool", inner, tool_call_id=block.get("toolCallId")))
        elif kind == "tool_result":
            inner = fold_parts(read_blocks(block.get("content"))[0])
            results.append(make_message("tool", inner, tool_call_id=block.get("tool_use_id")))
        else:
            parts.append(read_block(block))
    return parts, calls, results


def unwrap_output(output: Any) -> Any:
    """Return what a tool gave back as text; Vercel says its kind beside it: `{"type": "json", "value"}`."""
    if isinstance(output, dict) and isinstance(output.get("type"), str) and "value" in output:
        output = output["value"]
    return None if output is None else as_text(output)


def read_block(block: dict[str, Any]) -> dict[str, Any]:
    """Return a content block as an OTel GenAI part; a kind that is not known stays as it is."""
    kind = block.get("type")
    if kind in TEXT_TYPES or (kind is None and isinstance(block.get("text"), str)):
        text = block.get("text", block.get("content"))
        return {"type": "text", "content": as_text(text) if text is not None else ""}
    if kind in ("thinking", "reasoning"):
        text = block.get("thinking") or block.get("text") or block.get("content")
        return {"type": "reasoning", "content": as_text(text or "")}
    if kind in ("image_url", "input_image"):
        url = block.get("image_url")
        url = url.get("url") if isinstance(url, dict) else url
        return read_image(url) if isinstance(url, str) else block
    source = block.get("source")
    if kind == "image" and isinstance(source, dict) and isinstance(source.get("data"), str):
        mime_type = str(source.get("media_type") or "")
        return {"type": "blob", "mime_type": mime_type, "modality": "image", "content": source["data"]}
    return block


def read_image(url: str) -> dict[str, Any]:
    """Return an image's part: a blob for a data address, else an address."""
    if url.startswith("data:") and ";base64," in url:
        head, _, data = url.partition(";base64,")
        return {"type": "blob", "mime_type": head[5:], "modality": "image", "content": data}
    return {"type": "uri", "modality": "image", "uri": url}


# OTel GenAI ------------------------------------------------------------------------------------------------------


def read_part_messages(items: Any) -> list[Message]:
    """Return the messages of a list in OTel GenAI form, given as value or as JSON text."""
    found = parse_json(items)
    if isinstance(found, dict):
        found = [found]
    messages: list[Message] = []
    for item in found or []:
        if isinstance(item, dict):
            messages.extend(read_part_message(item) if isinstance(item.get("parts"), list) else read_chat_message(item))
    return messages


def read_part_message(item: dict[str, Any]) -> list[Message]:
    """Return the messages of one `{role, parts}`: each tool result becomes a message of its own."""
    role = read_role(item.get("role"), "assistant" if "finish_reason" in item else "user")
    parts: list[dict[str, Any]] = []
    calls: list[dict[str, Any]] = []
    results: list[Message] = []
    for part in item["parts"]:
        if not isinstance(part, dict):
            parts.append({"type": "text", "content": as_text(part)})
            continue
        kind = part.get("type")
        if kind == "tool_call":
            calls.append(make_call(part.get("id"), part.get("name"), part.get("arguments")))
        elif kind == "tool_call_response":
            answer = part.get("response", part.get("result"))
            results.append(
                make_message("tool", None if answer is None else as_text(answer), tool_call_id=part.get("id"))
            )
        elif kind == "text":
            parts.append({"type": "text", "content": as_text(part.get("content") or "")})
        elif kind is None:
            read_bare_part(part, parts, calls, results)
        else:
            parts.append(part)
    if not parts and not calls and results:
        return results
    return [*results, make_message(role, fold_parts(parts), tool_calls=calls, name=item.get("name"))]


def read_bare_part(
    part: dict[str, Any], parts: list[dict[str, Any]], calls: list[dict[str, Any]], results: list[Message]
) -> None:
    """Add a part without a type, as Gemini writes them: named by its one key."""
    call, answer = part.get("function_call"), part.get("function_response")
    if isinstance(part.get("text"), str) and len(part) == 1:
        parts.append({"type": "text", "content": part["text"]})
    elif isinstance(call, dict):
        calls.append(make_call(call.get("id"), call.get("name"), call.get("args")))
    elif isinstance(answer, dict):
        text = as_text(answer.get("response"))
        results.append(make_message("tool", text, tool_call_id=answer.get("id"), name=answer.get("name")))
    else:
        parts.append(part)


def read_instructions(value: Any) -> list[Message]:
    """Return system instructions (a list of parts, or text) as one system message."""
    found = parse_json(value)
    if found is None:
        return [make_message("system", value)] if isinstance(value, str) and value.strip() else []
    blocks: Iterable[Any] = found if isinstance(found, list) else [found]
    parts = [block for block in blocks if isinstance(block, dict)]
    if not parts:
        return []
    return read_part_message({"role": "system", "parts": parts})
