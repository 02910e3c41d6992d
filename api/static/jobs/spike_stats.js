// @ts-check
// Spike statistics of a job: a heat map of layers by step, and the membrane potentials of one measurement.
import { number, percent } from "../web/format.js";
import { ask, isOfRequest } from "../web/http.js";
import { refreshSoon } from "../web/live.js";

/**
 * @typedef {Object} Measurement
 * @property {number} step
 * @property {number} attempt
 * @property {(number | null)[]} firing_rate
 * @property {(number | null)[]} dead
 * @property {(number | null)[]} saturated
 * @property {(number | null)[]} gradient_norm
 * @property {number[][]} membrane
 */
/** @typedef {"firing_rate" | "dead" | "saturated" | "gradient_norm"} Statistic */

const EVERY_MS = 2000;
const ROW = 22;
const AXIS = 20;
const NAMES = { firing_rate: "firing rate", dead: "dead", saturated: "saturated" };
const SVG = "http://www.w3.org/2000/svg";

export class SpikeStatistics {
  /** @param {string} url of the statistics */
  constructor(url) {
    this.url = url;
    /** @type {string[]} */
    this.layers = [];
    /** @type {Measurement[]} */
    this.looks = [];
    /** @type {number | null} the measurement that is chosen; null: the newest */
    this.chosen = null;
    this.range = [-2, 3]; // of u / V in the histograms
    this.left = this.column = 0; // where the heat map begins, and how wide a measurement is
    this.asked = 0;
    this.timer = 0;
    this.section = /** @type {HTMLElement} */ (document.getElementById("spike-statistics"));
    this.canvas = /** @type {HTMLCanvasElement} */ (document.getElementById("heat-map"));
    this.select = /** @type {HTMLSelectElement} */ (document.getElementById("spike-statistic"));
    this.select.addEventListener("change", () => this.draw());
    this.canvas.addEventListener("pointermove", (event) => this.#choose(this.#lookAt(event)));
    this.canvas.addEventListener("keydown", (event) => {
      const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!move) return;
      event.preventDefault();
      this.#choose((this.chosen ?? this.looks.length - 1) + move);
    });
    this.canvas.addEventListener("pointerleave", () => this.#choose(null));
    new ResizeObserver(() => this.draw()).observe(this.canvas);
    window
      .matchMedia("(prefers-color-scheme: dark)")
      .addEventListener("change", () => this.draw());
  }

  /** Read all measurements again: a new attempt goes on from a checkpoint, later ones are gone. */
  async reload() {
    this.looks = [];
    await this.#read();
  }

  /** What is new, now and then. */
  growSoon() {
    if (this.timer) return;
    this.timer = window.setTimeout(
      async () => {
        this.timer = 0;
        await this.#read();
      },
      Math.max(0, this.asked + EVERY_MS - Date.now()),
    );
  }

  async #read() {
    this.asked = Date.now();
    const after = this.looks.length ? this.looks[this.looks.length - 1].step : -1;
    try {
      const answer = await ask(`${this.url}?after_step=${after}`);
      const known = this.looks.filter((look) => look.step <= after);
      this.looks = [...known, ...answer.looks.filter((/** @type {Measurement} */ l) => l.step > after)];
      if (answer.layers.length) this.layers = answer.layers;
      this.range = answer.membrane_range;
      this.draw();
      // The table below is the server's, of the newest look when it was made.
      const shown = document.getElementById("spike-statistics-table")?.dataset.step;
      const newest = this.looks.at(-1)?.step;
      if (newest !== undefined && String(newest) !== shown) refreshSoon();
    } catch (error) {
      if (!isOfRequest(error)) throw error; // the stream says that it is lost, the next message asks again
    }
  }

  draw() {
    if (!this.looks.length) return;
    for (const id of ["spike-statistics", "heat", "spike-statistics-settings"]) {
      const element = document.getElementById(id);
      if (element) element.hidden = false;
    }
    this.#paint();
    this.#describe();
    this.#membranes();
  }

  get #statistic() {
    return /** @type {Statistic} */ (this.select.value);
  }

  get #scale() {
    const values = this.looks
      .flatMap((look) => look[this.#statistic])
      .filter((value) => value !== null && value > 0);
    const highest = Math.max(...values.map(Number), 1e-12);
    const lowest = Math.min(...values.map(Number), highest);
    if (this.#statistic === "gradient_norm") {
      const length = Math.log(highest / lowest) || 1;
      return {
        lowest,
        highest,
        of: (/** @type {number} */ v) => (v > 0 ? Math.log(v / lowest) / length : 0),
      };
    }
    const most = this.#statistic === "firing_rate" ? highest : 1;
    return { lowest: 0, highest: most, of: (/** @type {number} */ v) => v / most };
  }

  #paint() {
    const style = getComputedStyle(document.documentElement);
    const colour = (/** @type {string} */ name) => style.getPropertyValue(name).trim();
    const ratio = devicePixelRatio;
    const width = this.canvas.clientWidth;
    if (!width) return;
    const height = ROW * this.layers.length + AXIS;
    this.canvas.width = width * ratio;
    this.canvas.height = height * ratio;
    const ctx = /** @type {CanvasRenderingContext2D} */ (this.canvas.getContext("2d"));
    ctx.scale(ratio, ratio);
    ctx.font = "12px system-ui, sans-serif";
    const left = (this.left = Math.min(
      0.3 * width,
      10 + Math.max(...this.layers.map((name) => ctx.measureText(name).width)),
    ));
    const column = (this.column = (width - left) / this.looks.length);
    const { of } = this.#scale;
    this.looks.forEach((look, index) => {
      const x = left + index * column;
      look[this.#statistic].forEach((value, layer) => {
        ctx.globalAlpha = value === null ? 1 : 0.06 + 0.94 * Math.min(1, Math.max(0, of(value)));
        ctx.fillStyle = colour(value === null ? "--bad" : "--accent");
        const gap = column > 6 ? 1 : 0;
        ctx.fillRect(x, ROW * layer, Math.ceil(column) - gap, ROW - 1);
      });
      if (index && look.attempt !== this.looks[index - 1].attempt) {
        ctx.globalAlpha = 1;
        ctx.fillStyle = colour("--warn");
        ctx.fillRect(x - 1, 0, 2, ROW * this.layers.length);
      }
    });
    ctx.globalAlpha = 1;
    ctx.fillStyle = colour("--soft");
    ctx.textBaseline = "middle";
    this.layers.forEach((name, layer) => {
      ctx.fillText(name, 0, ROW * layer + ROW / 2, left - 8);
    });
    const bottom = ROW * this.layers.length + AXIS / 2 + 2;
    const first = `step ${this.looks[0].step}`;
    const last = String(this.looks[this.looks.length - 1].step);
    ctx.fillText(first, left, bottom);
    if (this.looks.length > 1) ctx.fillText(last, width - ctx.measureText(last).width, bottom);
    const chosen = this.chosen ?? this.looks.length - 1;
    ctx.strokeStyle = colour("--text");
    ctx.lineWidth = 1.5;
    const wide = Math.max(column - 1, 2);
    ctx.strokeRect(left + chosen * column, 0.75, wide - 0.75, ROW * this.layers.length - 2);
  }

  #describe() {
    const look = this.looks[this.chosen ?? this.looks.length - 1];
    const show = (/** @type {number | null} */ value) =>
      this.#statistic === "gradient_norm" ? number(value) : percent(value, 1);
    const name = this.#statistic === "gradient_norm" ? "gradient norm" : NAMES[this.#statistic];
    const values = this.layers.map((layer, i) => `${layer} ${show(look[this.#statistic][i])}`);
    const said = `Step ${look.step}, ${name}: ${values.join(", ")}`;
    const { lowest, highest } = this.#scale;
    const place = document.getElementById("heat-at");
    if (place) place.textContent = `${said}. Colours from ${show(lowest)} to ${show(highest)}.`;
    this.canvas.setAttribute("aria-label", `Heat map of layers by step. ${said}`);
  }

  #membranes() {
    const place = document.getElementById("membranes");
    if (!place) return;
    const look = this.looks[this.chosen ?? this.looks.length - 1];
    const [low, high] = this.range;
    place.replaceChildren(
      ...this.layers.map((name, layer) => {
        const bins = look.membrane[layer];
        const most = Math.max(...bins, 1e-12);
        const threshold = ((1 - low) / (high - low)) * bins.length;
        const figure = document.createElement("figure");
        const caption = document.createElement("figcaption");
        caption.textContent = name;
        const picture = svg("svg", { viewBox: `0 0 ${bins.length} 100` });
        picture.setAttribute("preserveAspectRatio", "none");
        bins.forEach((share, bin) => {
          const size = (98 * share) / most;
          picture.append(
            svg("rect", {
              class: bin + 0.5 > threshold ? "above" : "below",
              x: bin + 0.05,
              y: 100 - size,
              width: 0.9,
              height: size,
            }),
          );
        });
        picture.append(svg("line", { x1: threshold, x2: threshold, y1: 0, y2: 100 }));
        figure.append(caption, picture);
        return figure;
      }),
    );
  }

  /** @param {PointerEvent} event */
  #lookAt(event) {
    const x = event.offsetX - this.left;
    return x < 0 ? null : Math.floor(x / this.column);
  }

  /** @param {number | null} index */
  #choose(index) {
    const chosen =
      index === null ? null : Math.min(this.looks.length - 1, Math.max(0, index));
    if (chosen === this.chosen) return;
    this.chosen = chosen;
    this.draw();
  }
}

/**
 * @param {string} name
 * @param {Record<string, string | number>} attributes
 */
export function svg(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value));
  return element;
}
