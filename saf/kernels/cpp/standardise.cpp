// Scaled weight standardisation, forward and backward, in one pass over the memory each:
// saf/model/weight_standardisation.py. Weights are O C P, P pixels of a kernel; what maps compute with, and its
// gradient, is O P C.

#include <cmath>
#include <cstdint>

#include "numbers.h"

namespace {

// `effective` = factor (W - mean) r gain, with r = 1 / sqrt(var n + epsilon); mean and r are kept.
template <class T>
void forward(const float* weight, const float* gain, int64_t O, int64_t C, int64_t P, float factor,
             float epsilon, T* effective, float* means, float* rs) {
  const int64_t n = C * P;
#pragma omp parallel for
  for (int64_t o = 0; o < O; o++) {
    const float* const own = weight + o * n;
    float sum = 0, squares = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++) sum += own[i];
    const float mean = sum / n;
#pragma omp simd reduction(+ : squares)
    for (int64_t i = 0; i < n; i++) squares += (own[i] - mean) * (own[i] - mean);
    const float r = 1 / std::sqrt(squares * (float(n) / (n - 1)) + epsilon);
    const float scale = factor * r * gain[o];
    for (int64_t p = 0; p < P; p++)
      for (int64_t c = 0; c < C; c++)
        narrow((own[c * P + p] - mean) * scale, effective[o * n + p * C + c]);
    means[o] = mean;
    rs[o] = r;
  }
}

template <class T>
void backward(const T* D, const float* weight, const float* gain, const float* means,
              const float* rs, int64_t O, int64_t C, int64_t P, float factor, float* of_weight,
              float* of_gain) {
  const int64_t n = C * P;
#pragma omp parallel for
  for (int64_t o = 0; o < O; o++) {
    const T* const d = D + o * n;
    const float* const own = weight + o * n;
    const float mean = means[o], r = rs[o];
    float sum = 0, S = 0;  // of D, and of D (W - mean)
    for (int64_t p = 0; p < P; p++) {
#pragma omp simd reduction(+ : sum, S)
      for (int64_t c = 0; c < C; c++) {
        const float g = widened(d[p * C + c]);
        sum += g;
        S += g * (own[c * P + p] - mean);
      }
    }
    const float scale = factor * r * gain[o], slope = scale * S * r * r * (float(n) / (n - 1));
    const float of_mean = sum / n;
    for (int64_t c = 0; c < C; c++)
      for (int64_t p = 0; p < P; p++)
        of_weight[o * n + c * P + p] =
            scale * (widened(d[p * C + c]) - of_mean) - slope * (own[c * P + p] - mean);
    of_gain[o] = factor * r * S;
  }
}

}  // namespace

#define EXPORT(T, NAME)                                                                            \
  extern "C" void forward_##NAME(const float* weight, const float* gain, int64_t O, int64_t C,     \
                                 int64_t P, float factor, float epsilon, T* effective,             \
                                 float* means, float* rs) {                                        \
    forward(weight, gain, O, C, P, factor, epsilon, effective, means, rs);                         \
  }                                                                                                \
  extern "C" void backward_##NAME(const T* D, const float* weight, const float* gain,              \
                                  const float* means, const float* rs, int64_t O, int64_t C,       \
                                  int64_t P, float factor, float* of_weight, float* of_gain) {     \
    backward(D, weight, gain, means, rs, O, C, P, factor, of_weight, of_gain);                     \
  }

EXPORT(float, float32)
EXPORT(bfloat16, bfloat16)
