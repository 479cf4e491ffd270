"""What links against the bridge: the robot's client and the operator's."""

from robot_bridge.client.operator_client import OperatorClient
from robot_bridge.client.robot_client import RobotClient
from robot_bridge.protocol.messages import Command, Mode, Outcome, ResetRequest

__all__ = ["Command", "Mode", "OperatorClient", "Outcome", "ResetRequest", "RobotClient"]
