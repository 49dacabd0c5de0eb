"""The same mathematics in PyTorch. `peer` computes everything once in float and once in double; each tensor, results
and gradients, is compared by its largest difference over its largest number: at most 1e-4 and 1e-9."""

import json
import math
import struct
import subprocess
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

TYPES = {"F64": np.float64, "F32": np.float32, "I64": np.int64, "I32": np.int32, "U8": np.uint8}


def read_tensors(path):
    """The arrays of a safetensors file as tensors, integers as int64."""
    data = Path(path).read_bytes()
    begin = 8 + struct.unpack("<Q", data[:8])[0]
    arrays = {}
    for name, a in json.loads(data[8:begin]).items():
        if name == "__metadata__":
            continue
        first, last = (begin + offset for offset in a["data_offsets"])
        array = np.frombuffer(data[first:last], TYPES[a["dtype"]]).reshape(a["shape"])
        arrays[name] = torch.tensor(array.astype(np.int64) if array.dtype.kind in "iu" else array)
    return arrays


# ---- ops, by the words that stand before the comma in a row's name; x: inputs, a: all arrays of the row


def over_segments(f, x, a):
    """f of each segment of x, zeros outside."""
    parts, end = [], 0
    for first, last in zip(a["begins"].tolist(), a["ends"].tolist()):
        parts += [torch.zeros_like(x[end:first]), f(x[first:last])]
        end = last
    return torch.cat(parts + [torch.zeros_like(x[end:])])


def softmax(name, x, a):
    z = x[0]
    if "segments" in name:
        return over_segments(lambda part: part.softmax(0), z, a)
    if "lengths" not in name:
        return z.softmax(-1)
    return torch.stack([F.pad(row[:n].softmax(0), (0, len(row) - n)) for row, n in zip(z, a["ids"].tolist())])


def bag(name, x, a):
    rows = a["table"][a["ids"]] if not x else a["table"][a["ids"]] * x[0][:, None]
    parts = [rows[first:last].sum(0) for first, last in zip(a["begins"].tolist(), a["ends"].tolist())]
    return torch.stack(parts) if parts else rows[:0]


def segment_sum(name, x, a):
    parts = [x[0][first:last].sum(0) for first, last in zip(a["begins"].tolist(), a["ends"].tolist())]
    return torch.stack(parts) if parts else x[0][:0]


def linear(name, x, a):
    activation = {0: lambda y: y, 5: torch.tanh, 6: torch.sigmoid, 7: torch.relu}
    number = int(name.split("activation ")[1].split(",")[0]) if "activation" in name else 5 if "three" in name else 0
    return activation[number](x[0] @ x[1] + x[2])


def product(name, x, a):
    return x[0].flatten(0, -2) @ x[-1]


def slice_columns(name, x, a):
    cols = x[0].shape[-1]
    begin, count = (5, 0) if "none" in name else (cols // 3, (cols + 1) // 2)
    return x[0].flatten(0, -2)[:, begin : begin + count]


def concat(name, x, a):
    return torch.cat([p.flatten(0, -2) for p in (x + x[:1] if "twice" in name else x)], 1)


def cross_entropy(name, x, a):
    z = x[0].flatten(0, -2)
    return F.cross_entropy(z, a["ids"], ignore_index=-1, reduction="none") if len(z) else z.sum(1)


def weighted_mean(name, x, a):
    w = torch.tensor({"weighted_mean": [0.5, 0, 2, 1], "weighted_mean, all weights 0": [0, 0, 0]}.get(name, []))
    return (w * x[0]).sum() / w.sum() if w.sum() > 0 else 0 * x[0].sum()


def mlp(name, x, a):
    y, p = x[0], x[1:]
    while len(p) > 2:
        y = F.layer_norm(torch.relu(y @ p[0] + p[1]), p[2].shape, p[2], p[3])
        p = p[4:]
    return y @ p[0] + p[1]


def lstm(name, x, a):
    steps, W, b = x[0].reshape(len(x[0]), 7, 6), x[1], x[2]
    zero = torch.zeros(1, len(x[0]), len(b) // 4, dtype=b.dtype)
    weights = [W[:6].T.contiguous(), W[6:].T.contiguous(), b, torch.zeros_like(b)]
    return torch._VF.lstm(steps, (zero, zero), weights, True, 1, 0.0, False, False, True)[1][0]


def attention(name, x, a):
    def of_text(qkv):
        q, k, v = (part.unflatten(1, (heads, -1)).transpose(0, 1) for part in qkv.chunk(3, 1))
        return F.scaled_dot_product_attention(q, k, v).transpose(0, 1).flatten(1)

    heads = int(name.split()[1])
    y = 0 * x[0].chunk(3, 1)[0]
    for first, last in zip(a["begins"].tolist(), a["ends"].tolist()):
        if first < last:
            y[first:last] = of_text(x[0][first:last])
    return y


def of(f):
    """A twin that needs neither name nor ids; x[-1] is x[0] again where a row has one input for both."""
    return lambda name, x, a: f(x[0], x[-1]) if f.__code__.co_argcount == 2 else f(x[0])


TWINS = {
    "unary identity": of(lambda x: x * 1),
    "neg": of(lambda x: -x),
    "exp": of(lambda x: x.exp()),
    "log": of(lambda x: x.log()),
    "square": of(lambda x: x**2),
    "tanh": of(lambda x: x.tanh()),
    "sigmoid": of(lambda x: x.sigmoid()),
    "relu": of(lambda x: x.relu()),
    "softplus": of(lambda x: F.softplus(x)),
    "log_relu": of(lambda x: x.relu().log1p()),
    "gelu": of(lambda x: F.gelu(x, approximate="tanh")),
    "affine": of(lambda x: -1.5 * x + 0.25),
    "binary operator+ add": of(lambda x, y: x + y),
    "operator- sub": of(lambda x, y: x - y),
    "operator* mul": of(lambda x, y: x * y),
    "operator/ div": of(lambda x, y: x / y),
    "bce": of(lambda x, y: F.softplus(x) - x * y),
    "squared_error": of(lambda x, y: (x - y) ** 2),
    "matmul": product,
    "matmul_transposed": of(lambda x, y: x @ y.T),
    "linear": linear,
    "add_row": of(lambda x, b: x + b),
    "scale_rows": of(lambda x, w: x.flatten(0, -2) * w.reshape(-1, 1)),
    "dot_rows": of(lambda x, y: (x * y).sum(-1)),
    "concat": concat,
    "slice_columns": slice_columns,
    "reshape": of(lambda x: x * 1),
    "rows": lambda name, x, a: (F.embedding(a["ids"], a["table"])) ** (2 if "twice" in name else 1),
    "bag": bag,
    "gather": lambda name, x, a: x[0].index_select(0, a["ids"]),
    "segment_sum": segment_sum,
    "softmax": softmax,
    "attention": attention,
    "layer_norm": lambda name, x, a: F.layer_norm(x[0], x[1].shape, x[1], x[2]),
    "cross_entropy": cross_entropy,
    "sum": of(lambda x: x.sum()),
    "mean": of(lambda x: x.mean() if x.numel() else x.sum()),
    "weighted_mean": weighted_mean,
    "mlp": mlp,
    "lstm": lstm,
}


# ---- comparison


class Worst:
    """The largest difference of each group of tensors."""

    def __init__(self):
        self.of = {}

    def compare(self, group, name, ours, theirs, flat=False):
        """`flat`: zero but for rounding, so it has no scale of its own."""
        theirs = theirs.detach().reshape(ours.shape)
        largest = theirs.abs().max().item() if theirs.numel() else 0
        difference = (ours - theirs).abs().max().item() if theirs.numel() else 0
        error = difference / (1 if flat or largest == 0 else largest)
        if not error <= self.of.get(group, (-1,))[0]:  # NaN comes through
            self.of[group] = (error, name)


def layers(folder, worst):
    rows = {}
    for name, array in read_tensors(folder / "layers.safetensors").items():
        row, _, part = name.rpartition("/")
        rows.setdefault(row, {})[part] = array
    for name, a in rows.items():
        operands = sorted(part for part in a if part.startswith(("input", "table")))
        operands.sort(key=lambda part: int(part.lstrip("inputable")))
        x = [a[part].requires_grad_() for part in operands]
        a["table"] = next((a[part] for part in operands if part.startswith("table")), None)
        group = name.split(",")[0]
        y = TWINS[group](name, [t for t, part in zip(x, operands) if part.startswith("input")], a)
        grads = torch.autograd.grad((y.reshape(a["y"].shape) * a["r"]).sum(), x, allow_unused=True)
        worst.compare(group, name, a["y"], y)
        for i, (part, t, grad) in enumerate(zip(operands, x, grads)):
            grad = torch.zeros_like(t) if grad is None else grad
            worst.compare(group, f"{name}, ∂{part}", a["d_" + part], grad, flat=i in a["flat"])


class LazyAdam:
    """Adam for the rows of a table that have a gradient: the moments of others rest, the steps are global."""

    def __init__(self, table, rate, decay=0.0, beta1=0.9, beta2=0.999, epsilon=1e-8):
        self.table, self.rate, self.decay, self.betas, self.epsilon = table, rate, decay, (beta1, beta2), epsilon
        self.m, self.v, self.steps = torch.zeros_like(table), torch.zeros_like(table), 0

    def step(self, rows, g, w=None):
        """`rows` are distinct; `w` = table[rows], if the caller has it."""
        self.steps += 1
        b1, b2 = self.betas
        w = self.table.index_select(0, rows) if w is None else w
        m = self.m.index_select(0, rows).mul_(b1).add_(g, alpha=1 - b1)
        v = self.v.index_select(0, rows).mul_(b2).addcmul_(g, g, value=1 - b2)
        self.m.index_copy_(0, rows, m)
        self.v.index_copy_(0, rows, v)
        c1, c2 = 1 - b1**self.steps, 1 - b2**self.steps
        kept = w * (1 - self.rate * self.decay)
        new = kept.addcdiv_(m, v.div_(c2).sqrt_().add_(self.epsilon), value=-self.rate / c1)
        self.table.index_copy_(0, rows, new)


def optimizers(folder, worst):
    a = read_tensors(folder / "optimizers.safetensors")
    rate, decay, epsilon = 0.1, 0.01, 1e-8
    for rule in ("sgd", "adagrad", "adam", "row_adagrad"):
        dense, table = a[rule + "/dense"], a[rule + "/table"]
        sums, row_sums, dense_sums = torch.zeros_like(table), torch.zeros(len(table), 1, dtype=table.dtype), 0 * dense
        lazy = LazyAdam(table, rate, decay)
        dense.requires_grad_()
        adam = torch.optim.AdamW([dense], rate, weight_decay=decay, eps=epsilon)
        sgd = torch.optim.SGD([dense], rate, weight_decay=decay)
        for step in range(5):
            parts = [f"{rule}/{step}/{shard}/" for shard in (0, 1)]
            dense.grad = sum(a[part + "dense"] for part in parts)
            whole = torch.zeros_like(table)
            for part in parts:
                whole.index_add_(0, a[part + "rows"], a[part + "values"])
            rows = torch.cat([a[part + "rows"] for part in parts]).unique()
            g, w = whole[rows], table[rows]
            if rule == "adam":
                adam.step()
                lazy.step(rows, g)
                continue
            if rule == "sgd":
                table[rows] = w - rate * (decay * w + g)
            if rule == "adagrad":
                sums[rows] += g**2
                table[rows] = w - rate * (decay * w + g / (sums[rows].sqrt() + epsilon))
                with torch.no_grad():
                    dense_sums += dense.grad**2
                    dense -= rate * (decay * dense + dense.grad / (dense_sums.sqrt() + epsilon))
                continue
            if rule == "row_adagrad":
                row_sums[rows] += (g**2).mean(1, keepdim=True)
                table[rows] = w - rate * (decay * w + g / (row_sums[rows].sqrt() + epsilon))
            sgd.step()
        worst.compare(f"{rule}, dense", rule, a[rule + "/dense_after"], dense)
        worst.compare(f"{rule}, rows", rule, a[rule + "/table_after"], table)


# ---- DeepBoW


class Ragged:
    """Rows of different lengths, end to end."""

    def __init__(self, starts, values):
        self.starts, self.values = starts, values
        self.lengths = starts.diff()

    @classmethod
    def read(cls, arrays, name):
        return cls(arrays[name + "/starts"], arrays[name + "/values"])

    def of(self, rows):
        """Some rows, as if they were all."""
        values, _, _ = self.take(rows)
        return Ragged(F.pad(self.lengths.index_select(0, rows).cumsum(0), (1, 0)), values)

    def take(self, rows):
        """The values of some rows, end to end, and of which row each is."""
        lengths = self.lengths.index_select(0, rows)
        owner = torch.repeat_interleave(torch.arange(len(rows)), lengths)
        first = lengths.cumsum(0) - lengths
        at = torch.arange(len(owner)) + (self.starts.index_select(0, rows) - first).index_select(0, owner)
        return self.values.index_select(0, at), owner, first


class Pairs:
    """The rows that `peer` has encoded; one place per term."""

    def __init__(self, path):
        arrays = read_tensors(path)
        query, product = arrays["query"].long(), arrays["product"].long()
        self.terms = Ragged.read(arrays, "query/terms").of(query)
        self.places = Ragged.read(arrays, "query/places").of(query)
        self.matches = Ragged.read(arrays, "query_matches")
        positions = Ragged.read(arrays, "product_matches")
        places = Ragged.read(arrays, "product/places").of(product)
        first = torch.repeat_interleave(places.starts[:-1], positions.lengths)
        self.match_places = Ragged(positions.starts, places.values.index_select(0, first + positions.values))
        self.labels = arrays["label"]

    def __len__(self):
        return len(self.labels)

    def batch(self, rows):
        ids, owner, first = self.terms.take(rows)
        places = self.places.take(rows)[0]
        matches, match_owner, _ = self.matches.take(rows)
        at = matches + first.index_select(0, match_owner)
        match_places = self.match_places.take(rows)[0]
        labels = self.labels.index_select(0, rows)
        return ids, owner, places, at, match_owner, ids.index_select(0, at), match_places, labels


PARAMETERS = {
    "query": "deepbow/query/term",
    "query_place": "deepbow/query/place",
    "product": "deepbow/product/term",
    "product_place": "deepbow/product/place",
    "log_scale": "calibration/log_scale",
    "shift": "calibration/shift",
}


def segment_softmax(z, owner, n):
    """By scatter_reduce; `owner` says to which of the n segments an element belongs."""
    largest = z.new_full((n,), -math.inf).scatter_reduce(0, owner, z.detach(), "amax")
    e = (z - largest.index_select(0, owner)).exp()
    sums = z.new_zeros(n).index_add(0, owner, e)
    return e / sums.index_select(0, owner)


def deepbow_loss(p, query, product, batch):
    """`query` θ of every term and `product` φ of every match, already looked up; p: the other parameters."""
    ids, owner, places, at, match_owner, match_ids, match_places, labels = batch
    n = len(labels)
    weights = segment_softmax(query + p["query_place"].index_select(0, places), owner, n)
    product = F.softplus(product) * p["product_place"].index_select(0, match_places).exp()
    scores = product.new_zeros(n).index_add(0, match_owner, weights.index_select(0, at) * product)
    logits = scores * p["log_scale"].exp() + p["shift"]
    return F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype))


def deepbow(folder, worst):
    before, after = (read_tensors(folder / f"deepbow_{name}.safetensors") for name in ("before", "after"))
    p = {name: before[path].flatten().requires_grad_() for name, path in PARAMETERS.items()}
    assert sorted(before) == sorted(PARAMETERS.values()), "the model has other parameters than its twin"
    pairs = Pairs(folder / "train.rows")
    adam = torch.optim.Adam([p[name] for name in p if name not in ("query", "product")], 0.006)
    lazy = {name: LazyAdam(p[name].detach(), 0.0015) for name in ("query", "product")}
    for step in range(5):
        batch = pairs.batch(torch.arange(256 * step, 256 * (step + 1)))
        loss = deepbow_loss(p, p["query"][batch[0]], p["product"][batch[5]], batch)
        adam.zero_grad()
        gradients = dict(zip(p, torch.autograd.grad(loss, list(p.values()))))
        worst.compare("deepbow, loss", f"step {step}", after[f"loss/{step}"], loss)
        if step == 0:
            for name, path in PARAMETERS.items():
                worst.compare("deepbow, gradients", path, after["gradient/" + path], gradients[name])
        for name in p:
            p[name].grad = gradients[name]
        adam.step()
        for name, ids in (("query", batch[0]), ("product", batch[5])):
            rows = ids.unique()
            lazy[name].step(rows, gradients[name][rows])
    for name, path in PARAMETERS.items():
        worst.compare("deepbow, parameters after 5 steps", path, after["after/" + path], p[name])


def parity(programs, work, data, report):
    """`programs`: the float and the double build of peer. Reports a row for every group of tensors."""
    for program, precision, must in zip(programs, ("float", "double"), (1e-4, 1e-9)):
        folder, worst = work / precision, Worst()
        for verb, twin in (("layers", layers), ("optimizers", optimizers), ("deepbow", deepbow)):
            subprocess.run([program, verb, folder] + ([data] if data else []), check=True)
            twin(folder, worst)
        for group, (error, where) in worst.of.items():
            report({"name": f"parity, {precision}: {group}", "value": error, "must": must, "where": where})
