"""The operator's wait for a record that will never come."""

import pytest

from robot_bridge import codec
from robot_bridge.errors import RobotLost
from robot_bridge.messages import Begin, Event
from robot_bridge.operator_client import ENDINGS, OperatorClient


class FakeLink:
    """Answers a Begin with one event."""

    def __init__(self, event):
        self._frames = [codec.decode(codec.encode_message(event))]

    def send(self, message):
        pass

    def receive(self, timeout):
        return self._frames.pop(0) if self._frames else None

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
