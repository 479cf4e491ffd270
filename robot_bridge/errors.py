"""Errors between the bridge and its peers."""

from adapt.errors import AcclimateError


class BridgeError(AcclimateError):
    """Something between the bridge and a robot or an operator went wrong."""


class CodecError(BridgeError):
    """A frame is malformed; the message names the part, what was found and what was expected."""


class VersionError(CodecError):
    """A frame is of a protocol version that is not spoken here."""

    def __init__(self, text: str, version: int) -> None:
        super().__init__(text)
        self.version = version


class EndpointError(BridgeError):
    """An endpoint cannot be used: badly written, in use, or out of reach."""


class HandshakeError(BridgeError):
    """The bridge refused this peer; the message lists every difference."""


class BridgeLost(BridgeError):
    """The bridge does not answer, has closed, or no longer knows this session."""


class RobotLost(BridgeError):
    """The robot in a trial left, stopped or fell silent."""


class LimitError(BridgeError):
    """A limit in the manifest cannot be kept: wrong field, quantity or range."""


class TrialError(BridgeError):
    """A trial cannot start, or its folder cannot be read or written."""


class ProbeError(BridgeError):
    """A robot cannot probe as asked, or its touches tell no pose; nothing was claimed."""


class KeyFileError(BridgeError):
    """A key is missing, badly written, or made for another peer."""


class RecordingError(BridgeError):
    """A recording cannot be written or read, or belongs to another bundle."""


class ModelError(BridgeError):
    """A model cannot be loaded, swapped or gone back to as asked."""


class StateError(BridgeError):
    """A stored belief, or the folder that holds it, cannot be used."""


def described(error: BaseException) -> str:
    """An exception in a message: the text of one of ours, of any other its kind before it."""
    text = str(error)
    if isinstance(error, AcclimateError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
