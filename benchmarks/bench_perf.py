"""Configuration of parsl-perf for ``bench.py``, which says in the environment what is to run, and on which endpoints; without limits."""
from __future__ import annotations

import json
import os

from bench_systems import CONFIGURATIONS, multi
from parsl.config import Config


def fresh_config() -> Config:
    """A new configuration, as parsl-perf wants it."""
    order = json.loads(os.environ["BENCH_PERF"])
    if order["system"] == "multi":
        return multi(order["ids"], order["threads"], request_limit=None)
    return CONFIGURATIONS[order["system"]](order["ids"], order["threads"])
