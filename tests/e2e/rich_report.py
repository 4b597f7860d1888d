"""A made-up report with every optional key of docs/report.md, and a made-up model summary: what the pages must be able to show."""

import math
import random

# A name that would end a script, an attribute, a tag or a line, and turn the text around it.
HOSTILE = "</script><img src=x onerror=alert(1)>\"'`&amp;\u2028\u202e<!--"


def histogram(rng, width, bins=40, spike=0.0):
    edges = [width * (2 * i / bins - 1) for i in range(bins + 1)]
    middles = [(a + b) / 2 for a, b in zip(edges, edges[1:])]
    counts = [int(10000 * math.exp(-0.5 * (3 * m / width) ** 2) * rng.uniform(0.9, 1.1)) for m in middles]
    counts[bins // 2] += int(spike * sum(counts))
    return {"edges": edges, "counts": counts}


def coarse(pair, step):
    """The counts of `step` bins gathered in the middle one, as quantization does."""
    counts = [0] * len(pair["counts"])
    for i, count in enumerate(pair["counts"]):
        counts[min(i // step * step + step // 2, len(counts) - 1)] += count
    return {"edges": pair["edges"], "counts": counts}


def layer(rng, i, name, op, dims, bits, sqnr, skipped=None):
    parameters = math.prod(dims)
    before = 4 * parameters
    after = before if skipped else parameters * bits // 8 + 4 * dims[0]
    before_histogram = histogram(rng, 0.1 + 0.02 * i)
    return {"name": name, "op": op, "dims": dims, "scheme": "" if skipped else f"{bits}-bit, per channel",
            "bits": None if skipped else bits, "requested_bits": None if skipped else bits, "rank": 16 if i == 2 else None,
            "sparsity": None if skipped else round(rng.uniform(0, 0.5), 3),
            "relative_error": None if skipped else 10 ** (-sqnr / 20), "sqnr_db": None if skipped else sqnr,
            "output_sqnr_db": sqnr - 2.5 - 0.3 * i, "isolated_sqnr_db": sqnr - 1,
            "histogram": {"before": before_histogram, "after": coarse(before_histogram, 1 if bits == 8 else 4)},
            "parameters": parameters, "parameters_after": parameters, "bytes_before": before, "bytes_after": after,
            "macs": 100 * parameters, "bytes_moved": 2 * before, "arithmetic_intensity": 100 * parameters / before,
            "macs_after": 100 * parameters, "bytes_moved_after": before + after,
            "arithmetic_intensity_after": 200 * parameters / (before + after),
            "skipped_reason": skipped, "not_measured": None, "steps": []}


def matrix(rng, classes, accuracy):
    rows = []
    for truth in range(classes):
        row = [0] * classes
        for _ in range(100):
            row[truth if rng.random() < accuracy else rng.randrange(classes)] += 1
        rows.append(row)
    return rows


def rich_report(layers=14, classes=10):
    rng = random.Random(7)
    shapes = [("Conv", [64, 32, 3, 3]), ("Conv", [64, 64, 3, 3]), ("Gemm", [256, 512]), ("MatMul", [512, 512])]
    made = []
    for i in range(layers):
        op, dims = shapes[i % len(shapes)]
        bits = 4 if i % 3 else 8
        sqnr = round((20 if bits == 4 else 43) + rng.uniform(-2.5, 2.5), 2)
        made.append(layer(rng, i, f"/features/block{i}/{op.lower()}/weight", op, dims, bits, 9.14 if i == 7 else sqnr))
    made[1]["name"] = HOSTILE
    made[3] = layer(rng, 3, "/classifier/head/weight", "Gemm", [1000, 512], 8, 50, skipped="named in skip")
    file_before = sum(one["bytes_before"] for one in made) + 21_500
    file_after = sum(one["bytes_after"] for one in made) + 23_100

    def figures(size, accuracy_share):
        return {"file_bytes": size, "gzip_bytes": int(size * 0.91), "gzip_sampled": True, "parameters": 1_204_224,
                "nonzero_parameters": int(1_204_224 * accuracy_share), "weight_bytes": size - 20_000, "macs": 301_412_352,
                "macs_by_type": {"float32": 301_412_352, "float16": 0, "int8": 0}, "macs_incomplete": [],
                "macs_by_op": {"Conv": 250_000_000, "Gemm": 51_412_352}, "bytes_moved": 9_633_792 + size,
                "bytes_moved_by_kind": {"activations_read": 6_000_000, "activations_written": 3_633_792, "constants_read": size},
                "bytes_moved_by_op": {"Conv": 5_000_000 + size, "Gemm": 3_633_792, "Relu": 1_000_000},
                "arithmetic_intensity": 2 * 301_412_352 / (9_633_792 + size),
                "energy_by_op": {"Conv": {"compute_pj": 1.1e9, "memory_pj": 4e8 * accuracy_share},
                                 "Gemm": {"compute_pj": 2.8e8, "memory_pj": 1e8}, "Relu": {"compute_pj": 0, "memory_pj": 1.25e7}},
                "activation_bytes": 9_633_792, "constant_bytes_read": size - 22_000, "peak_activation_bytes": 1_605_632,
                "energy_pj": 2.1e9 * (0.4 + accuracy_share / 2),
                "energy": {"arithmetic_pj": 1.386e9, "weights_pj": 4.1e8 * accuracy_share, "activations_pj": 1.2e8, "source": "..."},
                "opset": 21, "ir_version": 10}

    before, after = figures(file_before, 1.0), figures(file_after, 0.71)
    report = {
        "schema_version": 1, "build_id": "0.1.0+made.up", "seed": 18446744073709551615,
        "recipe": {"seed": 18446744073709551615, "steps": [
            {"prune_weights": {"sparsity": 0.3, "targets": ["conv*", HOSTILE]}},
            {"quantize_weights": {"bits": 4, "granularity": "channel", "clip": "mse", "keep_small": 0.01}}]},
        "inputs": {"files": [{"path": "resnet-tiny.onnx", "sha256": "a" * 64, "size_bytes": file_before}],
                   "datasets": [{"role": "test", "name": "digits-test.npz", "sha256": "b" * 64, "used": True}]},
        "bindings": {"batch": 1}, "assumed_bindings": ["batch"], "assumptions": ["Loop 'decode' runs 8 times"],
        "shape_unknown": [], "before": before, "after": after,
        "ratios": {k: before[k] / after[k] for k in ("file_bytes", "gzip_bytes", "parameters", "macs", "energy_pj")},
        "energy_source": "Horowitz, Computing's energy problem, ISSCC 2014, 45 nm", "layers": made,
        "steps": [{"method": "prune_weights", "params": {"sparsity": 0.3}, "layers_done": 12, "layers_skipped": 2, "notes": []},
                  {"method": "quantize_weights", "params": {"bits": 4}, "layers_done": 13, "layers_skipped": 1,
                   "notes": ["opset lifted from 17 to 21: the 4-bit type needs it"]}],
        "notes": [f"inlined function {HOSTILE}"], "warnings": ["layer 'x' gives infinite values at node 'exp1'"],
        "timings": {"read": 0.012, "write": 0.034, "check": 0.021, "measure": 0.41, "total": 1.62, "steps": [0.21, 0.87]},
        "latency": {"threads": 1, "batch": 1, "before_ms": 12.4, "after_ms": 13.1, "ratio": 13.1 / 12.4,
                    "before_spread_ms": [12.1, 13.0], "after_spread_ms": [12.8, 13.9], "cpu_model": "Example CPU @ 2.40GHz",
                    "onnxruntime": {"version": "1.32.0", "threads": 1, "batch": 1, "runs": 70, "before_ms": 9.8, "after_ms": 10.4,
                                    "before_spread_ms": [9.7, 10.1], "after_spread_ms": [10.3, 10.9], "ratio": 1.06}},
        "evaluation": {
            "task": "classification", "split": "test", "examples": 1000, "labels": "labels",
            "before": {"accuracy": 0.9714, "accuracy_interval": [0.9591, 0.9801], "top_k": {"5": 0.998}, "precision_macro": 0.9711,
                       "recall_macro": 0.9709, "f1_macro": 0.9709, "log_loss": 0.0934, "ece": 0.011,
                       "confusion_matrix": matrix(rng, classes, 0.97)},
            "after": {"accuracy": 0.9672, "accuracy_interval": [0.9542, 0.9766], "top_k": {"5": 0.9975}, "precision_macro": 0.9669,
                      "recall_macro": 0.9668, "f1_macro": 0.9667, "log_loss": 0.1088, "ece": 0.016, "some_new_figure": 1.25,
                      "confusion_matrix": matrix(rng, classes, 0.96)},
            "change": {"accuracy": -0.0042}, "p_value": 0.29,
            "significance": "The change of -0.42 points is within what chance gives on 1,000 examples.",
            "fidelity": {"logits": {"sqnr_db": 18.31, "cosine": 0.99274, "max_abs_error": 1.83, "kl": 0.0121, "top1_agreement": 0.985,
                                    "worst": [{"index": 417, "relative_error": 0.41}, {"index": 12, "relative_error": 0.33}]}}},
        "activations": [{"name": f"/features/relu{i}", "before": histogram(rng, 3, spike=0.5),
                         "after": coarse(histogram(rng, 3, spike=0.5), 4)} for i in range(4)],
        "constraints": [{"name": "max_accuracy_drop", "limit": 0.01, "value": 0.0042, "met": True},
                        {"name": "max_latency_ratio", "limit": 1.0, "value": 1.056, "met": False}],
        "trace": [{"step": None, "method": None, "file_bytes": file_before, "figure": "accuracy", "value": 0.9714},
                  {"step": 0, "method": "prune_weights", "file_bytes": file_before * 0.82, "figure": "accuracy", "value": 0.9708},
                  {"step": 1, "method": "quantize_weights", "file_bytes": file_after, "figure": "accuracy", "value": 0.9672}],
        "tried": [{"label": "8 bits", "accuracy": 0.9711, "file_bytes": file_before * 0.26},
                  {"label": "4 bits, groups of 32", "accuracy": 0.9702, "file_bytes": file_before * 0.17},
                  {"label": "3 bits", "accuracy": 0.9322, "file_bytes": file_before * 0.14},
                  {"label": "fp16", "accuracy": 0.9714, "file_bytes": file_before * 0.5}],
    }
    return report


def rich_summary(layers=40):
    rng = random.Random(3)
    made = []
    for i in range(layers):
        blocked = i % 9 == 4
        made.append({"name": HOSTILE if i == 2 else f"/encoder/layer.{i}/attention/MatMul", "op": "MatMul", "weight": f"w{i}",
                     "dims": [256, 64 * (1 + i % 5)], "dtype": "float32", "parameters": 256 * 64 * (1 + i % 5),
                     "bytes_moved": 4 * 256 * 64 * (1 + i % 5), "arithmetic_intensity": 12.5 + i,
                     "macs": None if i == 5 else 256 * 64 * (1 + i % 5) * rng.randrange(1, 64), "uses": 1,
                     "methods": [] if blocked else ["prune_weights", "quantize_weights", "fp16"],
                     "not_applicable": {} if blocked else {"low_rank": "it is a vector"} if i % 7 == 0 else {},
                     "blocked_reason": "another node reads it too" if blocked else None})
    return {"schema_version": 1, "build_id": "0.1.0+made.up", "main_file": "encoder.onnx", "files": ["encoder.onnx", "encoder.bin"],
            "producer": "pytorch 2.3", "ir_version": 8, "opset_imports": {"ai.onnx": 17}, "functions": [],
            "inputs": [{"name": "tokens", "dtype": "int64", "dims": ["batch", None, 16]}],
            "outputs": [{"name": "logits", "dtype": "float32", "dims": None}],
            "ops": {"MatMul": 40, "Add": 33, "Softmax": 8, "LayerNormalization": 9}, "parameters": 1966080, "weight_bytes": 7864320,
            "macs": 41231231, "macs_by_type": {"float32": 41231231, "float16": 0, "int8": 0}, "macs_incomplete": ["If 'branch'"],
            "macs_by_op": {"MatMul": 41231231}, "bytes_moved": 9234567, "bytes_moved_by_op": {"MatMul": 8234567, "Add": 1000000},
            "arithmetic_intensity": 8.93, "energy_by_op": {"MatMul": {"compute_pj": 1.9e8, "memory_pj": 1.4e8},
                                                           "Add": {"compute_pj": 0, "memory_pj": 1e7}},
            "activation_bytes": 1234567, "energy_pj": 3.4e8, "energy_source": "Horowitz", "bindings": {"batch": 1, "tokens[1]": 1},
            "assumed_bindings": ["tokens[1]"], "unused_bindings": ["bathc"], "assumptions": [], "shape_unknown": [], "layers": made,
            "notes": ["inlined 3 functions"]}
