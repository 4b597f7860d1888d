"""Layout, pieces, indices, reductions, resampling and regions against ONNX Runtime: random shapes, attributes, opsets."""

import itertools
import pathlib
import sys

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from onnx_cases import REFUSALS, difference, read_outputs, run_folders, write_inputs  # noqa: E402

F, I64 = np.float32, np.int64


class Case:
    """One node with inputs; None leaves an optional input out."""

    def __init__(self, op, inputs, opset=18, outputs=1, domain="", **attributes):
        self.op, self.inputs, self.opset, self.domain = op, inputs, opset, domain
        self.outputs, self.attributes = outputs, attributes

    def __repr__(self):
        shapes = [None if x is None else f"{x.dtype}{list(x.shape)}" for x in self.inputs]
        return f"{self.op}-{self.opset} {shapes} {self.attributes}"

    def model(self):
        names = ["" if x is None else f"x{i}" for i, x in enumerate(self.inputs)]
        outs = [f"y{i}" for i in range(self.outputs)]
        node = helper.make_node(self.op, names, outs, domain=self.domain, **self.attributes)
        # ONNX Runtime's shape inference refuses a Resize whose sizes are no constant.
        fixed = {n for n in names[1:] if n and self.op == "Resize"}
        given = [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(x.dtype), [None] * x.ndim)
                 for n, x in zip(names, self.inputs) if n and n not in fixed]
        weights = [onnx.numpy_helper.from_array(x, n) for n, x in zip(names, self.inputs) if n in fixed]
        graph = helper.make_graph([node], "g", given, [onnx.ValueInfoProto(name=o) for o in outs], weights)
        imports = [helper.make_opsetid("", self.opset)]
        if self.domain:
            imports.append(helper.make_opsetid(self.domain, 1))
        return helper.make_model(graph, opset_imports=imports, ir_version=8), {
            n: x for n, x in zip(names, self.inputs) if n not in fixed}


def answers(cases, folder):
    """For each case what the engine said, and its outputs."""
    folders = []
    for number, case in enumerate(cases):
        model, inputs = case.model()
        at = folder / str(number)
        at.mkdir(parents=True)
        (at / "model.onnx").write_bytes(model.SerializeToString())
        write_inputs(at / "inputs.onnx", {name: (x, None) for name, x in inputs.items() if name})
        folders.append(at)
    return [(said, read_outputs(at / "outputs.onnx") if said["ok"] else None)
            for said, at in zip(run_folders(folders), folders)]


def compare(cases, folder, rtol=1e-5, atol=1e-6):
    """float32 sums of a few hundred terms differ by their order: 1e-5 relative is 100 roundings."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    wrong, compared = [], 0
    for case, (said, got) in zip(cases, answers(cases, folder)):
        model, inputs = case.model()
        try:
            session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
            wanted = session.run(None, {n: x for n, x in inputs.items() if n})
        except REFUSALS:
            continue
        compared += 1
        if not said["ok"]:
            wrong.append(f"{case}: {said['code']} {said['error']}")
            continue
        wrong.extend(f"{case} output {i}: {d}" for i, w in enumerate(wanted)
                     if (d := difference(w, got.get(f"y{i}"), rtol, atol)))
    assert not wrong, "\n".join(wrong[:20]) + f"\n{len(wrong)} of {compared}"
    assert compared >= len(cases) * 3 // 5, f"only {compared} of {len(cases)} could be compared"


@pytest.fixture
def rng():
    return np.random.default_rng(20260731)


def array(rng, shape, dtype=F):
    if np.dtype(dtype).kind == "f":
        return rng.standard_normal(shape).astype(dtype)
    if dtype == np.bool_:
        return rng.integers(0, 2, shape).astype(np.bool_)
    return rng.integers(0 if np.dtype(dtype).kind == "u" else -9, 10, shape).astype(dtype)


def ints(*values):
    return np.array(values, I64)


def test_transpositions(tmp_path, rng):
    cases = []
    for shape in [(5,), (3, 4), (40, 70), (2, 3, 4), (1, 7, 1, 5), (2, 3, 4, 5), (2, 1, 3, 2, 2), (0, 3), (3, 33, 65)]:
        perms = list(itertools.permutations(range(len(shape))))
        for k in rng.permutation(len(perms))[:8]:
            dtype = [F, np.float64, np.uint8, np.float16, I64, np.bool_][rng.integers(6)]
            cases.append(Case("Transpose", [array(rng, shape, dtype)], perm=perms[k]))
    for mode, block in itertools.product(["DCR", "CRD"], [1, 2, 3]):
        cases.append(Case("DepthToSpace", [array(rng, (2, 18 * block, 3, 5))][:1], blocksize=3, mode=mode))
    compare(cases, tmp_path)


def test_slices(tmp_path, rng):
    cases = []
    for _ in range(80):
        shape = tuple(rng.integers(0, 6, rng.integers(1, 5)))
        count = int(rng.integers(1, len(shape) + 1))
        axes = rng.permutation(len(shape))[:count]
        axes = np.where(rng.integers(0, 2, count) == 1, axes - len(shape), axes)
        steps = rng.choice([-3, -2, -1, 1, 2, 3, 100, -(2**40)], count)
        low = -(2**62)
        edges = np.concatenate([np.arange(-7, 8), [low, -low]])
        cases.append(Case("Slice", [array(rng, shape), rng.choice(edges, count), rng.choice(edges, count),
                                    axes.astype(I64), steps.astype(I64)], opset=13))
    cases.append(Case("Slice", [array(rng, (4, 5))], opset=9, starts=[1, -3], ends=[100, -1]))
    cases.append(Case("Slice", [array(rng, (4, 5))], opset=9, starts=[1], ends=[100], axes=[-1]))
    compare(cases, tmp_path)


def test_pads(tmp_path, rng):
    cases = []
    for mode, _ in itertools.product(["constant", "edge", "reflect", "wrap"], range(25)):
        shape = tuple(rng.integers(3, 7, rng.integers(1, 5)))
        # ONNX Runtime refuses reflections past the other end.
        pads = rng.integers(-1 if mode != "wrap" else 0, 3, 2 * len(shape)).astype(I64)
        inputs = [array(rng, shape), pads]
        if mode == "constant":
            inputs.append(np.array(2.5, F))
        cases.append(Case("Pad", inputs, opset=19, mode=mode))
    cases.append(Case("Pad", [array(rng, (2, 3, 4)), ints(1, 2, 0, 1), None, ints(-1, 0)], opset=18))
    cases.append(Case("Pad", [array(rng, (2, 3))], opset=10, pads=[1, 0, 0, 2], value=1.5))
    compare(cases, tmp_path)


def test_joins_splits_and_repeats(tmp_path, rng):
    cases = [Case("Concat", [array(rng, (2, n, 3), d) for n in (1, 0, 4)], axis=-2) for d in (F, np.uint8, I64, np.bool_)]
    cases += [Case("Split", [array(rng, (7, 3))], opset=18, outputs=3, axis=0, num_outputs=3),
              Case("Split", [array(rng, (6, 4))], opset=11, outputs=2, axis=-1),
              Case("Split", [array(rng, (6, 4))], opset=11, outputs=2, axis=0, split=[1, 5]),
              Case("Split", [array(rng, (6, 4)), ints(0, 4)], opset=13, outputs=2, axis=1)]
    cases += [Case("Tile", [array(rng, (2, 3, 1)), ints(*r)]) for r in [(1, 2, 3), (2, 1, 1), (0, 1, 1), (3, 2, 4)]]
    cases += [Case("Expand", [array(rng, s), ints(*t)]) for s, t in
              [((3, 1), (2, 1, 6)), ((1,), (2, 3)), ((), (2, 2)), ((2, 3), (1, 1)), ((1, 4, 1), (3, 1, 2)), ((0, 1), (1, 5))]]
    compare(cases, tmp_path)


def test_gathers_and_scatters(tmp_path, rng):
    cases = []
    for _ in range(40):
        shape = tuple(rng.integers(1, 6, rng.integers(1, 4)))
        axis = int(rng.integers(-len(shape), len(shape)))
        extent = shape[axis]
        at = rng.integers(-extent, extent, rng.integers(0, 4, rng.integers(0, 3))).astype([np.int32, I64][rng.integers(2)])
        dtype = [F, np.float16, np.int8, I64, np.bool_][rng.integers(5)]
        cases.append(Case("Gather", [array(rng, shape, dtype), at], axis=axis))
        part = tuple(int(rng.integers(1, n + 1)) for n in shape)
        at = rng.integers(-extent, extent, part).astype(I64)
        cases.append(Case("GatherElements", [array(rng, shape, dtype), at], axis=axis))
        for reduction in ("none", "add", "mul", "min", "max"):
            if reduction == "none":  # the order of repeated indices is not defined
                along = axis % len(shape)
                at = np.take_along_axis(np.indices(part)[along], np.argsort(rng.random(part), along), along).astype(I64)
            cases.append(Case("ScatterElements", [array(rng, shape), at, array(rng, part)], axis=axis, reduction=reduction))
        depth = int(rng.integers(1, len(shape) + 1))
        tuples = np.stack([rng.integers(-n, n, (3, 2)) for n in shape[:depth]], -1).astype(I64)
        cases.append(Case("GatherND", [array(rng, shape, dtype), tuples]))
        cases.append(Case("ScatterND", [array(rng, shape), tuples, array(rng, (3, 2) + shape[depth:])], reduction="add"))
    data, at = array(rng, (2, 3, 4)), rng.integers(0, 3, (2, 5, 1)).astype(I64)
    cases.append(Case("GatherND", [data, at], batch_dims=1))
    for axis in (-1, 0, 1):
        cases.append(Case("OneHot", [ints(-4, -1, 0, 3, 9), np.array([4], I64), np.array([2, 7], F)], axis=axis))
    cases.append(Case("Compress", [array(rng, (3, 4)), np.array([0, 1, 1], np.bool_)], axis=1))
    cases.append(Case("Compress", [array(rng, (3, 4)), np.array([0, 1, 1, 0, 1], np.bool_)]))
    cases.append(Case("ReverseSequence", [array(rng, (4, 3, 2)), ints(1, 4, 0)], batch_axis=1, time_axis=0))
    compare(cases, tmp_path)


def test_quantized_gathers(tmp_path, rng):
    cases = []
    for bits, zero_points in itertools.product((4, 8), (False, True)):
        data = rng.integers(0, 256, (6, 64 * bits // 8)).astype(np.uint8)
        inputs = [data, rng.integers(0, 6, (2, 3)).astype(I64), array(rng, (6, 4))]
        if zero_points:
            inputs.append(rng.integers(0, 256, (6, 4 * bits // 8)).astype(np.uint8))
        cases.append(Case("GatherBlockQuantized", inputs, domain="com.microsoft", bits=bits, block_size=16,
                          gather_axis=0, quantize_axis=1))
    compare(cases, tmp_path)


REDUCTIONS = ["ReduceSum", "ReduceMean", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSumExp", "ReduceProd",
              "ReduceMax", "ReduceMin"]


def test_reductions(tmp_path, rng):
    cases = []
    for op, opset in itertools.product(REDUCTIONS, (11, 18)):
        for shape, axes in [((3, 4, 5), [1]), ((3, 4, 5), [-1]), ((3, 4, 5), [0, 2]), ((2, 3, 4, 5), [2, 3]), ((), None),
                            ((2, 3, 4, 5), None), ((2, 3, 600), [1]), ((1, 4, 1), [0, 2]), ((2, 3, 4, 5), [0, 2])]:
            for dtype, keep in [(F, 1), (np.float64, 0), (np.int32, 0)]:
                if op == "ReduceLogSumExp" and dtype == np.int32:
                    continue  # not supported: ONNX Runtime's exponentials are integers there
                x = array(rng, shape, dtype)
                if op == "ReduceProd" and dtype == np.int32:
                    x = np.where(x % 7 == 0, 2, 1).astype(np.int32)  # past the type's range ONNX Runtime goes through float
                if axes is None:
                    cases.append(Case(op, [x], opset=opset, keepdims=keep))
                elif opset == 18 or op == "ReduceSum" and opset >= 13:
                    cases.append(Case(op, [x, ints(*axes)], opset=opset, keepdims=keep))
                else:
                    cases.append(Case(op, [x], opset=opset, keepdims=keep, axes=axes))
    compare(cases, tmp_path, atol=2e-5)


def test_a_long_sum_keeps_its_digits(tmp_path, rng):
    x = np.stack([rng.random(1 << 20).astype(F), np.full(1 << 20, 0.1, F)])
    cases = [Case("ReduceSum", [x, ints(1)]), Case("ReduceMean", [np.ascontiguousarray(x.T), ints(0)])]
    (_, rows), (_, columns) = answers(cases, tmp_path)
    exact = x.astype(np.float64).sum(1, keepdims=True)
    # One rounding to float32: 2^-24.
    np.testing.assert_allclose(rows["y0"], exact, rtol=6e-8)
    np.testing.assert_allclose(columns["y0"], exact.T / (1 << 20), rtol=6e-8)


def test_extremes_and_selections(tmp_path, rng):
    cases = []
    for shape, axis in [((4, 5), 0), ((4, 5), -1), ((2, 3, 4), 1), ((6,), 0)]:
        x = np.round(array(rng, shape) * 2) / 2  # with ties
        for keep, last in itertools.product((0, 1), (0, 1)):
            cases.extend(Case(op, [x], axis=axis, keepdims=keep, select_last_index=last) for op in ("ArgMax", "ArgMin"))
        for largest, dtype in itertools.product((0, 1), (F, np.float64, I64, np.int32)):
            k = int(rng.integers(0, shape[axis] + 1))
            cases.append(Case("TopK", [x.astype(dtype), ints(k)], outputs=2, axis=axis, largest=largest))
        cases.append(Case("NonZero", [x]))
        cases.append(Case("Unique", [x], outputs=4))
        cases.append(Case("Unique", [x], outputs=4, axis=axis))
        cases.append(Case("Unique", [x], outputs=4, sorted=0))
    cases.append(Case("TopK", [np.round(array(rng, (3, 500))), ints(300)], outputs=2))
    cases.append(Case("TopK", [np.round(array(rng, (3, 500))), ints(7)], outputs=2))
    for center, limit, iou in itertools.product((0, 1), (0, 3, 100), (0.0, 0.3, 0.7)):
        boxes = rng.random((2, 40, 4)).astype(F)
        scores = np.round(rng.random((2, 3, 40)), 1).astype(F)
        cases.append(Case("NonMaxSuppression", [boxes, scores, ints(limit), np.array([iou], F), np.array([0.2], F)],
                          center_point_box=center))
    compare(cases, tmp_path)


MODES = ["half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners", "half_pixel_symmetric"]
ROUNDINGS = ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]


def test_resizing(tmp_path, rng):
    cases = []
    none = np.array([], F)
    for mode, coordinates in itertools.product(["nearest", "linear", "cubic"], MODES):
        for sizes in [(2, 3, 8, 10), (2, 3, 3, 2), (2, 3, 5, 5), (2, 3, 1, 11)]:
            x = array(rng, (2, 3, 4, 5))
            for rounding in ROUNDINGS if mode == "nearest" else ROUNDINGS[:1]:
                cases.append(Case("Resize", [x, None, None, ints(*sizes)], mode=mode, nearest_mode=rounding,
                                  coordinate_transformation_mode=coordinates))
            if mode != "nearest" and coordinates in ("half_pixel", "asymmetric"):
                cases.append(Case("Resize", [x, None, None, ints(*sizes)], mode=mode, antialias=1,
                                  coordinate_transformation_mode=coordinates))
            if mode == "cubic":
                cases.append(Case("Resize", [x, None, None, ints(*sizes)], mode=mode, exclude_outside=1,
                                  cubic_coeff_a=-0.5, coordinate_transformation_mode=coordinates))
    for scales, mode in itertools.product([(1, 1, 2, 2), (1, 1, 1.7, 0.6), (1, 1, 0.5, 3)], ["nearest", "linear"]):
        scale = np.array(scales, F)
        cases.append(Case("Resize", [array(rng, (1, 2, 6, 6)), none, scale], opset=13, mode=mode))
        cases.append(Case("Resize", [array(rng, (1, 2, 6, 6)), scale], opset=10, mode=mode))
        cases.append(Case("Upsample", [array(rng, (1, 2, 6, 6)), np.maximum(scale, 1)], opset=9, mode=mode))
        cases.append(Case("Upsample", [array(rng, (1, 2, 6, 6))], opset=7, mode=mode, scales=[max(1.0, s) for s in scales]))
    for mode in ("nearest", "linear", "cubic"):
        roi = np.array([0, 0, -0.2, 0.1, 1, 1, 1.1, 0.8], F)
        cases.append(Case("Resize", [array(rng, (1, 1, 6, 7)), roi, None, ints(1, 1, 5, 9)], mode=mode,
                          coordinate_transformation_mode="tf_crop_and_resize", extrapolation_value=3.5))
    for policy in ("not_larger", "not_smaller"):
        cases.append(Case("Resize", [array(rng, (1, 2, 6, 9)), None, None, ints(8, 7)], mode="linear", axes=[2, 3],
                          keep_aspect_ratio_policy=policy))
    compare(cases, tmp_path, rtol=1e-4, atol=1e-5)  # float32 coordinates: 10 elements x 2^-24 each way


def test_grids(tmp_path, rng):
    cases = []
    for mode, padding, align in itertools.product(["linear", "nearest", "cubic"], ["zeros", "border", "reflection"], [0, 1]):
        grid = rng.uniform(-2.2, 2.2, (2, 4, 3, 2)).astype(F)
        cases.append(Case("GridSample", [array(rng, (2, 3, 5, 6)), grid], opset=20, mode=mode, padding_mode=padding,
                          align_corners=align))
        if mode != "cubic":
            grid = rng.uniform(-2.2, 2.2, (1, 2, 4, 3, 3)).astype(F)
            cases.append(Case("GridSample", [array(rng, (1, 2, 3, 5, 6)), grid], opset=20, mode=mode, padding_mode=padding,
                              align_corners=align))
    for align in (0, 1):
        cases.append(Case("AffineGrid", [array(rng, (2, 2, 3)), ints(2, 3, 4, 5)], opset=20, align_corners=align))
        cases.append(Case("AffineGrid", [array(rng, (1, 3, 4)), ints(1, 3, 4, 5, 2)], opset=20, align_corners=align))
    compare(cases, tmp_path, rtol=1e-4, atol=2e-5)


def test_transforms(tmp_path, rng):
    cases = []
    for n in (1, 2, 3, 4, 8, 12, 30, 37, 64, 74, 101, 400):
        for inverse, onesided, parts in [(0, 0, 1), (0, 1, 1), (0, 0, 2), (1, 0, 2)]:
            cases.append(Case("DFT", [array(rng, (2, n, parts))], opset=17, axis=1, inverse=inverse, onesided=onesided))
    cases.append(Case("DFT", [array(rng, (2, 6, 3, 2)), np.array(8, I64), np.array(1, I64)], opset=20))
    window = np.hanning(16).astype(F)
    for onesided in (0, 1):
        cases.append(Case("STFT", [array(rng, (2, 100, 1)), np.array(7, I64), window], opset=17, onesided=onesided))
    compare(cases, tmp_path, rtol=1e-4, atol=5e-3)  # ONNX Runtime sums 400 terms in float32, with angles rounded to float32


def test_regions(tmp_path, rng):
    cases = []
    corners = rng.uniform(0, 12, (5, 4)).astype(F)
    rois = np.concatenate([np.minimum(corners[:, :2], corners[:, 2:]), np.maximum(corners[:, :2], corners[:, 2:])], 1)
    at = rng.integers(0, 2, 5).astype(I64)
    for opset, mode, ratio in itertools.product((10, 16), ("avg", "max"), (0, 2)):
        cases.append(Case("RoiAlign", [array(rng, (2, 3, 8, 9)), rois, at], opset=opset, mode=mode, sampling_ratio=ratio,
                          output_height=3, output_width=2, spatial_scale=0.7))
    pools = np.concatenate([at[:, None].astype(F), rois], 1)
    cases.append(Case("MaxRoiPool", [array(rng, (2, 3, 8, 9)), pools], pooled_shape=[3, 2], spatial_scale=0.7))
    cases.append(Case("Col2Im", [array(rng, (2, 3 * 6, 4 * 4)), ints(5, 6), ints(2, 3)], pads=[0, 0, 0, 0]))
    compare(cases, tmp_path)


HOSTILE = [
    Case("Gather", [np.zeros((3, 2), F), ints(3)]), Case("Gather", [np.zeros((3, 2), F), ints(-4)]),
    Case("Gather", [np.zeros((0, 2), F), ints(0)]), Case("Gather", [np.zeros(3, F), ints(0)], axis=5),
    Case("GatherElements", [np.zeros((3, 2), F), np.full((3, 3), 0, I64)]),
    Case("GatherND", [np.zeros((3, 2), F), np.array([[0, 2]], I64)]), Case("GatherND", [np.zeros(3, F), np.zeros((2, 0), I64)]),
    Case("ScatterND", [np.zeros((3, 2), F), np.array([[3]], I64), np.zeros((1, 2), F)]),
    Case("ScatterND", [np.zeros((3, 2), F), np.array([[0]], I64), np.zeros((1, 2), np.float64)]),
    Case("ScatterElements", [np.zeros((3, 2), F), ints(0), np.zeros(1, F)]),
    Case("ScatterElements", [np.zeros(3, F), ints(-2**63), np.zeros(1, F)]),
    Case("OneHot", [ints(0), np.array(-1, I64), np.zeros(2, F)]), Case("OneHot", [ints(0), np.array(2**62, I64), np.zeros(2, F)]),
    Case("TopK", [np.zeros((2, 3), F), ints(4)], outputs=2), Case("TopK", [np.zeros((2, 3), F), ints(-1)], outputs=2),
    Case("Concat", [np.zeros((2, 2), F), np.zeros((2, 2), np.float64)], axis=0),
    Case("Concat", [np.zeros((2, 2), F), np.zeros((3, 3), F)], axis=0),
    Case("Split", [np.zeros(4, F), ints(1, 2)], outputs=2), Case("Split", [np.zeros(4, F), ints(-1, 5)], outputs=2),
    Case("Slice", [np.zeros(4, F), ints(0), ints(2), ints(0), ints(0)]), Case("Slice", [np.zeros(4, F), ints(0), ints(2), ints(7)]),
    Case("Slice", [np.zeros((4, 4), F), ints(0, 0), ints(2, 2), ints(0, -2)]),
    Case("Pad", [np.zeros(4, F), ints(2**62, 2**62)]), Case("Pad", [np.zeros(4, F), ints(-2**63, 2**63 - 1)]),
    Case("Pad", [np.zeros(0, F), ints(1, 1)], mode="edge"), Case("Pad", [np.zeros(4, F), ints(1, 1), np.zeros(1, np.float64)]),
    Case("Tile", [np.zeros((2, 2), F), ints(2**40, 2**40)]), Case("Tile", [np.zeros((2, 2), F), ints(-1, 1)]),
    Case("Expand", [np.zeros((2, 2), F), ints(3, 2)]), Case("Expand", [np.zeros((1, 1), F), ints(2**30, 2**30)]),
    Case("Reshape", [np.zeros(6, F), ints(-1, -1)]), Case("Reshape", [np.zeros(6, F), ints(2**62, 4)]),
    Case("Transpose", [np.zeros((2, 2), F)], perm=[0, 0]), Case("DepthToSpace", [np.zeros((1, 5, 2, 2), F)], blocksize=2),
    Case("ReduceSum", [np.zeros((2, 2), F), ints(2)]), Case("ArgMax", [np.zeros((2, 0), F)], axis=1),
    Case("Resize", [np.zeros((1, 1, 2, 2), F), None, np.array([1, 1, np.nan, 1], F)]),
    Case("Resize", [np.zeros((1, 1, 2, 2), F), None, np.array([1, 1, -1, 1], F)]),
    Case("Resize", [np.zeros((1, 1, 2, 2), F), None, np.array([1, 1, 1e30, 1], F)]),
    Case("RoiAlign", [np.zeros((1, 1, 4, 4), F), np.zeros((1, 4), F), ints(1)]),
    Case("RoiAlign", [np.zeros((1, 1, 4, 4), F), np.array([[0, 0, 1e30, 1e30]], F), ints(0)]),
    Case("MaxRoiPool", [np.zeros((1, 1, 4, 4), F), np.array([[7, 0, 0, 1, 1]], F)], pooled_shape=[1, 1]),
    Case("MaxRoiPool", [np.zeros((1, 1, 4, 4), F), np.array([[0, np.nan, 0, 1, 1]], F)], pooled_shape=[1, 1]),
    Case("Col2Im", [np.zeros((1, 4, 5), F), ints(5, 5), ints(2, 2)]),
    Case("DFT", [np.zeros((1, 4, 3), F)], opset=17), Case("DFT", [np.zeros((1, 4, 1), F), np.array(0, I64)], opset=17),
    Case("STFT", [np.zeros((1, 4, 1), F), np.array(0, I64), np.zeros(2, F)], opset=17),
    Case("STFT", [np.zeros((1, 4, 1), F), np.array(1, I64), np.zeros(9, F)], opset=17),
    Case("NonMaxSuppression", [np.zeros((1, 3, 4), F), np.zeros((1, 1, 2), F), ints(1)]),
    Case("Compress", [np.zeros(3, F), np.ones(3, np.bool_)], axis=2),
    Case("ReverseSequence", [np.zeros((3, 2), F), ints(9, 1)]),
]


def test_inputs_that_do_not_fit_are_refused(tmp_path):
    for case, (said, _) in zip(HOSTILE, answers(HOSTILE, tmp_path)):
        assert not said["ok"], case
        assert said["code"] in ("INVALID_ARGUMENT", "RESOURCE_EXHAUSTED"), (case, said)
