"""Settings for every test: no schedule downloads, two threads."""

import os

os.environ.setdefault("TOPHUB_LOCATION", "NONE")
os.environ.setdefault("TVM_NUM_THREADS", "2")
