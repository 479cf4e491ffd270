"""The clients of a bridge: a robot's, which its driver calls, and an operator's."""

from robot_bridge.client.operator_client import OperatorClient
from robot_bridge.client.robot_client import RobotClient
from robot_bridge.errors import BridgeLost, HandshakeError
from robot_bridge.protocol.messages import Command, FieldSpec, Mode, Outcome, ResetRequest
from robot_bridge.system.clock import Rate

__all__ = [
    "BridgeLost",
    "Command",
    "FieldSpec",
    "HandshakeError",
    "Mode",
    "OperatorClient",
    "Outcome",
    "Rate",
    "ResetRequest",
    "RobotClient",
]
