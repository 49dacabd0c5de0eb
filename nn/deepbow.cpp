#include "nn/deepbow.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "core/random.h"

namespace steelyard {

namespace {

size_t at(int64_t i) { return static_cast<size_t>(i); }

// What a place tells apart. A place is one row of a small table.
constexpr int kKinds = 5;      // word, phrase, short and long run inside a word, run across words
constexpr int kLengths = 5;    // words of the query: 0 … 3, more
constexpr int kFromLast = 4;   // words behind the term: 0 … 2, more
constexpr int kRarities = 8;   // training texts with the word at the term's place, in half decades
constexpr int kHeadReach = 5;  // words before and behind the head of a title
constexpr int kHeads = 2 * kHeadReach + 1;
constexpr int kQueryPlaces = kKinds * kLengths * kFromLast * kRarities;

int kind_of(const Bag& bag, int64_t term) {
  switch (bag.terms[term].kind) {
    case TermKind::word:
      return 0;
    case TermKind::phrase:
      return 1;
    case TermKind::subword: {
      const std::string_view surface = bag.terms.surface(term);  // *fau*
      const auto characters =
          std::count_if(surface.begin(), surface.end(), [](char c) { return (c & 0xc0) != 0x80; });
      return characters - 2 <= 3 ? 2 : 3;
    }
    case TermKind::across:
      return 4;
  }
  return 0;
}

int rarity_of(int32_t frequency) {
  constexpr std::array<int32_t, kRarities - 1> kSteps = {1, 3, 10, 30, 100, 300, 1000};
  return static_cast<int>(std::upper_bound(kSteps.begin(), kSteps.end(), frequency) - kSteps.begin());
}

// What a title sells is named before its first preposition, or at its end: "Shower Trim Kit | in Chrome".
int64_t head_of(const Tokens& words) {
  for (int64_t i = 2; i < words.size(); ++i) {
    const std::string_view word = words[i];
    const char before = words[i - 1][0];
    const bool after_number = before >= '0' && before <= '9';  // 3 in: an inch
    if ((word == "in" || word == "with" || word == "for" || word == "w") && !after_number) return i - 1;
  }
  return words.size() - 1;
}

constexpr int64_t kPriors = 2;         // "(product)", "(query)"
constexpr int64_t kPriorLengths = 80;  // words of a text: 0 … 78, more
constexpr int64_t kSample = 256;       // words by which a step estimates the penalty of all

// With latent vectors, training begins where V_c(t) = log(1 + relu(kKinship (cos − kLeastKinship))).
constexpr double kKinship = 4, kLeastKinship = 0.4;
constexpr real kBound = -static_cast<real>(kKinship * kLeastKinship);
constexpr real kGrown =
    real(1e-3);                // b_t of a newer word, whose E_t is 0: too little to be kept, enough to learn
constexpr real kNever = -1e6;  // b_t of a word that expands no text

}  // namespace

void DeepBowConfig::validate() const {
  for (const auto& [key, bag] :
       {std::pair{"deepbow.query_bag", query_bag}, {"deepbow.product_bag", product_bag}})
    require(bag == "weighting" || bag == "expansion", key, bag, "weighting or expansion");
  require(penalty == "flops" || penalty == "l1", "deepbow.penalty", penalty, "flops or l1");
  require(query_dropout >= 0 && query_dropout < 1, "deepbow.query_dropout", query_dropout, "0 ≤ rate < 1");
  for (const auto& [key, factor] : {std::pair{"deepbow.prior_penalty", prior_penalty},
                                    {"deepbow.query_penalty", query_penalty},
                                    {"deepbow.product_penalty", product_penalty},
                                    {"deepbow.negatives", negatives}})
    require(factor >= 0 && std::isfinite(factor), key, factor, "0 or more");
}

DeepBow::DeepBow(Parameters::Scope scope, const DeepBowConfig& config, const EncoderConfig& encoder,
                 const Vocabulary& vocabulary)
    : config_(config), vocabulary_(vocabulary) {
  if (config.query_encoder || config.product_encoder)
    encoder_.emplace(scope / "encoder", encoder, vocabulary);
  query_ = make(scope / "query", Side::query);
  product_ = make(scope / "product", Side::product);
}

DeepBow::Bags DeepBow::make(Parameters::Scope scope, Side side) const {
  const bool query = side == Side::query;
  Bags bags;
  bags.weighting = (query ? config_.query_bag : config_.product_bag) == "weighting";
  bags.encoded = query ? config_.query_encoder : config_.product_encoder;
  bags.expands = bags.encoded && !bags.weighting;
  bags.penalty = query ? config_.query_penalty : config_.product_penalty;
  const Init idf = values([this](int64_t id) { return std::log(vocabulary_.idf(static_cast<int32_t>(id))); });
  const Init one = constant(std::log(std::exp(real(1)) - 1));  // where the softplus is 1
  bags.term = &scope.table("term", {vocabulary_.size(), 1}, bags.weighting ? idf : one);
  if (query ? config_.query_places : config_.product_places)
    bags.place = &scope.add("place", {query ? kQueryPlaces : kKinds * kHeads, 1}, constant(0));
  if (config_.priors) {
    const Parameters::Scope prior = scope / "prior";
    bags.prior_term = &prior.table("term", {vocabulary_.size(), 1}, constant(0));
    bags.prior_length = &prior.add("length", {kPriorLengths, 1}, constant(0));
    bags.prior_bias = &prior.add("bias", {1}, constant(0));
  }
  if (!bags.encoded) return bags;
  const int64_t width = encoder_->width();
  const bool latent = encoder_->latent();
  if (bags.weighting) {
    bags.attention = &scope.add("attention", {width, width}, constant(0));
    return bags;
  }
  const auto diagonal = [width](int64_t i) { return i / width == i % width ? kKinship : 0; };
  if (!latent) bags.context = &scope.add("context", {width, 1}, constant(0));
  bags.output = &scope.add("output", {width, width}, latent ? values(diagonal) : glorot(width, width));
  bags.bias = &scope.table("bias", {encoder_->table().shape.rows(), 1}, constant(latent ? kBound : 0),
                           {.grown = constant(latent ? kNever : kGrown)});
  choose_words(bags);
  if (config_.gate && !latent) {
    bags.gate = &scope.add("gate", {2 * width, 1}, constant(0));
    bags.gate_bias = &scope.add("gate_bias", {1}, constant(-3));  // the word's own weight first
  }
  return bags;
}

void DeepBow::choose_words(Bags& bags) const {
  bags.words.clear();
  for (int32_t row : encoder_->all_rows())
    if (bags.bias->buffer.host()[at(row)] > kNever / 2) bags.words.push_back(row);
}

void DeepBow::read(Side side, const Bag& bag, TextColumns& out) const {
  const auto words = static_cast<int32_t>(bag.tokens.size());
  const int64_t head = side == Side::product ? head_of(bag.tokens) : 0;
  for (int64_t i = 0; i < bag.terms.size(); ++i) {
    const Term& term = bag.terms[i];
    const int kind = kind_of(bag, i);
    if (side == Side::product) {
      const int64_t to_head = std::clamp<int64_t>(head - term.last, -kHeadReach, kHeadReach) + kHeadReach;
      out.places.add(kind * kHeads + static_cast<int>(to_head));
      continue;
    }
    const int length = std::min(words, kLengths - 1);
    const int from_last = std::min(words - 1 - term.last, kFromLast - 1);
    const int rarity = rarity_of(vocabulary_.document_frequency(vocabulary_.id(bag.tokens[term.word])));
    out.places.add(((kind * kLengths + length) * kFromLast + from_last) * kRarities + rarity);
  }
  if (of(side).encoded) encoder_->read(bag, out);
}

// ---- weights

DeepBow::Reading DeepBow::reading(Tape& tape, Side side, const TextBatch& texts) const {
  Reading reading{of(side), texts, tape.index(texts.terms)};
  if (reading.bags.encoded) reading.encoded = (*encoder_)(tape, side, texts);
  if (reading.bags.expands) reading.output = matmul(reading.encoded.text, tape.leaf(*reading.bags.output));
  return reading;
}

Scores DeepBow::prior(Tape& tape, const Reading& of) const {
  const TextBatch& texts = of.texts;
  const int64_t n = texts.texts.size();
  const std::span<real> shares = tape.array<real>(n);
  List lengths(tape, n);
  for (size_t i = 0; i < shares.size(); ++i) {
    shares[i] = 1 / std::sqrt(static_cast<real>(std::max(1, texts.texts.ends[i] - texts.texts.begins[i])));
    lengths.add(std::min<int32_t>(texts.lengths[i], kPriorLengths - 1));
  }
  const Var terms = rows(tape, *of.bags.prior_term, of.terms);
  const Var sums = scale_rows(segment_sum(terms, texts.texts), tape.constant({n}, shares));
  const Var length = gather(tape.leaf(*of.bags.prior_length), lengths);
  return {softplus(add_row(sums + length, tape.leaf(*of.bags.prior_bias))),
          affine(sum(square(terms)),
                 static_cast<real>(config_.prior_penalty / static_cast<double>(std::max<int64_t>(1, n))))};
}

Var DeepBow::own(Tape& tape, const Reading& of) const {
  const Bags& bags = of.bags;
  const TextBatch& texts = of.texts;
  Var logits = rows(tape, *bags.term, of.terms);
  const auto place = [&] { return gather(tape.leaf(*bags.place), texts.places); };
  if (bags.weighting) {
    if (bags.place) logits = logits + place();
    if (bags.attention) {
      const Var text = matmul(of.encoded.text, tape.leaf(*bags.attention));
      const Var attention =
          dot_rows(gather(text, texts.term_texts), gather(of.encoded.words, texts.term_words));
      const real scale = 1 / std::sqrt(static_cast<real>(encoder_->width()));
      logits = logits + affine(reshape(attention, logits.shape()), scale);
    }
    return softmax(logits, texts.texts);
  }
  if (bags.context)
    logits = logits + gather(matmul(of.encoded.words, tape.leaf(*bags.context)), texts.term_words);
  Var weights = softplus(logits);
  if (bags.place) weights = weights * exp(place());
  return bags.gate ? mixed(tape, of, weights) : weights;
}

Var DeepBow::mixed(Tape& tape, const Reading& of, Var own) const {
  const Bags& bags = of.bags;
  const TextBatch& texts = of.texts;
  // The terms that are words of the encoder's table; every other term keeps its weight.
  const auto m = std::ssize(texts.terms);
  List terms(tape, m), rows(tape, m), of_texts(tape, m), of_words(tape, m), offsets(tape, m + 1);
  for (int64_t j = 0; j < m; ++j) {
    offsets.add(terms.size());
    const int32_t row = encoder_->row(texts.terms[at(j)]);
    if (row < 0) continue;
    terms.add(static_cast<int32_t>(j)), rows.add(row);
    of_texts.add(texts.term_texts[at(j)]), of_words.add(texts.term_words[at(j)]);
  }
  offsets.add(terms.size());
  const Var by_text = expansion(tape, of, of_texts, rows);
  const Var both = concat({gather(of.encoded.text, of_texts), gather(of.encoded.words, of_words)});
  const Var p = sigmoid(linear(both, tape.leaf(*bags.gate), tape.leaf(*bags.gate_bias)));
  const Var change = p * (by_text - gather(own, terms));
  return own + segment_sum(change, Segments::between(offsets));
}

Var DeepBow::expansion(Tape& tape, const Reading& of, Ids words) const {
  const RowIndex index = tape.index(words);
  const Var bias = reshape(rows(tape, *of.bags.bias, index), {std::ssize(words)});
  return log_relu(add_row(matmul_transposed(of.output, rows(tape, encoder_->table(), index)), bias));
}

Var DeepBow::expansion(Tape& tape, const Reading& of, Ids texts, Ids words) const {
  const RowIndex index = tape.index(words);
  const Var dot = dot_rows(gather(of.output, texts), rows(tape, encoder_->table(), index));
  return log_relu(reshape(dot, {std::ssize(words), 1}) + rows(tape, *of.bags.bias, index));
}

Weights DeepBow::weigh(Tape& tape, Side side, const TextBatch& texts) const {
  const Reading reading = this->reading(tape, side, texts);
  const bool expands = reading.bags.expands;
  Weights weights{own(tape, reading)};
  if (expands) weights.expansion = expansion(tape, reading, reading.bags.words);
  if (!config_.priors) return weights;
  const int64_t n = texts.texts.size();
  const std::span<real> ones = tape.array<real>(n);
  std::fill(ones.begin(), ones.end(), real(1));
  const Var one = tape.constant({n, 1}, ones), own = prior(tape, reading).scores;
  const Var priors = side == Side::query ? concat({one, own}) : concat({own, one});
  weights.expansion = expands ? concat({weights.expansion, priors}) : priors;
  return weights;
}

int32_t DeepBow::expansion_id(Side side, int64_t column) const {
  const std::vector<int32_t>& words = of(side).words;
  return column < std::ssize(words) ? encoder_->id(words[at(column)])
                                    : static_cast<int32_t>(vocabulary_.size() + column - std::ssize(words));
}

std::string_view DeepBow::name(int32_t id) const {
  return id == vocabulary_.size() ? "(product)" : "(query)";
}

int64_t DeepBow::names() const { return kPriors; }

double DeepBow::first_score() const { return config_.priors ? kPriors * std::log(2.0) : 0; }

std::vector<int32_t> DeepBow::sources(Tape& tape, Side side, const TextBatch& texts, Ids ids) const {
  std::vector<int32_t> words;
  for (int32_t id : ids) words.push_back(encoder_->row(id));
  // E_t O h_c is linear in h_c, and h_c is the sum of what its words add to it.
  const Var shares = matmul(encoder_->word_shares(tape, side, texts), tape.leaf(*of(side).output));
  const Tensor logits =
      matmul_transposed(shares, rows(tape, encoder_->table(), tape.index(words))).value();  // [w, C]
  std::vector<int32_t> sources(words.size(), logits.rows() > 0 ? 0 : -1);
  for (int64_t w = 1; w < logits.rows(); ++w)
    for (size_t c = 0; c < words.size(); ++c) {
      const auto logit = [&](int64_t word) {
        return logits.data[word * std::ssize(words) + static_cast<int64_t>(c)];
      };
      if (logit(w) > logit(sources[c])) sources[c] = static_cast<int32_t>(w);
    }
  if (!encoder_->latent()) return sources;
  std::vector<int32_t> word_of;  // it reads the terms that have a vector
  for (size_t j = 0; j < texts.terms.size(); ++j)
    if (encoder_->row(texts.terms[j]) >= 0) word_of.push_back(texts.term_words[j]);
  for (int32_t& source : sources)
    if (source >= 0) source = word_of[at(source)];
  return sources;
}

// ---- training

void DeepBow::pretrain(const PairRows& pairs, const Workers& workers) {
  if (!encoder_ || !encoder_->latent()) return;
  encoder_->pretrain(pairs, workers);
  // What no text of the other side holds would only make bags long.
  for (Bags* bags : {&query_, &product_}) {
    if (!bags->expands) continue;
    const std::span<real> bias = bags->bias->buffer.host();
    if (std::ranges::any_of(bias, [](real b) { return b != kBound; })) continue;  // an older model's
    std::vector<bool> held(bias.size());
    for (int32_t id : (bags == &query_ ? pairs.products : pairs.queries).terms.values)
      if (const int32_t row = encoder_->row(id); row >= 0) held[at(row)] = true;
    for (size_t row = 0; row < bias.size(); ++row)
      if (!held[row]) bias[row] = kNever;
    choose_words(*bags);
  }
}

PairOptions DeepBow::pair_options() const {
  return {.query_dropout = config_.query_dropout,
          .all_products = config_.priors || product_.weighting || query_.expands || config_.negatives > 0,
          .negatives = config_.negatives > 0};
}

// What one side's expansion adds to the scores: for the other side's words that it does not hold itself.
Scores DeepBow::expanded_scores(Tape& tape, const Reading& of, const PairBatch& pairs, Side side, Var other,
                                double progress) const {
  const bool query = side == Side::query;
  const TextBatch& others = query ? pairs.products : pairs.queries;
  const Ids other_text = query ? pairs.product : pairs.query, own_text = query ? pairs.query : pairs.product;
  const Ids matched = query ? pairs.product_matches : pairs.query_matches;
  int64_t most = 0;
  for (int32_t t : other_text) most += others.texts.ends[at(t)] - others.texts.begins[at(t)];
  List terms(tape, most), words(tape, most), texts(tape, most), offsets(tape, pairs.size() + 1);
  const std::span<int32_t> matched_by = tape.array<int32_t>(std::ssize(others.terms));
  std::fill(matched_by.begin(), matched_by.end(), -1);
  for (int32_t pair = 0; pair < pairs.size(); ++pair) {
    offsets.add(terms.size());
    for (int32_t k = pairs.matches.begins[at(pair)]; k < pairs.matches.ends[at(pair)]; ++k)
      matched_by[at(matched[at(k)])] = pair;
    const int32_t text_of = other_text[at(pair)];
    for (int32_t j = others.texts.begins[at(text_of)]; j < others.texts.ends[at(text_of)]; ++j) {
      const int32_t row = encoder_->row(others.terms[at(j)]);
      if (row < 0 || matched_by[at(j)] == pair) continue;
      terms.add(j), words.add(row), texts.add(own_text[at(pair)]);
    }
  }
  offsets.add(terms.size());
  const Var by_text = expansion(tape, of, texts, words);
  Scores out{segment_sum(gather(other, terms) * by_text, Segments::between(offsets))};
  if (const std::vector<int32_t>& all = of.bags.words; of.bags.penalty > 0 && !all.empty()) {
    const std::span<int32_t> sample = tape.array<int32_t>(kSample);
    const uint64_t key = tape.next_random_key();
    for (size_t i = 0; i < sample.size(); ++i) sample[i] = all[random_bits(key, i) % all.size()];
    const Var weights = expansion(tape, of, sample);  // [n, kSample]
    const std::span<real> share = tape.array<real>(weights.rows());
    std::fill(share.begin(), share.end(), 1 / static_cast<real>(share.size()));
    const Var means = matmul(tape.constant({1, weights.rows()}, share), weights);
    const double ramp = std::min(1.0, 3 * progress);
    const double factor =
        of.bags.penalty * ramp * ramp * static_cast<double>(all.size()) / static_cast<double>(kSample);
    out.sparsity = affine(sum(config_.penalty == "flops" ? square(means) : means), static_cast<real>(factor));
  }
  return out;
}

// Words that neither text holds and both expansions do: all words but those of the two texts.
Var DeepBow::shared_expansion(Tape& tape, const Reading& query, const Reading& product,
                              const PairBatch& pairs) const {
  const Var of_queries = expansion(tape, query, encoder_->all_rows());
  const Var of_products = expansion(tape, product, encoder_->all_rows());
  const Var all = dot_rows(gather(of_queries, pairs.query), gather(of_products, pairs.product));  // [pairs]
  const auto words_of = [&](const TextBatch& texts, int32_t text) {
    const auto begin = at(texts.texts.begins[at(text)]), end = at(texts.texts.ends[at(text)]);
    return texts.terms.subspan(begin, end - begin);
  };
  int64_t most = 0;
  for (size_t pair = 0; pair < pairs.query.size(); ++pair)
    most += std::ssize(words_of(pairs.queries, pairs.query[pair])) +
            std::ssize(words_of(pairs.products, pairs.product[pair]));
  List words(tape, most), query_texts(tape, most), product_texts(tape, most), offsets(tape, pairs.size() + 1);
  const std::span<int32_t> held_by =
      tape.array<int32_t>(encoder_->table().shape.rows());  // the last pair with it
  std::fill(held_by.begin(), held_by.end(), -1);
  for (int32_t pair = 0; pair < pairs.size(); ++pair) {
    offsets.add(words.size());
    const int32_t in_query = pairs.query[at(pair)], in_product = pairs.product[at(pair)];
    for (const Ids terms : {words_of(pairs.queries, in_query), words_of(pairs.products, in_product)})
      for (int32_t id : terms) {
        const int32_t row = encoder_->row(id);
        if (row < 0 || std::exchange(held_by[at(row)], pair) == pair) continue;
        words.add(row), query_texts.add(in_query), product_texts.add(in_product);
      }
  }
  offsets.add(words.size());
  const Var held =
      expansion(tape, query, query_texts, words) * expansion(tape, product, product_texts, words);
  return reshape(all, {pairs.size(), 1}) - segment_sum(held, Segments::between(offsets));
}

Scores DeepBow::scores(Tape& tape, const PairBatch& pairs, double progress) const {
  const Reading query = reading(tape, Side::query, pairs.queries);
  const Reading product = reading(tape, Side::product, pairs.products);
  const Var query_weights = own(tape, query), product_weights = own(tape, product);
  Scores out{match_scores(pairs, query_weights, product_weights)};
  const auto add = [&](const Scores& more) {
    out.scores = out.scores + more.scores;
    if (more.penalty.tape) out.penalty = out.penalty.tape ? out.penalty + more.penalty : more.penalty;
    if (more.sparsity.tape) out.sparsity = out.sparsity.tape ? out.sparsity + more.sparsity : more.sparsity;
  };
  if (config_.priors) {
    const Scores of_query = prior(tape, query), of_product = prior(tape, product);
    add({gather(of_query.scores, pairs.query), of_query.penalty});
    add({gather(of_product.scores, pairs.product), of_product.penalty});
  }
  if (product_.expands) add(expanded_scores(tape, product, pairs, Side::product, query_weights, progress));
  if (query_.expands) add(expanded_scores(tape, query, pairs, Side::query, product_weights, progress));
  if (product_.expands && query_.expands) add({shared_expansion(tape, query, product, pairs)});
  return out;
}

}  // namespace steelyard
