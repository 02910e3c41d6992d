// Transforms of the tiles of Winograd's F(4x4, 3x3) in one pass over the memory each; saf/kernels/winograd_transforms.py has
// the same in torch and says what they are. Before this text stand the matrices INPUT (6 x 6), RESULT
// (6 x 4) and WEIGHT (6 x 3), constexpr double.
//
// A tile is transformed on both sides: M X M^T with an M of six rows spreads it over 36 points, point
// 6 i + j from row i and column j, and M^T Y M collects it from them. Channels lie last in memory; a
// point holds all tiles, a tile all channels. Points come and go in whole rows of six, [first, last),
// and begin with row `first`; points of images lie `point` numbers apart. Threads share the rows of tiles, or the outputs of weights, and nobody
// else writes there: the sums do not depend on the number of threads.

#include <cstdint>
#include <cstring>

#include "numbers.h"

namespace {

#ifdef __AVX512F__
constexpr int LANES = 16;  // channels that are worked on together
#else
constexpr int LANES = 8;
#endif

// LANES numbers; such vectors are an extension of the language that g++ and clang++ have.
typedef float Floats __attribute__((vector_size(4 * LANES)));
typedef uint32_t Words __attribute__((vector_size(4 * LANES)));
typedef uint16_t Halves __attribute__((vector_size(2 * LANES)));

inline void widen(const float* from, Floats& x) { std::memcpy(&x, from, sizeof x); }
inline void widen(const bfloat16* from, Floats& x) {
  Halves halves;
  std::memcpy(&halves, from, sizeof halves);
  const Words words = __builtin_convertvector(halves, Words) << 16;
  std::memcpy(&x, &words, sizeof x);
}

inline void narrow(const Floats& x, float* to) { std::memcpy(to, &x, sizeof x); }
inline void narrow(const Floats& x, bfloat16* to) {  // to the nearest, of two to the even one
  Words words;
  std::memcpy(&words, &x, sizeof words);
  const Words rounded = (words + 0x7fff + ((words >> 16) & 1)) >> 16;
  const Words no_number = Words{} + 0x7fc0;
  const Halves halves = __builtin_convertvector(x == x ? rounded : no_number, Halves);
  std::memcpy(to, &halves, sizeof halves);
}

template <class T> inline Floats load(const T* from, int64_t count) {
  Floats x;
  if (count >= LANES) {
    widen(from, x);
  } else {
    T some[LANES] = {};
    std::memcpy(some, from, count * sizeof(T));
    widen(some, x);
  }
  return x;
}

template <class T> inline void store(const Floats& x, T* to, int64_t count) {
  if (count >= LANES) {
    narrow(x, to);
  } else {
    T some[LANES];
    narrow(x, some);
    std::memcpy(to, some, count * sizeof(T));
  }
}

// Rows [first, last) of M X M^T; each value is given to sink(i, j, value).
template <const auto& M, int N, class Sink>
inline void spread(const Floats (&x)[N][N], int64_t first, int64_t last, Sink sink) {
#pragma GCC unroll 6
  for (int i = 0; i < 6; i++) {
    if (i < first || i >= last) continue;
    Floats row[N];
#pragma GCC unroll 6
    for (int b = 0; b < N; b++) {
      row[b] = Floats{};
#pragma GCC unroll 6
      for (int a = 0; a < N; a++)
        if (M[i][a] != 0) row[b] += float(M[i][a]) * x[a][b];
    }
#pragma GCC unroll 6
    for (int j = 0; j < 6; j++) {
      Floats value = {};
#pragma GCC unroll 6
      for (int b = 0; b < N; b++)
        if (M[j][b] != 0) value += float(M[j][b]) * row[b];
      sink(i, j, value);
    }
  }
}

// M^T Y M where rows of Y beyond [first, last) are zero; source(i, j) is a value of Y, and sink(a, b,
// value) gets those of the result.
template <const auto& M, int N, class Source, class Sink>
inline void collect(int64_t first, int64_t last, Source source, Sink sink) {
  Floats of_rows[N][6] = {};
#pragma GCC unroll 6
  for (int i = 0; i < 6; i++) {
    if (i < first || i >= last) continue;
#pragma GCC unroll 6
    for (int j = 0; j < 6; j++) {
      const Floats y = source(i, j);
#pragma GCC unroll 6
      for (int a = 0; a < N; a++)
        if (M[i][a] != 0) of_rows[a][j] += float(M[i][a]) * y;
    }
  }
#pragma GCC unroll 6
  for (int a = 0; a < N; a++) {
#pragma GCC unroll 6
    for (int b = 0; b < N; b++) {
      Floats value = {};
#pragma GCC unroll 6
      for (int j = 0; j < 6; j++)
        if (M[j][b] != 0) value += float(M[j][b]) * of_rows[a][j];
      sink(a, b, value);
    }
  }
}

struct Images {
  int64_t n, height, width, channels;
  int64_t h() const { return (height + 3) / 4; }
  int64_t w() const { return (width + 3) / 4; }
};

// What tiles of images have at the points: N = 6 with what a tile of results sees, a margin of one
// pixel around it; N = 4 the tile itself. Beyond the image there is zero.
template <const auto& M, int N, class T, class P>
void of_images(const T* images, const Images s, P* points, int64_t point, int64_t first,
               int64_t last) {
  constexpr int margin = (N - 4) / 2;
  const T nothing[LANES] = {};
  const int64_t h = s.h(), w = s.w(), C = s.channels;
#pragma omp parallel for
  for (int64_t row = 0; row < s.n * h; row++) {
    const int64_t image = row / h, top = row % h * 4 - margin;
    for (int64_t column = 0; column < w; column++) {
      const int64_t left = column * 4 - margin;
      const T* pixels[N][N];
      int64_t step[N][N];
      for (int a = 0; a < N; a++) {
        for (int b = 0; b < N; b++) {
          const int64_t y = top + a, z = left + b;
          const bool inside = y >= 0 && y < s.height && z >= 0 && z < s.width;
          pixels[a][b] =
              inside ? images + ((image * s.height + y) * s.width + z) * C : nothing;
          step[a][b] = inside;
        }
      }
      P* const to = points + (row * w + column) * C;
      for (int64_t c = 0; c < C; c += LANES) {
        Floats x[N][N];
        for (int a = 0; a < N; a++)
          for (int b = 0; b < N; b++) x[a][b] = load(pixels[a][b] + step[a][b] * c, C - c);
        spread<M, N>(x, first, last, [&](int i, int j, const Floats& value) {
          store(value, to + ((i - first) * 6 + j) * point + c, C - c);
        });
      }
    }
  }
}

// Tiles of results from the points; those of other rows than the first are added to what is there.
template <class P, class T>
void to_images(T* images, const Images s, const P* points, int64_t point, int64_t first,
               int64_t last) {
  const int64_t h = s.h(), w = s.w(), C = s.channels;
#pragma omp parallel for
  for (int64_t row = 0; row < s.n * h; row++) {
    const int64_t image = row / h, top = row % h * 4;
    for (int64_t column = 0; column < w; column++) {
      const int64_t left = column * 4;
      const P* const from = points + (row * w + column) * C;
      for (int64_t c = 0; c < C; c += LANES) {
        const auto source = [&](int i, int j) {
          return load(from + ((i - first) * 6 + j) * point + c, C - c);
        };
        collect<RESULT, 4>(first, last, source, [&](int a, int b, const Floats& value) {
          if (top + a >= s.height || left + b >= s.width) return;
          T* const to = images + ((image * s.height + top + a) * s.width + left + b) * C + c;
          store(first ? value + load(to, C - c) : value, to, C - c);
        });
      }
    }
  }
}

// What weights, O 3 3 C, have at the points; `turned` by half a turn where that is asked for.
template <class T, class P>
void of_weights(const T* weights, int64_t O, int64_t C, P* points, int64_t first, int64_t last,
                bool turned) {
#pragma omp parallel for
  for (int64_t o = 0; o < O; o++) {
    for (int64_t c = 0; c < C; c += LANES) {
      Floats x[3][3];
      for (int k = 0; k < 9; k++)
        x[k / 3][k % 3] = load(weights + (o * 9 + (turned ? 8 - k : k)) * C + c, C - c);
      spread<WEIGHT, 3>(x, first, last, [&](int i, int j, const Floats& value) {
        store(value, points + (((i - first) * 6 + j) * O + o) * C + c, C - c);
      });
    }
  }
}

// The gradient of weights, O 3 3 C, from that at the points; added up as `to_images` does it.
void to_weights(float* weights, int64_t O, int64_t C, const float* points, int64_t first,
                int64_t last) {
#pragma omp parallel for
  for (int64_t o = 0; o < O; o++) {
    for (int64_t c = 0; c < C; c += LANES) {
      const auto source = [&](int i, int j) {
        return load(points + (((i - first) * 6 + j) * O + o) * C + c, C - c);
      };
      collect<WEIGHT, 3>(first, last, source, [&](int a, int b, const Floats& value) {
        float* const to = weights + (o * 9 + a * 3 + b) * C + c;
        store(first ? value + load(to, C - c) : value, to, C - c);
      });
    }
  }
}

}  // namespace

// For images and weights of the type T, and points of the type P.
#define EXPORT(T, P, NAME)                                                                         \
  extern "C" void of_inputs_##NAME(const T* images, int64_t n, int64_t height, int64_t width,      \
                                   int64_t channels, P* points, int64_t point, int64_t first,      \
                                   int64_t last) {                                                 \
    of_images<INPUT, 6>(images, {n, height, width, channels}, points, point, first, last);         \
  }                                                                                                \
  extern "C" void of_results_##NAME(const T* images, int64_t n, int64_t height, int64_t width,     \
                                    int64_t channels, P* points, int64_t point, int64_t first,     \
                                    int64_t last) {                                                \
    of_images<RESULT, 4>(images, {n, height, width, channels}, points, point, first, last);        \
  }                                                                                                \
  extern "C" void to_results_##NAME(T* images, int64_t n, int64_t height, int64_t width,           \
                                    int64_t channels, const P* points, int64_t point,              \
                                    int64_t first, int64_t last) {                                 \
    to_images(images, {n, height, width, channels}, points, point, first, last);                   \
  }                                                                                                \
  extern "C" void of_weights_##NAME(const T* weights, int64_t outputs, int64_t channels,           \
                                    P* points, int64_t first, int64_t last, int64_t turned) {      \
    of_weights(weights, outputs, channels, points, first, last, turned);                           \
  }

EXPORT(float, float, float32_float32)
EXPORT(bfloat16, bfloat16, bfloat16_bfloat16)
EXPORT(bfloat16, float, bfloat16_float32)

extern "C" void to_weights_float32_float32(float* weights, int64_t outputs, int64_t channels,
                                           const float* points, int64_t first, int64_t last) {
  to_weights(weights, outputs, channels, points, first, last);
}
