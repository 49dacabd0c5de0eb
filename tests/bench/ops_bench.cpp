// The speed of the kernels on one thread: element-wise functions, products, softmax, and two small networks
// forward and backward. Products report FLOP per second, the others time per element.
#include <benchmark/benchmark.h>

#include "autograd/ops.h"
#include "core/backend.h"
#include "core/random.h"

using namespace steelyard;

namespace {

Buffer random(Shape shape) {
  Buffer buffer(cpu(), shape);
  for (size_t i = 0; i < buffer.host().size(); ++i) buffer.host()[i] = random_normal(1, i);
  return buffer;
}

void flops(benchmark::State& state, int64_t per_iteration) {
  state.counters["FLOP/s"] =
      benchmark::Counter(static_cast<double>(per_iteration), benchmark::Counter::kIsIterationInvariantRate);
}
void elements(benchmark::State& state, int64_t per_iteration) {
  state.counters["per_element"] =
      benchmark::Counter(static_cast<double>(per_iteration),
                         benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
}

template <class Op>
void unary(benchmark::State& state) {
  const Buffer x = random({4096}), y = random({4096});
  for (auto _ : state) {
    cpu().unary(unary_id<Op>, x.tensor(), y.tensor());
    benchmark::ClobberMemory();
  }
  elements(state, 4096);
}
BENCHMARK(unary<Tanh>);
BENCHMARK(unary<Sigmoid>);
BENCHMARK(unary<Exp>);
BENCHMARK(unary<Log>);
BENCHMARK(unary<Softplus>);
BENCHMARK(unary<Gelu>);
BENCHMARK(unary<Relu>);

// c [M,N] = a [M,K] · b [K,N]; the last argument transposes b.
void gemm(benchmark::State& state) {
  const int64_t m = state.range(0), n = state.range(1), k = state.range(2);
  const bool transpose = state.range(3) != 0;
  const Buffer a = random({m, k}), b = random(transpose ? Shape{n, k} : Shape{k, n}), c = random({m, n});
  for (auto _ : state) {
    cpu().gemm(a.tensor(), Mat(b.tensor(), transpose), 0, c.tensor());
    benchmark::ClobberMemory();
  }
  flops(state, 2 * m * n * k);
}
BENCHMARK(gemm)
    ->ArgNames({"M", "N", "K", "transposed"})
    ->Args({1024, 1024, 1024, 0})
    ->Args({128, 512, 128, 0})
    ->Args({128, 512, 128, 1})
    ->Args({64, 256, 64, 0})
    ->Args({32, 512, 128, 0})
    ->Args({16, 512, 128, 0})
    ->Args({1, 512, 128, 0})
    ->Args({100, 130, 70, 0});  // a partial panel

void softmax_rows(benchmark::State& state) {
  const int64_t rows = 64, cols = state.range(0);
  const Buffer x = random({rows, cols});
  Tape tape(cpu(), Mode::score);
  for (auto _ : state) {
    tape.reset();
    benchmark::DoNotOptimize(softmax(tape.constant(x.tensor())).value().data);
  }
  elements(state, rows * cols);
}
BENCHMARK(softmax_rows)->Arg(16)->Arg(100)->Arg(1000);

// An LSTM made of simple ops, as a measure for the fused one: T steps of B rows, width H, inputs of the same
// width.
void lstm_of_ops(benchmark::State& state) {
  const int64_t B = state.range(0), T = state.range(1), H = state.range(2);
  Parameters parameters(cpu(), 1);
  const Parameter &W = parameters.root().add("W", {2 * H, 4 * H}, glorot(2 * H, 4 * H)),
                  &b = parameters.root().add("b", {4 * H}, constant(0));
  const Buffer x = random({T * B, H});
  const std::vector<real> zeros(static_cast<size_t>(B * H));
  Gradients gradients(parameters);
  Tape tape(cpu());
  for (auto _ : state) {
    tape.reset();
    gradients.clear();
    const Var weights = tape.leaf(W), bias = tape.leaf(b);
    Var h = tape.constant({B, H}, zeros), c = h;
    for (int64_t t = 0; t < T; ++t) {
      const Var gates = linear(concat({tape.constant(x.tensor().slice(t * B, B)), h}), weights, bias);
      const Var input = sigmoid(slice_columns(gates, 0, H)), forget = sigmoid(slice_columns(gates, H, H)),
                output = sigmoid(slice_columns(gates, 2 * H, H)), cell = tanh(slice_columns(gates, 3 * H, H));
      c = forget * c + input * cell;
      h = output * tanh(c);
    }
    tape.backward(mean(h), gradients);
    benchmark::DoNotOptimize(gradients.dense().data);
  }
  flops(state, 3 * 2 * T * B * 2 * H * 4 * H);
}
BENCHMARK(lstm_of_ops)
    ->ArgNames({"B", "T", "H"})
    ->Args({32, 20, 128})
    ->Args({256, 20, 64})
    ->Unit(benchmark::kMillisecond);

// Three layers with relu and layer norm, 10 classes.
void mlp(benchmark::State& state) {
  const int64_t B = state.range(0), H = state.range(1), classes = 10;
  Parameters parameters(cpu(), 1);
  const Parameters::Scope at = parameters.root();
  std::vector<const Parameter*> p;
  for (int layer = 0; layer < 3; ++layer) {
    const int64_t out = layer == 2 ? classes : H;
    const Parameters::Scope here = at / std::to_string(layer);
    p.push_back(&here.add("W", {H, out}, glorot(H, out)));
    p.push_back(&here.add("b", {out}, constant(0)));
    p.push_back(&here.add("gain", {out}, constant(1)));
  }
  const Buffer x = random({B, H});
  const std::vector<int32_t> labels(static_cast<size_t>(B), 3);
  Gradients gradients(parameters);
  Tape tape(cpu());
  for (auto _ : state) {
    tape.reset();
    gradients.clear();
    Var y = tape.constant(x.tensor());
    for (size_t layer = 0; layer < 2; ++layer) {
      const Var bias = tape.leaf(*p[3 * layer + 1]);
      y = layer_norm(linear(y, tape.leaf(*p[3 * layer]), bias, unary_id<Relu>), tape.leaf(*p[3 * layer + 2]),
                     bias);
    }
    tape.backward(mean(cross_entropy(linear(y, tape.leaf(*p[6]), tape.leaf(*p[7])), labels)), gradients);
    benchmark::DoNotOptimize(gradients.dense().data);
  }
  flops(state, 3 * 2 * B * H * (2 * H + classes));
}
BENCHMARK(mlp)->ArgNames({"B", "H"})->Args({64, 64})->Args({256, 256})->Unit(benchmark::kMicrosecond);

}  // namespace
