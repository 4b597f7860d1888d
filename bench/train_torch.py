#!/usr/bin/env python3
"""PyTorch's side of bench/train.py (which calls it): steps of training on the arrays in FILE.npz.

    bench/train_torch.py NET FILE.npz THREADS SECONDS
"""

import json
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F
from train_models import NETS


class Torch:
    """The nets' operators by PyTorch. Parameters by name, as the ONNX model has them."""

    def __init__(self, parameters):
        self.p, self.modules, self.running = parameters, {}, {}

    def conv(self, x, name, out, inner, kernel, stride=1, pad=0, bias=True):
        return F.conv2d(x, self.p[name + ".w"], self.p[name + ".b"] if bias else None, stride, pad)

    def linear(self, x, name, out, inner):
        return F.linear(x, self.p[name + ".w"], self.p[name + ".b"])

    def dense(self, x, name, out, inner):
        return F.linear(x, self.p[name + ".w"].T, self.p[name + ".b"])

    def norm(self, x, name, channels):
        mean, var = self.running.setdefault(name, (torch.zeros(channels), torch.ones(channels)))
        return F.batch_norm(x, mean, var, self.p[name + ".w"], self.p[name + ".b"], training=True)

    def layer_norm(self, x, name, width):
        return F.layer_norm(x, (width,), self.p[name + ".w"], self.p[name + ".b"])

    def heads(self, x, count):
        return x.view(x.shape[0], x.shape[1], count, -1).transpose(1, 2)

    def attention(self, q, k, v, width):
        mixed = F.scaled_dot_product_attention(q, k, v)
        return mixed.transpose(1, 2).reshape(q.shape[0], q.shape[2], -1)

    def lstm_last(self, x, name, hidden, inner):
        return self.modules[name](x)[1][0][0]

    def relu(self, x):
        return F.relu(x)

    def gelu(self, x):
        return F.gelu(x)

    def add(self, a, b):
        return a + b

    def flatten(self, x):
        return x.flatten(1)

    def max_pool(self, x):
        return F.max_pool2d(x, 2)

    def average_plane(self, x):
        return F.adaptive_avg_pool2d(x, 1)

    def mean_tokens(self, x):
        return x.mean(1)


def lstm_module(arrays, name):
    """torch.nn.LSTM of the ONNX weights: gates i, o, f, c there and i, f, c, o here."""
    def turned(values):
        i, o, f, c = np.split(values, 4)
        return torch.tensor(np.concatenate([i, f, c, o]))
    w, r, b = (arrays[f"{name}.{k}"][0] for k in "wrb")
    module = torch.nn.LSTM(w.shape[1], r.shape[1], batch_first=True)
    values = [turned(w), turned(r), *(turned(part) for part in np.split(b, 2))]
    with torch.no_grad():
        for parameter, value in zip(module.parameters(), values):
            parameter.copy_(value)
    return module


def main():
    name, path, threads, seconds = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
    torch.set_num_threads(threads)
    arrays = dict(np.load(path))
    x, labels = torch.tensor(arrays.pop("x")), torch.tensor(arrays.pop("labels"))
    backend = Torch({k: torch.tensor(v, requires_grad=True) for k, v in arrays.items() if not k.startswith("lstm.")})
    trained = list(backend.p.values())
    if "lstm.w" in arrays:
        backend.modules["lstm"] = lstm_module(arrays, "lstm")
        trained += list(backend.modules["lstm"].parameters())
    optimizer = torch.optim.SGD(trained, lr=0.01, momentum=0.9, nesterov=True)
    times, cpu, losses, start = [], [], [], time.perf_counter()
    while len(times) < 8 or time.perf_counter() - start < seconds:
        before, cpu_before = time.perf_counter(), time.process_time()
        optimizer.zero_grad()
        loss = F.cross_entropy(NETS[name][0](backend, x), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        times.append(time.perf_counter() - before)
        cpu.append(time.process_time() - cpu_before)
    times, cpu = sorted(times[3:]), sorted(cpu[3:])
    tenth = len(times) // 10
    print(json.dumps({"best": len(x) / times[tenth], "mean": len(x) * len(times) / sum(times), "cpu": len(x) / cpu[tenth], "first_loss": losses[0],
                      "second_loss": losses[1], "loss": losses[-1]}))


main()
