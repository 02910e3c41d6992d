"""Header and source of a network on a grid in C, around the lines of an `IntegerSource`."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import TYPE_CHECKING

from saf.lif.export.templates.text import by, constant_lines, indented, template

if TYPE_CHECKING:
    from saf.lif.export.templates.integer_source import IntegerSource
    from saf.model.layers import Layer

SHORTER = """
/* Of one that ends before: after so many time steps, what comes behind is not read. */
int snn_run_steps(const uint8_t *sample, int count);
"""


def header(source: IntegerSource) -> str:
    """`snn.h`."""
    of, layers = source.network.description, source.spiking()
    names = ", ".join(f"{number} {layer.name}" for number, layer in enumerate(layers))
    frame = prod(source.input_shape)
    step = "snn_step(const uint8_t *frame)" if of.frames else "snn_step(void)"
    replay = "snn_step(sample + (t) * SNN_INPUTS)" if of.frames else "snn_step()"
    return f"""/* {source.network!r}, in integers. Written by saf-snn; the certificate
   beside it says what it does. A sample is {"T " if of.frames else ""}{
        by(source.input_shape)
    } bytes, 0 to 255{source.order()}. */
#ifndef SNN_H
#define SNN_H
#include <stdint.h>

#define SNN_TIMESTEPS {source.timesteps}
#define SNN_INPUTS {frame}
#define SNN_SAMPLE_BYTES {frame * (source.timesteps if of.frames else 1)}
#define SNN_CLASSES {len(of.class_names)}
#define SNN_LAYERS {len(layers)} /* {names} */
#define SNN_WEIGHT_BYTES {source.weight_bytes} /* constants */
#define SNN_STATIC_BYTES {source.static_bytes} /* memory that changes */

/* The class of a sample, after all time steps. */
int snn_run(const uint8_t *sample);
{SHORTER if of.frames else ""}
/* The same step by step: begin, {"frame by frame" if of.frames else "T steps"}, then read. */
void snn_begin(const uint8_t *sample);
void {step};
const int32_t *snn_scores(void);
int snn_class(void);
const uint8_t *snn_spikes(int layer, int32_t *count);
/* Before the reset; neurons fire from the threshold on. */
const int32_t *snn_potentials(int layer, int32_t *threshold);

#define SNN_REPLAY_STEP(t) {replay}
#endif
"""


def program(source: IntegerSource) -> str:
    """`snn.c`."""
    of = source.network.description
    prototype = "void snn_step(const uint8_t *frame)" if of.frames else "void snn_step(void)"
    call = "snn_step(sample + t * SNN_INPUTS)" if of.frames else "snn_step()"
    begin = "" if of.frames else "    const uint8_t *frame = sample;\n" + indented(source.begin)
    spikes = _cases(source, "count", lambda layer: (prod(layer.shape), f"s_{layer.name}"))
    potentials = _cases(
        source, "threshold", lambda layer: (source.thresholds[layer.name], f"u_{layer.name}")
    )
    used = "    (void)sample;\n" if of.frames else ""
    run = "int snn_run(const uint8_t *sample)"
    if of.frames:
        whole = ["return snn_run_steps(sample, SNN_TIMESTEPS);"]
        run += f"\n{{\n{indented(whole)}}}\n\n"
        run += "int snn_run_steps(const uint8_t *sample, int count)"
    return f"""/* {source.network!r}; see snn.h. */
#include "snn.h"
#include <string.h>

{template("kernels.c")}
{template("rounding.c")}
{"".join(line + chr(10) for line in source.kernels.values())}
{"".join(constant_lines(*constant) for constant in source.constants)}
{"".join(line + chr(10) for line in source.arrays)}
void snn_begin(const uint8_t *sample)
{{
{used}{indented(source.reset)}{begin}}}

{prototype}
{{
{indented(source.begin) if of.frames else ""}{indented(source.step)}}}

const int32_t *snn_scores(void)
{{
    return scores;
}}

int snn_class(void)
{{
    int best = 0;
    for (int k = 1; k < SNN_CLASSES; k++)
        if (scores[k] > scores[best])
            best = k;
    return best;
}}

const uint8_t *snn_spikes(int layer, int32_t *count)
{{
    switch (layer) {{
{spikes}
    default:
        *count = 0;
        return 0;
    }}
}}

const int32_t *snn_potentials(int layer, int32_t *threshold)
{{
    switch (layer) {{
{potentials}
    default:
        *threshold = 0;
        return 0;
    }}
}}

{run}
{{
    snn_begin(sample);
    for (int t = 0; t < {"count && t < " if of.frames else ""}SNN_TIMESTEPS; t++)
        {call};
    return snn_class();
}}
"""


def _cases(source: IntegerSource, told: str, of: Callable[[Layer], tuple[int, str]]) -> str:
    """The lines of a switch over layers: a number that is told, and an array."""
    found = [of(layer) for layer in source.spiking()]
    return "\n".join(
        f"    case {number}:\n        *{told} = {value};\n        return {array};"
        for number, (value, array) in enumerate(found)
    )
