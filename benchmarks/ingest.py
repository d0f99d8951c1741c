"""What ingest manages: events/s beside the floor, how soon it answers, what memory it takes.

    python benchmarks/ingest.py [--quick] [--only ingest|answers|memory] [--database …]

As `make bench`, of which it is a part; docs/benchmarks.md says what each figure means.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))  # it runs from anywhere

from benchmarks.run import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main(("ingest", "answers", "memory")))
