"""Former path of `robot_bridge.protocol.messages`, valid for one release."""

from robot_bridge.protocol.messages import *  # noqa: F403
