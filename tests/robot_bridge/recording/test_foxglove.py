"""A layout draws fields that the recording has, for any bundle and any robot."""

import json
import re
from pathlib import Path

import pytest

import acclimate
from adapt.bundle.policy_bundle import PolicyBundle, read_manifest
from robot_bridge.recording.foxglove import layout, outline
from robot_bridge.recording.json_schema import schemas
from robot_bridge.recording.writer import McapRecorder
from tests.support import tiny_bundle
from tests.support.bridge.recorded import Motion
from tests.support.full_disk import full_disk

ROOT = Path(__file__).resolve().parents[3]
DATA = ROOT / "tests" / "data"


@pytest.fixture(params=["insertion-pearl", "insertion-maesn", "none"])
def manifest(request, tmp_path):
    if request.param != "none":
        return read_manifest(ROOT / "bundles" / request.param)[0]
    return read_manifest(tiny_bundle.write(tmp_path / "tiny", algorithm="none"))[0]


def test_everything_drawn_is_a_field_of_the_recording(manifest):
    known = schemas(manifest)
    topics = {
        "/arm 7/step": "acclimate.Step",
        "/arm 7/adaptation": "acclimate.Adaptation",
        "/log": "foxglove.Log",
    }
    text = json.dumps(layout(manifest, "arm 7"))
    drawn = re.findall(r'"(?:value|topicPath|topicToRender)": "([^"]+)"', text)
    assert len(drawn) > 10
    for path in drawn:
        topic, *names = path.split(".")
        node = known[topics[topic]]
        for name in names:
            word, _, index = name.partition("[")
            node = node["properties"][word]
            assert (node["type"] == "array") == bool(index), path


def test_every_panel_stands_in_the_layout_once(manifest):
    made = layout(manifest, "arm")
    placed = re.findall(
        r'"((?:Plot|Tab|StateTransitions|RosOut|RawMessages)![^"]+)"', json.dumps(made)
    )
    # Once as a panel, once where it stands.
    assert sorted(placed) == sorted([*made["configById"]] * 2)


def test_the_command_writes_the_layout_of_the_recordings_robot(tmp_path, capsys):
    words = ["layout", str(DATA / "insertion-pearl.mcap")]
    assert acclimate.main(words) == 0
    printed = json.loads(capsys.readouterr().out)
    assert "/twin/step.observation.wrench[2]" in json.dumps(printed)
    assert acclimate.main([*words, f"out={tmp_path}/l.json"]) == 0
    assert capsys.readouterr().out == f"written to {tmp_path}/l.json\n"
    assert json.loads((tmp_path / "l.json").read_text()) == printed
    manifest, robots = outline(DATA / "insertion-pearl.mcap")
    assert (manifest.name, robots) == ("insertion-pearl", ["twin"])


def test_of_several_robots_one_must_be_named(tmp_path, capsys):
    bundle = PolicyBundle.load(tiny_bundle.write(tmp_path / "tiny"))
    recorder = McapRecorder(tmp_path / "rec", bundle)
    for robot in ("arm", "leg"):
        Motion(bundle, recorder, robot).episode(3)
    recorder.close()
    path = str(recorder.path)
    assert acclimate.main(["layout", path]) == 2
    assert "say robot=NAME; it has arm, leg" in capsys.readouterr().err
    assert acclimate.main(["layout", path, "robot=tail"]) == 2
    assert "no robot 'tail'; it has arm, leg" in capsys.readouterr().err
    assert acclimate.main(["layout", path, "robot=leg"]) == 0
    assert "/arm/" not in capsys.readouterr().out
    assert acclimate.main(["layout", str(tmp_path / "tiny" / "manifest.json")]) == 2
    assert acclimate.main(["layout", path, "robot=leg", f"out={tmp_path}/no/l.json"]) == 2
    assert "No such file" in capsys.readouterr().err
    with full_disk():
        assert acclimate.main(["layout", path, "robot=leg", f"out={tmp_path}/l.json"]) == 2
    assert not (tmp_path / "l.json").exists()
