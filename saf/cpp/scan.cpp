// The scans of populations over several steps, one pass over the memory each: saf/scan.py without a
// gate, and saf/lifscan.py. To be compiled without contraction of products and sums: in float32 the
// results have the bits of torch's operations, which fuse where `fused` stands.

#include <algorithm>
#include <cstdint>
#include <vector>

#include "numbers.h"

namespace {

constexpr int64_t BLOCK = 2048;  // neurons that are taken through all steps while they are in the cache

inline float fused(float a, float b, float c) {
#ifdef __FMA__
  return __builtin_fmaf(a, b, c);
#else
  return a * b + c;
#endif
}

// A step of one neuron: `u` is what arrives, `past` what it has accumulated. Returns the spike.
template <class T> inline int32_t step(float u, T past, float decay, float threshold, T& after) {
  const float before = widened(past);
  u = fused(-(threshold * decay), before, u);
  const int32_t spike = u >= threshold;
  narrow(fused(decay, before, float(spike)), after);
  return spike;
}

// SAF neurons, R rows of C channels. `current`, steps x R x C, becomes what is accumulated; nothing
// arrives unless `arriving`. `value` arrives at every step, times its factor: C numbers, or R x C.
// `before` is what was accumulated before, or null. Returns how many spikes there were.
template <class T>
int64_t accumulate(T* current, bool arriving, const T* value, bool value_of_all, const T* before,
                   const float* factors, int64_t steps, int64_t R, int64_t C, float decay,
                   float threshold) {
  std::vector<float> constants(value_of_all ? steps * C : 0);
  for (int64_t i = 0; i < int64_t(constants.size()); i++)
    constants[i] = factors[i / C] * widened(value[i % C]);
  const std::vector<T> nothing(C, T{});
  const int64_t at_once = std::max<int64_t>(1, BLOCK / C);
  int64_t fired = 0;
#pragma omp parallel for reduction(+ : fired)
  for (int64_t start = 0; start < R; start += at_once) {
    for (int64_t k = 0; k < steps; k++) {
      for (int64_t row = start; row < std::min(start + at_once, R); row++) {
        T* const now = current + (k * R + row) * C;
        const T* const arrives = arriving ? now : nothing.data();
        const T* const past = k ? now - R * C : before ? before + row * C : nothing.data();
        int32_t count = 0;
        if (value_of_all) {
          const float* const constant = constants.data() + k * C;
#pragma omp simd reduction(+ : count)
          for (int64_t c = 0; c < C; c++)
            count += step(widened(arrives[c]) + constant[c], past[c], decay, threshold, now[c]);
        } else {
          const float factor = factors[k];
          const T* const own = value + row * C;
#pragma omp simd reduction(+ : count)
          for (int64_t c = 0; c < C; c++)
            count += step(fused(widened(own[c]), factor, widened(arrives[c])), past[c], decay,
                          threshold, now[c]);
        }
        fired += count;
      }
    }
  }
  return fired;
}

}  // namespace

extern "C" int64_t accumulate_float32(float* current, int64_t arriving, const float* value,
                                      int64_t value_of_all, const float* before, const float* factors,
                                      int64_t steps, int64_t rows, int64_t channels, float decay,
                                      float threshold) {
  return accumulate(current, arriving, value, value_of_all, before, factors, steps, rows, channels,
                    decay, threshold);
}

extern "C" int64_t accumulate_bfloat16(bfloat16* current, int64_t arriving, const bfloat16* value,
                                       int64_t value_of_all, const bfloat16* before,
                                       const float* factors, int64_t steps, int64_t rows,
                                       int64_t channels, float decay, float threshold) {
  return accumulate(current, arriving, value, value_of_all, before, factors, steps, rows, channels,
                    decay, threshold);
}

// LIF neurons. `current`, steps x size, becomes the spikes; `u` is the potential and goes on, `before`
// the spikes of the step before.
extern "C" void lif_float32(float* current, float* u, const float* before, int64_t steps,
                            int64_t size, float decay, float threshold) {
#pragma omp parallel for
  for (int64_t start = 0; start < size; start += BLOCK) {
    const int64_t count = std::min(BLOCK, size - start);
    float* const potential = u + start;
    const float* last = before + start;
    for (int64_t k = 0; k < steps; k++) {
      float* const spikes = current + k * size + start;
#pragma omp simd
      for (int64_t i = 0; i < count; i++) {
        const float p = (potential[i] - threshold * last[i]) * decay + spikes[i];
        potential[i] = p;
        spikes[i] = p >= threshold ? 1.0f : 0.0f;
      }
      last = spikes;
    }
  }
}
