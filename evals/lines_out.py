"""Lines to a file or to standard output. A file appears under its name only when it is whole."""

import gzip
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def open_lines(target: str, standard: Any) -> Iterator[Callable[[str], None]]:
    """Give a function that writes a line to a file (gzip where its name ends in .gz), or to `standard` for "-". Raises OSError."""
    if target == "-":
        yield standard.write
        return
    path = Path(target)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with (
            gzip.open(part, "wt", encoding="utf-8")
            if path.suffix == ".gz"
            else part.open("w", encoding="utf-8") as stream
        ):
            yield lambda line: print(line, file=stream)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
