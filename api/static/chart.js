// @ts-check
// The charts of a job: drawn by uPlot, points from the server, down-sampled there.
import { metric, percent } from "./format.js";

/** @typedef {[number, number | null]} Point step, value; null is no number */
/** @typedef {{ title: string, of: (name: string) => boolean, wide?: boolean }} Group */

const POINTS = 600; // of each metric in one answer
const KEPT = 3 * POINTS; // of each metric here, before the server is asked to thin them out
const GROW_MS = 1000;
const HEIGHT = 280;
const LEGEND = 62;

/** @type {Group[]} */
const GROUPS = [
  { title: "Loss", of: (name) => name === "loss" || name.endsWith("_loss") },
  { title: "Accuracy", of: (name) => name === "accuracy" || name.endsWith("_accuracy") },
  { title: "Firing rate", of: (name) => name.split("/")[0] === "firing_rate", wide: true },
  { title: "Learning rate", of: (name) => name === "learning_rate" },
  { title: "Time per step", of: (name) => name === "step_seconds" },
];
/** @type {Group} */
const OTHERS = { title: "Other", of: (name) => !GROUPS.some((group) => group.of(name)) };

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

  draw() {
    for (const chart of this.charts) chart.draw();
  }

  /**
   * @param {string} range
   * @returns {Promise<{ series: { name: string, points: Point[] }[] } | null>} null where a
   * newer question was asked meanwhile, or the server does not answer
   */
  async #ask(range) {
    this.asked = Date.now();
    const turn = ++this.turn;
    try {
      const response = await fetch(`${this.url}?max_points=${POINTS}${range}`);
      if (!response.ok) return null;
      const answer = await response.json();
      return turn === this.turn ? answer : null;
    } catch {
      return null;
    }
  }
}

class Chart {
  /**
   * @param {Charts} charts
   * @param {Group} group
   */
  constructor(charts, group) {
    this.charts = charts;
    this.group = group;
    /** @type {string[]} */
    this.names = [];
    this.plot = null;
    this.card = document.createElement("figure");
    this.card.className = `card chart${group.wide ? " wide" : ""}`;
    this.card.hidden = group === OTHERS;
    const title = document.createElement("figcaption");
    title.textContent = group.title;
    this.box = document.createElement("div");
    this.box.className = "plot";
    this.empty = document.createElement("p");
    this.empty.className = "soft small";
    this.empty.textContent = "No values yet";
    this.box.append(this.empty);
    this.card.append(title, this.box);
    charts.place.append(this.card);
  }

  draw() {
    const names = [...this.charts.points.keys()].filter(this.group.of).sort(order);
    if (!names.length) return;
    if (names.join() !== this.names.join()) {
      this.names = names;
      this.rebuild();
      return;
    }
    this.plot?.setData(this.#data());
    if (this.charts.zoom) this.show(this.charts.zoom);
    this.#describe();
  }

  rebuild() {
    if (!this.names.length) return;
    this.card.hidden = false;
    this.empty.hidden = true;
    this.plot?.destroy();
    this.plot = new uPlot(this.#options(), this.#data(), this.box);
    if (this.charts.zoom) this.show(this.charts.zoom);
    this.#describe();
  }

  resize() {
    const width = this.box.clientWidth;
    if (this.plot && width && width !== this.plot.width) {
      this.plot.setSize({ width, height: HEIGHT - LEGEND });
    }
  }

  /** @param {[number, number]} range */
  show([min, max]) {
    this.plot?.setScale("x", { min, max });
  }

  #data() {
    const tables = this.names.map((name) => {
      const points = this.charts.points.get(name) ?? [];
      return [points.map(([step]) => step), points.map(([, value]) => value)];
    });
    return tables.length === 1 ? tables[0] : uPlot.join(tables);
  }

  /** What a reader who does not see the curve is told. */
  #describe() {
    const last = this.names.map((name) => {
      const points = this.charts.points.get(name) ?? [];
      const end = points[points.length - 1];
      return end ? `${label(name)} ${metric(end[1], name)}` : label(name);
    });
    this.box.setAttribute("role", "img");
    this.box.setAttribute("aria-label", `${this.group.title} by step; latest: ${last.join(", ")}`);
  }

  #options() {
    const style = getComputedStyle(document.documentElement);
    const colour = (/** @type {string} */ name) => style.getPropertyValue(name).trim();
    const axis = {
      stroke: colour("--soft"),
      font: "12px system-ui, sans-serif",
      grid: { stroke: colour("--line"), width: 1 },
      ticks: { show: false },
    };
    const layers = this.names.filter((name) => name.includes("/"));
    const share = this.names.every((n) => n.endsWith("accuracy") || n.startsWith("firing_rate"));
    return {
      width: this.box.clientWidth || 400,
      height: HEIGHT - LEGEND,
      padding: [8, 10, 0, 0],
      scales: { x: { time: false } },
      cursor: {
        sync: { key: "job", setSeries: false },
        drag: { x: true, y: false, setScale: false },
        points: { size: 6 },
        bind: { dblclick: () => () => this.charts.unzoom() },
      },
      hooks: {
        setSelect: [
          (/** @type {any} */ plot) => {
            const { left, width } = plot.select;
            if (width < 3) return;
            const range = [plot.posToVal(left, "x"), plot.posToVal(left + width, "x")];
            plot.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
            this.charts.zoomTo(range[0], range[1]);
          },
        ],
      },
      axes: [
        { ...axis, size: 28, space: 60 },
        {
          ...axis,
          size: 52,
          values: (/** @type {any} */ _, /** @type {number[]} */ splits) =>
            splits.map((split) =>
              share ? percent(split, decimals(splits)) : metric(split, this.names[0]),
            ),
        },
      ],
      series: [
        {
          label: "step",
          value: (/** @type {any} */ plot, /** @type {number | null} */ step) =>
            String(step ?? plot.data[0][plot.data[0].length - 1]),
        },
        ...this.names.map((name) => ({
          label: label(name),
          stroke: name.includes("/")
            ? layerColour(layers.indexOf(name), layers.length)
            : colour(COLOURS.find(([pattern]) => pattern.test(name))?.[1] ?? "--accent"),
          width: name === "loss" || name === "accuracy" ? 1 : 1.75,
          points: { show: pointsOf(this.charts.points.get(name)) },
          value: (
            /** @type {any} */ plot,
            /** @type {any} */ _,
            /** @type {number} */ series,
            /** @type {number | null} */ index,
          ) => valueAt(plot.data, series, index, name),
        })),
      ],
    };
  }
}

/** @type {[RegExp, string][]} */
const COLOURS = [
  [/^test_/, "--accent"],
  [/^train_/, "--train"],
  [/^(loss|accuracy)$/, "--raw"],
];

/**
 * Layers from light to dark, in the accent's hue and on to its neighbours.
 * @param {number} index
 * @param {number} count
 */
function layerColour(index, count) {
  const way = count > 1 ? index / (count - 1) : 0;
  return `hsl(${190 + 110 * way} 55% 55%)`;
}

/**
 * Steps first, then epochs, then the test, so that the coarse lies over the fine.
 * @param {string} a
 * @param {string} b
 */
function order(a, b) {
  const rank = (/** @type {string} */ name) =>
    name.startsWith("test_") ? 3 : name.startsWith("train_") ? 2 : name.includes("/") ? 1 : 0;
  return rank(a) - rank(b) || a.localeCompare(b, "en", { numeric: true });
}

/** @param {string} name */
function label(name) {
  const words = /** @type {Record<string, string>} */ ({
    loss: "train, batch",
    accuracy: "train, batch",
    train_loss: "train, epoch",
    train_accuracy: "train, epoch",
    test_loss: "test",
    test_accuracy: "test",
    firing_rate: "all layers",
    learning_rate: "learning rate",
    step_seconds: "time per step",
  });
  return words[name] ?? name.split("/").slice(1).join("/") ?? name;
}

/** @param {Point[] | undefined} points */
function pointsOf(points) {
  return points !== undefined && points.length === 1 ? true : undefined;
}

/**
 * The value of a series at the cursor: the newest not after it, or the last of all.
 * @param {any[]} data
 * @param {number} series
 * @param {number | null} index
 * @param {string} name
 */
function valueAt(data, series, index, name) {
  const values = data[series];
  for (let i = index ?? values.length - 1; i >= 0; i--) {
    if (values[i] !== undefined) return metric(values[i], name);
  }
  return "–";
}

/** @param {number[]} splits */
function decimals(splits) {
  const step = splits.length > 1 ? Math.abs(splits[1] - splits[0]) : 1;
  return step >= 0.01 ? 0 : step >= 0.001 ? 1 : 2;
}
