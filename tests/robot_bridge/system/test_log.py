"""Log lines: one per event with any text; priorities only for a systemd journal."""

import io
import json
import os
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_bridge.system.log import LEVELS, Journal, Level

FIELD = re.compile(r' (\w+)=("(?:[^"\\]|\\.)*"|\S+)')


def said(event, text="", **fields):
    stream = io.StringIO()
    Journal(stream)(event, text, **fields)
    return stream.getvalue()


def test_a_line_as_people_and_machines_read_it():
    line = said("robot_lost", "its connection broke", robot="arm", operator="")
    assert line == 'bridge: robot_lost robot=arm text="its connection broke"\n'


@given(st.text(), st.text())
def test_no_text_from_outside_breaks_out_of_its_field(name, text):
    line = said("event", text, robot=name)
    assert line.endswith("\n")
    assert line.isascii()
    assert len(line.splitlines()) == 1
    found = {
        key: json.loads(value) if value.startswith('"') else value
        for key, value in FIELD.findall(line.rstrip("\n"))
    }
    assert found == {k: v for k, v in (("robot", name), ("text", text)) if v}


@pytest.mark.parametrize(
    ("event", "level"), [("robot_lost", 4), ("policy_failed", 3), ("serving", 5), ("whatever", 6)]
)
def test_priorities_are_written_to_the_journal_alone(tmp_path, monkeypatch, event, level):
    with (tmp_path / "journal").open("w+") as stream:
        info = os.fstat(stream.fileno())
        for variable, prefix in (
            (f"{info.st_dev}:{info.st_ino}", f"<{level}>"),
            (f"{info.st_dev}:{info.st_ino + 1}", ""),
        ):
            monkeypatch.setenv("JOURNAL_STREAM", variable)
            stream.seek(0)
            stream.truncate()
            Journal(stream)(event)
            stream.seek(0)
            assert stream.read() == f"{prefix}bridge: {event}\n"


def test_every_level_is_one_that_syslog_knows():
    assert set(LEVELS.values()) <= set(Level)
