"""DeepBoW's training step in PyTorch at the fastest found: nothing is computed for what a batch does not need, texts of
different lengths stand one after the other, and tables are updated only in the rows that were looked up."""

import math
import sys
from types import SimpleNamespace

import numpy as np
import torch
import torch.nn.functional as F

from twins import LazyAdam, Model, Worst


class Ragged:
    """Lists of different lengths, end to end."""

    def __init__(self, arrays, name):
        self.starts, self.values = arrays[name + "/starts"], arrays[name + "/values"]
        self.lengths = self.starts.diff()

    def take(self, lists):
        """The values of some lists, end to end, of which list each is, and where each list begins."""
        lengths = self.lengths.index_select(0, lists)
        owner = torch.repeat_interleave(torch.arange(len(lists)), lengths)
        first = lengths.cumsum(0) - lengths
        at = torch.arange(len(owner)) + (self.starts.index_select(0, lists) - first).index_select(0, owner)
        return self.values.index_select(0, at), owner, first


def segment_softmax(z, owner, n):
    """By scatter_reduce; `owner` says to which of the n segments an element belongs."""
    largest = z.new_full((n,), -math.inf).scatter_reduce(0, owner, z.detach(), "amax")
    e = (z - largest.index_select(0, owner)).exp()
    sums = z.new_zeros(n).index_add(0, owner, e)
    return e / sums.index_select(0, owner)


class Lexical:
    """`batch` gathers some rows; `loss` takes what its `ids` have looked up in the tables, and the other parameters.
    Tables and parameters of one column are vectors."""

    def __init__(self, model):
        self.labels, self.matches = model.rows["label"], Ragged(model.rows, "query_matches")
        self.product_matches = Ragged(model.rows, "product_matches")
        self.texts = {side: model.rows[side] for side in ("query", "product")}
        self.lists = {name: Ragged(model.rows, name) for name in self.names()}

    def names(self):
        return [f"{side}/{name}" for side in ("query", "product") for name in ("terms", "places")]

    def batch(self, rows):
        b = SimpleNamespace(labels=self.labels.index_select(0, rows))
        query, product = (texts.index_select(0, rows) for texts in self.texts.values())
        b.terms, b.owner, first = self.lists["query/terms"].take(query)
        b.places = self.lists["query/places"].take(query)[0]
        matches, b.match_owner, _ = self.matches.take(rows)
        b.matches = matches + first.index_select(0, b.match_owner)
        places = self.lists["product/places"]
        at = self.product_matches.take(rows)[0] + places.starts.index_select(0, product).index_select(0, b.match_owner)
        b.match_places = places.values.index_select(0, at)
        b.match_terms = b.terms.index_select(0, b.matches)
        b.ids = {"deepbow/query/term": b.terms, "deepbow/product/term": b.match_terms}
        return b

    def loss(self, p, looked, b):
        n = len(b.labels)
        z = looked["deepbow/query/term"] + p["deepbow/query/place"].index_select(0, b.places)
        weights = segment_softmax(z, b.owner, n)
        products = F.softplus(looked["deepbow/product/term"])
        products = products * p["deepbow/product/place"].index_select(0, b.match_places).exp()
        scores = z.new_zeros(n).index_add(0, b.match_owner, weights.index_select(0, b.matches) * products)
        return calibrated(p, scores, b.labels)


def calibrated(p, scores, labels):
    logits = scores * p["calibration/log_scale"].exp() + p["calibration/shift"]
    return F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype))


# ---- with the encoder


class Place(torch.autograd.Function):
    """The rows of x at some of `size` rows, zeros elsewhere; the places are distinct."""

    @staticmethod
    def forward(ctx, x, at, size):
        ctx.save_for_backward(at)
        return x.new_zeros(size, x.shape[1]).index_copy_(0, at, x)

    @staticmethod
    def backward(ctx, dy):
        return dy.index_select(0, ctx.saved_tensors[0]), None, None


class Take(torch.autograd.Function):
    """Distinct rows."""

    @staticmethod
    def forward(ctx, x, at):
        ctx.save_for_backward(at)
        ctx.size = len(x)
        return x.index_select(0, at)

    @staticmethod
    def backward(ctx, dy):
        return dy.new_zeros(ctx.size, dy.shape[1]).index_copy_(0, ctx.saved_tensors[0], dy), None


class Packed:
    """Texts end to end, and where they stand when they are padded: in some groups of similar lengths."""

    def __init__(self, values, owner, first, lengths, groups):
        self.values, self.lengths = values, lengths
        self.positions = torch.arange(len(values)) - first.index_select(0, owner)
        base, self.size, self.groups = torch.empty_like(first), 0, []
        for texts in lengths.argsort().tensor_split(groups):
            longest = int(lengths[texts[-1]])
            base[texts] = self.size + longest * torch.arange(len(texts))
            self.size += longest * len(texts)
            self.groups.append((len(texts), longest, torch.arange(longest) < lengths[texts, None]))
        self.at = base.index_select(0, owner) + self.positions


class Encoded(Lexical):
    """The whole model: the encoder on both sides, expansion of the products, gate, priors."""

    def __init__(self, model, padded, groups):
        """`padded`: the layers run on padded texts; otherwise attention alone does."""
        super().__init__(model)
        self.padded, self.groups = padded, groups
        self.word_of, self.heads = model.word_of, model.config["encoder"]["heads"]
        self.prior_penalty = model.config["deepbow"]["prior_penalty"]
        self.lengths = {side: model.rows[side + "/lengths/values"].clamp(max=79) for side in self.texts}

    def names(self):
        more = ("term_words", "words", "characters", "word_lengths")
        return super().names() + [f"{side}/{name}" for side in ("query", "product") for name in more]

    def packed(self, name, query, product):
        q, p = self.lists["query/" + name], self.lists["product/" + name]
        (values, owner, first), (values_p, owner_p, first_p) = q.take(query), p.take(product)
        lengths = torch.cat([q.lengths.index_select(0, query), p.lengths.index_select(0, product)])
        owner, first = torch.cat([owner, owner_p + len(query)]), torch.cat([first, first_p + len(values)])
        packed = Packed(torch.cat([values, values_p]), owner, first, lengths, self.groups)
        packed.of_queries = len(values)
        return packed, first

    def batch(self, rows):
        n, b = len(rows), SimpleNamespace(labels=self.labels.index_select(0, rows))
        query, product = (texts.index_select(0, rows) for texts in self.texts.values())
        b.words, first_words = self.packed("words", query, product)
        b.characters, _ = self.packed("characters", query, product)
        of_query, of_product = self.lists["query/word_lengths"], self.lists["product/word_lengths"]
        b.spelling = torch.cat([of_query.take(query)[0], of_product.take(product)[0]])
        b.query_lengths = self.lengths["query"].index_select(0, query)
        b.product_lengths = self.lengths["product"].index_select(0, product)

        b.terms, b.owner, first = self.lists["query/terms"].take(query)
        b.places = self.lists["query/places"].take(query)[0]
        b.term_words = self.lists["query/term_words"].take(query)[0] + first_words.index_select(0, b.owner)
        b.counts = self.lists["query/terms"].lengths.index_select(0, query)

        b.product_terms, b.product_owner, _ = self.lists["product/terms"].take(product)
        b.product_counts = self.lists["product/terms"].lengths.index_select(0, product)
        matches, b.match_owner, _ = self.matches.take(rows)
        b.matches = matches + first.index_select(0, b.match_owner)
        b.match_terms = b.terms.index_select(0, b.matches)
        places, words = self.lists["product/places"], self.lists["product/term_words"]
        at = self.product_matches.take(rows)[0] + places.starts.index_select(0, product).index_select(0, b.match_owner)
        b.match_places = places.values.index_select(0, at)
        b.match_words = words.values.index_select(0, at) + first_words.index_select(0, b.match_owner + n)

        # The matches whose weight the gate mixes; the words of the query that the product may add.
        row = self.word_of.index_select(0, b.match_terms)
        b.gated = (row >= 0).nonzero().flatten()
        added = self.word_of.index_select(0, b.terms).index_fill(0, b.matches, -1)
        b.added = (added >= 0).nonzero().flatten()
        rows = torch.cat([row.index_select(0, b.gated), added.index_select(0, b.added)])
        b.expansion_owner = torch.cat([b.match_owner.index_select(0, b.gated), b.owner.index_select(0, b.added)])
        b.scored = torch.cat([b.matches, b.added])
        b.scored_owner = torch.cat([b.match_owner, b.owner.index_select(0, b.added)])
        b.ids = {
            "deepbow/query/term": b.terms,
            "deepbow/query/prior/term": b.terms,
            "deepbow/product/term": b.match_terms,
            "deepbow/product/prior/term": b.product_terms,
            "deepbow/product/bias": rows,
            "deepbow/encoder/words/embedding": torch.cat([b.words.values, rows]),
            "deepbow/encoder/characters/embedding": b.characters.values,
        }
        return b

    def attention(self, qkv, packed):
        parts = []
        padded = qkv if self.padded else Place.apply(qkv, packed.at, packed.size)
        sizes = [n * longest for n, longest, _ in packed.groups]
        for part, (n, longest, filled) in zip(padded.split(sizes), packed.groups):
            q, k, v = part.view(n, longest, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=filled[:, None, None])
            parts.append(y.transpose(1, 2).flatten(2).flatten(0, 1))
        y = torch.cat(parts)
        return y if self.padded else Take.apply(y, packed.at)

    def transformer(self, p, at, x, packed):
        def norm(name, x):
            return F.layer_norm(x, x.shape[-1:], p[f"{at}/{name}/gain"], p[f"{at}/{name}/bias"])

        def linear(name, x):
            return torch.addmm(p[f"{at}/{name}/b"], x, p[f"{at}/{name}/W"])

        x = Place.apply(x, packed.at, packed.size) if self.padded else x
        x = x + linear("0/out", self.attention(linear("0/qkv", norm("0/attention_norm", x)), packed))
        x = x + linear("0/narrow", F.gelu(linear("0/widen", norm("0/feed_norm", x)), approximate="tanh"))
        y = norm("norm", x)
        return Take.apply(y, packed.at) if self.padded else y

    def encode(self, p, characters, words, b):
        """h_c of the queries and of the products, h_w of all words."""

        def embed(name, looked, packed):
            x = looked + F.embedding(packed.positions, p[f"deepbow/encoder/{name}/position"])
            query, product = x.tensor_split([packed.of_queries])
            return torch.cat([query + p["deepbow/encoder/query"], product + p["deepbow/encoder/product"]])

        x = embed("characters", characters, b.characters)
        x = self.transformer(p, "deepbow/encoder/characters", x, b.characters)
        shares = torch.segment_reduce(x, "sum", lengths=b.spelling, initial=0, unsafe=True)
        texts = torch.segment_reduce(shares, "sum", lengths=b.words.lengths, initial=0, unsafe=True)
        texts = texts / b.characters.lengths.clamp(min=1)[:, None]
        x = embed("words", words, b.words) + shares / b.spelling.clamp(min=1)[:, None]
        return *texts.tensor_split(2), self.transformer(p, "deepbow/encoder/words", x, b.words)

    def prior(self, p, side, omega, owner, counts, lengths):
        sums = omega.new_zeros(len(counts)).index_add(0, owner, omega) / counts.clamp(min=1).sqrt()
        at = f"deepbow/{side}/prior"
        penalty = self.prior_penalty / len(counts) * omega.square().sum()
        return F.softplus(p[at + "/bias"] + p[at + "/length"].index_select(0, lengths) + sums), penalty

    def loss(self, p, looked, b):
        n = len(b.labels)
        embedded, table = looked["deepbow/encoder/words/embedding"].tensor_split([len(b.words.values)])
        characters = looked["deepbow/encoder/characters/embedding"]
        query, product, words = self.encode(p, characters, embedded, b)

        asked = lookup(query @ p["deepbow/query/attention"], b.owner) * lookup(words, b.term_words)
        asked = asked.sum(1) / math.sqrt(query.shape[1])
        z = looked["deepbow/query/term"] + p["deepbow/query/place"].index_select(0, b.places) + asked
        weights = segment_softmax(z, b.owner, n)

        z = looked["deepbow/product/term"] + (words @ p["deepbow/product/context"]).index_select(0, b.match_words)
        own = F.softplus(z) * p["deepbow/product/place"].index_select(0, b.match_places).exp()
        output = lookup(product @ p["deepbow/product/output"], b.expansion_owner)
        expansion = ((output * table).sum(1) + looked["deepbow/product/bias"]).relu().log1p()
        by_text, added = expansion.tensor_split([len(b.gated)])
        of_text, of_word = (owner.index_select(0, b.gated) for owner in (b.match_owner, b.match_words))
        both = torch.cat([lookup(product, of_text), lookup(words, of_word)], 1)
        share = (both @ p["deepbow/product/gate"] + p["deepbow/product/gate_bias"]).sigmoid()
        own = own.index_add(0, b.gated, share * (by_text - own.index_select(0, b.gated)))
        scores = weights.index_select(0, b.scored) * torch.cat([own, added])
        scores = z.new_zeros(n).index_add(0, b.scored_owner, scores)

        omega, product_omega = looked["deepbow/query/prior/term"], looked["deepbow/product/prior/term"]
        prior, penalty = self.prior(p, "query", omega, b.owner, b.counts, b.query_lengths)
        product_prior, product_penalty = self.prior(
            p, "product", product_omega, b.product_owner, b.product_counts, b.product_lengths
        )
        return calibrated(p, scores + prior + product_prior, b.labels) + penalty + product_penalty


# ---- steps


def column(w):
    return w.flatten() if w.dim() == 2 and w.shape[1] == 1 else w


def lookup(table, ids):
    """The gradient of F.embedding is several times as fast as that of index_select, which is for vectors, too."""
    return table.index_select(0, ids) if table.dim() == 1 else F.embedding(ids, table)


class Rival:
    """Training of a model that `peer serve` has left in a folder."""

    def __init__(self, folder):
        self.model = Model(folder)
        self.start = {path: column(w.detach().clone()) for path, w in self.model.p.items()}
        size = len(self.model.rows["label"])
        shuffled = np.random.default_rng(1).permutation(size)
        self.rows = [torch.tensor(rows) for rows in np.array_split(shuffled, -(-size // 256))]

    def check(self, form):
        """Loss and gradients of a model that was moved at random are those of the twin, which is compared with ours."""
        draw = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for w in self.model.p.values():
                w += torch.randn(w.shape, generator=draw) / 4
        worst, rows, p = Worst(), self.rows[0][:64], {path: column(w) for path, w in self.model.p.items()}
        batch = form.batch(rows)
        loss = form.loss(p, {path: lookup(p[path], ids) for path, ids in batch.ids.items()}, batch)
        twin, leaves = self.model.loss(rows), list(self.model.p.values())
        worst.compare("loss", "loss", loss.detach(), twin)
        for path, ours, theirs in zip(p, *(torch.autograd.grad(of, leaves) for of in (loss, twin))):
            worst.compare("gradient", path, ours, theirs)
        if max(worst.of.values())[0] > 1e-4:
            sys.exit(f"peers: the rival computes something else: {worst.of}")

    def steps(self, forms, prepared=False):
        """{description: one iteration}; `forms`: {description: a Lexical}."""
        steps = {}
        for name, form in forms.items():
            batches = [form.batch(rows) for rows in self.rows] if prepared else None
            batch_of = batches.__getitem__ if prepared else lambda k, form=form: form.batch(self.rows[k])
            for update in (self.sparse, self.distinct):
                steps[f"{name}{update.__doc__}"] = self.step(form, update, batch_of)
        return steps

    def step(self, form, make, batch_of):
        p = {path: w.clone().requires_grad_() for path, w in self.start.items()}
        tables = [path for path in p if self.model.is_table(path)]
        dense = torch.optim.Adam([w for path, w in p.items() if path not in tables], 0.006, fused=True)
        update, at = make(form, p, tables), [0]

        def step():
            batch = batch_of(at[0] % len(self.rows))
            at[0] += 1
            dense.zero_grad()
            update(batch)
            dense.step()

        return step

    def sparse(self, form, p, tables):
        """SparseAdam"""
        leaves = {path: p[path].detach().reshape(len(p[path]), -1).requires_grad_() for path in tables}
        adam = torch.optim.SparseAdam(list(leaves.values()), 0.0015)

        def update(batch):
            adam.zero_grad()
            looked = {path: column(F.embedding(ids, leaves[path], sparse=True)) for path, ids in batch.ids.items()}
            form.loss(p, looked, batch).backward()
            adam.step()

        return update

    def distinct(self, form, p, tables):
        """distinct rows and lazy Adam"""
        most = max(len(p[path]) for path in tables)
        mark, number = torch.zeros(most, dtype=torch.bool), torch.zeros(most, dtype=torch.int64)
        adams = {path: LazyAdam(p[path].detach(), 0.0015) for path in tables}

        def update(batch):
            small, looked = {}, {}
            for path, ids in batch.ids.items():
                # Faster than unique, which sorts.
                rows = mark[: len(p[path])].zero_().index_fill_(0, ids, True).nonzero().flatten()
                places = number.index_copy_(0, rows, torch.arange(len(rows))).index_select(0, ids)
                small[path] = rows, adams[path].table.index_select(0, rows).requires_grad_()
                looked[path] = lookup(small[path][1], places)
            form.loss(p, looked, batch).backward()
            for path, (rows, w) in small.items():
                adams[path].step(rows, w.grad, w.detach())

        return update
