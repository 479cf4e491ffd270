"""Peers of a bridge's tcp socket, with and without keys, and ways to wait for what happens."""

import time
from contextlib import contextmanager

import zmq

from robot_bridge.transport.curve_keys import read_certificate

# Long enough for any machine; nothing here waits so long unless something is wrong [s].
PATIENCE = 30.0


@contextmanager
def peer(endpoint, certificate=None, routing_id=b""):
    """A bare socket, with CURVE only if it has a certificate."""
    context = zmq.Context()
    made = context.socket(zmq.DEALER)
    made.set(zmq.LINGER, 0)
    if routing_id:
        made.set(zmq.ROUTING_ID, routing_id)
    if certificate is not None:
        made.set(zmq.CURVE_SERVERKEY, certificate.server.encode())
        made.set(zmq.CURVE_PUBLICKEY, certificate.public.encode())
        made.set(zmq.CURVE_SECRETKEY, certificate.secret.encode())
    made.connect(endpoint)
    try:
        yield made
    finally:
        made.close()
        context.term()


def robot(keys, name="arm"):
    return read_certificate(keys, "robot", name)


def receive(router):
    """The next frame, within PATIENCE."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        for address, data in router.receive(20):
            return address, data
    raise AssertionError("nothing came")


def wait(router, condition):
    """Answer every frame until condition() is true; returns its value."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        for address, data in router.receive(20):
            router.send(address, data)
        if found := condition():
            return found
    raise AssertionError("it did not happen")


def wait_for(router, sender, word):
    """Send a word until it arrives; returns everything that arrived until then."""
    deadline, heard = time.monotonic() + PATIENCE, []
    while time.monotonic() < deadline:
        sender.send(word)
        heard += [data for _, data in router.receive(50)]
        if word in heard:
            return heard
    raise AssertionError(f"{word!r} did not arrive")


def wait_news(router, name):
    def look():
        return next((text for event, text in router.news() if event == name), "")

    return wait(router, look)
