"""Lines that nobody reads hold up nobody."""

import os
import re

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
    # The thread goes on as soon as somebody reads. It may have told of some lines before the pipe
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


@pytest.mark.parametrize("side", [0, 1])
def test_a_closed_end_is_no_exception(side):
    pair = os.pipe()
    os.close(pair[side])
    outlet = LogOutput(pair[1], capacity=4)
    for _ in range(100):
        print("anybody?", file=outlet, flush=True)
    outlet.finish(30.0)
    os.close(pair[1 - side])
