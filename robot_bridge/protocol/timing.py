"""When each end of a connection notices that the other is gone: one table for bridge and clients.

All signs of life are HEARTBEAT frames of this protocol. ZeroMQ's own heartbeats are off: together
with a bounded queue they make libzmq abort when the bridge falls behind (libzmq issues 3937, 4364,
4767). docs/protocol.md and the C++ client's timing.hpp have the same numbers.
"""

HEARTBEAT = 0.5  # between two HEARTBEAT frames: bridge to every peer, robot to bridge [s]
BRIDGE_LOST = 3.0  # without a frame from the bridge, after which a client gives it up [s]
ROBOT_SILENT = 2.0  # without a frame from a robot, after which operators are told [s]
# Without a frame from a robot, after which it is disconnected; one whose clock waits for answers
# may pause for as long as it likes [s].
ROBOT_LOST = 5.0
# What the bridge's kernel does about a machine that is gone, of any peer over tcp: it breaks a
# connection whose data stays unacknowledged for so long [ms] ...
UNACKNOWLEDGED_MS = 2000
# ... and probes one to which nothing is sent: first after IDLE, then every PROBE [s], PROBES times.
IDLE, PROBE, PROBES = 5, 1, 3
