"""Files that programs upload: their bytes are rows, written and read in pieces."""

from collections.abc import Iterable, Iterator
from datetime import timedelta

from django.db import transaction
from django.utils import timezone

from accounts.models import Project
from evals.models import File, FileChunk

PIECE = 1024 * 1024
MAX_FILE = 512 * 1024 * 1024


class FileTooLarge(ValueError):
    """A file of more bytes than are kept."""


@transaction.atomic
def create_file(
    project: Project, pieces: Iterable[bytes], *, filename: str, purpose: str, expires_after_s: int | None = None
) -> File:
    """Keep a file. Files whose time is over are dropped on the way. Raises FileTooLarge; then nothing is kept."""
    now = timezone.now()
    File.objects.filter(project=project, expires_at__lte=now).delete()
    file = File.objects.create(
        project=project,
        filename=filename[:300],
        purpose=purpose,
        created_at=now,
        expires_at=now + timedelta(seconds=expires_after_s) if expires_after_s is not None else None,
    )
    for number, piece in enumerate(in_pieces(pieces)):
        file.byte_count += len(piece)
        if file.byte_count > MAX_FILE:
            raise FileTooLarge(f"The file is too large: at most {MAX_FILE // 1024 // 1024} MB are taken.")
        FileChunk.objects.create(file=file, number=number, content=piece)
    file.save(update_fields=["byte_count"])
    return file


def in_pieces(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the same bytes in pieces of PIECE."""
    waiting = b""
    for piece in pieces:
        waiting += piece
        while len(waiting) >= PIECE:
            yield waiting[:PIECE]
            waiting = waiting[PIECE:]
    if waiting:
        yield waiting


def file_pieces(file: File) -> Iterator[bytes]:
    """Yield the bytes of a file, one piece in memory at a time."""
    for number in list(file.chunks.order_by("number").values_list("number", flat=True)):
        content = file.chunks.filter(number=number).values_list("content", flat=True).first()
        if content is None:
            return
        yield bytes(content)


def file_lines(file: File) -> Iterator[bytes]:
    """Yield the lines of a file without their ends. Only LF and CRLF end a line."""
    waiting: list[bytes] = []
    for piece in file_pieces(file):
        first, *rest = piece.split(b"\n")
        waiting.append(first)
        for line in rest:
            yield b"".join(waiting).removesuffix(b"\r")
            waiting = [line]
    last = b"".join(waiting).removesuffix(b"\r")
    if last:
        yield last


@transaction.atomic
def delete_file(file: File) -> None:
    """Delete a file. Runs that read it keep their own copy of its rows."""
    file.delete()
