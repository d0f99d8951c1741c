"""The measuring process, started by run.py: `python -m benchmarks [--quick] ingest,latency`."""

import signal
import sys

import django


def main() -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    django.setup()
    from benchmarks import figures  # imports models, which needs django.setup()

    *quick, what = sys.argv[1:]
    try:
        figures.run(what.split(","), share=0.1 if quick else 1.0)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
