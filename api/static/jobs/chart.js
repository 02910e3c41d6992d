// @ts-check
// The charts of a job: points from the server, down-sampled there, and how they are shown.
import { ask, isOfRequest } from "../web/http.js";
import { Chart } from "./plot.js";

/** @typedef {import("./plot.js").Point} Point */
/** @typedef {import("./plot.js").Group} Group */

const POINTS = 600; // of each metric in one answer
const KEPT = 3 * POINTS; // of each metric here, before the server is asked to thin them out
const GROW_MS = 1000;
const REMEMBERED = "saf.charts";

/** @type {Group[]} */
const GROUPS = [
  { title: "Loss", of: (name) => name === "loss" || name.endsWith("_loss") },
  { title: "Accuracy", of: (name) => name === "accuracy" || name.endsWith("_accuracy") },
  { title: "Firing rate", of: (name) => name.split("/")[0] === "firing_rate", wide: true },
  { title: "Learning rate", of: (name) => name === "learning_rate" },
  { title: "Time per step", of: (name) => name === "step_seconds" },
  { title: "Memory", of: (name) => name === "memory_bytes", optional: true },
  { title: "Device use", of: (name) => name === "device_use", optional: true },
];
/** @type {Group} */
const OTHERS = {
  title: "Other",
  of: (name) => !GROUPS.some((group) => group.of(name)),
  optional: true,
};

export class Charts {
  /**
   * @param {HTMLElement} place
   * @param {string} url of the metrics
   * @param {HTMLButtonElement} reset ends the zoom
   */
  constructor(place, url, reset) {
    this.place = place;
    this.url = url;
    this.reset = reset;
    /** @type {Map<string, Point[]>} */
    this.points = new Map();
    /** @type {[number, number] | null} */
    this.zoom = null;
    /** @type {[number, number][]} attempt and its first step */
    this.attempts = [];
    this.settings = remembered();
    this.charts = [...GROUPS, OTHERS].map((group) => new Chart(this, group));
    this.timer = 0;
    this.asked = 0;
    this.turn = 0;
    reset.addEventListener("click", () => this.unzoom());
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      for (const chart of this.charts) chart.rebuild();
    });
    new ResizeObserver(() => this.charts.forEach((chart) => chart.resize())).observe(place);
  }

  /** Everything anew, thinned out by the server. */
  async reload() {
    const range = this.zoom ? `&from_step=${this.zoom[0]}&to_step=${this.zoom[1]}` : "";
    const answer = await this.#ask(range);
    if (!answer) return;
    this.points = new Map(answer.series.map((one) => [one.name, one.points]));
    this.attempts = answer.attempts;
    this.draw();
  }

  /** What is new, at most once a second. */
  growSoon() {
    if (this.timer || this.zoom) return;
    const pause = Math.max(0, this.asked + GROW_MS - Date.now());
    this.timer = window.setTimeout(async () => {
      this.timer = 0;
      await this.#grow();
    }, pause);
  }

  async #grow() {
    if (this.zoom) return;
    // Metrics of an epoch come later than those of its steps, under an earlier step.
    const ends = [...this.points.values()].map((points) => points[points.length - 1][0]);
    const from = ends.length ? Math.min(...ends) + 1 : 0;
    const answer = await this.#ask(`&from_step=${from}`);
    if (!answer || this.zoom) return;
    this.attempts = answer.attempts;
    for (const { name, points } of answer.series) {
      const known = this.points.get(name) ?? [];
      this.points.set(name, [...known.filter(([step]) => step < from), ...points]);
    }
    if ([...this.points.values()].some((points) => points.length > KEPT)) await this.reload();
    else this.draw();
  }

  /**
   * @param {number} from
   * @param {number} to
   */
  zoomTo(from, to) {
    this.zoom = [Math.max(0, Math.floor(from)), Math.ceil(to)];
    this.reset.hidden = false;
    for (const chart of this.charts) chart.show(this.zoom);
    this.reload();
  }

  unzoom() {
    if (!this.zoom) return;
    this.zoom = null;
    this.reset.hidden = true;
    this.reload();
  }

  /**
   * Show the same points in another way, also the next time.
   * @param {Partial<{ log: boolean, smoothing: number }>} change
   */
  set(change) {
    this.settings = { ...this.settings, ...change };
    try {
      localStorage.setItem(REMEMBERED, JSON.stringify(this.settings));
    } catch {
      // A browser that keeps nothing shows it all the same.
    }
    for (const chart of this.charts) chart.rebuild();
  }

  draw() {
    for (const chart of this.charts) chart.draw();
  }

  /**
   * @param {string} range
   * @returns {Promise<{ series: { name: string, points: Point[] }[],
   *   attempts: [number, number][] } | null>} null where a newer question was asked meanwhile, or
   * the server does not answer
   */
  async #ask(range) {
    this.asked = Date.now();
    const turn = ++this.turn;
    try {
      const answer = await ask(`${this.url}?max_points=${POINTS}${range}`);
      return turn === this.turn ? answer : null;
    } catch (error) {
      if (!isOfRequest(error)) throw error; // the stream says that it is lost, the next message asks again
      return null;
    }
  }
}

/** @returns {{ log: boolean, smoothing: number }} */
function remembered() {
  const plain = { log: false, smoothing: 0 };
  try {
    const { log, smoothing } = JSON.parse(localStorage.getItem(REMEMBERED) ?? "{}");
    return {
      log: log === true,
      smoothing: smoothing >= 0 && smoothing < 1 ? Number(smoothing) : plain.smoothing,
    };
  } catch {
    return plain;
  }
}
