// LIF neurons over several steps in one pass over the memory: saf/lifscan.py, bit for bit. To be
// compiled without contraction of products and sums.

#include <algorithm>
#include <cstdint>

// `current`, steps x size, becomes the spikes; `u` is the potential and goes on, `before` the spikes
// of the step before.
extern "C" void lif_float32(float* current, float* u, const float* before, int64_t steps,
                            int64_t size, float decay, float threshold) {
  constexpr int64_t block = 1024;  // neurons whose potential stays in the cache
#pragma omp parallel for
  for (int64_t start = 0; start < size; start += block) {
    const int64_t count = std::min(block, size - start);
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
