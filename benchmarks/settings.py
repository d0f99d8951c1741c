"""Penstock's settings for a measurement, from the environment only, never from a `.env`."""

import environ

environ.Env.read_env = lambda *args, **kwargs: None

from config.settings import *  # noqa: E402, F403
from config.settings import MIDDLEWARE, Q_CLUSTER, ROOT_URLCONF, env  # noqa: E402

# The name is unique to this run, because other clusters on the same Redis may use the default.
Q_CLUSTER = {**Q_CLUSTER, "name": env.str("BENCH_QUEUE"), "scheduler": env.bool("BENCH_SCHEDULER")}
OURS, ROOT_URLCONF = ROOT_URLCONF, env.str("BENCH_URLCONF", default=ROOT_URLCONF)
if ROOT_URLCONF != OURS:  # the hurried design has its own views, and no fast path
    MIDDLEWARE = [each for each in MIDDLEWARE if each != "config.middleware.ingest_fast_path"]
RATE_LIMIT = 0  # one source sends everything, as fast as it can
