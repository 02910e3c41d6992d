/* x / 2^bits to the nearest whole number, halves to the even one. */
static int32_t snn_rounded(int32_t x, int bits)
{
    const int32_t unit = (int32_t)1 << bits;
    int32_t whole = x / unit, rest = x % unit;
    if (rest < 0) {
        rest += unit;
        whole -= 1;
    }
    if (2 * rest > unit || (2 * rest == unit && whole % 2 != 0))
        whole += 1;
    return whole;
}
