"""The operator's wait for a record that will never come."""

import pytest

from robot_bridge.client.operator_client import ENDINGS, OperatorClient
from robot_bridge.errors import BridgeError, RobotLost
from robot_bridge.protocol import codec
from robot_bridge.protocol.messages import (
    RELEASED,
    STOP_GIVEN,
    STOPPED,
    Begin,
    Event,
    Release,
    Stop,
)


class FakeSocket:
    """Answers with these events, then with silence, or with an exception."""

    def __init__(self, *events, error=None):
        self._frames = [codec.decode(codec.encode_message(event)) for event in events]
        self._error = error
        self.sent = []

    def hear(self, event):
        self._frames.append(codec.decode(codec.encode_message(event)))

    def send(self, message):
        self.sent.append(message)

    def receive(self, timeout):
        if self._frames:
            return self._frames.pop(0)
        if self._error is not None:
            raise self._error
        return None

    def check_alive(self):
        pass

    def close(self):
        pass


@pytest.mark.parametrize("asked", ["arm", ""])
@pytest.mark.parametrize("name", sorted({*ENDINGS, "episode_cut"}))
def test_an_episode_that_will_not_end_is_not_waited_for(tmp_path, monkeypatch, asked, name):
    with OperatorClient(f"ipc://{tmp_path}/b") as operator:
        operator._link.close()
        monkeypatch.setattr(operator, "_link", FakeSocket(Event(name, "arm", "why")))
        with pytest.raises(RobotLost, match=f"robot 'arm': {name}: why"):
            operator.run(Begin(asked, 0, 0, 0, True), 0.05)


@pytest.fixture
def linked(tmp_path, monkeypatch):
    """Makes an operator whose link hears the given events."""
    operator = OperatorClient(f"ipc://{tmp_path}/b")
    operator._link.close()

    def link(*events, error=None):
        fake = FakeSocket(*events, error=error)
        monkeypatch.setattr(operator, "_link", fake)
        return operator, fake

    return link


@pytest.mark.parametrize("error", [None, KeyboardInterrupt(), SystemExit(143)])
def test_a_robot_that_is_left_with_its_episode_is_stopped_and_no_other(linked, error):
    operator, link = linked(Event(STOPPED, "leg", "not ours"), error=error)
    with pytest.raises((RobotLost, KeyboardInterrupt, SystemExit)):
        operator.run(Begin("arm", 3, 1, 0, True), 0.05)
    begin, stop = link.sent
    assert isinstance(begin, Begin)
    assert isinstance(stop, Stop)
    assert stop.robot == "arm"
    assert stop.reason.startswith("the operator gave up task 3, episode 1: ")


@pytest.mark.parametrize("name", [*ENDINGS, "begin_refused"])
def test_a_robot_that_has_no_episode_of_ours_is_not_stopped(linked, name):
    operator, link = linked(Event(name, "arm", "why"))
    with pytest.raises(BridgeError):
        operator.run(Begin("arm", 0, 0, 0, True), 0.05)
    assert [type(message) for message in link.sent] == [Begin]


def given(robot, number, giver="operator", reason="button"):
    """What a bridge tells of a stop."""
    return Event(STOP_GIVEN, robot, f"operator {giver!r}: {reason}", number)


def test_a_release_answers_what_has_been_heard_and_nothing_else(linked):
    operator, link = linked(
        given("", 4),
        Event(STOPPED, "arm", "silence", 2),
        Event(STOPPED, "leg", "silence", 9),
        Event(RELEASED, "arm", "released", 2),
    )
    operator.stop("button")
    assert operator.wait_stopped(1.0) == "stop 4, every robot: operator 'operator': button"
    operator.release("arm")
    assert operator.wait_released("arm", 1.0) == "released"
    operator.release("arm")
    assert link.sent[1:] == [Release("arm", 4, 0), Release("arm", 4, 2)]


def heard(operator, count):
    for _ in range(count):
        operator._event(0.0)


def test_a_release_without_a_name_is_for_the_only_robot_and_its_own_stops(linked):
    told = (
        Event("robot_connected", "leg", "ready"),
        Event("robot_connected", "arm", "ready"),
        Event(STOPPED, "leg", "silence", 9),
        Event(STOPPED, "arm", "silence", 2),
    )
    gone = Event("robot_left", "leg", "goodbye")
    freed = [Event(RELEASED, name, f"{name} is released", 2) for name in ("leg", "arm")]
    operator, link = linked(*told, gone, *freed)
    with pytest.raises(BridgeError, match=r"which robot is not said; .* none is known of"):
        operator.release("")
    heard(operator, len(told))
    with pytest.raises(BridgeError, match=r"which robot is not said; expected .* arm, leg"):
        operator.release("")
    heard(operator, 1)
    operator.release("")
    assert link.sent == [Release("arm", 0, 2)]
    # What another says is not what was asked for.
    assert operator.wait_released("", 1.0) == "arm is released"


def test_the_stop_of_another_is_not_taken_for_ours(linked):
    others = (
        given("leg", 5),
        given("", 6),
        given("arm", 7, giver="somebody"),
        given("arm", 8, reason="smoke"),
        Event(STOP_GIVEN, "arm", "operator 'operator': button", 3),
    )
    operator, link = linked(given("", 4, giver="earlier"), *others)
    with pytest.raises(BridgeError, match="wait_stopped before stop"):
        operator.wait_stopped(0.05)
    heard(operator, 1)
    operator.stop("button", "arm")
    with pytest.raises(RobotLost, match="does not say"):
        operator.wait_stopped(0.05)
    link.hear(given("arm", 9))
    assert operator.wait_stopped(1.0) == "stop 9, arm: operator 'operator': button"


@pytest.mark.parametrize("reason", ["x" * 5000, "caf\udce9", "\udcff" * 5000, "\U0001f525" * 5000])
def test_no_reason_is_why_there_is_no_stop(linked, reason):
    operator, link = linked()
    operator.stop(reason, "arm")
    frame = codec.decode(codec.encode_message(link.sent[0]))
    stop = codec.decode_message(frame, Stop)
    assert stop.robot == "arm"
    # It comes back as it was sent, so that it is known for ours.
    link.hear(given("arm", 1, reason=stop.reason))
    assert operator.wait_stopped(1.0).startswith("stop 1, arm: ")


def test_a_name_that_no_robot_can_have_is_said_to_be_one(linked):
    operator, link = linked()
    for ask in (lambda: operator.stop("button", "\udce4rm"), lambda: operator.release("\udce4rm")):
        with pytest.raises(BridgeError, match=r"no robot is named '.*udce4rm'; expected UTF-8"):
            ask()
    assert link.sent == []
