"""GIPO's update in JAX: many of them in one compiled scan, as JAX-CORL and unifloral train.

A test holds it to gipo's own update: from the same weights and rows both come to the same weights, to rounding.
"""

import math
from functools import partial
from itertools import pairwise
from typing import Any

from tests.benchmarks.comparison import Subject
from tests.benchmarks.made_up import ACTION, HIDDEN, OBSERVATION, Arrays
from tests.benchmarks.peers.plain_torch import LARGEST_GRADIENT, LEARNING_RATE, SIGMA, START, TARGET

CHUNK = 32  # updates in one compiled call
RATE, MEMORY, LOWEST, HIGHEST = 0.01, 0.95, math.log(1e-3), math.log(10.0)  # of the anchor, as gipo has them


def updates(made: Arrays, batch: int) -> Subject:
    """Rows drawn with replacement inside the scan."""
    import jax
    import numpy as np

    draw = np.random.default_rng(0)
    sizes = (OBSERVATION, *HIDDEN, 2 * ACTION)
    weights = [
        (draw.uniform(-1, 1, (a, b)).astype(np.float32) / math.sqrt(a), np.zeros(b, np.float32))
        for a, b in pairwise(sizes)
    ]
    data = tuple(jax.device_put(column) for column in columns(made))

    @partial(jax.jit, donate_argnums=0)
    def chunk(state: Any, key: Any, data: Any) -> Any:
        rows = jax.random.randint(key, (CHUNK, batch), 0, len(made))
        return jax.lax.scan(lambda state, rows: (update(state, rows, data), None), state, rows)[0]

    state, key = begin(weights), jax.random.key(0)

    def work(times: int) -> None:
        nonlocal state, key
        for _ in range(times // CHUNK):
            key, now = jax.random.split(key)
            state = chunk(state, now, data)
        jax.block_until_ready(state)

    return Subject(work, CHUNK)


def columns(made: Arrays) -> tuple[Any, ...]:
    """What an update reads."""
    return made.observation, made.action, made.log_prob, made.advantage


def optimizer() -> Any:
    """Gradients clipped by their norm, then Adam."""
    import optax

    return optax.chain(optax.clip_by_global_norm(LARGEST_GRADIENT), optax.adam(LEARNING_RATE))


def begin(weights: list[tuple[Any, Any]]) -> Any:
    """Weights, the optimizer's state, and the anchor's: its log coefficient and running KL."""
    import jax
    import jax.numpy as jnp

    weights = jax.tree.map(jnp.asarray, weights)
    return weights, optimizer().init(weights), jnp.array([math.log(START), 0.0], jnp.float32)


def update(state: Any, rows: Any, data: Any) -> Any:
    """One update on some rows; the anchor is steered by the batch's KL before it is used, as gipo's is."""
    import jax
    import jax.numpy as jnp
    import optax

    weights, optimizer_state, anchor = state
    (_, kl), gradient_of = jax.vjp(lambda weights: losses(weights, rows, data), weights)
    running = MEMORY * anchor[1] + (1 - MEMORY) * kl
    excess = jnp.clip((running - TARGET) / TARGET, -1, 1)
    anchor = jnp.stack([jnp.clip(anchor[0] + RATE * excess, LOWEST, HIGHEST), running])
    (gradients,) = gradient_of((jnp.ones(()), jnp.exp(anchor[0])))
    changes, optimizer_state = optimizer().update(gradients, optimizer_state, weights)
    return optax.apply_updates(weights, changes), optimizer_state, anchor


def losses(weights: Any, rows: Any, data: Any) -> tuple[Any, Any]:
    """GIPO's loss and KL(beta || pi), of some rows."""
    import jax
    import jax.numpy as jnp

    observation, action, behaviour_log_prob, advantage = (column[rows] for column in data)
    hidden = observation
    for weight, bias in weights[:-1]:
        hidden = jnp.tanh(hidden @ weight + bias)
    mean, log_std = jnp.split(hidden @ weights[-1][0] + weights[-1][1], 2, -1)
    log_std = jnp.clip(log_std, -20, 2)
    standardised = (action - mean) * jnp.exp(-log_std)
    log_prob = -(0.5 * standardised**2 + log_std + 0.5 * math.log(2 * math.pi)).sum(-1)
    x = log_prob - behaviour_log_prob
    weight = jnp.exp(x - 0.5 * (jax.lax.stop_gradient(x) / SIGMA) ** 2)
    return -(weight * advantage).mean(), -x.mean()
