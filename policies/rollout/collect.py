"""Collection: B worlds in lock-step, each staying on its task for a whole run."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from policies.replay.run_replay import Run
from policies.rollout.batch_adapter import BatchAdapter
from sim.core.worlds import Step, Worlds


def transition_rows(
    observation: np.ndarray, action: np.ndarray, step: Step, reward: bool, following: bool
) -> np.ndarray:
    """Context rows (B, n_c): observation, action, then what the bundle's context asks for."""
    parts = [observation, action]
    if reward:
        parts.append(step.measured_reward[:, None])
    if following:
        parts.append(step.observation)
    return np.concatenate(parts, axis=1).astype(np.float32)


def collect_run(
    worlds: Worlds,
    task_index: np.ndarray,
    steps: int,
    adapter: BatchAdapter,
    reward_in_context: bool,
    next_in_context: bool,
    stochastic: np.ndarray | bool = True,
    script: Callable[[np.ndarray], np.ndarray] | None = None,
    begin: Callable[[np.ndarray], None] | None = None,
) -> tuple[Run, dict[str, float]]:
    """Run every world for `steps` control periods on the task it has been assigned.

    Args:
        worlds: with tasks assigned.
        task_index: (B,) index of each world's task among the training tasks.
        steps: T.
        adapter: forgets everything first; its `adapting` says whose belief follows the context
            (posterior collection) and whose stays at the prior.
        reward_in_context, next_in_context: the context's fields.
        stochastic: in which worlds (B,) actions are drawn; the others act by the policy's mean, as
            a robot does, so that the encoder knows the contexts that robots bring.
        script: actions (B, n_a) from observation (B, n_o) instead of the policy's.
        begin: told in which worlds (B,) an episode begins, for a script that keeps state.

    Returns:
        the run, and statistics: episodes, mean return, success rate, diverged steps.
    """
    b = worlds.worlds
    spec = worlds.spec
    everyone = np.ones(b, bool)
    adapter.forget(everyone)
    if adapter.wants_truth:
        adapter.tell(worlds.factors())
    shape = (b, steps)
    run = Run(
        task=task_index.astype(np.int64),
        observation=np.zeros((*shape, spec.observation_size), np.float32),
        action=np.zeros((*shape, spec.action_size), np.float32),
        reward=np.zeros(shape, np.float32),
        measured_reward=np.zeros(shape, np.float32),
        next_observation=np.zeros((*shape, spec.observation_size), np.float32),
        discount=np.zeros(shape, np.float32),
        valid=np.zeros(shape, np.float32),
    )
    observation = worlds.reset(everyone)
    if begin is not None:
        begin(everyone)
    returns, episodes, successes, total = np.zeros(b), 0, 0, 0.0
    diverged = 0
    for t in range(steps):
        if script is None:
            action = adapter.act(observation, stochastic)
        else:
            action = script(observation).astype(np.float32)
        step = worlds.step(action)
        valid = ~step.diverged
        run.observation[:, t], run.action[:, t] = observation, action
        run.reward[:, t], run.measured_reward[:, t] = step.reward, step.measured_reward
        run.next_observation[:, t], run.discount[:, t] = step.observation, step.discount
        run.valid[:, t] = valid
        if script is None:
            rows = transition_rows(observation, action, step, reward_in_context, next_in_context)
            adapter.observe(rows, valid)
        returns += step.reward
        done = step.done
        episodes += int(done.sum())
        successes += int((step.success & done).sum())
        total += float(returns[done].sum())
        diverged += int(step.diverged.sum())
        returns[done] = 0.0
        observation = step.observation
        if done.any():
            observation = worlds.reset(done)
            adapter.begin_episode(done)
            if begin is not None:
                begin(done)
    # A diverged step holds no usable number; zeros are never gathered, but keep the arrays finite.
    for name in ("observation", "action", "reward", "measured_reward", "next_observation"):
        array = getattr(run, name)
        array[run.valid == 0] = 0.0
    return run, {
        "episodes": episodes,
        "return": total / max(episodes, 1),
        "success": successes / max(episodes, 1),
        "diverged": diverged,
    }
