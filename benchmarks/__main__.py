"""`python -m benchmarks NAME [--quick]`."""

from __future__ import annotations

import argparse
import sys

from benchmarks import runner, speed
from benchmarks.tables import TABLES


def main() -> int:
    """Make one table."""
    names = [*TABLES, "speed"]
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Make a published table.")
    parser.add_argument("name", choices=names)
    parser.add_argument("--quick", action="store_true", help="a few steps, to see that it runs; writes no results")
    arguments = parser.parse_args()
    if arguments.name == "speed":
        speed.run(quick=arguments.quick)
    else:
        sys.stdout.write(runner.text(runner.run(TABLES[arguments.name], quick=arguments.quick)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
