"""What the comparison with the reference adds up, and how its checkout is found and read."""

import json
import sys

import pytest

from adapt.errors import AcclimateError
from benchmarks.bench_reference import Plan, tell_runs, tell_schedule
from benchmarks.support.reference import FAMILY, _importing, published
from benchmarks.support.results import read
from benchmarks.support.schedule import Cost, Schedule, hours, middle, ratios, seconds_to

CONFIG = {
    "n_train_tasks": 100,
    "n_eval_tasks": 30,
    "algo_params": {
        "num_iterations": 500,
        "num_initial_steps": 2000,
        "num_tasks_sample": 5,
        "num_steps_prior": 400,
        "num_steps_posterior": 0,
        "num_extra_rl_steps_posterior": 600,
        "num_train_steps_per_itr": 2000,
        "num_evals": 1,
        "num_steps_per_eval": 600,
    },
}


def test_a_schedule_is_read_off_its_configuration():
    schedule = Schedule.of(CONFIG)
    assert schedule == Schedule(200_000, 5_000, 2_000, 54_000, 500)
    assert schedule.until(1_000_000) == 160
    assert schedule.until(1_000_001) == 161
    assert (schedule.until(100_000), schedule.until(10**9)) == (0, 500)


def test_hours_are_steps_times_their_cost():
    schedule = Schedule(first=3600, steps=1800, updates=7200, evaluated=900, iterations=9)
    found = hours(schedule, Cost(gradient=0.5, environment=9.0, collecting=1.0), 2)
    assert found == {"learning": 2.0, "collecting": 2.0, "its evaluations": 0.5}


def test_medians_forgive_one_turn_and_ratios_compare_within_a_turn():
    ours = [Cost(1, 2, 4), Cost(1, 2, 4), Cost(100, 100, 100)]
    theirs = [Cost(4, 2, 8), Cost(4, 2, 8), Cost(400, 100, 200)]
    assert middle(ours) == Cost(1, 2, 4)
    assert ratios(theirs, ours, rows=2.0) == {
        "a gradient step": 4.0,
        "a gradient step, per row": 2.0,
        "an environment step": 1.0,
        "a collected step": 2.0,
    }


def row(collect: float, learn: float, **returns: float) -> dict[str, float]:
    return {"time/collect": collect, "time/learn": learn, "updates": 9.0} | {
        f"validate/measured_{k[1:]}": v for k, v in returns.items()
    }


def test_time_to_a_return_counts_all_that_came_before_and_asks_the_last_episode():
    log = [row(1, 0), row(1, 10, _0=-40, _1=-80, _2=-70), row(2, 20), row(3, 30, _0=-300, _2=-49)]
    log[1]["time/validate"] = 5.0
    assert seconds_to(log, -70) == 17.0
    assert seconds_to(log, -50) == 72.0
    with pytest.raises(AcclimateError, match=r"returned -40; the best returned -49\.0"):
        seconds_to(log, -40)


def run(folder, name: str, seed: int, family: str = FAMILY):
    path = folder / name
    path.mkdir()
    (path / "settings.yaml").write_text(f"name: x\nout: x\nfamily: {family}\nseed: {seed}\n")
    log = [row(60, 60, _2=-100), row(60, 120, _2=-40)]
    (path / "log.jsonl").write_text("".join(json.dumps(r) + "\n" for r in log))
    return path


def test_runs_are_set_against_a_million_steps_of_the_reference(tmp_path):
    plan = Plan(folder=tmp_path / "results")
    million = tell_schedule(plan, Schedule.of(CONFIG), Cost(0.09, 0.0, 0.0036))
    assert million == pytest.approx(8.0 + 1.0)
    tell_runs(plan, [run(tmp_path, "a", 3)], -50.0, million)
    records = read(tmp_path / "results" / "reference.jsonl")
    faster = records[-1]
    assert (faster.metric, faster.seed, faster.value) == ("times faster", 3, pytest.approx(108.0))
    until = {r.parameters["the reference until"]: r for r in records if r.metric == "learning"}
    assert until["the end of its schedule"].value == pytest.approx(25.0)


def test_the_configuration_is_its_defaults_with_the_familys_changes(tmp_path):
    folder = tmp_path / "configs"
    folder.mkdir()
    (tmp_path / "launch_experiment.py").write_text("")
    (folder / "default.py").write_text("default_config = dict(a=1, b=dict(c=2, d=3))\n")
    (folder / "cheetah-vel.json").write_text('{"a": 5, "b": {"d": 4}}')
    assert published(tmp_path) == {"a": 5, "b": {"c": 2, "d": 4}}


def test_what_is_no_checkout_is_named(tmp_path):
    with pytest.raises(AcclimateError, match=r"default\.py: not found; expected a checkout of"):
        published(tmp_path)


def test_a_checkouts_modules_meet_stand_ins_and_ours_stay(tmp_path):
    import configs

    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "default.py").write_text("default_config = 7\n")
    (tmp_path / "old_code.py").write_text(
        "import gtimer, mujoco_py\n"
        "from gym.spaces import Box\n"
        "from gym.envs.mujoco import HalfCheetahEnv\n"
        "from rand_param_envs.walker2d_rand_params import Walker2DRandParamsEnv\n"
        "from configs.default import default_config\n"
        "gtimer.stamp('now')\n"
    )
    with _importing(tmp_path):
        import old_code  # pyright: ignore[reportMissingImports]
    assert old_code.default_config == 7
    assert old_code.Box(-1.0, 1.0, (2,)).shape == (2,)
    import configs as again

    assert again is configs
    assert not {"gym", "gtimer", "configs.default"} & set(sys.modules)
