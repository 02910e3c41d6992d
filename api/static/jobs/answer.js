// @ts-check
// What a network in WebAssembly answers, in the words and to the digits of `POST …/predict`
// (saf/processes/steps.py).

/** @typedef {import("./snn.js").Network} Network */

const SHOWN_NEURONS = 128; // of a layer
const GOLDEN = 0.618;

/**
 * @param {Network} network
 * @param {Uint8Array} pixels
 */
export function answered(network, pixels) {
  const layers = network.layers.map(({ name, shape }) => {
    const neurons = shape.reduce((product, side) => product * side, 1);
    const shown = some(neurons, Math.min(neurons, SHOWN_NEURONS));
    return {
      ...{ name, shape, neurons, shown },
      spikes: /** @type {number[]} */ ([]),
      raster: /** @type {number[][]} */ ([]),
      membrane: /** @type {number[][]} */ ([]),
    };
  });
  const scores = [];
  network.begin(pixels);
  for (let t = 0; t < network.timesteps; t++) {
    network.step();
    scores.push(Array.from(network.scores(), rounded));
    for (const layer of layers) {
      const spikes = network.spikes(layer.name);
      const potentials = network.potentials(layer.name);
      layer.spikes.push(spikes.reduce((sum, spike) => sum + spike, 0));
      layer.raster.push([...layer.shown.keys()].filter((at) => spikes[layer.shown[at]]));
      layer.membrane.push(layer.shown.map((neuron) => rounded(potentials[neuron])));
    }
  }
  const predictions = scores.map((ofStep) => ofStep.indexOf(Math.max(...ofStep)));
  return {
    checkpoint_step: null,
    timesteps: network.timesteps,
    class_names: network.classNames,
    predicted: predictions[predictions.length - 1],
    label: null,
    ...{ scores, predictions, layers },
  };
}

/**
 * `most` of `count` numbers in order, the same ones always: those that the server shows.
 * @param {number} count
 * @param {number} most
 */
export function some(count, most) {
  let step = Math.floor(GOLDEN * count);
  while (divisor(step, count) !== 1) step++;
  return Array.from({ length: most }, (_, i) => (i * step) % count).sort((a, b) => a - b);
}

/**
 * @param {number} a
 * @param {number} b
 * @returns {number}
 */
function divisor(a, b) {
  return b ? divisor(b, a % b) : a;
}

/**
 * To four places, halves to the even one: a number of 24 bits lies between two only if it is an odd
 * multiple of 1 / 32.
 * @param {number} x
 */
export function rounded(x) {
  if (Math.abs(32 * x) % 2 !== 1) return Number(x.toFixed(4));
  const below = Math.floor(1e4 * x);
  return (below % 2 ? below + 1 : below) / 1e4;
}
