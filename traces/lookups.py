"""What the filters of the traces list ask of the database beside Django's own lookups, on SQLite and PostgreSQL alike."""

from typing import Any

import orjson
from django.db.models import BigAutoField, BooleanField, CharField, F, Func, Lookup, Subquery
from django.db.models import Value as Literal


@CharField.register_lookup
class Glob(Lookup):
    """`agent_name__glob="gpt*"`: `*` is any text and all else is meant as it stands. Minds case, and can use an index."""

    lookup_name = "glob"
    prepare_rhs = False

    def as_sql(self, compiler: Any, connection: Any) -> Any:
        left, params = self.process_lhs(compiler, connection)
        parts = str(self.rhs).split("*")
        if connection.vendor == "sqlite":
            escaped = ["".join(f"[{char}]" if char in "[?" else char for char in part) for part in parts]
            return f"{left} GLOB %s", [*params, "*".join(escaped)]
        escaped = [part.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") for part in parts]
        return f"{left} LIKE %s", [*params, "%".join(escaped)]


class Asked(Subquery):
    """True for rows for which a subquery says TRUE. Asked row by row: PostgreSQL makes no join of it, and expects half of the rows."""

    template = "((%(subquery)s) IS TRUE)"
    output_field = BooleanField()
    conditional = True


@BigAutoField.register_lookup
class Among(Lookup):
    """`pk__among=[…]`: as `in`, for a list of any length."""

    lookup_name = "among"
    prepare_rhs = False

    def as_sql(self, compiler: Any, connection: Any) -> Any:
        left, params = self.process_lhs(compiler, connection)
        if connection.vendor == "sqlite":
            values = orjson.dumps(self.rhs).decode()
            return f"{left} IN (SELECT value FROM json_each(%s))", [*params, values]  # noqa: S608
        return f"{left} = ANY(%s::bigint[])", [*params, list(self.rhs)]


class Beyond(Func):
    """True for rows that stand beyond a place (value, key) in an order: `(column, id) < (value, key)`, which an index can look up."""

    output_field = BooleanField()
    conditional = True

    def __init__(self, column: str, sign: str, value: Any, key: int) -> None:
        super().__init__(F(column), F("id"), Literal(value), Literal(key))
        self.sign = sign

    def as_sql(self, compiler: Any, connection: Any, **_extra: Any) -> Any:  # type: ignore[override]
        texts, params = [], []
        for one in self.get_source_expressions():
            text, values = compiler.compile(one)
            texts.append(text)
            params += values
        return f"({texts[0]}, {texts[1]}) {self.sign} ({texts[2]}, {texts[3]})", params
