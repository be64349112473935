"""Portable column types: what SQLite's STRICT tables and PostgreSQL can both say.

STRICT knows INTEGER, REAL, TEXT, BLOB and ANY only and refuses VARCHAR; REAL has 4 bytes on PostgreSQL. So each type
here names its SQLite form as a variant of the standard one.
"""

from __future__ import annotations

from typing import Any, cast

from sqlalchemy import BigInteger, Double, Text
from sqlalchemy.dialects import sqlite
from sqlalchemy.types import TypeEngine, UserDefinedType


class _SqliteAny(UserDefinedType[Any]):
    """SQLite's ANY: keeps a value exactly as bound (a REAL column turns -0.0 into 0.0)."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "ANY"


TEXT: TypeEngine[Any] = Text()
INTEGER: TypeEngine[Any] = BigInteger().with_variant(sqlite.INTEGER(), "sqlite")
REAL: TypeEngine[Any] = cast(Any, Double()).with_variant(sqlite.REAL(), "sqlite")
#: A metric's value: a double, or NULL for NaN. A CHECK keeps other types out.
NUMBER: TypeEngine[Any] = cast(Any, Double()).with_variant(_SqliteAny(), "sqlite")
#: A param's value: integer, double or text. PostgreSQL would hold the text.
TYPED: TypeEngine[Any] = Text().with_variant(_SqliteAny(), "sqlite")
