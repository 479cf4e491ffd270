"""Settings for tests that do not keep the control period."""

import math

from robot_bridge.safety.spacing import SpacingSettings

# For a client, and for a bridge without a process of its own.
LOOSE = SpacingSettings(math.inf, math.inf)
# Settings of a bridge that accepts any rate and any delay.
CALM = ("pace.slipping=1", "pace.lost=1", "spacing.gap=1e9", "spacing.drift=1e9")
