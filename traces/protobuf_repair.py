"""Make a protobuf body whose text is not valid UTF-8 readable: one broken character must not cost a batch. Pure."""

from typing import Any

MAX_NESTING = 100


def repair_text(body: bytes, descriptor: Any, depth: int = 0) -> bytes:
    """Return a serialised message with invalid UTF-8 in its text fields replaced by U+FFFD.

    Takes the bytes and the message's descriptor. Raises ValueError where the bytes are not such a message at all.
    """
    if depth > MAX_NESTING:
        raise ValueError("the message nests too deep")
    fields = {found.number: found for found in descriptor.fields}
    parts: list[bytes] = []
    place = 0
    while place < len(body):
        start = place
        tag, place = read_varint(body, place)
        wire = tag & 7
        if wire == 2:
            size, place = read_varint(body, place)
            content = body[place : place + size]
            if len(content) != size:
                raise ValueError(f"the message ends in the middle of field {tag >> 3} at byte {start}")
            place += size
            field = fields.get(tag >> 3)
            if field is not None and field.type == field.TYPE_STRING:
                content = content.decode("utf-8", "replace").encode()
            elif field is not None and field.type == field.TYPE_MESSAGE:
                content = repair_text(content, field.message_type, depth + 1)
            parts += [write_varint(tag), write_varint(len(content)), content]
            continue
        if wire == 0:
            _, place = read_varint(body, place)
        elif wire in (1, 5):
            place += 8 if wire == 1 else 4
        else:
            raise ValueError(f"byte {start} starts no field (wire type {wire})")
        if place > len(body):
            raise ValueError(f"the message ends in the middle of field {tag >> 3} at byte {start}")
        parts.append(body[start:place])
    return b"".join(parts)


def read_varint(body: bytes, place: int) -> tuple[int, int]:
    """Return a number and the place after it. Raises ValueError where there is none."""
    number, shift = 0, 0
    while place < len(body) and shift < 70:
        byte = body[place]
        place += 1
        number |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return number, place
        shift += 7
    raise ValueError(f"no number ends at byte {place}")


def write_varint(number: int) -> bytes:
    """Return a number as protobuf writes it."""
    parts = bytearray()
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    parts.append(number)
    return bytes(parts)
