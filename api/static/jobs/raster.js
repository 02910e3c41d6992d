// @ts-check
// What a network did with one sample: spikes of each layer by step, potentials at one of them.

import { count } from "../web/format.js";

/**
 * @typedef {Object} Layer
 * @property {string} name
 * @property {number} neurons
 * @property {number[]} spikes of each step
 * @property {number[]} shown
 * @property {number[][]} raster positions in `shown`, of each step
 * @property {number[][]} membrane u / V of those shown, of each step
 */

const RANGE = [-2, 3]; // of u / V; the threshold is 1
const HEIGHT = 128;

export class Raster {
  constructor() {
    this.section = /** @type {HTMLElement} */ (document.getElementById("raster"));
    this.place = /** @type {HTMLElement} */ (document.getElementById("raster-layers"));
    /** @type {Layer[]} */
    this.layers = [];
    this.step = 1;
    new ResizeObserver(() => this.show(this.step)).observe(this.place);
    window
      .matchMedia("(prefers-color-scheme: dark)")
      .addEventListener("change", () => this.show(this.step));
  }

  /** @param {Layer[]} layers */
  take(layers) {
    this.section.hidden = false;
    if (layers.map((l) => l.name).join() !== this.layers.map((l) => l.name).join()) {
      this.place.replaceChildren(
        ...layers.map(() => {
          const row = document.createElement("div");
          const pictures = [document.createElement("canvas"), document.createElement("canvas")];
          for (const picture of pictures) picture.setAttribute("role", "img");
          row.append(document.createElement("p"), ...pictures);
          return row;
        }),
      );
    }
    this.layers = layers;
  }

  /** @param {number} step counted from 1 */
  show(step) {
    this.step = step;
    this.layers.forEach((layer, index) => {
      const row = this.place.children[index];
      const [spikes, membrane] = row.querySelectorAll("canvas");
      const said = `${count(layer.spikes[step - 1])} of ${count(layer.neurons)} neurons fire at time step ${step}`;
      const text = row.querySelector("p");
      if (text) text.textContent = `${layer.name}: ${said}`;
      spikes.setAttribute("aria-label", `Spikes of ${layer.name}: ${said}`);
      membrane.setAttribute("aria-label", `Membrane potentials of ${layer.name} at time step ${step}`);
      paintSpikes(spikes, layer, step);
      paintMembrane(membrane, layer, step);
    });
  }
}

/** @param {HTMLCanvasElement} canvas */
function prepare(canvas) {
  const ratio = devicePixelRatio;
  const width = canvas.clientWidth;
  canvas.width = width * ratio;
  canvas.height = HEIGHT * ratio;
  const ctx = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  ctx.scale(ratio, ratio);
  const style = getComputedStyle(document.documentElement);
  const colour = (/** @type {string} */ name) => style.getPropertyValue(name).trim();
  return { ctx, width, colour };
}

/**
 * @param {HTMLCanvasElement} canvas
 * @param {Layer} layer
 * @param {number} step
 */
function paintSpikes(canvas, layer, step) {
  const { ctx, width, colour } = prepare(canvas);
  const column = width / layer.raster.length;
  const row = HEIGHT / layer.shown.length;
  ctx.fillStyle = colour("--accent-soft");
  ctx.fillRect((step - 1) * column, 0, column, HEIGHT);
  layer.raster.forEach((firing, t) => {
    ctx.fillStyle = colour(t + 1 === step ? "--accent" : t + 1 < step ? "--train" : "--raw");
    for (const position of firing) {
      const inset = Math.min(3, column / 6);
      ctx.fillRect(t * column + inset, position * row, column - 2 * inset, Math.max(1, row - 0.4));
    }
  });
}

/**
 * @param {HTMLCanvasElement} canvas
 * @param {Layer} layer
 * @param {number} step
 */
function paintMembrane(canvas, layer, step) {
  const { ctx, width, colour } = prepare(canvas);
  const row = HEIGHT / layer.shown.length;
  const place = (/** @type {number} */ u) =>
    (width * (Math.min(RANGE[1], Math.max(RANGE[0], u)) - RANGE[0])) / (RANGE[1] - RANGE[0]);
  const rest = place(0);
  layer.membrane[step - 1].forEach((u, position) => {
    ctx.fillStyle = colour(u >= 1 ? "--accent" : "--raw");
    const end = place(u);
    const size = Math.max(1, row - 0.4);
    ctx.fillRect(Math.min(rest, end), position * row, Math.max(1, Math.abs(end - rest)), size);
  });
  ctx.strokeStyle = colour("--soft");
  ctx.setLineDash([3, 3]);
  ctx.beginPath();
  ctx.moveTo(place(1), 0);
  ctx.lineTo(place(1), HEIGHT);
  ctx.stroke();
}
