// @ts-check
// Runs snn.wasm, a spiking network in integers that saf-snn wrote; its certificate lies beside it.
// One module for browsers, Node.js and whatever else has WebAssembly; nothing else is needed.
//
//   import { load } from "./snn.js";
//   const network = await load(fetch("snn.wasm"));        // or its bytes
//   const { predicted, scores } = network.run(pixels);    // a Uint8Array: C H W, from 0 to 255
//
// `network.inputBytes` bytes are a sample; of event frames and series it is one time step after another,
// and network.run(padded, 12) stops after 12 of them. Or step by step, and with what goes on inside:
//
//   network.begin(pixels);
//   for (let t = 0; t < network.timesteps; t++) {
//     network.step();
//     network.scores();               // of each of network.classNames, after this step
//     for (const { name } of network.layers) {
//       network.spikes(name);         // 1 where a neuron fires; in the order of the layer's shape
//       network.potentials(name);     // u / V before the reset: from 1 on a neuron fires
//     }
//   }
//
// A page with a Content-Security-Policy has to allow script-src 'wasm-unsafe-eval'.

/**
 * @typedef {object} About what snn.wasm says of itself, in its section "saf-snn"
 * @property {string} is
 * @property {number} timesteps
 * @property {boolean} frames whether a sample has values for each time step: event frames, series
 * @property {number[]} input_shape C H W, of an image or a frame
 * @property {string[]} class_names
 * @property {{ name: string, shape: number[] }[]} layers
 * @property {number} score_bits scores are multiples of 2^−score_bits
 * @property {boolean} weighted whether later time steps count more, by powers of `decay`
 * @property {number} decay λ of the readout
 */

const SECTION = "saf-snn";

/**
 * @param {Response | BufferSource | Promise<Response | BufferSource>} source of snn.wasm
 * @returns {Promise<Network>}
 */
export async function load(source) {
  const given = await source;
  let bytes = given;
  if (given instanceof Response) {
    if (!given.ok) throw new Error(`snn.wasm is not there: the server answered ${given.status}`);
    bytes = await given.arrayBuffer();
  }
  const module = await WebAssembly.compile(/** @type {BufferSource} */ (bytes));
  const [section] = WebAssembly.Module.customSections(module, SECTION);
  if (!section) throw new Error("this is no network that saf-snn wrote");
  const about = JSON.parse(new TextDecoder().decode(section));
  return new Network(about, await WebAssembly.instantiate(module, {}));
}

export class Network {
  #steps = 0;
  /** @type {any} */
  #run;

  /**
   * @param {About} about
   * @param {WebAssembly.Instance} instance
   */
  constructor(about, instance) {
    this.about = about;
    this.timesteps = about.timesteps;
    this.classNames = about.class_names;
    this.layers = about.layers;
    this.inputBytes = size(about.input_shape) * (about.frames ? about.timesteps : 1);
    this.#run = instance.exports;
  }

  /**
   * All time steps of a sample, or those before its end.
   * @param {Uint8Array} pixels
   * @param {number} [steps] from 1 to `timesteps`
   * @returns {{ predicted: number, scores: Float32Array }} the number of the class with the highest
   * score, and the scores
   */
  run(pixels, steps = this.timesteps) {
    if (!Number.isInteger(steps) || steps < 1 || steps > this.timesteps) {
      throw new RangeError(`a sample has 1 to ${this.timesteps} time steps, not ${steps}`);
    }
    this.begin(pixels);
    while (this.#steps < steps) this.step();
    return { predicted: this.predicted(), scores: this.scores() };
  }

  /**
   * Take a sample; nothing of the one before is left.
   * @param {Uint8Array} pixels
   */
  begin(pixels) {
    if (pixels.BYTES_PER_ELEMENT !== 1) {
      throw new TypeError("a sample is a Uint8Array, of pixels from 0 to 255; multiply floats by 255");
    }
    if (pixels.length !== this.inputBytes) {
      throw new RangeError(`a sample has ${this.inputBytes} bytes, and these are ${pixels.length}`);
    }
    this.#steps = 0;
    this.#view(Uint8Array, this.#run.sample(), pixels.length).set(pixels);
    this.#run.begin();
  }

  /** One time step. */
  step() {
    if (this.#steps === this.timesteps) {
      throw new RangeError(`all ${this.timesteps} time steps have run: begin with a sample`);
    }
    this.#run.step();
    this.#steps++;
  }

  /** The number of the class with the highest score. */
  predicted() {
    return this.#run.predicted();
  }

  /** The score of each class after the time steps so far. */
  scores() {
    const { score_bits: bits, weighted, decay } = this.about;
    let counted = 1; // before the first time step all scores are 0
    for (let step = 1; weighted && step < this.#steps; step++) counted = decay * counted + 1;
    const unit = 2 ** -bits / counted;
    const whole = this.#view(Int32Array, this.#run.scores(), this.classNames.length);
    return Float32Array.from(whole, (score) => score * unit);
  }

  /**
   * Which neurons of a layer fire in this time step: 1, or 0.
   * @param {string} layer
   */
  spikes(layer) {
    const [number, neurons] = this.#layer(layer);
    return this.#view(Uint8Array, this.#run.spikes(number), neurons).slice();
  }

  /**
   * u / V of the neurons of a layer before the reset.
   * @param {string} layer
   */
  potentials(layer) {
    const [number, neurons] = this.#layer(layer);
    const threshold = this.#run.threshold(number);
    const whole = this.#view(Int32Array, this.#run.potentials(number), neurons);
    return Float32Array.from(whole, (potential) => potential / threshold);
  }

  /**
   * @param {string} name
   * @returns {[number, number]} its place, and how many neurons it has
   */
  #layer(name) {
    const number = this.layers.findIndex((layer) => layer.name === name);
    if (number < 0) throw new RangeError(`there is no layer ${name}`);
    return [number, size(this.layers[number].shape)];
  }

  /**
   * @template T
   * @param {new (memory: ArrayBuffer, at: number, count: number) => T} kind
   * @param {number} at
   * @param {number} count
   */
  #view(kind, at, count) {
    return new kind(this.#run.memory.buffer, at, count);
  }
}

/** @param {number[]} shape */
function size(shape) {
  return shape.reduce((product, side) => product * side, 1);
}
