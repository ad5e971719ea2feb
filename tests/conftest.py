"""One thread a process and reproducible examples: set before anything imports torch."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from hypothesis import settings

settings.register_profile("molvae", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("molvae")
