"""A bridge's tcp socket by itself, and the keys of its peers."""

import pytest

from robot_bridge.transport.server_socket import ServerSocket
from tests.support.bridge import bridge_keys


@pytest.fixture
def keys(tmp_path):
    return bridge_keys.make(tmp_path / "keys", robots=("arm", "leg"))


@pytest.fixture
def router(keys):
    made = ServerSocket(f"tcp://127.0.0.1:{bridge_keys.free_port()}", keys)
    yield made
    made.close()
