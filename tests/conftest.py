"""What every test runs under."""

import os

from hypothesis import settings

# OpenMP's idle threads spin: beside any other busy process a test that trains then takes minutes.
# It must be said before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# No test asserts how long anything takes: the machine may be busy with something else.
settings.register_profile("acclimate", deadline=None)
settings.load_profile("acclimate")
