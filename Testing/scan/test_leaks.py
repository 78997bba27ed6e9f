"""A thousand scans leave memory, threads and open files as they were; two dozen here, all with ``make soak``."""

from __future__ import annotations

import json
import subprocess
import sys

import leaks
import pytest
from childprocess import ENVIRONMENT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory and open files are counted in /proc")

CT_MIB = 70 * 64 * 64 * 2 / 2**20
"""What would stay of each scan if only the CT, the smallest volume at hand, were kept.

A quarter of it is a leak, over 1,000 scans a hundredth.
"""


@pytest.mark.parametrize("count", [24, pytest.param(1000, marks=pytest.mark.soak)])
def test_scans_leave_memory_threads_and_open_files_as_they_were(count: int) -> None:
    ran = subprocess.run(
        [sys.executable, leaks.__file__, str(count)], env=ENVIRONMENT, capture_output=True, text=True, check=True
    )
    told = json.loads(ran.stdout)
    print(told)
    assert told["scans"] == count
    assert told["mib_per_scan"] < (CT_MIB / 4 if count < 1000 else CT_MIB / 100)
    assert told["threads_grew"] == told["files_grew"] == 0
