"""One file a table; the table TABLES."""

from __future__ import annotations

from benchmarks.table import Table
from benchmarks.tables import syce_digits

TABLES: dict[str, Table] = {table.name: table for table in (syce_digits.TABLE,)}
