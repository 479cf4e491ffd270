"""Log lines without a reader delay no caller."""

import errno
import os
import re
import threading

import pytest

from robot_bridge.system.log import LogOutput


def read_all(descriptor):
    parts = []
    while data := os.read(descriptor, 65536):
        parts.append(data)
    return b"".join(parts).decode()


def test_lines_arrive_whole_and_in_order():
    read, write = os.pipe()
    outlet = LogOutput(write)
    lines = [f"line {number} \N{SNOWMAN}\n" for number in range(500)]
    for line in lines:
        print(line, end="", file=outlet, flush=True)
    outlet.finish(30.0)
    os.close(write)
    assert read_all(read) == "".join(lines)
    os.close(read)


def test_a_full_pipe_costs_lines_and_says_how_many():
    read, write = os.pipe()
    outlet = LogOutput(write, capacity=10)
    # Far more than any pipe holds; were it to wait, the test would never end.
    for number in range(5000):
        outlet.write(f"{number:0200d}\n")
    # The thread goes on as soon as the pipe is read. It may have told of some lines before the pipe
    # was full, where it began late.
    seen, more, lost = b"", 0, 0
    while lost < 4000:
        seen += os.read(read, 65536)
        outlet.write("more\n")
        more += 1
        lost = sum(int(count) for count in re.findall(rb"lines_lost count=(\d+)\n", seen))
    # Each at most once.
    assert lost < 5000 + more
    outlet.finish(0.0)
    os.close(read)


def test_a_full_disk_costs_lines_until_it_has_room(tmp_path, monkeypatch):
    with (tmp_path / "log").open("wb") as file:
        outlet, real = LogOutput(file.fileno()), os.write
        full, refused = [True], threading.Event()

        def write(descriptor, data):
            if descriptor == file.fileno() and full[0]:
                refused.set()
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(descriptor, data)

        monkeypatch.setattr(os, "write", write)
        for _ in range(3):
            outlet.write("lost\n")
        assert refused.wait(30.0)
        full[0] = False
        outlet.write("written\n")
        outlet.finish(30.0)
    told = re.findall(r"count=(\d+)", (tmp_path / "log").read_text())
    assert sum(map(int, told)) + (tmp_path / "log").read_text().count("lost\n") == 3
    assert (tmp_path / "log").read_text().endswith("written\n")


def test_a_descriptor_that_another_process_made_non_blocking():
    read, write = os.pipe()
    os.set_blocking(write, False)
    outlet = LogOutput(write)
    lines = [f"{number:0200d}\n" for number in range(900)]
    for line in lines:
        outlet.write(line)
    closing = threading.Thread(target=lambda: (outlet.finish(30.0), os.close(write)))
    closing.start()
    assert read_all(read) == "".join(lines)
    closing.join()
    os.close(read)


@pytest.mark.parametrize("side", [0, 1])
def test_a_closed_end_is_no_exception(side):
    pair = os.pipe()
    os.close(pair[side])
    outlet = LogOutput(pair[1], capacity=4)
    for _ in range(100):
        print("anybody?", file=outlet, flush=True)
    outlet.finish(30.0)
    os.close(pair[1 - side])
