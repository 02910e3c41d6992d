// The scans of layers over several steps, one pass over the memory each: saf/kernels/saf_scan.py without a
// gate, and saf/kernels/lif_scan.py. To be compiled without contraction of products and sums: in float32 the
// results have the bits of torch's operations, which fuse where `fused` stands.

#include <algorithm>
#include <cmath>
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

// SAF neurons as in `accumulate`, compared with what LIF neurons did in the same steps: their
// `spikes` and `potentials`, steps x R x C. `found` gets the number of spikes, the number of those
// that differ, and the largest and the sum of |u - threshold| there, the larger of both neurons.
extern "C" void compare_float32(float* current, int64_t arriving, const float* value,
                                int64_t value_of_all, const float* before, const float* factors,
                                int64_t steps, int64_t R, int64_t C, float decay, float threshold,
                                const float* spikes, const float* potentials, double* found) {
  struct Found {
    int64_t fired = 0, differing = 0;
    double largest = 0, sum = 0;
  };
  std::vector<float> constants(value_of_all ? steps * C : 0);
  for (int64_t i = 0; i < int64_t(constants.size()); i++)
    constants[i] = factors[i / C] * value[i % C];
  const std::vector<float> nothing(C, 0.0f);
  const int64_t at_once = std::max<int64_t>(1, BLOCK / C);
  // Added up block by block: the sum of the margins does not depend on the threads.
  std::vector<Found> of_block((R + at_once - 1) / at_once);
#pragma omp parallel for
  for (int64_t block = 0; block < int64_t(of_block.size()); block++) {
    std::vector<float> potential(C);
    float* const u = potential.data();
    Found of;
    const int64_t start = block * at_once;
    for (int64_t k = 0; k < steps; k++) {
      const float factor = factors[k];
      for (int64_t row = start; row < std::min(start + at_once, R); row++) {
        const int64_t place = (k * R + row) * C;
        float* const now = current + place;
        const float* const arrives = arriving ? now : nothing.data();
        const float* const past = k ? now - R * C : before ? before + row * C : nothing.data();
        const float* const theirs = spikes + place;
        int32_t count = 0, apart = 0;
        if (value_of_all) {
          const float* const constant = constants.data() + k * C;
#pragma omp simd
          for (int64_t c = 0; c < C; c++) u[c] = arrives[c] + constant[c];
        } else {
          const float* const own = value + row * C;
#pragma omp simd
          for (int64_t c = 0; c < C; c++) u[c] = fused(own[c], factor, arrives[c]);
        }
#pragma omp simd reduction(+ : count, apart)
        for (int64_t c = 0; c < C; c++) {
          u[c] = fused(-(threshold * decay), past[c], u[c]);
          const int32_t spike = u[c] >= threshold;
          now[c] = fused(decay, past[c], float(spike));
          count += spike;
          apart += spike != int32_t(theirs[c]);
        }
        of.fired += count;
        if (!apart) continue;
        of.differing += apart;
        for (int64_t c = 0; c < C; c++) {
          if ((u[c] >= threshold) == (theirs[c] != 0)) continue;
          const double margin = std::max(std::abs(u[c] - threshold),
                                         std::abs(potentials[place + c] - threshold));
          of.largest = std::max(of.largest, margin);
          of.sum += margin;
        }
      }
    }
    of_block[block] = of;
  }
  Found all;
  for (const Found& of : of_block) {
    all.fired += of.fired;
    all.differing += of.differing;
    all.largest = std::max(all.largest, of.largest);
    all.sum += of.sum;
  }
  found[0] = double(all.fired);
  found[1] = double(all.differing);
  found[2] = all.largest;
  found[3] = all.sum;
}

// LIF neurons, R rows of C. `current`, steps x R x C, becomes the spikes; `u` becomes the potential
// after the last step, `u_before` and `s_before` are potential and spikes of the step before the first.
// `bias`, C numbers, is added to every current, unless null. Every potential goes to `potentials`,
// steps x R x C, unless null.
extern "C" void lif_float32(float* current, const float* u_before, const float* s_before, float* u,
                            const float* bias, float* potentials, int64_t steps, int64_t R,
                            int64_t C, float decay, float threshold) {
  // Without a bias rows have no meaning: all neurons are one, cut as it suits the cache.
  const int64_t size = R * C, length = bias ? C : BLOCK;
  const int64_t stride = std::max<int64_t>(1, BLOCK / length) * length;
#pragma omp parallel for
  for (int64_t start = 0; start < size; start += stride) {
    const int64_t end = std::min(start + stride, size);
    const float* last = s_before;
    for (int64_t k = 0; k < steps; k++) {
      float* const spikes = current + k * size;
      const float* const past = k ? u : u_before;
      for (int64_t row = start; row < end; row += length) {
        const int64_t stop = std::min(row + length, end);
        if (bias) {
#pragma omp simd
          for (int64_t i = row; i < stop; i++) {
            const float p = (past[i] - threshold * last[i]) * decay + (spikes[i] + bias[i - row]);
            u[i] = p;
            spikes[i] = p >= threshold ? 1.0f : 0.0f;
          }
        } else {
#pragma omp simd
          for (int64_t i = row; i < stop; i++) {
            const float p = (past[i] - threshold * last[i]) * decay + spikes[i];
            u[i] = p;
            spikes[i] = p >= threshold ? 1.0f : 0.0f;
          }
        }
      }
      if (potentials) std::copy(u + start, u + end, potentials + k * size + start);
      last = spikes;
    }
  }
}
