"""The replay of runs, with values that tell where they came from: run × 1000 + step."""

import dataclasses

import numpy as np
import pytest

from policies.replay.run_replay import Run, RunReplay

STEPS, N_O, N_A, TASKS = 7, 3, 2, 4
FIELD = {"observation": 0.1, "action": 0.2, "next_observation": 0.3, "reward": 0.4}
FIELD |= {"measured_reward": 0.6, "discount": 0.7}
"""What is added to run × 1000 + step, so that fields can be told apart as well."""


def runs(first: int, count: int, task) -> Run:
    """Runs numbered from `first`, all valid; array [w, t, …] holds its run, step and field."""
    number = (first + np.arange(count))[:, None] * 1000.0 + np.arange(STEPS)
    values = {name: (number + tag).astype(np.float32) for name, tag in FIELD.items()}
    wide = {"observation": N_O, "action": N_A, "next_observation": N_O}
    for name, width in wide.items():
        values[name] = np.repeat(values[name][..., None], width, axis=-1)
    return Run(
        task=np.broadcast_to(np.asarray(task), count).astype(np.int64),
        valid=np.ones((count, STEPS), np.float32),
        **values,
    )


def replay(capacity=10, **kwargs) -> RunReplay:
    return RunReplay(capacity, STEPS, N_O, N_A, TASKS, **kwargs)


def rng(seed=0):
    return np.random.default_rng(seed)


def origin(values) -> tuple[np.ndarray, np.ndarray]:
    """Run and step of values that may have any field's tag."""
    number = np.floor(np.asarray(values, float) + 1e-2).astype(int)
    return number // 1000, number % 1000


def test_rows_keep_their_fields_together_and_belong_to_their_tasks():
    store = replay()
    store.add(runs(0, 6, [0, 1, 2, 0, 1, 2]))
    chosen = np.array([1, 2, 1, 3])
    rows = store.rows(chosen, 50, rng())
    run, step = origin(rows.reward)
    assert run.shape == (4 * 50,)
    for name, tag in FIELD.items():
        if name == "measured_reward":
            continue  # of contexts alone
        value = np.asarray(getattr(rows, name), float)
        expected = (run * 1000 + step + tag).reshape(-1, *[1] * (value.ndim - 1))
        assert np.allclose(value, expected, atol=1e-3), name
    # Task by task, from every run of the task and every step of it.
    for i, start in enumerate(chosen):
        block = slice(50 * i, 50 * (i + 1))
        assert set(run[block]) == {start % 3, start % 3 + 3}
        assert set(step[block]) == set(range(STEPS))


def test_contexts_are_whole_runs_in_order():
    store = replay()
    store.add(runs(0, 4, [0, 1, 2, 3]))
    context, valid = store.context(np.array([2, 0]))
    assert (np.asarray(valid) == 1).all()
    tags = [0.1] * N_O + [0.2] * N_A + [0.6] + [0.3] * N_O
    assert context.shape == (2, STEPS, len(tags))
    number = np.array([2000, 0])[:, None, None] + np.arange(STEPS)[:, None]
    assert np.allclose(context, number + np.array(tags), atol=1e-3)


@pytest.mark.parametrize(("reward", "following"), [(True, False), (False, True), (False, False)])
def test_contexts_hold_what_they_were_asked_to(reward, following):
    store = replay(reward_in_context=reward, next_in_context=following)
    store.add(runs(0, 1, 0))
    tags = [0.1] * N_O + [0.2] * N_A + [0.6] * reward + [0.3] * N_O * following
    context, _ = store.context(np.array([0]))
    assert context.shape == (1, STEPS, len(tags)) and np.allclose(context[0, 0], tags, atol=1e-3)


def test_the_oldest_run_gives_way_to_the_newest():
    store = replay(capacity=5)
    store.add(runs(0, 3, 0))
    assert store.filled == 3
    store.add(runs(3, 4, 1))
    assert store.filled == 5
    held, _ = origin(store.arrays["reward"][:, 0])
    assert sorted(held) == [2, 3, 4, 5, 6]
    assert sorted(store.arrays["task"]) == [0, 1, 1, 1, 1]
    drawn, _ = origin(store.rows(np.arange(5), 40, rng()).reward)
    assert set(drawn) == {2, 3, 4, 5, 6}


def test_recent_runs_are_the_newest_ones_also_after_the_ring_has_closed():
    store = replay(capacity=5)
    for first in range(8):
        store.add(runs(first, 1, first % TASKS))
        chosen = store.sample_runs(200, 3, rng(first))
        held, _ = origin(store.arrays["reward"][chosen, 0])
        assert set(held) == set(range(max(0, first - 2), first + 1))


def test_invalid_steps_are_never_drawn():
    store = replay()
    new = runs(0, 2, [0, 0])
    new.valid[0, [0, 3, 4]] = 0
    store.add(new)
    rows = store.rows(np.zeros(1, int), 500, rng())
    run, step = origin(rows.reward)
    assert not ((run == 0) & np.isin(step, [0, 3, 4])).any()
    assert set(step[run == 0]) == {1, 2, 5, 6} and set(step[run == 1]) == set(range(STEPS))
    assert np.array_equal(store.context(np.array([0]))[1], new.valid[:1])


def test_what_is_drawn_is_a_copy():
    store = replay()
    store.add(runs(0, 2, 0))
    before = {k: v.copy() for k, v in store.arrays.items()}
    rows = store.rows(np.zeros(1, int), 20, rng())
    for name in dataclasses.fields(rows):
        getattr(rows, name.name).fill_(-1)
    for part in store.context(np.array([0, 1])):
        part.fill_(-1)
    assert all((store.arrays[k] == v).all() for k, v in before.items())


def test_the_same_generator_draws_the_same_rows():
    store = replay()
    store.add(runs(0, 4, [0, 1, 2, 3]))
    a, b, c = (store.rows(np.arange(4), 9, rng(s)).reward for s in (1, 1, 2))
    assert (a == b).all() and (a != c).any()


@pytest.mark.parametrize("added", [3, 12])
def test_a_state_comes_back_and_goes_on_as_if_nothing_had_happened(added):
    store, other = replay(), replay()
    store.add(runs(0, added, np.arange(added) % TASKS))
    other.load_state_dict(store.state_dict())
    for s in (store, other):
        s.add(runs(50, 2, [1, 2]))
    assert store.count == other.count
    assert all((store.arrays[k] == other.arrays[k]).all() for k in store.arrays)
    picked = [s.sample_runs(8, 6, rng(4)) for s in (store, other)]
    assert (picked[0] == picked[1]).all()
    drawn = [s.rows(picked[0], 5, rng(4)).observation for s in (store, other)]
    assert (drawn[0] == drawn[1]).all()


def test_a_state_does_not_change_with_the_replay():
    store = replay(capacity=2)
    store.add(runs(0, 2, 0))
    state = store.state_dict()
    store.add(runs(7, 2, 1))
    other = replay(capacity=2)
    other.load_state_dict(state)
    assert set(origin(other.arrays["reward"][:, 0])[0]) == {0, 1}


def test_runs_of_another_shape_are_refused():
    store = RunReplay(4, STEPS + 1, N_O, N_A, TASKS)
    with pytest.raises(ValueError, match=r"shape \(2, 7, 3\), expected \(2, 8, 3\)"):
        store.add(runs(0, 2, 0))
    assert store.count == 0


def test_a_run_without_a_valid_step_is_left_out():
    store = replay()
    new = runs(0, 3, [0, 1, 2])
    new.valid[1] = 0
    store.add(new)
    assert store.filled == 2
    assert list(store.arrays["task"][:2]) == [0, 2]
    assert set(origin(store.rows(np.array([0, 1]), 200, rng()).reward)[0]) == {0, 2}


def line(valid, ends=(), falls=()) -> Run:
    """A run whose steps lead from one observation to the next, but for where an episode ends."""
    run = runs(0, 1, 0)
    run.reward[0] = 10.0 ** np.arange(STEPS)
    run.discount[:] = 1
    run.discount[0, list(falls)] = 0
    run.valid[0] = valid
    run.observation[0] = np.arange(STEPS)[:, None]
    run.next_observation[0] = run.observation[0] + 1
    run.next_observation[0, [*ends, *falls]] += 100
    return run


def drawn_by_step(n_step: int, gamma: float, run: Run) -> dict[int, tuple[float, ...]]:
    """Of every step that is drawn: reward, discount, next observation."""
    store = replay(n_step=n_step, gamma=gamma)
    store.add(run)
    rows = store.rows(np.zeros(1, int), 300, rng())
    numbers = np.stack([rows.reward, rows.discount, rows.next_observation[:, 0]], -1)
    return {
        int(step): tuple(map(float, row))
        for step, row in zip(rows.observation[:, 0], numbers, strict=True)
    }


def test_a_row_sums_the_rewards_of_n_steps_and_bootstraps_after_the_last():
    found = drawn_by_step(3, 0.5, line(valid=1))
    assert set(found) == set(range(STEPS))
    for step in range(STEPS - 2):
        total = 10.0**step + 0.5 * 10.0 ** (step + 1) + 0.25 * 10.0 ** (step + 2)
        assert found[step] == (pytest.approx(total), 0.25, step + 3)
    # The run is over: fewer steps, and the value after those.
    assert found[STEPS - 2] == (pytest.approx(1e5 + 0.5e6), 0.5, STEPS)
    assert found[STEPS - 1] == (pytest.approx(1e6), 1, STEPS)


def test_no_sum_crosses_the_end_of_an_episode():
    # In time after step 1, by a fall after step 4.
    found = drawn_by_step(3, 0.5, line(valid=1, ends=[1], falls=[4]))
    assert found[0] == (pytest.approx(1 + 5), 0.5, 102)
    assert found[1] == (pytest.approx(10), 1, 102)
    assert found[2] == (pytest.approx(100 + 500 + 2500), 0, 105)
    assert found[3] == (pytest.approx(1e3 + 5e3), 0, 105)
    assert found[4] == (pytest.approx(1e4), 0, 105)
    assert found[5] == (pytest.approx(1e5 + 5e5), 0.5, STEPS)


def test_no_sum_takes_in_an_invalid_step():
    found = drawn_by_step(4, 1.0, line(valid=[1, 1, 1, 0, 1, 1, 1]))
    assert set(found) == {0, 1, 2, 4, 5, 6}
    assert found[0] == (pytest.approx(111), 1, 3) and found[2] == (pytest.approx(100), 1, 3)


def test_one_step_is_the_step_itself():
    run = line(valid=1, ends=[1], falls=[4])
    found = drawn_by_step(1, 0.5, run)
    for step in range(STEPS):
        expected = run.reward[0, step], run.discount[0, step], run.next_observation[0, step, 0]
        assert found[step] == expected
