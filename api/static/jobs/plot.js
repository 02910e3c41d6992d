// @ts-check
// One chart of a job, drawn by uPlot: its curves, smoothed or raw, and the marks between them.
import { metric, percent } from "../web/format.js";

/** @typedef {[number, number | null]} Point step, value; null is no number */
/**
 * @typedef {Object} Group
 * @property {string} title
 * @property {(name: string) => boolean} of the metrics that it shows
 * @property {boolean} [wide]
 * @property {boolean} [optional] not shown before it has values
 */

const HEIGHT = 280;
const LEGEND = 62;
const AXIS = 70; // the widest label is that of a size; all charts begin at one line
const HALF_A_STEP = 28; // of the widest label of a step, which stands under the end of its axis
const FLAT = 1e-4; // of its size: a curve that varies less is drawn as a level line
const MIB = 2 ** 20;
const BYTES = Array.from({ length: 24 }, (_, power) => MIB * 2 ** power);

export class Chart {
  /**
   * @param {import("./chart.js").Charts} charts
   * @param {Group} group
   */
  constructor(charts, group) {
    this.charts = charts;
    this.group = group;
    /** @type {string[]} */
    this.names = [];
    /** @type {uPlot | null} */
    this.plot = null;
    this.card = document.createElement("figure");
    this.card.className = `card chart${group.wide ? " wide" : ""}`;
    this.card.hidden = group.optional === true;
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
    this.charts.place.classList.remove("unfilled");
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

  /** Steps and values of each curve: with smoothing, the raw ones first and all the smooth after. */
  #data() {
    /** @typedef {import("uplot").AlignedData} Table */
    const { smoothing } = this.charts.settings;
    const shown = this.names.map((name) => this.#points(name));
    if (smoothing) shown.push(...shown.map((points) => smooth(points, smoothing)));
    const tables = shown.map(
      (points) =>
        /** @type {Table} */ ([points.map(([step]) => step), points.map(([, value]) => value)]),
    );
    return tables.length === 1 ? tables[0] : uPlot.join(tables);
  }

  /** @param {string} name */
  #points(name) {
    const points = this.charts.points.get(name) ?? [];
    if (!this.#isLog()) return points;
    // A logarithm of what is not above zero is no place on the axis.
    return points.map(([step, value]) => /** @type {Point} */ ([step, above(value)]));
  }

  #isLog() {
    return this.charts.settings.log && !this.#isShare();
  }

  #isShare() {
    return this.names.every((name) => /accuracy$|^firing_rate|^device_use$/.test(name));
  }

  /**
   * Where attempts began, and which values were no numbers.
   * @param {uPlot} plot
   */
  #mark(plot) {
    const { left, top, width, height } = plot.bbox;
    const style = getComputedStyle(document.documentElement);
    const ratio = devicePixelRatio;
    const { ctx } = plot;
    ctx.save();
    ctx.beginPath();
    ctx.rect(left, top, width, height);
    ctx.clip();
    ctx.lineWidth = ratio;
    ctx.font = `${11 * ratio}px system-ui, sans-serif`;
    ctx.textBaseline = "top";
    ctx.strokeStyle = ctx.fillStyle = style.getPropertyValue("--warn").trim();
    ctx.setLineDash([3 * ratio, 3 * ratio]);
    for (const [attempt, step] of this.charts.attempts) {
      if (attempt < 2) continue;
      const x = plot.valToPos(step, "x", true);
      ctx.beginPath();
      ctx.moveTo(x, top);
      ctx.lineTo(x, top + height);
      ctx.stroke();
      ctx.fillText(`attempt ${attempt}`, x + 4 * ratio, top + 2 * ratio);
    }
    ctx.setLineDash([]);
    ctx.lineWidth = 1.5 * ratio;
    ctx.strokeStyle = style.getPropertyValue("--bad").trim();
    for (const step of this.#notNumbers()) {
      const x = plot.valToPos(step, "x", true);
      const y = top + 6 * ratio;
      const arm = 3 * ratio;
      ctx.beginPath();
      ctx.moveTo(x - arm, y - arm);
      ctx.lineTo(x + arm, y + arm);
      ctx.moveTo(x + arm, y - arm);
      ctx.lineTo(x - arm, y + arm);
      ctx.stroke();
    }
    ctx.restore();
  }

  /** Steps at which a value was NaN or infinite. */
  #notNumbers() {
    return this.names.flatMap((name) =>
      (this.charts.points.get(name) ?? []).filter(([, value]) => value === null).map(([s]) => s),
    );
  }

  /** What a reader who does not see the curve is told. */
  #describe() {
    const last = this.names.map((name) => {
      const points = this.charts.points.get(name) ?? [];
      const end = points[points.length - 1];
      return end ? `${label(name)} ${metric(end[1], name)}` : label(name);
    });
    this.box.setAttribute("role", "img");
    const broken = this.#notNumbers().length;
    const warning = broken ? `; ${broken} values are no numbers (×)` : "";
    const again = this.charts.attempts.filter(([attempt]) => attempt > 1);
    const attempts = again.map(([attempt, step]) => `; attempt ${attempt} begins at step ${step}`);
    this.box.setAttribute(
      "aria-label",
      `${this.group.title} by step; latest: ${last.join(", ")}${warning}${attempts.join("")}`,
    );
  }

  /** @returns {import("uplot").Options} */
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
    const share = this.#isShare();
    const bytes = this.names.every((name) => name.endsWith("_bytes"));
    const { smoothing } = this.charts.settings;
    return {
      width: this.box.clientWidth || 400,
      height: HEIGHT - LEGEND,
      padding: [8, HALF_A_STEP, 0, 0],
      scales: {
        x: { time: false },
        y: this.#isLog() ? { distr: 3 } : { range: (_, min, max) => around(min, max, share) },
      },
      cursor: {
        sync: { key: "job", setSeries: false },
        drag: { x: true, y: false, setScale: false },
        points: { size: 6 },
        bind: {
          dblclick: () => () => {
            this.charts.unzoom();
            return null;
          },
        },
      },
      hooks: {
        draw: [(plot) => this.#mark(plot)],
        setSelect: [
          (plot) => {
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
          size: AXIS,
          ...(bytes ? { incrs: BYTES } : {}),
          values: (_, splits) =>
            splits.map((split) => {
              if (split === null) return "";
              return share ? percent(split, decimals(splits)) : metric(split, this.names[0]);
            }),
        },
      ],
      series: [
        {
          label: "step",
          value: (plot, step) =>
            String(step ?? plot.data[0][plot.data[0].length - 1]),
        },
        ...(smoothing
          ? this.names.map((name) => ({
              label: label(name),
              class: "raw",
              stroke: strokeOf(name, layers, colour),
              alpha: 0.28,
              width: 1,
              points: { show: false },
            }))
          : []),
        ...this.names.map((name) => this.#series(name, strokeOf(name, layers, colour))),
      ],
    };
  }

  /**
   * @param {string} name
   * @param {string} stroke
   * @returns {import("uplot").Series}
   */
  #series(name, stroke) {
    return {
      label: label(name),
      stroke,
      width: name === "loss" || name === "accuracy" ? 1 : 1.75,
      points: { show: pointsOf(this.charts.points.get(name)) },
      value: (plot, _, series, index) => valueAt(plot.data, series, index, name),
    };
  }
}

/**
 * @param {string} name
 * @param {string[]} layers
 * @param {(variable: string) => string} colour
 */
function strokeOf(name, layers, colour) {
  if (name.includes("/")) return layerColour(layers.indexOf(name), layers.length);
  return colour(COLOURS.find(([pattern]) => pattern.test(name))?.[1] ?? "--accent");
}

/**
 * Exponential moving average without the pull of its start; gaps stay gaps.
 * @param {Point[]} points
 * @param {number} weight of the past, 0 to 1
 * @returns {Point[]}
 */
export function smooth(points, weight) {
  let average = 0;
  let seen = 0;
  return points.map(([step, value]) => {
    if (value === null) return [step, null];
    average = weight * average + (1 - weight) * value;
    seen = weight * seen + (1 - weight);
    return [step, average / seen];
  });
}

/** @param {number | null} value */
function above(value) {
  return value !== null && value > 0 ? value : null;
}

/** @type {[RegExp, string][]} */
const COLOURS = [
  [/^val_balanced/, "--idle"],
  [/^val_/, "--accent"],
  [/^test_balanced/, "--warn"],
  [/^test_/, "--text"],
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
 * Steps first, then epochs, then what it does not learn from, so that the coarse lies over the fine.
 * @param {string} a
 * @param {string} b
 */
function order(a, b) {
  const rank = (/** @type {string} */ name) =>
    name.includes("_balanced_") ? 1 : name.startsWith("test_") ? 4 : name.startsWith("val_") ? 3 : name.startsWith("train_") ? 2 : name.includes("/") ? 1 : 0;
  return rank(a) - rank(b) || a.localeCompare(b, "en", { numeric: true });
}

/** @param {string} name */
function label(name) {
  const words = /** @type {Record<string, string>} */ ({
    loss: "train, batch",
    accuracy: "train, batch",
    train_loss: "train, epoch",
    train_accuracy: "train, epoch",
    val_loss: "validation",
    val_accuracy: "validation",
    val_balanced_accuracy: "validation, mean over classes",
    test_loss: "test, at the end",
    test_accuracy: "test, at the end",
    test_balanced_accuracy: "test, mean over classes",
    firing_rate: "all layers",
    learning_rate: "learning rate",
    step_seconds: "time per step",
    memory_bytes: "memory",
    device_use: "device use",
  });
  return words[name] ?? name.split("/").slice(1).join("/") ?? name;
}

/** @param {Point[] | undefined} points */
function pointsOf(points) {
  return points !== undefined && points.length === 1 ? true : undefined;
}

/**
 * The value of a series at the cursor: the newest not after it, or the last of all.
 * @param {import("uplot").AlignedData} data
 * @param {number} series
 * @param {number | null} index
 * @param {string} name
 */
function valueAt(data, series, index, name) {
  const values = data[series];
  for (let i = index ?? values.length - 1; i >= 0; i--) {
    const value = values[i];
    if (value !== undefined) return metric(value, name);
  }
  return "–";
}

/**
 * A range for the values from `min` to `max`; one that is as good as constant lies in its middle.
 * There is nothing above a share of 100 %.
 * @param {number | null} min
 * @param {number | null} max
 * @param {boolean} share
 * @returns {[number | null, number | null]}
 */
function around(min, max, share) {
  if (min === null || max === null) return [0, 1];
  const size = Math.max(Math.abs(min), Math.abs(max));
  const varies = max - min > FLAT * size;
  const range = varies ? uPlot.rangeNum(min, max, 0.1, true) : [min - 0.1 * size, max + 0.1 * size];
  if (!size) return [0, 1];
  return share && max <= 1 ? [range[0], Math.min(Number(range[1]), 1)] : [range[0], range[1]];
}

/** @param {(number | null)[]} splits */
function decimals(splits) {
  const step = splits.length > 1 ? Math.abs(Number(splits[1]) - Number(splits[0])) : 1;
  return step >= 0.01 ? 0 : step >= 0.001 ? 1 : 2;
}
