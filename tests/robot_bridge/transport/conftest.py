"""A bridge's tcp socket by itself, the keys of its peers, and sockets of clients."""

from contextlib import ExitStack, closing

import pytest

from robot_bridge.transport.client_socket import ClientSocket
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


@pytest.fixture
def link():
    """Makes clients' sockets, and closes them at the end of the test."""
    with ExitStack() as stack:
        yield lambda *words: stack.enter_context(closing(ClientSocket(*words)))
