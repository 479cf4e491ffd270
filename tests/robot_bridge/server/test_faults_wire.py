"""The fault matrix, second part: what a wire can do to the frames of a robot in motion."""

from contextlib import closing

import pytest

from robot_bridge.protocol.messages import Kind, Mode
from tests.support.bridge.faults import (
    HOLDS,
    WAIT,
    belief,
    entries,
    lossless,
    moving,
    steps,
    told,
)
from tests.support.bridge.faulty_wires import Wire, only, resealed, whole


@pytest.fixture(scope="module")
def bundle(tiny_folder):
    return tiny_folder


@pytest.fixture
def wired(house, bundle, request):
    """A robot in motion behind a man in the middle, named after its test."""
    name = request.node.name[5:45]
    bridge = f"ipc://{house}/b"
    wire = Wire(house, name[:20], bridge)
    with closing(wire), moving(bundle, wire.endpoint, name, bridge) as made:
        yield wire, made


def test_answers_come_too_late(wired, house, bundle, matrix):
    wire, made = wired
    wire.down = only(Kind.COMMAND, lambda data: [(3 * WAIT, data)])
    periods = made.goes_silent()
    event = told(house, "robot_stopped", made.name)
    matrix("delay of three periods", "HOLD", periods, HOLDS, event.name)
    wire.down = whole
    made.release()
    made.steady()
    lossless(house, bundle, made.name, made.client._sequence)


@pytest.mark.parametrize("direction", ["up", "down"])
def test_frames_are_lost(wired, house, bundle, matrix, direction):
    wire, made = wired
    kind = Kind.OBSERVATION if direction == "up" else Kind.COMMAND
    before = belief(f"ipc://{house}/b", made.name)
    setattr(wire, direction, only(kind, lambda data: []))
    periods = made.goes_silent()
    event = told(house, "robot_stopped", made.name)
    matrix(f"loss of every {kind.name.lower()}", "HOLD", periods, HOLDS, event.name)
    setattr(wire, direction, whole)
    made.release()
    made.steady()
    lossless(house, bundle, made.name, made.client._sequence)
    assert belief(f"ipc://{house}/b", made.name) >= before


def test_one_lost_answer_is_jitter_and_teaches_nothing(wired, house, bundle, matrix):
    wire, made = wired
    lost = []

    def lose(data):
        lost.append(data)
        wire.down = whole
        return []

    wire.down = only(Kind.COMMAND, lose)
    assert made.step() in (Mode.TRACK, Mode.HOLD)
    made.steady()
    matrix("loss of one command", "TRACK", 0, 0, "observation marked as not applied")
    lossless(house, bundle, made.name, made.client._sequence)
    number = int.from_bytes(lost[0][16:24], "little")
    after = next(one for one in steps(house, made.name) if one.sequence > number)
    assert after.flags & 8, "UNAPPLIED: a command that was not followed teaches nothing"


def test_every_frame_comes_twice(wired, house, bundle, matrix):
    wire, made = wired
    known = belief(f"ipc://{house}/b", made.name)
    wire.up = wire.down = lambda data: [(0.0, data), (0.0, data)]
    modes = [made.step() for _ in range(8)]
    event = told(house, "sequence_repeated", made.name)
    wire.up = wire.down = whole
    matrix("duplication", "TRACK", sum(mode is Mode.STOP for mode in modes), 0, event.name)
    lossless(house, bundle, made.name, made.client._sequence)
    numbers = [one.sequence for one in steps(house, made.name)]
    assert len(set(numbers)) == len(numbers)
    assert belief(f"ipc://{house}/b", made.name) <= known + 9


def test_frames_come_out_of_order(wired, house, bundle, matrix):
    wire, made = wired
    held = []

    def reorder(data):
        if not held:
            held.append(data)
            return []
        return [(0.0, data), (0.0, held.pop())]

    wire.up = only(Kind.OBSERVATION, reorder)
    made.modes = []
    for _ in range(6):
        made.step()
    event = told(house, "sequence_repeated", made.name)
    # Every second observation waits for the next: one period of silence, then an answer.
    assert Mode.STOP not in made.modes
    safe = [number for number, mode in enumerate(made.modes, 1) if mode]
    matrix("reordering", "HOLD", min(safe, default=0), 6, event.name)
    wire.up = whole
    made.steady()
    lossless(house, bundle, made.name, made.client._sequence)


def test_old_frames_are_played_again(wired, house, bundle, matrix):
    wire, made = wired
    observation, command = wire.seen[Kind.OBSERVATION], wire.seen[Kind.COMMAND]
    made.steady()
    wire.replay("up", observation)
    event = told(house, "sequence_repeated", made.name)
    # An old command is no answer to a new observation.
    wire.down = only(Kind.COMMAND, lambda data: [(0.0, command)])
    periods = made.goes_silent()
    matrix("replayed sequence", "HOLD", periods, HOLDS, event.name)
    wire.down = whole
    made.release()
    release = wire.seen[Kind.RELEASE]
    made.steady()
    # An old release does not open a new stop.
    made.client.halt("by hand")
    for _ in range(3):
        wire.replay("down", release)
        assert made.step() is Mode.STOP
    assert told(house, "release_refused", made.name)
    made.release()
    made.steady()
    lossless(house, bundle, made.name, made.client._sequence)


@pytest.mark.parametrize("direction", ["up", "down"])
@pytest.mark.parametrize("damage", ["corrupt", "version"])
def test_frames_that_cannot_be_read(wired, house, bundle, matrix, damage, direction):
    wire, made = wired
    kind = Kind.OBSERVATION if direction == "up" else Kind.COMMAND

    def corrupt(data):
        if damage == "version":
            return [(0.0, resealed(data, lambda frame: frame.__setitem__(4, 9)))]
        return [(0.0, data[:50] + bytes([data[50] ^ 1]) + data[51:])]

    setattr(wire, direction, only(kind, corrupt))
    periods = made.goes_silent()
    name = "frame_refused" if direction == "up" else "robot_stopped"
    event = told(house, name, made.name)
    if direction == "up":
        assert ("version 9" if damage == "version" else "checksum") in event.text
    fault = "corrupt frames" if damage == "corrupt" else "frames of a wrong version"
    way = "to the bridge" if direction == "up" else "to the robot"
    matrix(f"{fault} {way}", "HOLD", periods, HOLDS, event.name)
    setattr(wire, direction, whole)
    made.release()
    made.steady()
    lossless(house, bundle, made.name, made.client._sequence)


def test_nothing_is_left_behind(house):
    """Of all that went on in this house, the bridge itself never failed."""
    assert (house / "b").exists()
    for entry in entries(house):
        assert getattr(entry.row, "name", "") not in ("bridge_fault", "answer_failed")
