"""``python -m benchmarks``: measure, and print one table. It is no test: a missed target does not fail."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.measurements import QUICK, Sizes, measurements
from benchmarks.process import Failed
from benchmarks.rivals import Terraform
from benchmarks.table import Row, table


def main() -> int:
    """Exit code 0, or 1 if a measurement could not be made."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="keyform beside other programs")
    parser.add_argument("--quick", action="store_true", help="few keys, once each: shows that it all works")
    parser.add_argument(
        "--in", dest="folder", metavar="DIR", type=Path, help="make the temporary folder here"
    )
    parser.add_argument("--out", metavar="FILE", type=Path, help="write the table to a file too")
    options = parser.parse_args()
    rows: list[Row] = []
    failures: list[str] = []
    with tempfile.TemporaryDirectory(prefix="keyform-benchmarks-", dir=options.folder) as work:
        for measure in measurements(Path(work), QUICK if options.quick else Sizes()):
            try:
                rows += measure()
            except Failed as failure:
                failures.append(str(failure))
            print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    text = about(options.quick) + "\n\n" + table(rows, Terraform.found(), judging=not options.quick)
    print(text, end="")
    if options.out is not None:
        options.out.write_text(text)
    for why in failures:
        print(f"not measured: {why}", file=sys.stderr)
    return 1 if failures else 0


def about(quick: bool) -> str:
    """When and where it was measured."""
    day = datetime.now(UTC).date().isoformat()
    machine = f"{day}, Python {platform.python_version()}, {os.cpu_count()} cores, {platform.system()}"
    return machine + (". A quick run: the figures mean nothing." if quick else "")


if __name__ == "__main__":
    sys.exit(main())
