"""Freed memory serves the next tensor: no fresh pages from the system for every update."""

import os
import subprocess
import sys

import pytest

COUNT_PAGE_FAULTS = """
import resource, sys
import numpy as np
from chemkd_tf import startup
print(startup.keep_freed_memory() if sys.argv[1] == "keep" else "left alone")
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(100):
    arrays = [np.ones(500_000) for _ in range(8)]  # 4 MB each
    del arrays
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def run(what: str, **environment: str) -> tuple[str, int]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    done = subprocess.run(
        [sys.executable, "-c", COUNT_PAGE_FAULTS, what],
        env={**clean, **environment}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    said, faults = done.stdout.split()[:2] if what == "keep" else ("", done.stdout.split()[-1])
    return said, int(faults)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_freed_memory_is_kept():
    said, kept = run("keep")
    if said == "False":
        pytest.skip("another allocator than glibc's")
    _, returned = run("leave", MALLOC_TRIM_THRESHOLD_="100000", MALLOC_MMAP_THRESHOLD_="100000")
    assert said == "True"
    assert kept < returned / 5, (kept, returned)


def test_settings_of_the_user_win():
    assert run("keep", MALLOC_TRIM_THRESHOLD_="100000")[0] == "False"
