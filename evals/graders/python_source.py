"""What a Python grader's source needs of the sandbox, read without running it. Pure."""

import ast
import builtins
from dataclasses import dataclass

# What the OpenAI sandbox has and ours has not, with what to do instead.
INSTEAD = {
    "rapidfuzz": "Use a text_similarity grader with fuzzy_match.",
    "nltk": "Use a text_similarity grader with bleu, gleu or meteor.",
    "rouge_score": "Use a text_similarity grader with rouge_1 to rouge_5 or rouge_l.",
    "numpy": "Use lists, sum(), math and sorted().",
    "pandas": "Use lists and dicts.",
    "scipy": "Use math.",
    "difflib": "Use a text_similarity grader with fuzzy_match.",
    "string": "Write the letters out, or use str.isalpha() and str.isdigit().",
    "statistics": "A mean is sum(values) / len(values).",
}
# What leads out of a sandbox, with why it is not there.
NETWORK = (
    "socket",
    "ssl",
    "requests",
    "httpx",
    "aiohttp",
    "urllib.request",
    "urllib3",
    "http",
    "ftplib",
    "smtplib",
    "socketserver",
)
PROCESSES = ("subprocess", "multiprocessing", "threading", "concurrent", "ctypes", "signal")


@dataclass(frozen=True)
class Needs:
    """The imports of a source as statements, and the built-in names that it reads and does not define, each with its first line."""

    imports: dict[str, int]
    names: dict[str, int]


def needs_of(source: str) -> Needs:
    """Return what a source needs, also within its functions. Imports that it is prepared to miss are left out; so is everything where
    the source is written in newer Python than this one.
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return Needs({}, {})
    spared = {id(inner) for node in ast.walk(tree) if isinstance(node, ast.Try) for inner in tried(node)}
    imports: dict[str, int] = {}
    defined: set[str] = set()
    read: dict[str, int] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom) and id(node) not in spared:
            for name in node.names:
                imports.setdefault(statement(node, name.name), node.lineno)
        if isinstance(node, ast.Name):
            if isinstance(node.ctx, ast.Load):
                read.setdefault(node.id, node.lineno)
            else:
                defined.add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            defined.add(node.name)
        elif isinstance(node, ast.arg):
            defined.add(node.arg)
        elif isinstance(node, ast.alias):
            defined.add(node.asname or node.name)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            defined.add(node.name)
    names = {name: line for name, line in read.items() if name not in defined and hasattr(builtins, name)}
    return Needs(imports, names)


def tried(node: ast.Try) -> list[ast.AST]:
    """Return what stands within a `try` that catches a missing import."""
    for handler in node.handlers:
        caught = ast.unparse(handler.type) if handler.type is not None else "Exception"
        if any(name in caught for name in ("ImportError", "ModuleNotFoundError", "Exception")):
            return [inner for part in node.body for inner in ast.walk(part)]
    return []


def statement(node: ast.Import | ast.ImportFrom, name: str) -> str:
    """Return the statement that imports one name."""
    if isinstance(node, ast.Import):
        return f"import {name}"
    return f"from {'.' * node.level}{node.module or ''} import {name}"


def instead_of(module: str) -> str:
    """Say what to use in place of a module, or why there is nothing; empty where we know neither."""
    if is_among(module, NETWORK):
        return "A grader has no network: it sees its sample and its item, nothing else."
    if is_among(module, PROCESSES):
        return "A grader is one function in one process and starts nothing."
    return INSTEAD.get(module.split(".")[0], "")


def is_among(module: str, names: tuple[str, ...]) -> bool:
    """Say whether a module is one of these or within one of them."""
    return f"{module}.".startswith(tuple(f"{name}." for name in names))


def grade_parameters(source: str) -> int | None:
    """Return how many positional parameters the last top-level `grade` takes; None where it is no plain function or takes *args."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    found = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "grade"]
    if not found or found[-1].args.vararg:
        return None
    return len(found[-1].args.posonlyargs) + len(found[-1].args.args)
