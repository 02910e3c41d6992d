/* Event-driven maps: only what is not zero costs time. All arithmetic is exact in int32_t.
   C H W is the shape of what arrives, c h w of what leaves; arrays lie in that order. */

#define SNN_CONV(NAME, SOURCE, WEIGHT)                                                            \
    static void NAME(int32_t *to, const SOURCE *from, const WEIGHT *weight, int C, int H, int W,  \
                     int c, int h, int w, int high, int wide, int down, int along, int above,     \
                     int beside, int groups, int32_t times)                                       \
    { /* a kernel of high x wide, strides down and along, padding above and beside */             \
        const int in = C / groups, out = c / groups, window = high * wide;                        \
        for (int i = 0; i < C; i++)                                                               \
            for (int y = 0; y < H; y++)                                                           \
                for (int x = 0; x < W; x++) {                                                     \
                    const int32_t value = (int32_t)from[(i * H + y) * W + x] * times;             \
                    if (value == 0)                                                               \
                        continue;                                                                 \
                    for (int ky = 0; ky < high; ky++) {                                           \
                        const int up = y + above - ky;                                            \
                        if (up < 0 || up % down || up / down >= h)                                \
                            continue;                                                             \
                        for (int kx = 0; kx < wide; kx++) {                                       \
                            const int left = x + beside - kx;                                     \
                            if (left < 0 || left % along || left / along >= w)                    \
                                continue;                                                         \
                            const int first = i / in * out, at = up / down * w + left / along;    \
                            const int k = (i % in) * window + ky * wide + kx;                     \
                            for (int o = first; o < first + out; o++)                             \
                                to[o * h * w + at] += value * weight[o * in * window + k];        \
                        }                                                                         \
                    }                                                                             \
                }                                                                                 \
    }

#define SNN_LINEAR(NAME, SOURCE, WEIGHT)                                                          \
    static void NAME(int32_t *to, const SOURCE *from, const WEIGHT *weight, int in, int out,      \
                     int32_t times)                                                               \
    { /* weight: in out */                                                                        \
        for (int i = 0; i < in; i++) {                                                            \
            const int32_t value = (int32_t)from[i] * times;                                       \
            if (value == 0)                                                                       \
                continue;                                                                         \
            for (int o = 0; o < out; o++)                                                         \
                to[o] += value * weight[i * out + o];                                             \
        }                                                                                         \
    }

#define SNN_POOL(NAME, SOURCE)                                                                    \
    static void NAME(int32_t *to, const SOURCE *from, int C, int H, int W, int high, int wide,    \
                     int32_t times)                                                               \
    { /* sums over windows; an incomplete window is dropped */                                    \
        const int h = H / high, w = W / wide;                                                     \
        for (int i = 0; i < C; i++)                                                               \
            for (int y = 0; y < h * high; y++)                                                    \
                for (int x = 0; x < w * wide; x++)                                                \
                    to[(i * h + y / high) * w + x / wide] +=                                      \
                        (int32_t)from[(i * H + y) * W + x] * times;                               \
    }

#define SNN_UPSAMPLE(NAME, SOURCE)                                                                \
    static void NAME(int32_t *to, const SOURCE *from, int C, int H, int W, int factor,            \
                     int32_t times)                                                               \
    {                                                                                             \
        for (int i = 0; i < C; i++)                                                               \
            for (int y = 0; y < H * factor; y++)                                                  \
                for (int x = 0; x < W * factor; x++)                                              \
                    to[(i * H * factor + y) * W * factor + x] +=                                  \
                        (int32_t)from[(i * H + y / factor) * W + x / factor] * times;             \
    }

#define SNN_ADD(NAME, SOURCE)                                                                     \
    static void NAME(int32_t *to, const SOURCE *from, int count, int32_t times)                   \
    {                                                                                             \
        for (int i = 0; i < count; i++)                                                           \
            to[i] += (int32_t)from[i] * times;                                                    \
    }
