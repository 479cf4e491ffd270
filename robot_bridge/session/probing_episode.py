"""The probing episodes of one robot: asked for, open, over."""

from __future__ import annotations

from adapt.bundle.fields import Limit
from adapt.bundle.policy_bundle import PolicyBundle
from robot_bridge.errors import ProbeError
from robot_bridge.probing.limits import ProbeSettings, check_probing, probe_limits
from robot_bridge.probing.motion import Prober
from robot_bridge.protocol.messages import Begin, Float32, Ready
from robot_bridge.protocol.probe_messages import ProbeReport
from robot_bridge.safety.limits import Limits


class ProbingEpisode:
    """capable: whether the robot's driver performs them. shadow: whether the bridge only watches.

    limits: that hold in the open episode; None where it is no probing one.
    """

    def __init__(self, settings: ProbeSettings, capable: bool, shadow: bool) -> None:
        self._settings, self._capable, self._shadow = settings, capable, shadow
        self._prober: Prober | None = None
        self._problem = ""
        self.limits: Limits | None = None
        self.over = False

    def check(self, robot: str, bundle: PolicyBundle) -> None:
        """Raises ProbeError where this robot cannot probe here."""
        if self._shadow:
            raise ProbeError("a bridge in mode shadow commands nothing, so it cannot probe")
        check_probing(bundle.manifest, self._settings)
        if not self._capable:
            raise ProbeError(
                f"robot {robot!r} does not probe: its driver has not said that it can, or its task "
                "has nothing to touch"
            )

    def prepare(self, robot: str, begin: Begin, bundle: PolicyBundle) -> tuple[Limit, ...]:
        """The limits of the episode that is asked for; empty for one that does not probe. Raises
        ProbeError where this robot cannot probe here."""
        if not begin.probe:
            return ()
        self.check(robot, bundle)
        return probe_limits(bundle.manifest.limits, self._settings)

    def open(self, begin: Begin | None, ready: Ready, bundle: PolicyBundle) -> None:
        """An episode begins."""
        self._prober, self._problem, self.limits, self.over = None, "", None, False
        if begin is None or not begin.probe:
            return
        manifest, period = bundle.manifest, bundle.manifest.control_period
        limits = probe_limits(manifest.limits, self._settings)
        self.limits = Limits(manifest.observation, manifest.action, limits, period)
        if ready.target is None:
            self._problem = "the robot has not said what it holds and what stands before it"
            return
        try:
            layout = check_probing(manifest, self._settings)
            self._prober = Prober(layout, self._settings, ready.target, begin.probe, period)
        except ProbeError as error:
            self._problem = str(error)

    def disturbed(self, trouble: str) -> None:
        """The robot was held or damped; the probing, if one is open, is given up."""
        if self._prober is not None:
            self._prober.disturbed(trouble)

    def step(self, observation: Float32, still: Float32) -> Float32:
        """The command (n_a,) after an observation within limits; `over` says whether it is the
        last. still: that of a robot that stays."""
        if self._prober is None:
            self.over = True
            return still
        command = self._prober.step(observation)
        self.over = self._prober.over
        return command

    def report(self) -> ProbeReport | None:
        """Of the open episode; None where it is no probing one."""
        if self.limits is None:
            return None
        if self._prober is None:
            return ProbeReport(None, (), (), self._problem, 0.0, 0.0)
        return self._prober.report
