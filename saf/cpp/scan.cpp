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

// SAF neurons, R rows of C channels. `current`, steps x R x C, becomes what is accumulated; nothing
// arrives where `arriving` is 0. `value` arrives at every step, times its factor: C numbers, or R x C.
// `before` is what was accumulated before, or null. Returns how many spikes there were.
template <class T>
int64_t accumulate(T* current, bool arriving, const T* value, bool value_of_all, const T* before,
                   const float* factors, int64_t steps, int64_t rows, int64_t C, float decay,
                   float threshold) {
  const float reset = threshold * decay;
  std::vector<float> constant(value_of_all ? steps * C : C);
  for (int64_t k = 0; value_of_all && k < steps; k++)
    for (int64_t c = 0; c < C; c++) constant[k * C + c] = factors[k] * widened(value[c]);
  const int64_t at_once = std::max<int64_t>(1, BLOCK / C);
  int64_t fired = 0;
#pragma omp parallel for reduction(+ : fired)
  for (int64_t start = 0; start < rows; start += at_once) {
    const int64_t end = std::min(start + at_once, rows);
    for (int64_t k = 0; k < steps; k++) {
      const float factor = factors[k];
      for (int64_t row = start; row < end; row++) {
        T* const now = current + (k * rows + row) * C;
        const T* const past = k ? now - rows * C : before ? before + row * C : nullptr;
        const T* const own = value + row * C;
        const float* const alike = constant.data() + (value_of_all ? k * C : 0);
        int32_t count = 0;
#pragma omp simd reduction(+ : count)
        for (int64_t c = 0; c < C; c++) {
          float u;
          if (value_of_all) {
            u = arriving ? widened(now[c]) + alike[c] : alike[c];
          } else {
            u = arriving ? fused(widened(own[c]), factor, widened(now[c])) : factor * widened(own[c]);
          }
          const float a = past ? widened(past[c]) : 0.0f;
          u = fused(-reset, a, u);
          const float spike = u >= threshold ? 1.0f : 0.0f;
          count += u >= threshold;
          narrow(fused(decay, a, spike), now[c]);
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
