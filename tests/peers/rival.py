"""The training steps of DeepBoW, DUPN and networks of several tasks in PyTorch at the fastest found: nothing is computed for what a batch does not need, texts of
different lengths stand one after the other, and tables are updated only in the rows that were looked up."""

import math
import sys
from types import SimpleNamespace

import numpy as np
import torch
import torch.nn.functional as F

from twins import LazyAdam, Model, Users, Worst


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
        b.query, b.product = (texts.index_select(0, rows) for texts in self.texts.values())
        b.terms, b.owner, first = self.lists["query/terms"].take(b.query)
        b.places = self.lists["query/places"].take(b.query)[0]
        matches, b.match_owner, _ = self.matches.take(rows)
        b.matches = matches + first.index_select(0, b.match_owner)
        b.match_terms = b.terms.index_select(0, b.matches)
        places = self.lists["product/places"]
        starts = places.starts.index_select(0, b.product).index_select(0, b.match_owner)
        b.in_products = self.product_matches.take(rows)[0] + starts
        b.match_places = places.values.index_select(0, b.in_products)
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


# ---- with an encoder


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
    """Texts end to end, and where they stand when they are padded: in groups of similar lengths."""

    GROUPS = 16  # 1, 4, 8 and 64 are slower

    def __init__(self, *parts):
        """Of `parts`, the lists of one side each: (Ragged, which of its lists)."""
        taken = [ragged.take(texts) for ragged, texts in parts]
        self.values = torch.cat([values for values, _, _ in taken])
        self.of_queries = len(taken[0][0])
        self.lengths = torch.cat([ragged.lengths.index_select(0, texts) for ragged, texts in parts])
        self.first = self.lengths.cumsum(0) - self.lengths
        base, self.size, self.groups = torch.empty_like(self.first), 0, []
        for texts in self.lengths.argsort().tensor_split(self.GROUPS):
            longest = int(self.lengths[texts[-1]])
            base[texts] = self.size + longest * torch.arange(len(texts))
            self.size += longest * len(texts)
            self.groups.append((len(texts), longest, torch.arange(longest) < self.lengths[texts, None]))
        owner = torch.repeat_interleave(torch.arange(len(base)), self.lengths)
        self.positions = torch.arange(len(self.values)) - self.first.index_select(0, owner)
        self.at = base.index_select(0, owner) + self.positions


class Expanding(Lexical):
    """With priors, and with words of the query that the product adds."""

    def __init__(self, model):
        super().__init__(model)
        self.shared, self.word_of = model.shared, model.word_of
        self.prior_penalty = model.config["deepbow"]["prior_penalty"]
        self.words = {side: model.rows[side + "/lengths/values"].clamp(max=79) for side in self.texts}

    def batch(self, rows):
        b = super().batch(rows)
        product_terms, owner, _ = self.lists["product/terms"].take(b.product)
        b.priors = {}
        for side, owner, texts in zip(self.texts, (b.owner, owner), (b.query, b.product)):
            size = self.lists[side + "/terms"].lengths.index_select(0, texts)
            b.priors[side] = owner, size, self.words[side].index_select(0, texts)
        added = self.word_of.index_select(0, b.terms).index_fill(0, b.matches, -1)
        b.added = (added >= 0).nonzero().flatten()
        b.added_owner = b.owner.index_select(0, b.added)
        b.rows = self.shared + added.index_select(0, b.added)
        b.scored = torch.cat([b.matches, b.added])
        b.scored_owner = b.owner.index_select(0, b.scored)
        b.ids |= {
            "deepbow/query/prior/term": b.terms,
            "deepbow/product/prior/term": product_terms,
            "deepbow/product/bias": b.rows,
        }
        return b

    def prior(self, p, looked, side, owner, size, words):
        at = f"deepbow/{side}/prior"
        omega = looked[at + "/term"]
        sums = omega.new_zeros(len(size)).index_add(0, owner, omega) / size.clamp(min=1).sqrt()
        penalty = self.prior_penalty / len(size) * omega.square().sum()
        return F.softplus(p[at + "/bias"] + p[at + "/length"].index_select(0, words) + sums), penalty

    def loss_of(self, p, looked, b, weights, own, added):
        """From the query's weights, the product's at the matches and those that it adds."""
        scores = weights.index_select(0, b.scored) * torch.cat([own, added])
        scores, penalty = weights.new_zeros(len(b.labels)).index_add(0, b.scored_owner, scores), 0
        for side, of_texts in b.priors.items():
            liked, more = self.prior(p, looked, side, *of_texts)
            scores, penalty = scores + liked, penalty + more
        return calibrated(p, scores, b.labels) + penalty


class Latent(Expanding):
    """tools/configs/home_depot.toml: a product is read as the sum of fixed vectors."""

    def __init__(self, model, ahead):
        """`ahead`: products are read once, at the first step."""
        super().__init__(model)
        self.table, self.idf, self.ahead = model.p["deepbow/encoder/terms/embedding"].detach(), model.idf, ahead
        self.read = None

    def names(self):
        return super().names() + ["product/words"]

    def texts_of(self, products):
        words = self.lists["product/words"]
        rows, lengths = words.take(products)[0], words.lengths.index_select(0, products)
        x = self.table.index_select(0, rows) * self.idf.index_select(0, rows)[:, None]
        return F.normalize(torch.segment_reduce(x, "sum", lengths=lengths, initial=0, unsafe=True))

    def batch(self, rows):
        b = super().batch(rows)
        if self.ahead and self.read is None:
            self.read = self.texts_of(torch.arange(len(self.lists["product/words"].lengths)))
        b.text = self.read.index_select(0, b.product) if self.ahead else self.texts_of(b.product)
        b.vectors = self.table.index_select(0, b.rows)
        return b

    def loss(self, p, looked, b):
        z = looked["deepbow/query/term"] + p["deepbow/query/place"].index_select(0, b.places)
        weights = segment_softmax(z, b.owner, len(b.labels))
        own = F.softplus(looked["deepbow/product/term"])
        own = own * p["deepbow/product/place"].index_select(0, b.match_places).exp()
        output = lookup(b.text @ p["deepbow/product/output"], b.added_owner)
        added = ((output * b.vectors).sum(1) + looked["deepbow/product/bias"]).relu().log1p()
        return self.loss_of(p, looked, b, weights, own, added)


class Encoded(Expanding):
    """The encoder on both sides, expansion of the products, gate, priors."""

    def __init__(self, model, padded):
        """`padded`: the layers run on padded texts; otherwise attention alone does."""
        super().__init__(model)
        self.padded, self.heads = padded, model.config["encoder"]["heads"]

    def names(self):
        more = ("term_words", "words", "characters", "word_lengths")
        return super().names() + [f"{side}/{name}" for side in ("query", "product") for name in more]

    def batch(self, rows):
        b, n = super().batch(rows), len(rows)

        def both(name):
            return (self.lists["query/" + name], b.query), (self.lists["product/" + name], b.product)

        b.words, b.characters = Packed(*both("words")), Packed(*both("characters"))
        b.spelling = torch.cat([ragged.take(texts)[0] for ragged, texts in both("word_lengths")])
        first = b.words.first.split(n)
        b.term_words = self.lists["query/term_words"].take(b.query)[0] + first[0].index_select(0, b.owner)
        words = self.lists["product/term_words"].values.index_select(0, b.in_products)
        b.match_words = words + first[1].index_select(0, b.match_owner)

        # The matches whose weight the gate mixes.
        row = self.word_of.index_select(0, b.match_terms)
        b.gated = (row >= 0).nonzero().flatten()
        rows = torch.cat([self.shared + row.index_select(0, b.gated), b.rows])
        b.expansion_owner = torch.cat([b.match_owner.index_select(0, b.gated), b.added_owner])
        b.ids |= {
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
        return self.loss_of(p, looked, b, weights, own, added)


# ---- DUPN


class Shoppers(Users):
    """The twin, whose rows have the same number of events and candidates."""

    def __init__(self, folder):
        super().__init__(folder)
        self.size, self.whole = len(self.rows["user"]), dict(self.rows)

    def is_table(self, path):
        return path.startswith(("item/", "property/")) or path == "attention/recency"

    def loss(self, rows):
        """Of some rows, in the twin's plain way."""
        for name in self.whole:
            if name.endswith("/starts"):
                lists, width = name[: -len("/starts")], int(self.whole[name][1])
                self.rows[lists + "/values"] = self.whole[lists + "/values"].reshape(-1, width)[rows].flatten() if width else self.whole[lists + "/values"]
                self.rows[name] = self.whole[name][: len(rows) + 1]
        self.rows["user"] = self.whole["user"][rows]
        for name in ("label", "importance"):
            self.rows[f"shown/{name}/click"] = self.whole[f"shown/{name}/click"].reshape(self.size, -1)[rows].flatten()
        return super().losses()["click"]


class Dupn:
    ENDS = torch.tensor([5, 15, 30, 60, 240, 540, 1440, 2880, 10080, 43200])

    def __init__(self, model, fused):
        """`fused`: nn.LSTM, with zeros where properties would enter the content; else the recurrence written out."""
        self.fused, self.size = fused, model.size
        of_rows = lambda name: model.whole[name + "/values"].reshape(self.size, -1).long()
        self.item, self.candidates = of_rows("item"), of_rows("shown/item")
        self.properties = {name: of_rows(name) for name in ("behaviour", "gap", "weekend", "daytime")}
        self.recency = torch.bucketize(of_rows("minutes"), self.ENDS, right=True)
        self.attributes = [torch.cat([torch.zeros(1).long(), torch.cat(values[1:]).long()]) for values in model.attributes]
        self.labels = model.whole["shown/label/click"].reshape(self.size, -1)

    def batch(self, rows):
        b = SimpleNamespace(n=len(rows), events=self.item.shape[1], labels=self.labels.index_select(0, rows))
        # Steps first, as nn.LSTM likes it.
        events = lambda x: x.index_select(0, rows).T.flatten()
        item = torch.cat([events(self.item), self.candidates.index_select(0, rows).flatten()])
        b.ids = {"item/id": item}
        b.ids |= {f"item/attribute{k}": values.index_select(0, item) for k, values in enumerate(self.attributes)}
        b.ids |= {"property/" + name: events(values) for name, values in self.properties.items()}
        b.ids["attention/recency"] = events(self.recency)
        return b

    def lstm(self, p, e, q, b):
        H = p["lstm/U"].shape[0]
        shape, zero = (b.events, b.n, -1), e.new_zeros(b.n, H)
        if self.fused:  # its gates are i f g o
            (i, f, o), (ui, uf, uo, ug) = p["lstm/gates/W"].T.chunk(3), p["lstm/U"].T.chunk(4)
            bias = p["lstm/gates/b"].chunk(3)
            content = F.pad(p["lstm/content/W"].T, (0, q.shape[1]))
            W, U = torch.cat([i, f, content, o]), torch.cat([ui, uf, ug, uo])
            bias = torch.cat([bias[0], bias[1], p["lstm/content/b"], bias[2]])
            state, x = (zero[None], zero[None]), torch.cat([e, q], 1).view(shape)
            training = torch.is_grad_enabled()
            return torch._VF.lstm(x, state, [W, U, bias, torch.zeros_like(bias)], True, 1, 0.0, training, False, False)[0]
        gates = torch.addmm(p["lstm/gates/b"], torch.cat([e, q], 1), p["lstm/gates/W"])
        inputs = torch.cat([gates, torch.addmm(p["lstm/content/b"], e, p["lstm/content/W"])], 1).view(shape)
        h, c, out = zero, zero, []
        for input in inputs:
            z = torch.addmm(input, h, p["lstm/U"])
            i, f, o = z[:, : 3 * H].sigmoid().chunk(3, 1)
            c = f * c + i * z[:, 3 * H :].tanh()
            h = o * c.tanh()
            out.append(h)
        return torch.stack(out)

    def logits(self, p, looked, b):
        """[n, candidates]"""
        linear = lambda at, x: torch.addmm(p[at + "/b"], x, p[at + "/W"])
        embedded = torch.cat([x for path, x in looked.items() if path.startswith("item/")], 1)
        e, candidates = embedded.tensor_split([b.n * b.events])
        q = torch.cat([x for path, x in looked.items() if path.startswith("property/")], 1)
        h = self.lstm(p, e, q, b)
        z = (linear("attention/0", torch.cat([h.flatten(0, 1), q], 1)) + looked["attention/recency"]).relu()
        a = (linear("attention/1", z).relu() @ p["attention/2"].reshape(-1, 1)).view(b.events, b.n, 1).softmax(0)
        rep = (a * h).sum(0)
        # The half of the first layer that sees rep once for all candidates.
        z = (candidates @ p["heads/click/candidate"]).view(b.n, -1, rep.shape[1])
        z = (z + torch.addmm(p["heads/click/b"], rep, p["heads/click/rep"])[:, None]).relu().flatten(0, 1)
        last = p["heads/click/2/W"].reshape(-1, 1)
        return (linear("heads/click/1", z).relu() @ last + p["heads/click/2/b"]).view(b.n, -1)

    def loss(self, p, looked, b):
        return F.binary_cross_entropy_with_logits(self.logits(p, looked, b), b.labels)

    def request(self, p, candidates):
        """One history and many candidates, as a function without arguments."""
        b = self.batch(torch.zeros(1).long())
        history = b.events

        def run():
            with torch.inference_mode():
                item = torch.cat([b.ids["item/id"][:history], candidates])
                ids = b.ids | {"item/id": item}
                ids |= {f"item/attribute{k}": values.index_select(0, item) for k, values in enumerate(self.attributes)}
                return self.logits(p, {path: lookup(p[path], i) for path, i in ids.items()}, b)

        return run


# ---- networks of several tasks


class Mixture:
    """mmoe or ple of one level, one layer in experts and towers, binary tasks. Experts of all kinds side by side, mixed
    by one batched product of the gates of all tasks; of ple a gate is 0 for what its task does not see."""

    def __init__(self, model, by_field=False):
        """`by_field`: what the first layers make of an id is computed once, and a row sums it up, as ours does."""
        self.net, self.tasks, self.ids, self.by_field = model.net, model.tasks, model.ids, by_field
        self.labels = torch.stack(list(model.labels.values()), 1)
        self.width, self.ple = model.net["expert_width"], model.config["model"] == "ple"
        self.tables = ["embedding"] + [f"heads/{name}/wide/ids" for name in self.tasks]
        ends = self.ids.max(0).values + 1  # columns share no ids
        self.sizes = ends.diff(prepend=torch.zeros(1).long()).tolist()

    def batch(self, rows):
        fields = self.ids.index_select(0, rows)
        ids = fields.flatten()
        b = SimpleNamespace(labels=self.labels.index_select(0, rows), ids=dict.fromkeys(self.tables, ids), fields=fields)
        b.counts = ids.bincount(minlength=sum(self.sizes)) if self.by_field else None
        return b

    def loss(self, p, looked, b):
        n, shared = len(b.labels), self.net["experts"]
        layers = ["experts/0/shared/0"] + [f"heads/{name}/experts/0/0" for name in self.tasks if self.ple]
        W = [p[at + "/W"] for at in layers] + [p[f"heads/{name}/experts/0/gate"] for name in self.tasks]
        bias = [p[at + "/b"] for at in layers]
        widths = [sum(map(len, bias)), sum(w.shape[1] for w in W[len(bias) :])]
        # One product for everything that reads the embeddings.
        W, bias = torch.cat(W, 1), F.pad(torch.cat(bias), (0, widths[1]))
        if self.by_field:
            e = p["embedding"][: len(b.counts)]
            squares = (b.counts * e.square().sum(1)).sum()
            parts = zip(e.split(self.sizes), W.chunk(len(self.sizes)))
            z = bias + F.embedding_bag(b.fields, torch.cat([rows @ of_field for rows, of_field in parts]), mode="sum")
        else:
            e = looked["embedding"]
            squares = e.square().sum()
            z = torch.addmm(bias, e.view(n, -1), W)
        penalty = self.net["penalty"] / n * squares
        experts, g = z.split(widths, 1)
        g = g.unflatten(1, (len(self.tasks), -1)).softmax(2)
        if self.ple:
            zeros = torch.zeros_like(g[:, 0, shared:])
            own = lambda k: [g[:, k, shared:] if j == k else zeros for j in range(len(self.tasks))]
            g = torch.stack([torch.cat([g[:, k, :shared], *own(k)], 1) for k in range(len(self.tasks))], 1)
        h = g @ experts.relu().unflatten(1, (-1, self.width))
        logits = []
        for k, name in enumerate(self.tasks):
            at = f"heads/{name}"
            y = torch.addmm(p[at + "/tower/0/b"], h[:, k], p[at + "/tower/0/W"]).relu()
            wide = looked[at + "/wide/ids"].view(n, -1).sum(1)
            logits.append(y @ p[at + "/last/W"].flatten() + p[at + "/last/b"] + wide)
        return penalty + len(logits) * F.binary_cross_entropy_with_logits(torch.stack(logits, 1), b.labels)


# ---- steps


def column(w):
    return w.flatten() if w.dim() == 2 and w.shape[1] == 1 else w


def lookup(table, ids):
    """The gradient of F.embedding is several times as fast as that of index_select, which is for vectors, too."""
    return table.index_select(0, ids) if table.dim() == 1 else F.embedding(ids, table)


class Rival:
    """Training of a model that `peer serve` has left in a folder; `forms`: {description: makes a Lexical, a Dupn or a
    Mixture}; `whole`: also with dense gradients of tables, which are small and have the same ids."""

    def __init__(self, model, forms, batch=256, checked=64, moved=1 / 4, whole=False):
        self.model, self.checked, self.moved = model, checked, moved
        self.updates = [self.sparse, self.distinct] + [self.whole] * whole
        self.start = {path: column(w.detach().clone()) for path, w in self.model.p.items()}
        size = self.model.size
        shuffled = np.random.default_rng(1).permutation(size)
        self.rows = [torch.tensor(rows) for rows in np.array_split(shuffled, -(-size // batch))]
        self.forms = {name: make(self.model) for name, make in forms.items()}
        for form in self.forms.values():
            self.check(form)

    def check(self, form):
        """Loss and gradients of a model that was moved at random are those of the twin, which is compared with ours."""
        draw = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for w in self.model.p.values():
                w += torch.randn(w.shape, generator=draw) * self.moved
        worst, rows, p = Worst(), self.rows[0][: self.checked], {path: column(w) for path, w in self.model.p.items()}
        batch = form.batch(rows)
        loss = form.loss(p, {path: lookup(p[path], ids) for path, ids in batch.ids.items()}, batch)
        twin, leaves = self.model.loss(rows), list(self.model.p.values())
        worst.compare("loss", "loss", loss.detach(), twin)
        gradients = [torch.autograd.grad(of, leaves, materialize_grads=True) for of in (loss, twin)]
        for path, ours, theirs in zip(p, *gradients):
            worst.compare("gradient", path, ours, theirs)
        if max(worst.of.values())[0] > 1e-4:
            sys.exit(f"peers: the rival computes something else: {worst.of}")

    def steps(self, prepared=False):
        """{description: one iteration}."""
        steps = {}
        for name, form in self.forms.items():
            batches = [form.batch(rows) for rows in self.rows] if prepared else None
            batch_of = batches.__getitem__ if prepared else lambda k, form=form: form.batch(self.rows[k])
            for update in [self.whole] if getattr(form, "by_field", False) else self.updates:
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

    def whole(self, form, p, tables):
        """one look-up and Adam of whole tables"""
        widths = [p[path].reshape(len(p[path]), -1).shape[1] for path in tables]
        table = torch.cat([p[path].detach().reshape(len(p[path]), -1) for path in tables], 1).requires_grad_()
        adam = torch.optim.Adam([table], 0.0015, fused=True)

        def update(batch):
            adam.zero_grad()
            parts = F.embedding(next(iter(batch.ids.values())), table).split(widths, 1)
            looked = {path: column(part.contiguous()) for path, part in zip(tables, parts)}
            form.loss(p | {tables[0]: table[:, : widths[0]]}, looked, batch).backward()
            adam.step()

        return update
