"""Probing as motion: guarded moves of the impedance controller's reference, one period at a time.

A guarded move (Will and Grossman 1975) goes on until the force says contact, or until it has gone
too far. Here it goes slowly at a compliant robot, so that a period's delay adds about a newton.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator

import numpy as np

from robot_bridge.errors import ProbeError
from robot_bridge.probing.limits import Layout, ProbeSettings, Seen
from robot_bridge.probing.plan import CLEAR, MARGIN, Approach, approaches
from robot_bridge.protocol.messages import Float32
from robot_bridge.protocol.probe_messages import Blocks, Level, ProbeReport, ProbeTarget, Touch

CONTACT = 1.5
"""Force [N] that is contact: five times the noise of a good wrist's sensor. A reading above it is
looked at again at rest, since a worse sensor's noise may reach it."""
STRAY = 5.0
"""Force [N] in the air that stops a free move."""
BIAS = 8.0
"""Mean force at rest [N] above which the tool is taken to touch something."""
LIGHT, FIRM = 1.5, 3.5
"""Forces [N] of a touch. Where the robot would be at none is found from both. A soft controller
whose reference may lead by 5 mm reaches no more than 4 N."""
STEADY = 0.7
"""Largest error of such a force [N], on the mean of as many periods as coming to rest takes."""
CALM, MEANS = 4, 8
"""Periods to come to rest, and to average over."""
PRESSING = 40
"""Periods that a force may take to come about."""
BACK = 0.003
"""Retraction from a touch [m]."""
HELD = 0.004
"""How far the reference may be ahead of a tool that feels nothing [m]."""
SLIDE, SLIDING = 0.006, 0.008
"""Length [m] and speed [m/s] of a slide. Only the last third counts: the reference has to lead by
up to 4 mm before a soft controller overcomes friction."""
LAST = 3
TRAVEL, TURNING = 0.028, 0.3
"""Speeds of free moves [m/s, rad/s]."""
NEAR = 0.0002
"""[m]"""
LONGEST = 4000
"""Control periods of a probing episode."""

Moves = Generator[np.ndarray, Seen, Seen]
STAY = np.zeros(4)


class Prober:
    """One robot's probing episode. period: control period [s]. Raises ProbeError for a target that
    cannot be probed within the settings."""

    def __init__(
        self,
        layout: Layout,
        settings: ProbeSettings,
        target: ProbeTarget,
        blocks: Blocks,
        period: float,
    ) -> None:
        self._layout, self._settings, self._target = layout, settings, target
        self._period = period
        self._slides = "contact" in blocks
        plan = approaches(target, settings)
        self._plan = plan if "socket" in blocks else plan[:3]
        self._script = self._course()
        self._started = False
        self._trouble = ""  # that the limits found since the last step
        self._bias = np.zeros(3)
        self._way_back: list[np.ndarray] = []  # directions of retraction, latest last
        self._touches: list[Touch] = []
        self._slid: list[Level] = []
        self._peak = 0.0
        self._steps = 0
        self.problem = ""
        self.over = False

    @property
    def report(self) -> ProbeReport:
        """What has been found so far."""
        problem = self.problem or ("" if self.over else "the probing was cut off")
        return ProbeReport(
            self._target,
            tuple(self._touches),
            tuple(self._slid),
            problem[:1000],
            self._peak,
            self._steps * self._period,
        )

    def disturbed(self, trouble: str) -> None:
        """The robot was held or damped: probing is given up and the robot retracts."""
        self._steps += 1
        self._trouble = self._trouble or trouble

    def step(self, observation: Float32) -> Float32:
        """The command (n_a,) after an observation (n_o,) within limits; `over` says whether it is
        the last."""
        seen = self._layout.see(observation)
        self._steps += 1
        self._peak = max(self._peak, float(np.linalg.norm(seen.force - self._bias)))
        change = STAY
        try:
            if not self._started:
                self._started = True
                change = next(self._script)
                change = self._script.send(seen)
            elif self._trouble and not self.problem:
                change = self._script.throw(ProbeError(self._trouble))
            elif self._steps > LONGEST and not self.problem:
                change = self._script.throw(ProbeError(f"not done after {LONGEST} periods"))
            else:
                change = self._script.send(seen)
        except StopIteration:
            self.over = True
        most = self._layout.most
        return self._layout.command(np.clip(change, -most, most))

    def _course(self) -> Generator[np.ndarray, Seen, None]:
        seen = yield STAY
        try:
            seen = yield from self._rest(seen)
            place = np.array([seen.position[0], seen.position[1], CLEAR, 0.0])
            seen = yield from self._go(seen, place)
            for number, approach in enumerate(self._plan):
                seen = yield from self._approach(seen, approach, number)
            seen = yield from self._up(seen)
        except ProbeError as error:
            self.problem = str(error)
            yield from self._retract(seen)

    def _approach(self, seen: Seen, approach: Approach, number: int) -> Moves:
        """Go to its start, above the plate where another surface comes next, and touch."""
        before = self._plan[number - 1] if number else None
        if before is not None and before.surface != approach.surface:
            seen = yield from self._up(seen)
        elif before is not None and before.surface != "face":
            seen = yield from self._go(seen, before.start)
        if before is None or before.surface == "face" or before.surface != approach.surface:
            above = approach.start.copy()
            above[2] = CLEAR
            seen = yield from self._go(seen, above)
        seen = yield from self._go(seen, approach.start)
        seen = yield from self._rest(seen)
        seen = yield from self._touch(seen, approach)
        last_on_face = approach.surface == "face" and number == 2
        if self._slides and last_on_face:
            seen = yield from self._slide(seen)
        back = yield from self._back(seen, approach.direction, BACK)
        if np.abs(back.force - self._bias).max() > STRAY:
            raise ProbeError(
                f"still in contact {1e3 * BACK:g} mm behind a touch of {_named(approach)}"
            )
        return back

    def _up(self, seen: Seen) -> Moves:
        """Straight up to the height of travel."""
        reference = seen.position + seen.lead[:3]
        goal = np.array([*reference[:2], CLEAR, seen.rotation[0] + seen.lead[3]])
        return (yield from self._go(seen, goal))

    def _go(self, seen: Seen, goal: np.ndarray, guard: float = STRAY) -> Moves:
        """A free move of the reference to x, y, z, yaw (4,). A force stops it."""
        while True:
            away = goal - _reference(seen)
            near = np.abs(away[:3]).max() < NEAR and abs(away[3]) < 0.002
            if near:
                return seen
            speed = np.linalg.norm(away[:3]) / (TRAVEL * self._period)
            turning = abs(away[3]) / (TURNING * self._period)
            self._way_back = [away[:3] / max(float(np.linalg.norm(away[:3])), 1e-9)]
            seen = yield away / max(1.0, speed, turning)
            stray = np.linalg.norm(seen.force - self._bias)
            if stray > guard:
                raise ProbeError(
                    f"{stray:.1f} N in a free move at {_place(seen)}; expected at most "
                    f"{guard:g} N: something is in the way"
                )

    def _rest(self, seen: Seen) -> Moves:
        """Come to rest and take the sensor's bias."""
        for _ in range(CALM):
            seen = yield STAY
        raw = []
        for _ in range(MEANS):
            seen = yield STAY
            raw.append(seen)
        readings = np.array([s.raw for s in raw])
        if np.ptp(readings, axis=0).max() == 0.0:
            raise ProbeError(
                f"the wrench reads {readings[0, :3]} N without any noise over {MEANS} periods: the "
                "sensor is dead"
            )
        force = np.mean([s.force for s in raw], axis=0)
        if np.linalg.norm(force) > BIAS:
            raise ProbeError(
                f"{np.linalg.norm(force):.1f} N at rest at {_place(seen)} before a touch; expected "
                f"a bias of at most {BIAS:g} N: the tool touches something, or the sensor is not "
                "zeroed"
            )
        self._bias = force
        return seen

    def _touch(self, seen: Seen, approach: Approach) -> Moves:
        """Approach until there is contact, then press lightly and firmly."""
        towards, start = approach.direction, seen.position
        step = np.append(towards * self._settings.speed * self._period, 0.0)
        self._way_back = [towards]
        while True:
            seen = yield step
            gone = float((seen.position - start) @ towards)
            pressed = float((seen.force - self._bias) @ towards)
            name = _named(approach)
            if pressed > CONTACT:
                seen, still = yield from self._still(seen, CALM)
                if float(still.force @ towards) > CONTACT:
                    break
            if gone > approach.travel:
                raise ProbeError(
                    f"no contact with {name} within {1e3 * approach.travel:.1f} mm of "
                    f"{_place(seen)}; the plate, or what is held, is not what the target says"
                )
            ahead = float(seen.lead[:3] @ towards)
            if ahead > HELD:
                raise ProbeError(
                    f"{name}: the tool stays {1e3 * ahead:.1f} mm behind and the sensor reads "
                    f"{pressed:.1f} N; expected more than {CONTACT:g}: the sensor is dead, or "
                    "motion is blocked"
                )
        if gone < MARGIN / 2:
            raise ProbeError(
                f"contact with {name} {1e3 * gone:.1f} mm from the start of the approach; expected "
                f"at least {1e3 * MARGIN / 2:.1f} mm of air"
            )
        seen, light = yield from self._level(seen, approach, LIGHT)
        seen, firm = yield from self._level(seen, approach, FIRM)
        self._touches.append(Touch(approach.surface, tuple(towards.tolist()), light, firm))
        return seen

    def _press(self, seen: Seen, approach: Approach, force: float) -> Moves:
        """Bring the force along the approach to so many newtons."""
        axis = int(np.argmax(np.abs(approach.direction)))
        # A fifth of what the nominal stiffness asks for: the true one differs, and the mean lags.
        gain = 0.2 / self._target.stiffness[axis]
        readings: deque[float] = deque(maxlen=CALM)
        error, calm = 0.0, 0
        for _ in range(PRESSING):
            readings.append(float((seen.force - self._bias) @ approach.direction))
            error = force - float(np.mean(readings))
            calm = calm + 1 if len(readings) == CALM and abs(error) < STEADY else 0
            if calm == CALM:
                return seen
            change = np.clip(gain * error, -3e-4, 3e-4)
            seen = yield np.append(approach.direction * change, 0.0)
        raise ProbeError(
            f"{_named(approach)}: the force is {force - error:.1f} N after {PRESSING} periods; "
            f"expected {force:g}: the surface gives way, or the sensor lags"
        )

    def _level(
        self, seen: Seen, approach: Approach, force: float
    ) -> Generator[np.ndarray, Seen, tuple[Seen, Level]]:
        seen = yield from self._press(seen, approach, force)
        return (yield from self._still(seen, MEANS))

    def _still(self, seen: Seen, periods: int) -> Generator[np.ndarray, Seen, tuple[Seen, Level]]:
        """Stay, and the means of what is seen meanwhile."""
        found = []
        for _ in range(periods):
            seen = yield STAY
            found.append(seen)
        return seen, self._mean(found)

    def _slide(self, seen: Seen) -> Moves:
        """There and back along x, pressed as it is."""
        for sign in (1.0, -1.0):
            step = np.array([sign * SLIDING * self._period, 0.0, 0.0, 0.0])
            count = round(SLIDE / (SLIDING * self._period))
            found = []
            for _ in range(2 * count if sign < 0 else count):
                seen = yield step
                found.append(seen)
            self._slid.append(self._mean(found[-(count // LAST) :]))
        return seen

    def _back(self, seen: Seen, towards: np.ndarray, distance: float) -> Moves:
        """Retract, at any force."""
        goal = seen.position - distance * towards
        for _ in range(PRESSING):
            away = float((seen.position - goal) @ towards)
            if away < NEAR:
                break
            change = towards * min(away + HELD / 4, 0.6 * TRAVEL * self._period)
            seen = yield np.append(-change, 0.0)
        return seen

    def _retract(self, seen: Seen) -> Generator[np.ndarray, Seen, None]:
        """Away from what was touched last; then the robot stays."""
        for towards in reversed(self._way_back):
            seen = yield from self._back(seen, towards, BACK)
        yield STAY

    def _mean(self, found: list[Seen]) -> Level:
        pose = np.mean([np.concatenate([s.position, s.rotation]) for s in found], axis=0)
        force = np.mean([s.force for s in found], axis=0) - self._bias
        lead = np.mean([s.lead[:3] for s in found], axis=0)
        return Level(tuple(pose.tolist()), tuple(force.tolist()), tuple(lead.tolist()))


def _reference(seen: Seen) -> np.ndarray:
    """x, y, z, yaw (4,) that the controller is told to hold."""
    return np.append(seen.position, seen.rotation[0]) + seen.lead


def _named(approach: Approach) -> str:
    return "the face" if approach.surface == "face" else f"the plate's side {approach.surface}"


def _place(seen: Seen) -> str:
    x, y, z = 1e3 * seen.position
    return f"({x:.1f}, {y:.1f}, {z:.1f}) mm"
