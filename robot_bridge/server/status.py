"""One robot's part of the bridge's status."""

from __future__ import annotations

from robot_bridge.protocol.operator_messages import BeliefPoint, KeptBelief, RobotStatus
from robot_bridge.server.session_registry import Peer
from robot_bridge.session.robot_session import RobotSession


def robot_status(peer: Peer, robot: RobotSession, now_ns: int) -> RobotStatus:
    """now_ns: the bridge's monotonic clock [ns]."""
    policy, heartbeat = robot.policy, peer.heartbeat
    belief = policy.belief
    return RobotStatus(
        name=peer.name,
        simulated_time=robot.simulated_time,
        digest=robot.episodes.digest,
        next_digest=robot.episodes.next_digest,
        mode=robot.mode.name if robot.mode is not None else "",
        episode=robot.episodes.phase,
        step=robot.episodes.step,
        belief=BeliefPoint(
            robot.episodes.step,
            belief.version,
            tuple(belief.mean.tolist()),
            tuple(belief.variance.tolist()),
        ),
        count=belief.count,
        kept=tuple(
            KeptBelief(
                kept.number,
                kept.cause,
                kept.digest,
                kept.version,
                kept.count,
                (now_ns - kept.time_ns) / 1e9,
            )
            for kept in policy.kept
        ),
        adapting=policy.adapter.adapting,
        inside=policy.verdict.inside,
        trusted=policy.adapter.trusted,
        guard=policy.verdict.reason,
        rate=robot.pace.rate,
        late=robot.pace.share,
        waiting=robot.episodes.waiting,
        stop=robot.halted,
        quiet=max(0.0, (now_ns - peer.heard_ns) / 1e9),
        no_probing=robot.episodes.no_probing,
        clock_offset_ns=heartbeat.clock_offset_ns if heartbeat else None,
        round_trip_ns=heartbeat.round_trip_ns if heartbeat else None,
    )
