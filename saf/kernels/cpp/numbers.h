// bfloat16, and numbers of both types read as float and written from it.

#pragma once

#include <cstdint>
#include <cstring>

struct bfloat16 {
  uint16_t bits;
};

inline float widened(float x) { return x; }
inline float widened(bfloat16 x) {
  const uint32_t bits = uint32_t(x.bits) << 16;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

inline void narrow(float x, float& to) { to = x; }
inline void narrow(float x, bfloat16& to) {  // to the nearest, of two to the even one
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  const uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  to.bits = uint16_t((bits & 0x7fffffff) > 0x7f800000 ? 0x7fc0 : rounded);
}
