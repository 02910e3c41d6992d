/* Reads samples from the standard input; writes, of each, at every step the spikes of every layer
   and then the scores after it. For the replay; not part of what is deployed. */
#include "snn.h"
#include <stdio.h>

int main(void)
{
    static uint8_t sample[SNN_SAMPLE_BYTES];
    while (fread(sample, 1, sizeof sample, stdin) == sizeof sample) {
        snn_begin(sample);
        for (int t = 0; t < SNN_TIMESTEPS; t++) {
            SNN_REPLAY_STEP(t);
            for (int layer = 0; layer < SNN_LAYERS; layer++) {
                int32_t count;
                const uint8_t *spikes = snn_spikes(layer, &count);
                fwrite(spikes, 1, (size_t)count, stdout);
            }
            fwrite(snn_scores(), sizeof(int32_t), SNN_CLASSES, stdout);
        }
    }
    return 0;
}
