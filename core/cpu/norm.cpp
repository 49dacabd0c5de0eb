#include "core/cpu/cpu_backend.h"
#include "core/cpu/lane.h"

namespace steelyard {

void CpuBackend::layer_norm(Tensor x, Tensor gain, Tensor bias, real epsilon, Tensor y, Tensor mean,
                            Tensor inverse) {
  const int64_t cols = x.cols();
  for (int64_t r = 0; r < x.rows(); ++r) {
    const real* from = x.data + r * cols;
    real* to = y.data + r * cols;
    const double n = static_cast<double>(cols);
    const double m = sum_lanes(cols, [&](auto i) { return i.load(from); }) / n;
    const auto centre = static_cast<real>(m);
    // The deviations first, and then their squares: E x² − (E x)² would cancel.
    for_lanes(cols, [&](auto i) { i.store(to, Lane(i.load(from) - centre)); });
    const double squares = sum_lanes(cols, [&](auto i) { return Lane(i.load(to).square()); });
    const auto scale = static_cast<real>(1 / std::sqrt(squares / n + static_cast<double>(epsilon)));
    for_lanes(cols,
              [&](auto i) { i.store(to, Lane(i.load(to) * scale * i.load(gain.data) + i.load(bias.data))); });
    mean.data[r] = centre;
    inverse.data[r] = scale;
  }
}

// forward was  y = gain ⊙ n + bias,  n = (x − mean) · inverse
// so now       dx = inverse · (g − mean(g) − n · mean(g ⊙ n)),  g = gain ⊙ dy
void CpuBackend::layer_norm_grad(Tensor x, Tensor gain, Tensor mean, Tensor inverse, Tensor dy, Tensor dx,
                                 Tensor dgain, Tensor dbias) {
  const int64_t cols = x.cols();
  for (int64_t r = 0; r < x.rows(); ++r) {
    const real *from = x.data + r * cols, *dto = dy.data + r * cols;
    const real centre = mean.data[r], scale = inverse.data[r];
    const auto normalised = [&](auto i) { return Lane((i.load(from) - centre) * scale); };
    if (!dgain.empty())
      for_lanes(cols, [&](auto i) { add_to(i, dgain.data, Lane(i.load(dto) * normalised(i))); });
    if (!dbias.empty()) for_lanes(cols, [&](auto i) { add_to(i, dbias.data, i.load(dto)); });
    if (dx.empty()) continue;
    const double n = static_cast<double>(cols);
    const auto g = [&](auto i) { return Lane(i.load(gain.data) * i.load(dto)); };
    const auto mean_g = static_cast<real>(sum_lanes(cols, g) / n);
    const auto mean_gn =
        static_cast<real>(sum_lanes(cols, [&](auto i) { return Lane(g(i) * normalised(i)); }) / n);
    for_lanes(cols, [&](auto i) {
      add_to(i, dx.data + r * cols, Lane(scale * (g(i) - mean_g - normalised(i) * mean_gn)));
    });
  }
}

}  // namespace steelyard
