"""Measures ingest: events/s compared with the floor, response times, and memory.

    python benchmarks/ingest.py [--quick] [--only ingest|answers|memory] [--database …]

It is a part of `make bench`. docs/benchmarks.md explains what each figure means.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))  # so that it runs from any folder

from benchmarks.run import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main(("ingest", "answers", "memory")))
