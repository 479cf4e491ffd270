"""For tests that send frames as fast as they can, or as slowly as a busy machine lets them."""

import math

from robot_bridge.safety.spacing import SpacingSettings

# For a client, and for a bridge without a process of its own.
LOOSE = SpacingSettings(math.inf, math.inf)
# A bridge's words: however late the answers, and whatever the rate.
CALM = ("pace.slipping=1", "pace.lost=1", "spacing.gap=1e9", "spacing.drift=1e9")
