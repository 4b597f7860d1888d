"""The engine's metrics are scikit-learn's, and those of plain numpy where scikit-learn has none."""

import json
import math
import os
import subprocess

import numpy as np
import pytest
from scipy.special import log_softmax, rel_entr, softmax
from scipy.stats import binom, binomtest, chi2
from sklearn import metrics as sk

TOOL = os.environ.get("LATHE_TEST_TOOL", "build/dev/bin/lathe_test_tool")
# Sums of a few thousand float64 terms in another order: some hundred roundings of 2^-53 each.
TOLERANCE = 1e-12


class Folder:
    """A folder of arrays, and the spec.json over them."""

    def __init__(self, path):
        self.path, self.count = path, 0

    def array(self, values, dtype, name=""):
        self.count += 1
        file = f"{self.count}.bin"
        values = np.ascontiguousarray(values, dtype)
        values.tofile(self.path / file)
        return {"name": name, "dims": list(values.shape), "file": file}

    def batch(self, before, after=None, ids=None, values=None, weights=None):
        batch = {"before": [self.array(v, "<f4", k) for k, v in before.items()]}
        if after is not None:
            batch["after"] = [self.array(v, "<f4", k) for k, v in after.items()]
        labels = {key: self.array(v, dtype) for key, v, dtype in
                  (("ids", ids, "<i8"), ("values", values, "<f4"), ("weights", weights, "<f4")) if v is not None}
        if labels:
            batch["labels"] = labels
        return batch

    def run(self, batches, task=None, **spec):
        spec |= {"batches": batches} | ({"task": task} if task else {})
        (self.path / "spec.json").write_text(json.dumps(spec))
        return subprocess.run([TOOL, "metrics", str(self.path)], capture_output=True, text=True, timeout=120, check=False)

    def evaluate(self, batches, task=None, **spec):
        done = self.run(batches, task, **spec)
        assert done.returncode == 0, done.stderr
        # parse_constant is called for NaN and infinities, which must not be there.
        return json.loads(done.stdout, parse_constant=lambda text: pytest.fail(f"{text} in the report"))


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


def close(got, want, what=""):
    np.testing.assert_allclose(got, want, rtol=TOLERANCE, atol=1e-15, err_msg=what)


def split(n, parts):
    """Slices of unequal batches."""
    bounds = [0, *sorted(np.random.default_rng(n).choice(np.arange(1, n), parts - 1, replace=False)), n]
    return [slice(a, b) for a, b in zip(bounds, bounds[1:])]


def ece(p, y, w, bins=15):
    confidence, hit = p.max(1), p.argmax(1) == y
    at = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    return sum(abs((w * (hit - confidence))[at == b].sum()) for b in range(bins)) / w.sum()


def check_classification(got, scores, y, weights, probabilities):
    """scores float32 [n, classes] as sent."""
    scores = scores.astype(np.float64)
    classes, labels = scores.shape[1], np.arange(scores.shape[1])
    predicted, p = scores.argmax(1), scores if probabilities else softmax(scores, axis=1)
    w = None if weights is None else weights.astype(np.float64)
    assert got["scores"] == ("probabilities" if probabilities else "logits")
    close(got["accuracy"], sk.accuracy_score(y, predicted, sample_weight=w))
    for average in ("macro", "weighted"):
        want = sk.precision_recall_fscore_support(y, predicted, average=average, zero_division=0, sample_weight=w)
        for key, value in zip(("precision", "recall", "f1"), want):
            close(got[f"{key}_{average}"], value, f"{key}_{average}")
    want = sk.precision_recall_fscore_support(y, predicted, labels=labels, zero_division=0, sample_weight=w)
    for key, value in zip(("precision", "recall", "f1", "support"), want):
        close(got["per_class"][key], value, key)
    close(got["confusion_matrix"], sk.confusion_matrix(y, predicted, labels=labels, sample_weight=w))
    close(got["log_loss"], sk.log_loss(y, p, labels=labels, sample_weight=w))
    close(got["ece"], ece(p, y, np.ones(len(y)) if w is None else w))
    for k, value in got["top_k"].items():
        close(value, sk.top_k_accuracy_score(y, scores, k=int(k), labels=labels, sample_weight=w), f"top {k}")
    n = len(y) if w is None else w.sum() ** 2 / (w ** 2).sum()
    want = binomtest(round(got["accuracy"] * n), round(n)).proportion_ci(method="wilson") if w is None else None
    if want:
        close(got["accuracy_interval"], [want.low, want.high])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["logits", "probabilities", "ties", "confident"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n, classes, absent", [(500, 10, []), (200, 7, [0, 3]), (40, 30, list(range(12, 30)))])
def test_classification_is_scikit_learns(folder, kind, weighted, n, classes, absent):
    rng = np.random.default_rng([n, classes, weighted, len(kind)])
    y = rng.choice([c for c in range(classes) if c not in absent], n)
    scores = rng.standard_normal((n, classes)) + 2 * np.eye(classes)[y] * rng.integers(0, 2, (n, 1))
    if kind == "ties":
        scores = np.round(scores)
    if kind == "confident":  # probabilities of exactly 0 and 1, which the logarithm is clipped for
        scores = np.eye(classes)[np.where(rng.random(n) < 0.8, y, rng.integers(0, classes, n))]
    if kind == "probabilities":
        scores = softmax(scores, axis=1)
    scores = scores.astype(np.float32)
    if kind != "confident":  # a class that is neither true nor predicted
        scores[:, absent[:1]] = 0 if kind == "probabilities" else -50
    if kind == "probabilities":
        scores /= scores.sum(1, keepdims=True)
    weights = rng.random(n).astype(np.float32) * (rng.random(n) < 0.9) if weighted else None
    batches = [folder.batch({"y": scores[s]}, ids=y[s], weights=None if weights is None else weights[s])
               for s in split(n, 4)]
    got = folder.evaluate(batches, "classification", options={"top_k": [2, 3, 5]})
    assert got["examples"] == n and got["after"] is None
    check_classification(got["before"], scores, y, weights, kind in ("probabilities", "confident"))


def test_binary_scores_in_one_column_are_thresholded(folder):
    rng = np.random.default_rng(5)
    y = rng.integers(0, 2, 300)
    logits = (rng.standard_normal(300) * 2 + 2 * y - 1).astype(np.float32)
    logits[:3] = 0
    for scores, p in ((logits, 1 / (1 + np.exp(-logits.astype(float)))), (np.float32(1 / (1 + np.exp(-logits))), None)):
        p = scores.astype(float) if p is None else p
        predicted = (p > 0.5).astype(int)
        for shape in ((-1,), (-1, 1)):
            got = folder.evaluate([folder.batch({"y": scores.reshape(shape)}, ids=y)], "classification")["before"]
            assert got["classes"] == 2
            close(got["accuracy"], sk.accuracy_score(y, predicted))
            close(got["f1_macro"], sk.f1_score(y, predicted, average="macro"))
            close(got["log_loss"], sk.log_loss(y, p))
            close(got["ece"], ece(np.stack([1 - p, p], 1), y, np.ones(300)))


@pytest.mark.parametrize("axis", [1, -1])
def test_positions_are_decisions(folder, axis):
    rng = np.random.default_rng(6)
    y = rng.integers(0, 4, (9, 5, 6))
    scores = (rng.standard_normal((9, 5, 6, 4)) + np.eye(4)[y]).astype(np.float32)
    ignored = rng.random(y.shape) < 0.2
    sent = np.moveaxis(scores, -1, 1) if axis == 1 else scores
    got = folder.evaluate([folder.batch({"y": sent}, ids=np.where(ignored, 255, y))], "classification",
                          options={"class_axis": axis, "ignore_label": 255})["before"]
    assert got["ignored"] == ignored.sum() and got["samples"] == (~ignored).sum()
    del got["accuracy_interval"]
    flat = scores[~ignored]
    close(got["accuracy"], sk.accuracy_score(y[~ignored], flat.argmax(1)))
    close(got["log_loss"], sk.log_loss(y[~ignored], softmax(flat.astype(float), axis=1)))


def test_one_hot_and_float_labels_are_class_ids(folder):
    rng = np.random.default_rng(7)
    y, scores = rng.integers(0, 5, 50), rng.standard_normal((50, 5))
    want = folder.evaluate([folder.batch({"y": scores}, ids=y)], "classification")
    for labels in ({"values": np.eye(5)[y]}, {"ids": np.eye(5)[y]}, {"values": y}, {"ids": y[:, None]}):
        assert folder.evaluate([folder.batch({"y": scores}, **labels)], "classification") == want


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("shape", [(200,), (200, 1), (150, 4), (40, 3, 2)])
def test_regression_is_scikit_learns(folder, shape, weighted):
    rng = np.random.default_rng([*shape, weighted])
    y = rng.standard_normal(shape).astype(np.float32) + 100
    p = y + rng.standard_normal(shape).astype(np.float32)
    if shape == (150, 4):
        y[:, 1], y[:, 2], p[:, 2] = 0.1, 0.1, 0.1  # constant targets, missed and met
    w = rng.random(shape[0]).astype(np.float32) if weighted else None
    batches = [folder.batch({"y": p[s]}, values=y[s], weights=None if w is None else w[s]) for s in split(shape[0], 3)]
    got = folder.evaluate(batches, "regression")["before"]
    y, p = (a.reshape(shape[0], -1).astype(np.float64) for a in (y, p))
    w = None if w is None else w.astype(np.float64)
    close(got["mae"], sk.mean_absolute_error(y, p, sample_weight=w))
    close(got["rmse"], sk.root_mean_squared_error(y, p, sample_weight=w))
    if shape != (150, 4):
        close(got["r2"], sk.r2_score(y, p, sample_weight=w))
    else:
        # The mean of a constant, rounded, is not the constant: scikit-learn then divides by that rounding.
        varied = sk.r2_score(y[:, [0, 3]], p[:, [0, 3]], sample_weight=w, multioutput="raw_values")
        close(got["r2"], (varied.sum() + 0 + 1) / 4)


def test_constant_targets_are_scikit_learns(folder):
    for y, p in (([2, 2, 2], [2, 2, 2]), ([2, 2, 2], [2, 2, 3])):
        got = folder.evaluate([folder.batch({"y": p}, values=y)], "regression")["before"]
        assert got["r2"] == sk.r2_score(y, p)


@pytest.mark.parametrize("shift, padding", [(1, -100), (0, -1)])
def test_perplexity(folder, shift, padding):
    rng = np.random.default_rng(8)
    logits, ids = rng.standard_normal((12, 9, 50)).astype(np.float32) * 3, rng.integers(0, 50, (12, 9))
    ids[rng.random(ids.shape) < 0.3] = padding
    x, y = (logits[:, :-1], ids[:, 1:]) if shift else (logits, ids)
    keep = y >= 0
    loss = -np.take_along_axis(log_softmax(x.astype(float), -1), np.maximum(y, 0)[..., None], -1)[..., 0][keep]
    batches = [folder.batch({"y": logits[s]}, ids=ids[s]) for s in split(12, 3)]
    got = folder.evaluate(batches, "language_modeling", options={"shift": shift})["before"]
    assert got["tokens"] == keep.sum()
    close(got["cross_entropy"], loss.mean())
    close(got["perplexity"], math.exp(loss.mean()))
    close(got["token_accuracy"], (x.argmax(-1) == y)[keep].mean())


def levenshtein(a, b):
    if not a or not b:
        return len(a) + len(b)
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        row, before = [i], row
        for j, y in enumerate(b, 1):
            row.append(min(before[j - 1] + (x != y), before[j] + 1, row[-1] + 1))
    return row[-1]


@pytest.mark.parametrize("decoder, end", [("ctc", None), ("tokens", None), ("tokens", 4)])
def test_sequences(folder, decoder, end):
    rng = np.random.default_rng(9)
    steps = rng.integers(0, 6, (80, 10))
    scores, blank = np.eye(6)[steps] + rng.random((80, 10, 6)) * 0.5, 5
    targets, right, distance, length = np.full((80, 8), -1), 0, 0, 0
    for i, row in enumerate(steps):
        said = [int(s) for s in row]
        if decoder == "ctc":
            said = [s for j, s in enumerate(said) if s != blank and (j == 0 or s != row[j - 1])]
        target = said[:8] if rng.random() < 0.5 else [int(t) for t in rng.integers(0, 5, rng.integers(0, 8))]
        targets[i, :len(target)] = target
        if end is not None:
            said, target = (s[:s.index(end)] if end in s else s for s in (said, target))
        elif decoder == "tokens":
            said = said[:len(target)]
        right, distance, length = right + (said == target), distance + levenshtein(said, target), length + len(target)
    options = {"decoder": decoder, "blank": blank} | ({} if end is None else {"end_token": end})
    got = folder.evaluate([folder.batch({"y": scores}, ids=targets)], "sequence", options=options)["before"]
    assert 0 < right < 80
    close(got["sequence_accuracy"], right / 80)
    close(got["character_error_rate"], distance / length)


def test_fidelity(folder):
    rng = np.random.default_rng(10)
    x = rng.standard_normal((30, 4, 6)).astype(np.float32)
    y = x + (0.1 * rng.standard_normal(x.shape)).astype(np.float32)
    y[17] += 1
    p, q = softmax(x[:, 0].astype(float), -1), softmax(y[:, 0].astype(float), -1)
    batches = [folder.batch({"x": x[s], "p": p[s]}, {"p": q[s], "x": y[s]}) for s in split(30, 4)]
    got = folder.evaluate(batches)["fidelity"]
    a, b = x.astype(float), y.astype(float)
    close(got["x"]["sqnr_db"], 10 * np.log10((a ** 2).sum() / ((a - b) ** 2).sum()))
    close(got["x"]["max_abs_error"], abs(a - b).max())
    flat_a, flat_b = a.reshape(30, -1), b.reshape(30, -1)
    norms = np.linalg.norm(flat_a, axis=1), np.linalg.norm(flat_b, axis=1)
    close(got["x"]["cosine"], ((flat_a * flat_b).sum(1) / norms[0] / norms[1]).mean())
    close(got["x"]["kl"], rel_entr(softmax(a, -1), softmax(b, -1)).sum(-1).mean())
    close(got["x"]["top1_agreement"], (a.argmax(-1) == b.argmax(-1)).mean())
    p, q = p.astype(np.float32).astype(float), q.astype(np.float32).astype(float)
    assert (got["x"]["kl_of"], got["p"]["kl_of"]) == ("softmax", "probabilities")
    np.testing.assert_allclose(got["p"]["kl"], rel_entr(p, q).sum(-1).mean(), rtol=1e-9)
    errors = np.linalg.norm(flat_a - flat_b, axis=1) / norms[0]
    assert [w["index"] for w in got["x"]["worst"]] == list(np.argsort(-errors)[:10])
    assert got["x"]["worst"][0]["index"] == 17
    close([w["relative_error"] for w in got["x"]["worst"]], np.sort(errors)[::-1][:10])


def test_neighbours_of_embeddings(folder):
    rng = np.random.default_rng(11)
    x = rng.standard_normal((600, 20)).astype(np.float32)
    y = x + (0.3 * rng.standard_normal(x.shape)).astype(np.float32)

    def nearest(rows):
        unit = rows.astype(float) / np.linalg.norm(rows.astype(float), axis=1, keepdims=True)
        table = unit @ unit.T
        np.fill_diagonal(table, -np.inf)
        return table.argmax(1)

    got = folder.evaluate([folder.batch({"e": x[s]}, {"e": y[s]}) for s in split(600, 3)], "embedding")["change"]
    want = (nearest(x) == nearest(y)).mean()
    assert 0.1 < want < 0.9 and got["neighbour_examples"] == 600
    close(got["neighbour_agreement"], want)


def overlap(a, b):
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if w <= 0 or h <= 0:
        return 0.0
    return w * h / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - w * h)


def coco_ap(images, at):
    """images: [(boxes, scores, true boxes)] of one class; AP at an overlap, written from COCO's definition."""
    ranked, truths = [], 0
    for boxes, scores, truth in images:
        truths += len(truth)
        free = list(range(len(truth)))
        for d in sorted(range(len(boxes)), key=lambda d: -scores[d])[:100]:
            best = max(free, key=lambda g: (overlap(boxes[d], truth[g]), g), default=None)
            hit = best is not None and overlap(boxes[d], truth[best]) >= at
            if hit:
                free.remove(best)
            ranked.append((scores[d], hit))
    if truths == 0:
        return None
    ranked.sort(key=lambda r: -r[0])
    hits = np.cumsum([hit for _, hit in ranked])
    precision, recall = hits / np.arange(1, len(ranked) + 1), hits / truths
    return np.mean([max((p for p, r in zip(precision, recall) if r >= wanted), default=0.0)
                    for wanted in np.linspace(0, 1, 101)])


def random_scenes(rng, n, classes, noise):
    """(boxes, scores, classes, true boxes, true classes), padded with class -1."""
    m, k = 12, 6
    corner, size = rng.random((n, k, 2)) * 80, rng.random((n, k, 2)) * 30 + 5
    truth = np.concatenate([corner, corner + size], -1).astype(np.float32)
    ids = rng.integers(-1, classes, (n, k))
    ids[ids == 2] = -1  # a class that is only predicted
    at = rng.integers(0, k, (n, m))
    boxes = np.take_along_axis(truth, at[..., None], 1) + noise * rng.standard_normal((n, m, 4))
    boxes[..., 2:] = np.maximum(boxes[..., 2:], boxes[..., :2])
    found = np.take_along_axis(ids, at, 1)
    found = np.where(rng.random((n, m)) < 0.8, found, rng.integers(-1, classes, (n, m)))
    scores = np.round(rng.random((n, m)), 1)  # with ties
    return boxes.astype(np.float32), scores.astype(np.float32), found, truth, ids


def test_detection_is_cocos(folder):
    rng = np.random.default_rng(12)
    boxes, scores, found, truth, ids = random_scenes(rng, 40, 4, noise=2.0)
    batches = [folder.batch({"b": boxes[s], "s": scores[s], "c": found[s]}, ids=ids[s], values=truth[s])
               for s in split(40, 3)]
    got = folder.evaluate(batches, "detection")["before"]
    table = []
    for c in range(4):
        images = [(boxes[i][found[i] == c].astype(float), scores[i][found[i] == c], truth[i][ids[i] == c].astype(float))
                  for i in range(40)]
        table.append([coco_ap(images, at) for at in np.linspace(0.5, 0.95, 10)])
    assert table[2] == [None] * 10
    table = np.array([table[c] for c in (0, 1, 3)])
    # COCO adds one rounding of 1 to the denominator of precision: 2^-52 relative to at least 1.
    assert 0.1 < table[:, 0].mean() < 0.9
    close(got["map_50"], table[:, 0].mean())
    close(got["map_50_95"], table.mean())
    close([c["ap_50_95"] for c in got["per_class"]], table.mean(1))


def suppressed(boxes, scores, least, most_overlap, most):
    """(box, score, class) of one image's centre boxes [m, 4] and scores [m, classes]: greedy, class by class."""
    corners = np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], 1)
    kept = []
    for c in range(scores.shape[1]):
        mine = []
        for p in sorted(np.flatnonzero(scores[:, c] >= least), key=lambda p: (-scores[p, c], p)):
            if all(overlap(corners[p], corners[q]) <= most_overlap for q in mine):
                mine.append(p)
        kept += [(scores[p, c], c, corners[p]) for p in mine]
    kept.sort(key=lambda k: (-k[0], k[1]))
    return kept[:most]


@pytest.mark.parametrize("form", ["rows", "raw"])
def test_detection_reads_what_detectors_put_out(folder, form):
    """The same boxes as one output of rows, and as raw outputs whose suppression is written anew here."""
    rng = np.random.default_rng(21)
    boxes, scores, found, truth, ids = random_scenes(rng, 30, 4, noise=2.0)
    if form == "rows":
        out = np.concatenate([boxes, scores[..., None], found[..., None].astype(np.float32)], -1)
        seen = [[(scores[i, j], found[i, j], boxes[i, j]) for j in range(12)] for i in range(30)]
        options = {}
    else:
        centres = np.concatenate([(boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]], -1)
        # Distinct scores: the order of equal ones is a matter of definition, tested elsewhere.
        by_class = (rng.permutation(30 * 12 * 4).reshape(30, 12, 4) / 1440).astype(np.float32)
        at = np.maximum(found, 0)[..., None]
        np.put_along_axis(by_class, at, np.take_along_axis(by_class, at, 2) * 0.5 + 0.5, 2)
        out = np.concatenate([centres.astype(np.float32), by_class], -1).transpose(0, 2, 1)
        seen = [suppressed(centres[i].astype(np.float32).astype(float), by_class[i], 0.3, 0.5, 20) for i in range(30)]
        options = {"min_score": 0.3, "max_overlap": 0.5, "max_boxes": 20}
        assert min(map(len, seen)) < 20 == max(map(len, seen))
    batches = [folder.batch({"y": np.ascontiguousarray(out[s])}, ids=ids[s], values=truth[s]) for s in split(30, 4)]
    got = folder.evaluate(batches, "detection", options=options)["before"]
    table = []
    for c in (0, 1, 3):
        images = []
        for i in range(30):
            mine = [(box, score) for score, k, box in seen[i] if k == c]
            images.append(([b.astype(float) for b, _ in mine], [s for _, s in mine], truth[i][ids[i] == c].astype(float)))
        table.append([coco_ap(images, at) for at in np.linspace(0.5, 0.95, 10)])
    table = np.array(table)
    assert 0.05 < table[:, 0].mean() < 0.95
    close(got["map_50"], table[:, 0].mean())
    close(got["map_50_95"], table.mean())


def mid_p(b, c):
    return 1.0 if b == c else binomtest(min(b, c), b + c, 0.5).pvalue - binom.pmf(min(b, c), b + c, 0.5)


@pytest.mark.parametrize("b, c", [(0, 0), (1, 0), (5, 4), (6, 6), (30, 12), (0, 20), (520, 480), (500, 500), (560, 480),
                                  (700, 701)])
def test_mcnemar_is_scipys(folder, b, c):
    """b examples that only the first model gets right, c that only the second does, 3 that both do."""
    y = np.zeros(b + c + 3)
    before, after = np.tile([[1.0, 0.0]], (len(y), 1)), np.tile([[1.0, 0.0]], (len(y), 1))
    after[:b], before[b:b + c] = [0, 1], [0, 1]
    got = folder.evaluate([folder.batch({"y": before}, {"y": after}, values=y)], "classification")
    test = got["test"]
    assert (test["only_before"], test["only_after"]) == (b, c)
    if b + c <= 1000:
        exact = binomtest(min(b, c), b + c, 0.5).pvalue if b + c else 1.0
        np.testing.assert_allclose([got["p_value"], test["p_exact"]], [mid_p(b, c) if b + c else 1.0, exact], rtol=1e-9)
    else:
        np.testing.assert_allclose(got["p_value"], chi2.sf((abs(b - c) - 1) ** 2 / (b + c), 1), rtol=1e-9)
    close(got["change"]["accuracy"], (c - b) / len(y))
    if b != c:
        assert ("a real change" in got["significance"]) == (got["p_value"] < 0.05), got["significance"]


def mix(x):
    x = np.asarray(x, np.uint64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor)
    return x ^ (x >> np.uint64(31))


def resample(seed, r, units):
    """Which unit each draw of a resample takes, as bootstrap.h has it."""
    golden = np.uint64(0x9E3779B97F4A7C15)
    with np.errstate(over="ignore"):
        stream = mix(mix(np.uint64(seed) + golden) + np.uint64(r) * golden)
        bits = mix(stream + np.arange(1, units + 1, dtype=np.uint64) * golden)
    return np.array([int(b) * units >> 64 for b in bits])


@pytest.mark.parametrize("noise", [0.01, 0.3])
def test_the_bootstrap_draws_examples_in_pairs(folder, noise):
    rng = np.random.default_rng(13)
    y = rng.standard_normal((120, 2)).astype(np.float32)
    before = y + rng.standard_normal(y.shape).astype(np.float32)
    after = before + noise * rng.standard_normal(y.shape).astype(np.float32) * (1 + noise)
    batches = [folder.batch({"y": before[s]}, {"y": after[s]}, values=y[s]) for s in split(120, 3)]
    got = folder.evaluate(batches, "regression", seed=3, resamples=400)
    losses = [abs(p.astype(np.float32).astype(float) - y).sum(1) / 2 for p in (before, after)]
    changes = []
    for r in range(400):
        at = resample(3, r, 120)
        changes.append(losses[1][at].mean() - losses[0][at].mean())
    np.testing.assert_allclose(got["test"]["interval"], np.quantile(changes, [0.025, 0.975]), rtol=1e-9)
    side = min(np.sum(np.array(changes) <= 0), np.sum(np.array(changes) >= 0))
    close(got["p_value"], min(1, 2 * (side + 1) / 401))


def test_a_detector_is_compared_over_images(folder):
    rng = np.random.default_rng(14)
    boxes, scores, found, truth, ids = random_scenes(rng, 60, 3, noise=1.0)
    for noise, real in ((0.0, False), (6.0, True)):
        moved = (boxes + noise * rng.standard_normal(boxes.shape)).astype(np.float32)
        got = folder.evaluate([folder.batch({"b": boxes, "s": scores, "c": found}, {"b": moved, "s": scores, "c": found},
                                            ids=ids, values=truth)], "detection")
        assert (got["p_value"] < 0.05) == real, got["significance"]
        low, high = got["test"]["interval"]
        assert low <= got["change"]["map_50_95"] <= high


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers_are_told(folder, bad):
    """Also that no NaN or infinity reaches the JSON: evaluate() looks."""
    rng = np.random.default_rng(15)
    y, x = rng.integers(0, 4, 30), rng.standard_normal((30, 4)).astype(np.float32)
    broken = x.copy()
    broken[[4, 9]] = bad
    got = folder.evaluate([folder.batch({"y": x}, {"y": broken}, ids=y)], "classification")
    assert got["after"]["non_finite"] == 2 and got["fidelity"]["y"]["non_finite_after"] == 8
    assert [w["index"] for w in got["fidelity"]["y"]["worst"]] == [4, 9]
    assert len(got["warnings"]) == 2
    right = (broken.argmax(1) == y) & ~np.isin(np.arange(30), [4, 9])
    close(got["after"]["accuracy"], right.mean())
    everything = folder.evaluate([folder.batch({"y": x}, {"y": np.full_like(x, bad)}, ids=y)], "classification")
    assert everything["after"]["log_loss"] is None and everything["after"]["accuracy"] == 0
    for task, labels in (("regression", {"values": x}), ("language_modeling", {"ids": y.reshape(10, 3)}),
                         ("sequence", {"ids": y.reshape(10, 3) % 3 + 1}), ("embedding", {})):
        shape = (10, 3, 4) if "ids" in labels else (30, 4)
        got = folder.evaluate([folder.batch({"y": x.reshape(shape)}, {"y": broken.reshape(shape)}, **labels)], task)
        assert got["warnings"], task


@pytest.mark.parametrize("task, outputs, labels, words", [
    ("classification", (3, 4), {"ids": [0, 1, 4]}, "'labels'[2] of the batch is 4; expected a class id in 0..3"),
    ("classification", (3, 4), {"ids": [0, -1, 1]}, "is -1; expected a class id in 0..3"),
    ("classification", (3, 4), {"ids": [0, 1]}, "'labels' is [2]; output 'y' [3, 4] expects class ids of [3]"),
    ("classification", (3, 4), {"values": [0, 1, 0.5]}, "a whole number"),
    ("classification", (3, 4), {"values": [[1, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1]]}, "row 1 of 'labels'"),
    ("classification", (3, 4), {"ids": [0, 1, 2], "weights": [1, -1, 1]}, "'weights'[1] of the batch is -1"),
    ("classification", (3, 4), {"ids": [0, 1, 2], "weights": [1, 1]}, "'weights' has 2 values for 3 examples"),
    ("regression", (3, 4), {"values": [1, 2, 3]}, "'labels' is [3]; expected a target"),
    ("regression", (2,), {"values": [1, np.nan]}, "expected a finite number"),
    ("language_modeling", (2, 3, 4), {"ids": [[0, 1, 4], [0, 0, 0]]}, "expected a token in 0..3"),
    ("language_modeling", (2, 3), {"ids": [[0, 1, 2], [0, 0, 0]]}, "expects logits [n, tokens, vocabulary]"),
    ("sequence", (2, 3, 4), {"ids": [[1, -1, 2], [1, 1, 1]]}, "after padding"),
    ("sequence", (2, 3, 4), {"ids": [[1, 0, 2], [1, 1, 1]]}, "other than the blank 0"),
    ("detection", (2, 3, 4), {"ids": [[0], [0]], "values": np.zeros((2, 1, 4))}, "detection wants the scores"),
    ("embedding", (2, 3), {"ids": [0, 0]}, "embeddings of one model"),
    ("colour", (2, 3), {"ids": [0, 0]}, "there is no task 'colour'"),
])
def test_what_does_not_fit_is_refused(folder, task, outputs, labels, words):
    done = folder.run([folder.batch({"y": np.zeros(outputs)}, **labels)], task)
    assert done.returncode == 1 and words in done.stderr, done.stderr
