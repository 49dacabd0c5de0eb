"""The same mathematics in PyTorch. `peer` computes everything once in float and once in double; each tensor, results
and gradients, is compared by its largest difference over its largest number: at most 1e-4 and 1e-9."""

import itertools
import json
import math
import struct
import subprocess
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

TYPES = {"F64": np.float64, "F32": np.float32, "I64": np.int64, "I32": np.int32, "U8": np.uint8}


def read_header(path):
    data = Path(path).read_bytes()
    begin = 8 + struct.unpack("<Q", data[:8])[0]
    return json.loads(data[8:begin]), data[begin:]


def read_metadata(path):
    return read_header(path)[0]["__metadata__"]


def read_tensors(path):
    """The arrays of a safetensors file as tensors, integers as int64."""
    header, data = read_header(path)
    arrays = {}
    for name, a in header.items():
        if name == "__metadata__":
            continue
        array = np.frombuffer(data[slice(*a["data_offsets"])], TYPES[a["dtype"]]).reshape(a["shape"])
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


def field_linear(name, x, a):
    y = x[0][a["ids"]].reshape(4, 12) @ x[1]
    return (y + x[2]).relu() if "bias 1" in name else y


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
    gates, content, U = x[:3]
    inputs, H = torch.cat([gates, content], 1), content.shape[1]
    y = [0 * row for row in content]
    for s, (begin, end) in enumerate(zip(a["begins"].tolist(), a["ends"].tolist())):
        h, c = x[3][s].chunk(2) if len(x) > 3 else 2 * (content.new_zeros(H),)
        for row in range(begin, end):
            i, f, o, g = (inputs[row] + h @ U).chunk(4)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = y[row] = o.sigmoid() * c.tanh()
    return torch.stack(y) if y else content


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
    "field_linear": field_linear,
    "mix": of(lambda x, g: (x.unflatten(1, (g.shape[1], -1)) * g[:, :, None]).sum(1)),
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


# ---- models


def mix64(x):
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB % 2**64
    return x ^ (x >> 31)


def key_of(seed, *numbers):
    key = mix64((seed + 0x9E3779B97F4A7C15) % 2**64)
    for number in numbers:
        key = mix64(key ^ mix64((number + 0x9E3779B97F4A7C15) % 2**64))
    return key


def name_key(name):
    key = 0xCBF29CE484222325
    for byte in name.encode():
        key = (key ^ byte) * 0x100000001B3 % 2**64
    return key


def random_bits(key, index):
    return mix64(mix64((key + 0x9E3779B97F4A7C15 * (index + 1)) % 2**64) ^ key)


class Model:
    """A model file and the rows it learns from, in the plain way: texts are padded and masked, a bag is a vector over
    the whole vocabulary, and a score is the product of two bags."""

    def __init__(self, folder):
        arrays, metadata = read_tensors(folder / "model.safetensors"), read_metadata(folder / "model.safetensors")
        self.config, self.rows = json.loads(metadata["config"]), read_tensors(folder / "train.rows")
        self.size = len(self.rows["label"])
        self.p = {name[len("parameters/") :]: a for name, a in arrays.items() if name.startswith("parameters/")}
        for w in self.p.values():
            w.requires_grad_()
        surfaces, offsets = bytes(arrays["vocabulary/surfaces"].tolist()), arrays["vocabulary/offsets"].tolist()
        frequencies, texts = arrays["vocabulary/frequencies"], int(arrays["vocabulary/documents"])
        self.terms, self.root = len(frequencies), self.config["model"]
        self.latent = self.config["encoder"]["kind"] == "latent"
        first = self.terms - len(offsets) + 1  # behind the buckets
        entries = (surfaces[begin:end] for begin, end in zip(offsets, offsets[1:]))
        words = [id for id, entry in enumerate(entries, first) if entry[0] not in b"*+" and (self.latent or b" " not in entry)]
        self.words = torch.tensor(words[: self.config["encoder"]["words"]])  # ids of the encoder's own words
        self.shared = 1 if self.latent else 1024  # rows of its table before theirs
        self.word_of = torch.full((self.terms,), -1).index_copy(0, self.words, torch.arange(len(self.words)))
        idf = ((texts + 1) / (frequencies.clamp(max=texts) + 1).to(torch.get_default_dtype())).log() + 1
        self.idf = torch.cat([torch.zeros(self.shared), idf[self.words]])  # by row

    def is_table(self, path):
        return path.endswith(("/term", "/embedding")) or path in ("deepbow/query/bias", "deepbow/product/bias")

    def padded(self, name, texts):
        """Lists of a row cache as a matrix, and which of its places are filled."""
        starts, values = self.rows[name + "/starts"], self.rows[name + "/values"]
        lists = [values[starts[text] : starts[text + 1]] for text in texts]
        lengths = torch.tensor([len(values) for values in lists])
        return torch.nn.utils.rnn.pad_sequence(lists, True), torch.arange(lengths.max()) < lengths[:, None]

    # ---- nn/transformer.h, nn/encoder.h

    def norm(self, at, x):
        return F.layer_norm(x, x.shape[-1:], self.p[at + "/gain"], self.p[at + "/bias"])

    def linear(self, at, x):
        return x @ self.p[at + "/W"] + self.p[at + "/b"]

    def transformer(self, at, layers, x, filled):
        def heads(x):
            return x.unflatten(-1, (self.config["encoder"]["heads"], -1)).transpose(1, 2)

        for layer in (f"{at}/{i}" for i in range(layers)):
            qkv = self.linear(layer + "/qkv", self.norm(layer + "/attention_norm", x))
            y = F.scaled_dot_product_attention(*map(heads, qkv.chunk(3, -1)), attn_mask=filled[:, None, None])
            x = x + self.linear(layer + "/out", y.transpose(1, 2).flatten(2))
            y = F.gelu(self.linear(layer + "/widen", self.norm(layer + "/feed_norm", x)), approximate="tanh")
            x = x + self.linear(layer + "/narrow", y)
        return self.norm(at + "/norm", x)

    def embed(self, at, side, ids):
        place = self.p[at + "/position"][: ids.shape[1]]
        return self.p[at + "/embedding"][ids] + place + self.p[f"{self.root}/encoder/{side}"]

    def encode(self, side, texts):
        """h_c [texts, D] and h_w [texts, words, D]."""
        config, at = self.config["encoder"], f"{self.root}/encoder"
        words, filled = self.padded(side + "/words", texts)
        if self.latent:
            x = (self.p[at + "/terms/embedding"].detach()[words] * (self.idf[words] * filled)[:, :, None]).sum(1)
            return unit(x), None
        if config["character_layers"] > 0:
            characters, read = self.padded(side + "/characters", texts)
            H = self.embed(at + "/characters", side, characters)
            H = self.transformer(at + "/characters", config["character_layers"], H, read)
            text = mean(H, read)
            lengths, _ = self.padded(side + "/word_lengths", texts)
            ends = lengths.cumsum(1)[:, :, None]
            place = torch.arange(characters.shape[1])
            of_word = (place >= ends - lengths[:, :, None]) & (place < ends)  # [texts, words, characters]
            from_characters = of_word.to(H.dtype) @ H / lengths.clamp(min=1)[:, :, None]
        if config["word_layers"] == 0:
            return text, from_characters
        H = self.embed(at + "/words", side, words)
        if config["character_layers"] > 0:
            H = H + from_characters
        H = self.transformer(at + "/words", config["word_layers"], H, filled)
        return (text if config["character_layers"] > 0 else mean(H, filled)), H

    # ---- nn/dense.h, nn/deepbow.h

    def dense(self, side, texts):
        x = self.encode(side, texts)[0] @ self.p["dense/" + side]
        return unit(x), 0

    def deepbow(self, side, texts, ramp=1, sample=None):
        """Bags, the two priors behind the words, and what the side adds to the loss; `sample`() draws words."""
        config, at = self.config["deepbow"], "deepbow/" + side
        p = {path[len(at) + 1 :]: w for path, w in self.p.items() if path.startswith(at + "/")}
        n, penalty = len(texts), 0
        terms, filled = self.padded(side + "/terms", texts)
        weighting, encoded = config[side + "_bag"] == "weighting", config[side + "_encoder"]
        z = p["term"][terms, 0]
        place = p["place"][self.padded(side + "/places", texts)[0], 0] if config[side + "_places"] else 0 * z
        words = None
        if encoded:
            text, words = self.encode(side, texts)
            of_word, _ = self.padded(side + "/term_words", texts)
            words = None if self.latent else words[torch.arange(n)[:, None], of_word]  # [texts, terms, D]
        if weighting:
            if encoded:
                z = z + (words @ (text @ p["attention"])[:, :, None])[..., 0] / math.sqrt(text.shape[1])
            own = (z + place).masked_fill(~filled, -math.inf).softmax(1)
        else:
            own = F.softplus(z if words is None else z + (words @ p["context"])[..., 0]) * place.exp()
        if encoded and not weighting:
            table = self.p["deepbow/encoder/" + ("terms" if self.latent else "words") + "/embedding"]
            table, bias = (table.detach() if self.latent else table)[self.shared :], p["bias"][self.shared :]
            expansion = (text @ p["output"] @ table.T + bias.T).relu().log1p()  # [texts, words]
            if config["gate"] and not self.latent:
                both = torch.cat([text[:, None].expand_as(words), words], 2)
                share = (both @ p["gate"] + p["gate_bias"])[..., 0].sigmoid()
                row = self.word_of[terms]
                mixed = share * expansion.gather(1, row.clamp(min=0)) + (1 - share) * own
                own = torch.where(row >= 0, mixed, own)
        bag = torch.zeros(n, self.terms).scatter_add(1, terms, own * filled)
        if encoded and not weighting:
            held = torch.zeros_like(bag).scatter_add(1, terms, filled.to(bag.dtype))[:, self.words] > 0
            bag = bag.index_add(1, self.words, expansion * ~held)
            if factor := config[side + "_penalty"]:
                chosen = sample(len(self.words))
                means = expansion[:, chosen].mean(0)
                amount = (means.square() if config["penalty"] == "flops" else means).sum()
                penalty = penalty + factor * ramp**2 * len(self.words) / len(chosen) * amount
        if config["priors"]:
            omega = p["prior/term"][terms, 0] * filled
            length = self.rows[side + "/lengths/values"][texts].clamp(max=len(p["prior/length"]) - 1)
            sums = omega.sum(1, keepdim=True) / filled.sum(1, keepdim=True).clamp(min=1).sqrt()
            prior = F.softplus(p["prior/bias"] + p["prior/length"][length] + sums)
            one = torch.ones_like(prior)
            bag = torch.cat([bag] + ([one, prior] if side == "query" else [prior, one]), 1)
            penalty = penalty + config["prior_penalty"] * omega.square().sum() / n
        return bag, penalty

    def loss(self, rows, progress=1, key=0):
        """Of one shard; `key`: of its tape, whose further keys are counted."""
        calls = itertools.count()

        def sample(words):
            draw = key_of(key, next(calls))
            return torch.tensor([random_bits(draw, i) % words for i in range(256)])

        labels, negatives = self.rows["label"][rows], self.config["deepbow"]["negatives"]
        of, more = (self.dense, ()) if self.root == "dense" else (self.deepbow, (min(1, 3 * progress), sample))
        product, product_penalty = of("product", self.rows["product"][rows], *more)  # its sample is the first
        query, query_penalty = of("query", self.rows["query"][rows], *more)

        def bce(products, labels):
            logits = (query * products).sum(1) * self.p["calibration/log_scale"].exp() + self.p["calibration/shift"]
            return F.binary_cross_entropy_with_logits(logits[0], labels.to(logits.dtype))

        loss = bce(product, labels) + query_penalty + product_penalty
        if self.root == "deepbow" and negatives > 0:
            loss = loss + negatives * bce(product.roll(-1, 0), torch.zeros(len(rows)))
        return loss


def unit(x):
    return x / (x.square().sum(1, keepdim=True) + 1e-12).sqrt()


def mean(x, filled):
    """Of the filled rows of each text."""
    return (x * filled[:, :, None]).sum(1) / filled.sum(1, keepdim=True).clamp(min=1)


def models(folder, worst):
    rate, epsilon, shards = 0.006, 1e-2, 4
    for at in sorted(path.parent for path in folder.glob("*/model.safetensors")):  # before those of users and tables
        model, results = Model(at), read_tensors(at / "results.safetensors")
        dense = [w for path, w in model.p.items() if not model.is_table(path)]
        adam = torch.optim.Adam(dense, rate, eps=epsilon)
        sums = {path: torch.zeros(len(w), 1) for path, w in model.p.items() if model.is_table(path)}
        for step in range(5):
            loss = 0
            for shard, rows in enumerate(torch.arange(256 * step, 256 * (step + 1)).chunk(shards)):
                key = key_of(1, name_key("tape"), step, shard)
                loss = loss + model.loss(rows, (step + 1) / 10, key) / shards
            worst.compare(f"{at.name}: loss", f"step {step}", results[f"loss/{step}"], loss)
            gradients = torch.autograd.grad(loss, list(model.p.values()), materialize_grads=True)
            for (path, w), w.grad in zip(model.p.items(), gradients):
                if step == 0:
                    worst.compare(f"{at.name}: gradients", path, results["gradient/" + path], w.grad)
            adam.step()
            with torch.no_grad():
                for path, sum in sums.items():
                    w = model.p[path]
                    sum += w.grad.square().mean(1, keepdim=True)
                    w -= rate * w.grad / (sum.sqrt() + epsilon)
        for path, w in model.p.items():
            worst.compare(f"{at.name}: parameters after 5 steps", path, results["after/" + path], w)


# ---- users (nn/dupn.h)


class Users:
    """A user model and its rows, in the plain way: every example reads the history again."""

    def __init__(self, folder):
        arrays, metadata = read_tensors(folder / "model.safetensors"), read_metadata(folder / "model.safetensors")
        self.config, self.rows = json.loads(metadata["config"]), read_tensors(folder / "train.rows")
        self.p = {name[len("parameters/dupn/") :]: a for name, a in arrays.items() if name.startswith("parameters/dupn/")}
        for w in self.p.values():
            w.requires_grad_()
        self.scales = {name.split("/")[2]: a for name, a in arrays.items() if name.startswith("parameters/features/")}
        self.attributes = []
        for k in range(len(self.config["events"]["attributes"])):
            starts, values = (arrays[f"catalogue/attribute{k}/of_item/{part}"] for part in ("starts", "values"))
            self.attributes.append([values[begin:end] for begin, end in zip(starts, starts[1:])])

    def list(self, name, row):
        starts = self.rows[name + "/starts"]
        return self.rows[name + "/values"][starts[row] : starts[row + 1]]

    def linear(self, at, x):
        return x @ self.p[at + "/W"] + self.p[at + "/b"]

    def items(self, ids):
        parts = [self.p["item/id"][ids]]
        for k, values in enumerate(self.attributes):
            parts.append(torch.stack([self.p[f"item/attribute{k}"][values[id]].sum(0) for id in ids]))
        return torch.cat(parts, 1)

    def profile(self, row):
        fields = range(len(self.config["events"]["profile"]))
        return torch.cat([torch.zeros(0)] + [self.p[f"profile/{k}"][self.list(f"profile/{k}", row)].sum(0) for k in fields])

    def represent(self, row, visible, moment, candidate):
        config, p = self.config["dupn"], self.p
        u, words = self.profile(row), self.list("query", row)
        e = self.items(self.list("item", row)[:visible])
        names = [name for name in ("behaviour", "gap", "weekend", "daytime") if "property/" + name in p]
        q = torch.cat([e[:, :0]] + [p["property/" + name][self.list(name, row)[:visible]] for name in names], 1)
        if config["sequence"] == "lstm":
            gates = self.linear("lstm/gates", torch.cat([e, q], 1) if config["gates"] else e)
            inputs = torch.cat([gates, self.linear("lstm/content", e)], 1)
            width = config["hidden"]
            h, c = p["lstm/start"][0].split(width) if "lstm/start" in p else 2 * (torch.zeros(width),)
            states = []
            for input in inputs:
                i, f, o, g = (input + h @ p["lstm/U"]).split(width)
                c = f.sigmoid() * c + i.sigmoid() * g.tanh()
                h = o.sigmoid() * c.tanh()
                states.append(h)
            h = torch.stack(states)
        else:
            h = e
        rep = []
        if config["pooling"] == "mean":
            rep.append(h.mean(0))
        if config["pooling"] == "attention":
            z = self.linear("attention/0", torch.cat([h, q], 1) if config["attention"] else h)
            if config["attention"]:
                minutes = self.list("minutes", row)[:visible] - moment
                ends = torch.tensor([5, 15, 30, 60, 240, 540, 1440, 2880, 10080, 43200])
                z = z + p["attention/recency"][torch.bucketize(minutes, ends, right=True)]
            if config["target"]:
                z = z + self.items([max(0, candidate)]) @ p["attention/target"]
            if len(u):
                z = z + u @ p["attention/profile"]
            if len(words):
                z = z + p["query/words"][words].mean(0) @ p["attention/query"]
            a = (self.linear("attention/1", z.relu()).relu() @ p["attention/2"]).softmax(0)
            rep.append((a * h).sum(0))
        return torch.cat(rep + config["newest_state"] * [h[-1]] + config["newest_item"] * [e[-1]] + [u])

    def head(self, group, task, number, rep, candidate):
        """z of an example, and of which columns of numbers."""
        p, at = self.p, "heads/" + task
        x = torch.zeros(0)
        if group in self.scales:
            scale = self.scales[group]
            x = self.rows[group + "/numbers"].reshape(-1, len(scale))[number].to(rep.dtype)
            x = ((x - scale[:, 0]) * scale[:, 1]).clamp(-5, 5)
        z = p[at + "/b"] + rep @ p[at + "/rep"]
        if at + "/features" in p:
            z = z + x @ p[at + "/features"]
        if at + "/candidate" in p:
            z = z + self.items([max(0, candidate)])[0] @ p[at + "/candidate"]
        for layer in range(1, self.config["dupn"]["head_layers"] + 1):
            z = self.linear(f"{at}/{layer}", z.relu())
        z = z + x @ p[at + "/wide"] if at + "/wide" in p else z
        return (z.relu() * x).sum(0, keepdim=True) if self.config["tasks"][task]["kind"] == "rank" else z

    def loss_of(self, group, task, number, rep, candidate):
        """Of an example that is asked."""
        kind, label = self.config["tasks"][task]["kind"], self.rows[f"{group}/label/{task}"][number]
        if kind == "next":
            all = self.items(torch.arange(1, len(self.p["item/id"])))
            z = all @ self.linear("heads/" + task, rep) + self.p[f"heads/{task}/popularity"][1:, 0]
            return F.cross_entropy(z, label.long() - 1)
        z = self.head(group, task, number, rep, candidate)
        if kind == "classes":
            return F.cross_entropy(z, label.long())
        loss = F.binary_cross_entropy_with_logits(z[0], label.to(z.dtype))
        return loss * self.rows.get(f"{group}/importance/{task}", torch.ones(number + 1))[number]

    def losses(self):
        sums = {name: [] for name in self.config["tasks"]}
        for group in {name.split("/")[0] for name in self.rows if name.endswith("/visible/starts")}:
            tasks = [name.split("/")[2] for name in self.rows if name.startswith(group + "/label/")]
            number = 0
            for row in range(len(self.rows["user"])):
                asked = zip(*(self.list(f"{group}/{name}", row).tolist() for name in ("visible", "minutes", "item")))
                for visible, moment, candidate in asked:
                    rep = self.represent(row, visible, moment, candidate)
                    for task in tasks:
                        if not self.rows[f"{group}/label/{task}"][number].isnan():
                            sums[task].append(self.loss_of(group, task, number, rep, candidate))
                    number += 1
        return {name: torch.stack(parts).mean() for name, parts in sums.items()}


def users(folder, worst):
    for at in sorted(path.parent for path in folder.glob("users */model.safetensors")):
        model, results = Users(at), read_tensors(at / "results.safetensors")
        losses = model.losses()
        for name, loss in losses.items():
            worst.compare("users: loss", f"{at.name}, {name}", results["loss/" + name], loss)
        gradients = torch.autograd.grad(sum(losses.values()), list(model.p.values()), materialize_grads=True)
        for path, gradient in zip(model.p, gradients):
            worst.compare("users: gradients", f"{at.name}, {path}", results["gradient/dupn/" + path], gradient)


# ---- tables (nn/multitask.h)


class Tables:
    """A network of several tasks and its rows, expert by expert."""

    def __init__(self, folder):
        arrays, metadata = read_tensors(folder / "model.safetensors"), read_metadata(folder / "model.safetensors")
        self.config, self.rows = json.loads(metadata["config"]), read_tensors(folder / "train.rows")
        self.separate = metadata["separate"] == "yes"
        self.p = {name[len("parameters/") :]: a for name, a in arrays.items() if name.startswith("parameters/")}
        for w in self.p.values():
            w.requires_grad_()
        self.tasks, self.net = sorted(self.config["tasks"]), self.config["network"]
        self.labels = {name: self.rows["label/" + name] for name in self.tasks}
        for name in self.labels:
            if "labels/" + name in arrays:
                mean, deviation = arrays["labels/" + name]
                self.labels[name] = ((self.labels[name].double() - mean) / deviation).to(torch.get_default_dtype())
        self.size = len(next(iter(self.labels.values())))
        of_rows = lambda name: self.rows.get(name, torch.zeros(0)).reshape(self.size, -1)
        self.ids, self.numbers = of_rows("features").long(), of_rows("numbers").to(torch.get_default_dtype())

    def is_table(self, path):
        return path.endswith(("embedding", "wide/ids"))

    def layer(self, at, x):
        return (x @ self.p[at + "/W"] + self.p[at + "/b"]).relu()

    def experts(self, at, x, count):
        out = list(self.layer(at + "/0", x).chunk(count, 1))
        for layer in range(1, self.net["expert_layers"]):
            out = [self.layer(f"{at}/{layer}/{e}", y) for e, y in enumerate(out)]
        return out

    def mix(self, experts, x, gate):
        g = (x @ self.p[gate]).softmax(1)
        return sum(g[:, [e]] * y for e, y in enumerate(experts))

    def hidden(self, root, tasks, x):
        """What the towers read."""
        kind, net, h = self.config["model"], self.net, dict.fromkeys(tasks, x)
        if kind == "bottom":
            for layer in range(net["bottom_layers"]):
                x = self.layer(f"{root}bottom/{layer}", x)
            return dict.fromkeys(tasks, x)
        levels = net["levels"] if kind == "ple" else 1
        for level in range(levels):
            here, last = f"{root}experts/{level}/", level + 1 == levels
            common = self.experts(here + "shared", x, net["experts"])
            all, below = list(common), h
            for name in tasks:
                heads, low = f"{root}heads/{name}/experts/{level}", f"{here}own/{name}"
                own = self.experts(heads if last else low, below[name], net["own_experts"]) if kind == "ple" else []
                gate = (heads if level + 2 >= levels else low) + "/gate"
                h = h | {name: self.mix(common + own, below[name], gate)}
                all += own
            if not last:
                x = self.mix(all, x, here + "shared/gate")
        return h

    def logits(self, root, tasks, ids, numbers):
        """z of each task and the embeddings."""
        p, e, out = self.p, torch.zeros(0), {}
        if self.config["model"] != "linear":
            if root + "embedding" in p:
                e = p[root + "embedding"][ids]
            h = self.hidden(root, tasks, torch.cat([e.reshape(len(ids), -1), numbers], 1))
        for name in tasks:
            at = f"{root}heads/{name}/"
            if self.config["model"] == "linear":
                z = p[at + "b"]
            else:
                y = h[name]
                for layer in range(self.net["tower_layers"]):
                    y = self.layer(f"{at}tower/{layer}", y)
                z = y @ p[at + "last/W"] + p[at + "last/b"]
            if at + "wide/ids" in p:
                z = z + p[at + "wide/ids"][ids].sum(1)
            if at + "wide/numbers" in p:
                z = z + numbers @ p[at + "wide/numbers"]
            out[name] = z
        return out, e

    def losses(self, rows):
        ids, numbers, losses, penalty = self.ids[rows], self.numbers[rows], {}, 0
        for root, tasks in [(f"heads/{name}/", [name]) for name in self.tasks] if self.separate else [("", self.tasks)]:
            logits, e = self.logits(root, tasks, ids, numbers)
            penalty = penalty + self.net["penalty"] * e.square().sum() / len(ids)
            for name, z in logits.items():
                label = self.labels[name][rows]
                asked, kind = ~label.isnan(), self.config["tasks"][name]["kind"]
                z, label = z[asked], label[asked].to(z.dtype)
                if kind == "classes":
                    loss = F.cross_entropy(z, label.long(), reduction="none")
                elif kind == "number":
                    loss = (z[:, 0] - label).square()
                else:
                    loss = F.binary_cross_entropy_with_logits(z[:, 0], label, reduction="none")
                if "importance/" + name in self.rows:
                    loss = loss * self.rows["importance/" + name][rows][asked]
                losses[name] = loss.mean()
        return losses | {"regulariser": penalty}

    def loss(self, rows):
        return sum(self.losses(rows).values())


def tables(folder, worst):
    for at in sorted(path.parent for path in folder.glob("tables */model.safetensors")):
        model, results = Tables(at), read_tensors(at / "results.safetensors")
        losses = model.losses(torch.arange(model.size))
        for name, loss in losses.items():
            if "loss/" + name in results:
                worst.compare("tables: loss", f"{at.name}, {name}", results["loss/" + name], loss)
        gradients = torch.autograd.grad(sum(losses.values()), list(model.p.values()), materialize_grads=True)
        for path, gradient in zip(model.p, gradients):
            worst.compare("tables: gradients", f"{at.name}, {path}", results["gradient/" + path], gradient)


def parity(programs, work, report):
    """`programs`: the float and the double build of peer. Reports a row for every group of tensors."""
    for program, precision, must in zip(programs, ("float", "double"), (1e-4, 1e-9)):
        torch.set_default_dtype(getattr(torch, precision))
        folder, worst = work / precision, Worst()
        for twin in (layers, optimizers, models, users, tables):
            subprocess.run([program, twin.__name__, folder], check=True)
            twin(folder, worst)
        for group, (error, where) in worst.of.items():
            report({"name": f"parity, {precision}: {group}", "value": error, "must": must, "where": where})
