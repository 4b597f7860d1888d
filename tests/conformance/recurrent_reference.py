"""LSTM, GRU and RNN in float64 by ONNX's formulas, with everything that the operators' attributes ask for but clip."""

import numpy as np

ACTIVATIONS = {
    "Sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "Tanh": np.tanh,
    "Relu": lambda x: np.maximum(x, 0),
    "HardSigmoid": lambda x: np.clip(0.2 * x + 0.5, 0, 1),
    "LeakyRelu": lambda x: np.where(x < 0, 0.01 * x, x),
    "ScaledTanh": np.tanh,
    "Softsign": lambda x: x / (1 + np.abs(x)),
    "Softplus": lambda x: np.log1p(np.exp(x)),
    "Elu": lambda x: np.where(x < 0, np.exp(x) - 1, x),
}
DEFAULTS = {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"], "RNN": ["Tanh"]}
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def step(op, f, x, h, c, w, r, wb, rb, p, attributes):
    n = h.shape[1]
    if op == "RNN":
        return f[0](x @ w.T + h @ r.T + wb + rb), c
    if op == "GRU":
        zr = f[0](x @ w[:2 * n].T + h @ r[:2 * n].T + wb[:2 * n] + rb[:2 * n])
        z, reset = zr[:, :n], zr[:, n:]
        if attributes.get("linear_before_reset"):
            fresh = f[1](x @ w[2 * n:].T + wb[2 * n:] + reset * (h @ r[2 * n:].T + rb[2 * n:]))
        else:
            fresh = f[1](x @ w[2 * n:].T + wb[2 * n:] + (reset * h) @ r[2 * n:].T + rb[2 * n:])
        return (1 - z) * fresh + z * h, c
    i, o, forget, fresh = np.split(x @ w.T + h @ r.T + wb + rb, 4, axis=1)
    pi, po, pf = np.split(p, 3)
    i = f[0](i + pi * c)
    forget = 1 - i if attributes.get("input_forget") else f[0](forget + pf * c)
    c = forget * c + i * f[1](fresh)
    return f[0](o + po * c) * f[2](c), c


def recurrent(op, **attributes):
    """A function of the operator's inputs that returns Y, Y_h and, of an LSTM, Y_c."""
    def run(x, w, r, b=None, lengths=None, h0=None, c0=None, p=None):
        first = attributes.get("layout", 0)
        if first:
            x = x.transpose(1, 0, 2)
            h0, c0 = (None if s is None else s.transpose(1, 0, 2) for s in (h0, c0))
        steps, batch, _ = x.shape
        directions, _, n = r.shape
        lengths = np.full(batch, steps) if lengths is None else lengths
        names = attributes.get("activations", DEFAULTS[op] * directions)
        each = len(names) // directions
        y = np.zeros((steps, directions, batch, n))
        last_h, last_c = np.zeros((directions, batch, n)), np.zeros((directions, batch, n))
        for d in range(directions):
            f = [ACTIVATIONS[name] for name in names[d * each:(d + 1) * each]]
            h = np.zeros((batch, n)) if h0 is None else h0[d]
            c = np.zeros((batch, n)) if c0 is None else c0[d]
            wb, rb = (np.zeros(GATES[op] * n),) * 2 if b is None else np.split(b[d], 2)
            peephole = np.zeros(3 * n) if p is None else p[d]
            backwards = attributes.get("direction") == "reverse" or d == 1
            for t in reversed(range(steps)) if backwards else range(steps):
                live = (t < lengths)[:, None]
                new_h, new_c = step(op, f, x[t], h, c, w[d], r[d], wb, rb, peephole, attributes)
                h, c = np.where(live, new_h, h), np.where(live, new_c, c)
                y[t, d] = np.where(live, h, 0)
            last_h[d], last_c[d] = h, c
        out = [y, last_h, last_c][:3 if op == "LSTM" else 2]
        return [y.transpose(2, 0, 1, 3), *(s.transpose(1, 0, 2) for s in out[1:])] if first else out
    return run
