"""Settings for every test: no schedule downloads, two threads, no certificates of the user's own,
how many random examples.

``pytest --hypothesis-profile=full -m ""`` is the full suite.
"""

import os
import tempfile

from hypothesis import settings

os.environ.setdefault("TOPHUB_LOCATION", "NONE")
os.environ.setdefault("TVM_NUM_THREADS", "2")
# TVM binds threads to the first cores, in every process alike: pytest's workers would share one.
os.environ.setdefault("TVM_BIND_THREADS", "0")

# A folder that is not there: what a user certified must not decide a test.
os.environ["TVM_REORDER_CERTIFICATES"] = f"{tempfile.gettempdir()}/tvm_reorder_tests/{os.getpid()}"

settings.register_profile("ci", max_examples=60, deadline=None, derandomize=True)
settings.register_profile("full", max_examples=1000, deadline=None)
settings.load_profile("ci")


def pytest_sessionstart():
    """Small builds take a fifth less."""
    from bench.build_flags import remember_build_flags

    remember_build_flags()


def pytest_collection_modifyitems(items):
    """Networks that take minutes to compile come first, or one worker ends up with them alone."""
    items.sort(key=lambda item: "test_light_networks" not in item.nodeid)
