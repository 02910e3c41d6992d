/* What snn.wasm exports: the network of snn.c, a sample at a time. */
#include "snn.h"

#define EXPORT(name) __attribute__((export_name(name)))

static uint8_t sample[SNN_SAMPLE_BYTES];
static int32_t steps, count, threshold;

EXPORT("sample") uint8_t *wasm_sample(void)
{
    return sample;
}

EXPORT("begin") void wasm_begin(void)
{
    steps = 0;
    snn_begin(sample);
}

EXPORT("step") void wasm_step(void)
{
    if (steps == SNN_TIMESTEPS)
        __builtin_trap();
    SNN_REPLAY_STEP(steps);
    steps++;
}

EXPORT("scores") const int32_t *wasm_scores(void)
{
    return snn_scores();
}

EXPORT("predicted") int wasm_predicted(void)
{
    return snn_class();
}

EXPORT("spikes") const uint8_t *wasm_spikes(int layer)
{
    return snn_spikes(layer, &count);
}

EXPORT("potentials") const int32_t *wasm_potentials(int layer)
{
    return snn_potentials(layer, &threshold);
}

EXPORT("threshold") int32_t wasm_threshold(int layer)
{
    snn_potentials(layer, &threshold);
    return threshold;
}
