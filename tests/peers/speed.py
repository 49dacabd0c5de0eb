"""Ours against PyTorch, in turn: A B A B …, 25 pairs; the median of the ratios and its bootstrap interval. Ours is a
`peer serve` on one thread or two, whichever is faster; PyTorch runs here, warm, without denormals, in its fastest
valid formulation on one thread or two."""

import math
import os
import subprocess
import sys
import time
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F

from bounds import bounds
from rival import Dupn, Encoded, Latent, Lexical, Mixture, Rival, Shoppers
from twins import Model, Tables

PAIRS = 25
SAMPLE = 0.06  # seconds of one measurement
torch.set_flush_denormal(True)


def say(*words):
    print(*words, file=sys.stderr, flush=True)


class Ours:
    """A `peer serve` that waits for work."""

    def __init__(self, program, folder, data):
        command = [program, "serve", folder] + ([data] if data else [])
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __call__(self, name, threads, count):
        """Seconds of one of `count` iterations."""
        print(name, threads, count, file=self.process.stdin, flush=True)
        return float(self.process.stdout.readline() or sys.exit("peers: peer serve has ended"))

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def timed(f, count):
    begin = time.perf_counter()
    for _ in range(count):
        f()
    return (time.perf_counter() - begin) / count


def sized(measure):
    """`measure(count)` as a function without arguments, warm, that takes about SAMPLE seconds."""
    measure(3)
    count = max(1, round(SAMPLE / measure(3)))
    return lambda: measure(count)


def fastest(candidates):
    """Of {name: measure(count)} the name and the sized function of the fastest, best of five turns."""
    ready = {name: sized(measure) for name, measure in candidates.items()}
    best = {name: min(f() for _ in range(5)) for name, f in ready.items()}
    say("   ", ", ".join(f"{name} {1e3 * t:.3g} ms" for name, t in best.items()))
    return min((t, name) for name, t in best.items())[1], ready


def median(ratios):
    """And its bootstrap interval."""
    draws = np.random.default_rng(1).choice(ratios, (2000, len(ratios)))
    return [round(float(x), 3) for x in (np.median(ratios), *np.percentile(np.median(draws, 1), [2.5, 97.5]))]


def label(threads):
    return "one thread" if threads == 1 else "two threads"


def on_threads(threads, f):
    def measure(count):
        torch.set_num_threads(threads)
        return timed(f, count)

    return measure


class Speed:
    def __init__(self, program, folder, data, report):
        self.ours, self.folder, self.report = Ours(program, folder, data), folder, report
        self.program = program

    def pairs(self, name, ours, theirs, must, aim, notes):
        """`ours`, `theirs`: functions that give the seconds of one iteration."""
        ratios = []
        for _ in range(PAIRS):
            seconds = ours()
            ratios.append(theirs() / seconds)
        ratio, low, high = median(ratios)
        self.report({"name": name, "ratio": ratio, "low": low, "high": high, "must": must, "aim": aim, **notes})

    def versus_torch(self, name, bench, formulations, must, aim, threads=(1, 2)):
        """`formulations`: {description: one iteration in PyTorch}."""
        say(name)
        own = {label(t): lambda n, t=t: self.ours(bench, t, n) for t in threads}
        other = {f"{d}, {label(t)}": on_threads(t, f) for d, f in formulations.items() for t in threads}
        (ours, ready), (rival, rival_ready) = fastest(own), fastest(other)
        version = f"PyTorch {torch.__version__}, {rival}"
        self.pairs(name, ready[ours], rival_ready[rival], must, aim, {"ours": ours, "rival": version})

    def threads(self, name, bench, must, aim):
        say(name)
        two, one = (sized(lambda n, t=t: self.ours(bench, t, n)) for t in (2, 1))
        self.pairs(name, two, one, must, aim, {"rival": "one thread of ours"})

    # ---- groups

    def machine(self):
        load = os.getloadavg()[0]
        if load > 1.5:
            say(f"the machine is busy (load {load:.1f}): no ratio is to be trusted, least of all one of two threads")
        peak = 2 / min(self.ours("multiply_add", 1, 1) for _ in range(5))
        copied = 2 * 256 / 1024 / min(self.ours("copy", 1, 1) for _ in range(5))
        self.report({"name": "machine: multiply-add peak of a core, GF/s", "value": round(peak, 1), "must": None})
        self.report({"name": "machine: load before the run", "value": round(load, 2), "must": None})
        self.report({"name": "machine: copy, read and written, GiB/s", "value": round(copied, 1), "must": None})

    def engine(self):
        self.versus_torch("1-element ops, recorded and replayed", "tape", {"eager": chain()}, 20, 100, threads=(1,))
        self.versus_torch("MLP 128×64, 3 layers, forward and backward", "mlp_small", {"eager": mlp(128, 64)}, 1.2, 2)
        self.versus_torch("MLP 256×256, 3 layers, forward and backward", "mlp", {"eager": mlp(256, 256)}, 1.2, 2)
        self.versus_torch("embedding bag with row-wise Adagrad", "embedding", embedding(), 3, 8)
        lengths = {"": [65] * 64, "_ragged": [3 + 37 * t % 125 for t in range(64)], "_short": [12] * 64}
        for bench, shard in lengths.items():
            name = f"self-attention of 256 texts of {' … '.join(map(str, sorted({min(shard), max(shard)})))} rows, D 64"
            self.versus_torch(f"{name}, forward and backward", "attention" + bench, attention(shard * 4), 1.5, 3)
        for bench, (m, n, k) in (("gemm_large", (1024, 1024, 1024)), ("gemm_small", (128, 512, 128))):
            a, b, c = torch.randn(m, k), torch.randn(k, n), torch.empty(m, n)
            product = {"mm": lambda a=a, b=b, c=c: torch.mm(a, b, out=c)}
            self.versus_torch(f"product {m}×{n}×{k} on one thread", bench, product, 0.9, 1, threads=(1,))
        self.threads("product 1024×1024×1024, two threads", "gemm_cut", 1.8, 1.95)

    def deepbow(self):
        lexical = self.rival("lexical", {"": Lexical})
        name = "DeepBoW training step, assembly of the batch included"
        self.versus_torch(name, "lexical", lexical.steps(), 3, 8)
        name = "DeepBoW training step, PyTorch's batches assembled in advance"
        self.versus_torch(name, "lexical", lexical.steps(prepared=True), None, None)
        self.threads("DeepBoW training step, two threads", "lexical", 1.7, 1.95)

        forms = {"": partial(Latent, ahead=False), "products read once, ": partial(Latent, ahead=True)}
        name = "DeepBoW with expansion by latent vectors, training step, assembly of the batch included"
        self.versus_torch(name, "latent", self.rival("latent", forms).steps(), 2, 4)
        self.threads("DeepBoW with expansion by latent vectors, training step, two threads", "latent", 1.7, 1.95)

        forms = {"padded for attention, ": partial(Encoded, padded=False), "padded, ": partial(Encoded, padded=True)}
        encoder = self.rival("encoder", forms)
        name = "DeepBoW with the encoder, training step, assembly of the batch included"
        self.versus_torch(name, "encoder", encoder.steps(), 2, 4)
        self.threads("DeepBoW with the encoder, training step, two threads", "encoder", 1.7, 1.95)

    def dupn(self):
        layers = {"lstm_32": (32, 50, True), "lstm_64": (64, 100, True), "lstm_256": (256, 100, True)}
        for bench, sizes in {**layers, "lstm_plain_64": (64, 100, False)}.items():
            kind = "Property Gated LSTM" if sizes[2] else "LSTM"
            name = f"{kind} B {sizes[0]} T {sizes[1]} H 128, forward and backward"
            self.versus_torch(name, bench, lstm(*sizes), 1.5, 2.5)
        name = "Property Gated LSTM B 1 T 100 H 128, forward"
        self.versus_torch(name, "lstm_1", lstm(1, 100, True, score=True), 5, 9)
        self.threads("Property Gated LSTM B 256 T 100 H 128, two threads", "lstm_256", 1.7, 1.95)

        self.ours("users", 1, 1)
        model = Shoppers(self.folder / "users")
        forms = {"nn.LSTM, ": partial(Dupn, fused=True), "steps of addmm, ": partial(Dupn, fused=False)}
        rival = Rival(model, forms, batch=64, checked=2, moved=1 / 16)  # more, and 100 steps are chaos
        name = "DUPN training step, 64 histories of 100, 10 candidates each"
        self.versus_torch(f"{name}, assembly of the batch included", "users", rival.steps(), 2, 3)
        self.versus_torch(f"{name}, PyTorch's batches assembled in advance", "users", rival.steps(prepared=True), 2, 3)
        self.threads("DUPN training step, two threads", "users", 1.7, 1.95)
        candidates, p = torch.arange(1, 20_000, 2), {path: w.detach() for path, w in model.p.items()}
        forms = {name: form.request(p, candidates) for name, form in rival.forms.items()}
        name = "DUPN request: a history of 100 and 10,000 candidates, one core"
        self.versus_torch(name, "users_request", forms, 3, 10, threads=(1,))

    def nmt(self):
        bounds(self.program, self.folder, self.report)
        forms = {"": Mixture, "by field, ": partial(Mixture, by_field=True)}
        for bench, kind in (("mmoe", "MMoE"), ("ple", "PLE")):
            self.ours(bench, 1, 1)
            rival = Rival(Tables(self.folder / bench), forms, batch=1024, whole=True)
            name = f"{kind} training step, 39 features, two tasks, 1024 rows"
            self.versus_torch(f"{name}, assembly of the batch included", bench, rival.steps(), 2, 4)
            self.versus_torch(f"{name}, PyTorch's batches assembled in advance", bench, rival.steps(prepared=True), None, None)
            self.threads(f"{kind} training step, two threads", bench, 1.7, 1.95)
        say("a step of method nmt")
        lines = subprocess.run([self.program, "nmt", self.folder], check=True, capture_output=True, text=True).stdout
        seconds = np.array(lines.split(), float).reshape(-1, 2)
        cost, low, high = median(seconds[:, 1] / seconds[:, 0])
        where = f"{low:.2f} … {high:.2f}; {1e3 * np.median(seconds[:, 0]):.3g} ms"
        name = "a step of nmt with a bound over one of equal weights, one thread"
        self.report({"name": name, "value": cost, "must": 1.15, "aim": 1.05, "where": where})

    def bags(self):
        products = {"random": 1_000_000, "stream": 1_000_000, "cache": 20_000}

        def ours(name):
            return sized(lambda n: self.ours(name, 1, n))

        def row(name, bench, rival, what, must, aim):
            say(name)
            mine, theirs = ours(bench), ours(rival)
            count = products[bench.split("_")[1]]
            say(f"    {1e9 * mine() / count:.1f} ns a product, {rival} {1e9 * theirs() / count:.1f}")
            self.pairs(name, mine, theirs, must, aim, {"rival": what})

        for bench, must, aim in (("random_q8", 1.8, 2.5), ("random_q24", 1.2, 1.8), ("stream_q8", 1.3, 1.8),
                                 ("stream_q24", 0.8, 1.2), ("cache_q8", None, 1.0), ("cache_q24", None, 0.5)):
            order = bench.split("_")[0]
            row(f"bags_{bench}", f"bags_{bench}", f"floats_{order}", "inner product of 128 floats", must, aim)
            row(f"bags_{bench}, bytes", f"bags_{bench}", f"bytes_{order}", "inner product of 128 bytes", None, None)
        row("bags_vs_merge", "bags_random_q8", "merge_random_q8", "scalar merge of sorted lists", 5, 15)

        say("bags_vs_scipy")
        catalogue = random_bags(products["random"], 1 << 18, 48)
        query = np.zeros(1 << 18, np.float32)
        query[np.random.default_rng(2).choice(1 << 18, 8, replace=False)] = 1
        some = np.random.default_rng(3).permutation(products["random"])[:10_000]
        theirs = sized(lambda n: timed(lambda: catalogue[some] @ query, n) / len(some))
        mine = ours("bags_random_q8")
        self.pairs("bags_vs_scipy", lambda: mine() / products["random"], theirs, 10, 30, {"rival": "scipy, rows of a CSR matrix"})
        self.report({"name": "search: ten best of a million products, query of 8 words, ms",
                     "value": round(1e3 / 20 * min(ours("search_q8")() for _ in range(3)), 3), "must": None})

    def rival(self, bench, forms):
        self.ours(bench, 1, 1)  # leaves the model and its rows
        return Rival(Model(self.folder / bench), forms)


# ---- the rival's sides of engine: one iteration each


def random_bags(products, ids, words):
    """A matrix of that many rows with `words` numbers each; frequent words have low numbers."""
    from scipy.sparse import csr_matrix

    draw = np.random.default_rng(1)
    columns = (ids * draw.random((products, words), dtype=np.float32) ** 3).astype(np.int32)
    columns.sort(axis=1)
    starts = np.arange(0, products * words + 1, words)
    return csr_matrix((draw.random(products * words, dtype=np.float32), columns.ravel(), starts), (products, ids))


def gradients(loss, leaves):
    for leaf in leaves:
        leaf.grad = None
    loss.backward()


def chain():
    p = torch.tensor([0.5], requires_grad=True)

    def step():
        x = p
        for _ in range(1000):
            x = x + p
        gradients(x, [p])

    return step


def mlp(batch, width):
    layers = []
    for out in (width, width, 10):
        layers += [torch.nn.Linear(width, out), torch.nn.ReLU(), torch.nn.LayerNorm(out)]
    net, x, labels = torch.nn.Sequential(*layers[:-2]), torch.randn(batch, width), torch.full((batch,), 3)
    leaves = list(net.parameters())
    return lambda: gradients(F.cross_entropy(net(x), labels), leaves)


def lstm(batch, steps, gated, score=False, H=128, widths=(124, 48)):
    """A layer and its gradient, also that of its input. Properties see the gates alone: `nn.LSTM` gets zeros where they
    would enter the content, or the recurrence is written out behind one product for all steps."""
    x = torch.randn(steps, batch, sum(widths)).requires_grad_(not score)
    draw = lambda *shape: (torch.randn(shape) / 12).requires_grad_(not score)
    W, Wc, U, b = draw(3 * H, sum(widths)), draw(H, widths[0] if gated else sum(widths)), draw(4 * H, H), draw(4 * H)
    leaves, zero = [x, W, Wc, U, b], torch.zeros(1, batch, H)

    def finish(h):
        if not score:
            gradients(h.mean(), leaves)

    def fused():  # its gates are i f g o
        i_f, o = W.split([2 * H, H])
        c = F.pad(Wc, (0, widths[1])) if gated else Wc
        zeros = torch.zeros_like(b)
        finish(torch._VF.lstm(x, (zero, zero), [torch.cat([i_f, c, o]), U, b, zeros], True, 1, 0.0, not score, False, False)[0])

    def written_out():
        content = F.linear(x[..., : Wc.shape[1]], Wc, b[3 * H :])
        inputs, turned, out = torch.cat([F.linear(x, W, b[: 3 * H]), content], 2), U.T, []
        h = c = zero[0]
        for input in inputs:
            z = torch.addmm(input, h, turned)
            i, f, o = z[:, : 3 * H].sigmoid().chunk(3, 1)
            c = f * c + i * z[:, 3 * H :].tanh()
            h = o * c.tanh()
            out.append(h)
        finish(torch.stack(out))

    def scoring(f):
        def run():
            with torch.inference_mode():
                f()

        return run

    forms = {"nn.LSTM": fused, "steps of addmm": written_out}
    return {name: scoring(f) if score else f for name, f in forms.items()}


def attention(lengths, depth=64, heads=4):
    """Padded, with a mask if lengths differ, or text by text. (Jagged tensors need CUDA here.)"""
    n, longest = torch.tensor(lengths), max(lengths)
    mask = (torch.arange(longest) < n[:, None])[:, None, None] if min(lengths) < longest else None
    padded = torch.randn(len(n), longest, 3 * depth, requires_grad=True)
    flat = torch.randn(sum(lengths), 3 * depth, requires_grad=True)
    dy, dy_flat = torch.randn(len(n), longest, depth), torch.randn(len(flat), depth)

    def over(f, qkv):
        q, k, v = (part.unflatten(2, (heads, -1)).transpose(1, 2) for part in qkv.chunk(3, 2))
        return f(q, k, v).transpose(1, 2).flatten(2)

    def fused(q, k, v):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)

    def products(q, k, v):
        scores = q @ k.transpose(2, 3) * (depth / heads) ** -0.5
        return (scores if mask is None else scores.masked_fill(~mask, -math.inf)).softmax(3) @ v

    def by_text():
        texts = [over(F.scaled_dot_product_attention, text[None])[0] for text in flat.split(lengths)]
        torch.autograd.grad(torch.cat(texts), flat, dy_flat)

    return {
        "scaled_dot_product_attention, padded": lambda: torch.autograd.grad(over(fused, padded), padded, dy),
        "products and softmax, padded": lambda: torch.autograd.grad(over(products, padded), padded, dy),
        "scaled_dot_product_attention, text by text": by_text,
    }


def embedding():
    """EmbeddingBag with sparse gradients, or the distinct rows as a small dense table; row-wise Adagrad by hand."""
    vocabulary, width, bags, words, rate, epsilon = 1 << 20, 64, 1024, 20, 1e-3, 1e-8
    draw = np.random.default_rng(1)
    lists = [torch.tensor((vocabulary * draw.random(bags * words) ** 3).astype(np.int64)) for _ in range(16)]
    offsets = torch.arange(0, bags * words, words)
    table, sums, at = torch.randn(vocabulary, width) / 10, torch.zeros(vocabulary), [0]
    leaf = table.detach().requires_grad_()  # the same memory

    def update(rows, g):
        s = sums.index_select(0, rows).add_(g.square().mean(1))
        sums.index_copy_(0, rows, s)
        table.index_add_(0, rows, g.div_(s.sqrt_().add_(epsilon)[:, None]), alpha=-rate)

    def sparse():
        ids = lists[at[0] % 16]
        at[0] += 1
        gradients(F.embedding_bag(ids, leaf, offsets, mode="sum", sparse=True).square().mean(), [leaf])
        g = leaf.grad.coalesce()
        update(g.indices()[0], g.values())

    def distinct():
        ids = lists[at[0] % 16]
        at[0] += 1
        rows, places = ids.unique(return_inverse=True)
        small = table.index_select(0, rows).requires_grad_()
        F.embedding_bag(places, small, offsets, mode="sum").square().mean().backward()
        update(rows, small.grad)

    return {"EmbeddingBag(sparse=True)": sparse, "distinct rows": distinct}

