"""A client without a socket."""

import pytest

from tests.support.client.client_without_sockets import Wire


@pytest.fixture
def wire(bundle, monkeypatch):
    return Wire(bundle, monkeypatch)
