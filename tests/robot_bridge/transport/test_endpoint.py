"""ipc sockets: only in a folder of the user's own, and one bridge at a time."""

import os
import socket
import stat
import threading

import pytest
import zmq

from robot_bridge.errors import EndpointError
from robot_bridge.transport import endpoint as endpoints
from robot_bridge.transport.client_socket import ClientSocket
from robot_bridge.transport.endpoint import Address, resolve
from robot_bridge.transport.server_socket import ServerSocket


@pytest.fixture
def path(tmp_path):
    return tmp_path / "b"


def test_the_socket_is_private_and_leaves_nothing_behind(path):
    router = ServerSocket(f"ipc://{path}")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE((path.parent / "b.lock").stat().st_mode) == 0o600
    router.close()
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o701])
def test_a_folder_that_others_can_enter_is_refused_by_both_ends(path, mode):
    path.parent.chmod(mode)
    words = rf"mode {mode:04o} lets others in; chmod 700 it; an ipc socket belongs into"
    with pytest.raises(EndpointError, match=words):
        ServerSocket(f"ipc://{path}")
    with pytest.raises(EndpointError, match=words):
        ClientSocket(f"ipc://{path}", "robot", "arm")
    assert list(path.parent.iterdir()) == []


def test_a_linked_folder_is_refused(path, tmp_path):
    real = tmp_path / "real"
    real.mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(real)
    for end in (ServerSocket, lambda where: ClientSocket(where, "robot", "arm")):
        with pytest.raises(EndpointError, match="a symbolic link"):
            end(f"ipc://{tmp_path}/link/b")


def test_a_folder_that_others_could_exchange_is_refused(tmp_path):
    outer = tmp_path / "outer"
    inner = outer / "inner"
    inner.mkdir(parents=True, mode=0o700)
    inner.chmod(0o700)
    outer.chmod(0o777)
    with pytest.raises(EndpointError, match=r"others may write to .*outer.*put another folder"):
        ServerSocket(f"ipc://{inner}/b")
    # As in /tmp, where others may add but not exchange.
    outer.chmod(0o1777)
    ServerSocket(f"ipc://{inner}/b").close()


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(EndpointError, match="there is no such folder"):
        ServerSocket(f"ipc://{tmp_path}/none/b")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_another_user_is_refused(path):
    os.chown(path.parent, 12345, 12345)
    with pytest.raises(EndpointError, match=r"belongs to user 12345, not to us \(0\)"):
        ServerSocket(f"ipc://{path}")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_the_kernel_keeps_another_user_out_even_past_the_permissions(path, tmp_path):
    router = ServerSocket(f"ipc://{path}")
    try:
        # As if another program had loosened them.
        for above in (path, *path.parents):
            if above.stat().st_uid == 0 and above not in (path.parents[-1],):
                above.chmod(above.stat().st_mode | 0o077)
        child = os.fork()
        if child == 0:
            # Nothing of the parent's runs here but these lines.
            code = 1
            try:
                os.setgid(12345)
                os.setuid(12345)
                with socket.socket(socket.AF_UNIX) as stranger:
                    stranger.settimeout(20)
                    stranger.connect(str(path))
                    # Accepted by the kernel, closed by the bridge without a greeting.
                    code = 0 if stranger.recv(1) == b"" else 2
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
    finally:
        router.close()
        for above in path.parents:
            if str(above).startswith("/tmp/pytest"):
                above.chmod(0o700)


def test_two_bridges_cannot_share_a_path(path):
    first = ServerSocket(f"ipc://{path}")
    with pytest.raises(EndpointError, match="in use by another process"):
        ServerSocket(f"ipc://{path}")
    assert path.exists()
    first.close()
    ServerSocket(f"ipc://{path}").close()


def test_of_many_that_race_for_one_path_exactly_one_wins(path):
    start = threading.Barrier(8)
    won, lost = [], []

    def race():
        start.wait()
        try:
            won.append(Address(f"ipc://{path}"))
        except EndpointError:
            lost.append(1)

    for _ in range(20):
        won.clear()
        lost.clear()
        threads = [threading.Thread(target=race) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (len(won), len(lost)) == (1, 7)
        won[0].release()


def test_what_is_there_and_is_no_socket_stays(path):
    path.write_text("precious")
    with pytest.raises(EndpointError, match="a file of another kind"):
        ServerSocket(f"ipc://{path}")
    assert path.read_text() == "precious"
    assert [entry.name for entry in path.parent.iterdir()] == ["b"]


def test_local_is_a_folder_of_this_users_own(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert resolve("local") == f"ipc://{tmp_path}/acclimate/bridge.ipc"
    router = ServerSocket("local")
    assert stat.S_IMODE((tmp_path / "acclimate").stat().st_mode) == 0o700
    link = ClientSocket("local", "operator", "o")
    link.tell(b"hello")
    received = list(router.receive(20_000))
    assert [data for _, data in received] == [b"hello"]
    link.close()
    router.close()
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert resolve("local") == f"ipc:///tmp/acclimate-{os.geteuid()}/bridge.ipc"


@pytest.mark.parametrize(
    "endpoint",
    ["tcp://0.0.0.0:5555", "tcp://*:1", "tcp://robot-1.lab:65535", "tcp://[::1]:5555"],
)
def test_tcp_may_be_anywhere(endpoint):
    assert resolve(endpoint) == endpoint


def test_an_interface_that_is_not_there_is_named(tmp_path):
    context = zmq.Context()
    server = context.socket(zmq.ROUTER)
    with pytest.raises(EndpointError, match=r"tcp://192\.0\.2\.1:5555: "):
        Address("tcp://192.0.2.1:5555").bind(server)
    server.close()
    context.term()
    assert endpoints.ipc_path("tcp://192.0.2.1:5555") is None


@pytest.mark.parametrize("transport", ["ipc", "tcp"])
def test_a_hidden_address_takes_no_further_peer_until_it_is_shown(path, transport):
    """Connections that stand stay, and go on."""
    family = socket.AF_UNIX if transport == "ipc" else socket.AF_INET
    address = Address(f"ipc://{path}" if transport == "ipc" else "tcp://127.0.0.1:5555")

    def connect():
        made = socket.socket(family)
        made.settimeout(0.2)
        try:
            made.connect(listener.getsockname())
        except OSError:
            made.close()
            return None
        return made

    with socket.socket(family) as listener:
        listener.bind(str(path) if transport == "ipc" else ("127.0.0.1", 0))
        listener.listen()
        address.listener = listener.fileno()
        first = connect()
        assert first is not None
        assert address.hide()
        assert connect() is None
        first.send(b"still here")
        accepted, _ = listener.accept()
        assert accepted.recv(20) == b"still here"
        address.show()
        second = connect()
        assert second is not None
        for each in (first, second, accepted):
            each.close()
    address.release()
