/* What snn.c needs of <string.h>, where there is no C library. */
#include <stddef.h>

static inline void *memset(void *to, int value, size_t bytes)
{
    return __builtin_memset(to, value, bytes);
}

static inline void *memcpy(void *to, const void *from, size_t bytes)
{
    return __builtin_memcpy(to, from, bytes);
}
