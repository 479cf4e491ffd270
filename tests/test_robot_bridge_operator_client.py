"""The operator's wait for a record that will never come."""

import pytest

from robot_bridge import codec
from robot_bridge.errors import BridgeError, RobotLost
from robot_bridge.messages import RELEASED, STOP_GIVEN, STOPPED, Begin, Event, Release, Stop
from robot_bridge.operator_client import ENDINGS, OperatorClient


class FakeLink:
    """Answers with these events, then with silence, or with an exception."""

    def __init__(self, *events, error=None):
        self._frames = [codec.decode(codec.encode_message(event)) for event in events]
        self._error = error
        self.sent = []

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
        monkeypatch.setattr(operator, "_link", FakeLink(Event(name, "arm", "why")))
        with pytest.raises(RobotLost, match=f"robot 'arm': {name}: why"):
            operator.run(Begin(asked, 0, 0, 0, True), 0.05)


@pytest.fixture
def linked(tmp_path, monkeypatch):
    """Makes an operator whose link hears the given events."""
    operator = OperatorClient(f"ipc://{tmp_path}/b")
    operator._link.close()

    def link(*events, error=None):
        fake = FakeLink(*events, error=error)
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
    assert stop.reason.startswith("nobody waits for task 3, episode 1 any more: ")


@pytest.mark.parametrize("name", [*ENDINGS, "begin_refused"])
def test_a_robot_that_has_no_episode_of_ours_is_not_stopped(linked, name):
    operator, link = linked(Event(name, "arm", "why"))
    with pytest.raises(BridgeError):
        operator.run(Begin("arm", 0, 0, 0, True), 0.05)
    assert [type(message) for message in link.sent] == [Begin]


def test_a_release_answers_what_has_been_heard_and_nothing_else(linked):
    operator, link = linked(
        Event(STOP_GIVEN, "", "button", 4),
        Event(STOPPED, "arm", "silence", 2),
        Event(STOPPED, "leg", "silence", 9),
        Event(RELEASED, "arm", "released", 2),
    )
    assert operator.wait_stopped(1.0) == "stop 4, every robot: button"
    operator.release("arm")
    assert operator.wait_released("arm", 1.0) == "released"
    operator.release("arm")
    assert link.sent == [Release("arm", 4, 0), Release("arm", 4, 2)]
