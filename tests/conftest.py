"""What every test runs under."""

import os

import pytest
from hypothesis import settings

from tests.support.client.cpp_client import MISSING

# OpenMP's idle threads spin: beside any other busy process a test that trains then takes minutes.
# It must be said before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# No test asserts how long anything takes: the machine may be busy with something else.
settings.register_profile("acclimate", deadline=None)
settings.load_profile("acclimate")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say in one line that the C++ client's tests were skipped, and how to run them."""
    skipped = terminalreporter.stats.get("skipped", [])
    count = sum(MISSING in str(report.longrepr) for report in skipped)
    if count:
        terminalreporter.write_line(f"{count} tests of the C++ client were skipped: {MISSING}")
