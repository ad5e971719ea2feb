"""What the functions of gru.c compute, in NumPy, without its layouts and roundings.

Weights are those of `molvae.vae.nets.kernel.packing.Weights`. The z contribution is W_z z, ``(rows, 3·hidden)``.
"""

import numpy as np


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def step(weights, tokens, contribution, h):
    """The states after one more token, ``(rows, hidden)``, and the activations r, z, n, m, ``(rows, 4·hidden)``."""
    xr, xz, xn = np.split(weights.table[tokens] + contribution, 3, -1)
    hr, hz, hn = np.split(h @ weights.W_hh.T, 3, -1)
    r, z, m = sigmoid(xr + hr), sigmoid(xz + hz), hn + weights.b_hn
    n = np.tanh(xn + r * m)
    return n + z * (h - n), np.concatenate([r, z, n, m], -1)


def gru_forward(weights, tokens, contribution, start):
    """The states before and after each of the tokens ``(time, batch)``, and the activations of each step."""
    states, activations = [start], []
    for row in tokens:
        h, kept = step(weights, row, contribution, states[-1])
        states.append(h)
        activations.append(kept)
    return np.stack(states), np.stack(activations)


def gru_backward(weights, tokens, states, activations, d_outputs):
    """Gradients of W_hh h, ``(time, batch, 3·hidden)``, of the table, the z contribution, b_hn and the first state.

    ``d_outputs`` is the gradient of each output, ``(time, batch, hidden)``; where the loss has only the last one, the
    others' are 0.
    """
    d_preact, d_table = np.zeros_like(activations[..., : 3 * states.shape[2]]), np.zeros_like(weights.table)
    d_contribution, d_b_hn, d_state = np.zeros_like(d_preact[0]), np.zeros_like(weights.b_hn), 0
    for t in reversed(range(len(tokens))):
        (r, z, n, m), d = np.split(activations[t], 4, -1), d_state + d_outputs[t]
        dn = d * (1 - z) * (1 - n**2)
        dm, dz = dn * r, d * (states[t] - n) * z * (1 - z)
        dr = dn * m * r * (1 - r)
        d_preact[t] = np.concatenate([dr, dz, dm], -1)
        d_x = np.concatenate([dr, dz, dn], -1)
        np.add.at(d_table, tokens[t], d_x)
        d_contribution += d_x
        d_b_hn += dm.sum(0)
        d_state = d * z + d_preact[t] @ weights.W_hh
    return d_preact, d_table, d_contribution, d_b_hn, d_state


def gru_weight_gradient(d_preact, states):
    """The gradient of W_hh."""
    return np.einsum("tbg,tbh->gh", d_preact, states[:-1])


def gru_read(weights, strings):
    """The last state of each string, from 0 on."""
    ends = np.zeros((len(strings), len(weights.b_hn)))
    for k, ids in enumerate(strings):
        for token in ids:
            ends[k], _ = step(weights, token, 0, ends[k])
    return ends


def gru_next(weights, readout, offset, tokens, contribution, states):
    """The scores of the next characters, ``(rows, characters)``, and the states after these tokens."""
    states, _ = step(weights, tokens, contribution, states)
    return states @ readout.T + offset, states


def gru_write(weights, readout, offset, contribution, states, longest, start, end):
    """The likeliest characters, ``(rows, longest)``; ``end`` fills what follows the end."""
    out = np.full((len(states), longest), end)
    for k, row in enumerate(out):
        token, h = start, states[k]
        for t in range(longest):
            scores, h = gru_next(weights, readout, offset, token, contribution[k], h)
            row[t] = token = scores.argmax()
            if token == end:
                break
    return out
