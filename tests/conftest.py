"""What every test runs under."""

from hypothesis import settings

# No test asserts how long anything takes: the machine may be busy with something else.
settings.register_profile("acclimate", deadline=None)
settings.load_profile("acclimate")
