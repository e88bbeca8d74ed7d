"""`python -m benchmarks NAME [--quick] [--rows A B] [--again]`."""

from __future__ import annotations

import argparse
import sys

from benchmarks import (
    answers,
    app,
    audits,
    compare,
    confounder,
    embedding,
    evaluation,
    latents,
    page,
    runner,
    searches,
    sheet,
    speed,
)
from benchmarks.tables import TABLES

SCRIPTS = {
    "answers": answers.run,
    "app": app.run,
    "audits": audits.run,
    "compare": compare.run,
    "confounder": confounder.run,
    "embedding": embedding.run,
    "evaluation": evaluation.run,
    "medxgan-latents": latents.run,
    "page": page.run,
    "searches": searches.run,
    "sheet": sheet.run,
    "speed": speed.run,
}
"""Measurements that are no table, by name."""


def main() -> int:
    """Make one table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Make a published table.")
    parser.add_argument("name", choices=[*TABLES, *SCRIPTS])
    parser.add_argument("--quick", action="store_true", help="a few steps, to see that it runs; writes no results")
    parser.add_argument("--rows", nargs="+", default=[], help="only these rows; the others stay as they are")
    parser.add_argument("--again", action="store_true", help="evaluate also rows whose figures are cached")
    arguments = parser.parse_args()
    if arguments.name in SCRIPTS:
        if arguments.rows or arguments.again:
            parser.error(f"--rows, --again: for tables, and {arguments.name} is none; leave them out")
        SCRIPTS[arguments.name](quick=arguments.quick)
        return 0
    table = TABLES[arguments.name]
    if unknown := set(arguments.rows) - set(table.rows):
        parser.error(f"--rows: {', '.join(sorted(unknown))}: {table.name} has the rows {', '.join(table.rows)}")
    result = runner.run(table, quick=arguments.quick, only=arguments.rows, again=arguments.again)
    sys.stdout.write(runner.text(result) + "\n")
    return 1 if result["failed_again"] or any("failed" in row for row in result["rows"]) else 0


if __name__ == "__main__":
    sys.exit(main())
