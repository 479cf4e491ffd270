// When each end of a connection notices that the other is gone; see robot_bridge/protocol/timing.py.
#pragma once

namespace acclimate {

constexpr double HEARTBEAT = 0.5;    // between two HEARTBEAT frames to the bridge [s]
constexpr double BRIDGE_LOST = 3.0;  // without a frame from the bridge, after which it is given up [s]

}  // namespace acclimate
