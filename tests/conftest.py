"""Settings for every test: no schedule downloads, two threads, how many random examples.

``pytest --hypothesis-profile=full -m ""`` is the full suite.
"""

import os

from hypothesis import settings

os.environ.setdefault("TOPHUB_LOCATION", "NONE")
os.environ.setdefault("TVM_NUM_THREADS", "2")

settings.register_profile("ci", max_examples=60, deadline=None, derandomize=True)
settings.register_profile("full", max_examples=1000, deadline=None)
settings.load_profile("ci")
