"""An answer to one observation, and its record for taps."""

from __future__ import annotations

from msgspec import Struct

from adapt.belief.gaussian import Belief
from robot_bridge.protocol.messages import Command, Float32, Observation
from robot_bridge.telemetry.records import StepRecord


class Answer(Struct, frozen=True, eq=False):
    """A command and what explains it.

    wanted: (n_a,) what the policy asked for before the limits, None where it was not asked.
    latent: (n_z,) in force, drawn from the belief of latent_version. belief: in force. digest: of
    the bundle that answered. failure: name and text of why there is no other answer; see FAILURES.
    """

    command: Command
    wanted: Float32 | None
    latent: Float32
    latent_version: int
    belief: Belief
    digest: str
    failure: tuple[str, str] | None = None

    def record(
        self,
        robot: str,
        observation: Observation,
        received_ns: int,
        decided_ns: int,
        sent_ns: int,
        simulated: bool,
    ) -> StepRecord:
        """See StepRecord."""
        belief, command = self.belief, self.command
        return StepRecord(
            robot=robot,
            sequence=observation.sequence,
            robot_time_ns=observation.time_ns,
            received_ns=received_ns,
            decided_ns=decided_ns,
            sent_ns=sent_ns,
            observation=observation.payload,
            reward=observation.reward,
            flags=int(observation.flags),
            faults=observation.faults,
            wanted=self.wanted,
            command=command.payload,
            mode=command.mode,
            latent=self.latent,
            belief_mean=belief.mean,
            belief_variance=belief.variance,
            belief_count=belief.count,
            belief_version=belief.version,
            latent_version=self.latent_version,
            digest=self.digest,
            shadow=command.shadow,
            simulated=simulated,
        )
