// @ts-check
// The comparison: values under the cursor in all figures, a closer look, live while jobs run.
import { at } from "../web/address.js";
import { metric } from "../web/format.js";
import { onRefresh, refreshSoon } from "../web/live.js";
import { Stream } from "../web/stream.js";

const NEAREST = 4; // drags shorter than this many pixels are clicks
const region = /** @type {HTMLElement} */ (document.getElementById("comparison"));
const readout = /** @type {HTMLElement} */ (document.getElementById("readout"));
const ids = (region.dataset.jobs ?? "").split(",");
const mine = (/** @type {{ id: string }} */ { id }) => {
  if (ids.includes(id)) refreshSoon();
};
new Stream(at("/v1/stream?snapshot=false"), { begin: refreshSoon, job: mine, deleted: mine });

/** What a figure says of its axes, and its curves in the units of the drawing. */
class Figure {
  left = 0;
  right = 1;
  bottom = 0;
  top = 1;

  /** @param {SVGSVGElement} svg */
  constructor(svg) {
    this.svg = svg;
    const numbers = (/** @type {string | undefined} */ text) => (text ?? "").split(" ").map(Number);
    [this.left, this.right] = numbers(svg.dataset.x);
    [this.bottom, this.top] = numbers(svg.dataset.y);
    this.log = svg.dataset.log === "1";
    this.box = numbers(svg.dataset.box);
    this.view = svg.viewBox.baseVal;
  }

  /** @param {number} clientX */
  position(clientX) {
    const { left, width } = this.svg.getBoundingClientRect();
    const [from, right] = this.box;
    const x = ((clientX - left) / width) * this.view.width;
    return Math.max(from, Math.min(this.view.width - right, x));
  }

  /** @param {number} position */
  x(position) {
    const [from, right] = this.box;
    const share = (position - from) / (this.view.width - from - right);
    return this.left + share * (this.right - this.left);
  }

  /** @param {number} position */
  y(position) {
    const [, , top, bottom] = this.box;
    const share = (this.view.height - bottom - position) / (this.view.height - top - bottom);
    return this.log
      ? this.bottom * (this.top / this.bottom) ** share
      : this.bottom + share * (this.top - this.bottom);
  }

  /**
   * The newest value of each curve that is not after a position.
   * @param {number} position
   */
  values(position) {
    return [...this.svg.querySelectorAll("g[data-name]")].map((curve) => {
      const d = curve.querySelector("path:not(.figure-gap)")?.getAttribute("d") ?? "";
      const points = d
        .split(/[ML]/)
        .filter(Boolean)
        .map((pair) => pair.split(" ").map(Number));
      const near = points.filter(([x]) => x <= position + 0.5).pop();
      return { curve, value: near ? this.y(near[1]) : null };
    });
  }
}

/** @type {{ figure: Figure, from: number } | null} */
let drag = null;
/** @type {HTMLElement[]} */
let rules = [];

/** @param {PointerEvent} event */
function figureAt(event) {
  const svg = event.target instanceof Element ? event.target.closest("svg.figure") : null;
  return svg ? new Figure(/** @type {SVGSVGElement} */ (svg)) : null;
}

region.addEventListener("pointermove", (event) => {
  const figure = figureAt(event);
  clear();
  if (!figure) return;
  const position = figure.position(event.clientX);
  for (const svg of region.querySelectorAll("svg.figure")) {
    const other = new Figure(/** @type {SVGSVGElement} */ (svg));
    rule(other, position, drag?.figure.svg === svg ? drag.from : position);
  }
  read(figure, position, event);
});
region.addEventListener("pointerleave", clear);
region.addEventListener("pointerdown", (event) => {
  const figure = event.button === 0 ? figureAt(event) : null;
  drag = figure && { figure, from: figure.position(event.clientX) };
  if (figure) event.preventDefault();
});
document.addEventListener("pointerup", (event) => {
  if (!drag) return;
  const { figure, from } = drag;
  drag = null;
  const to = figure.position(event.clientX);
  if (Math.abs(to - from) < NEAREST) return;
  const [begin, end] = [from, to].sort((a, b) => a - b).map((position) => figure.x(position));
  const address = new URL(location.href);
  const digits = address.searchParams.get("x") === "epoch" ? 3 : 0;
  address.searchParams.set("from", begin.toFixed(digits));
  address.searchParams.set("to", end.toFixed(digits));
  history.pushState(null, "", address);
  refreshSoon();
});
window.addEventListener("popstate", refreshSoon);
onRefresh(clear);

function clear() {
  for (const each of rules) each.remove();
  rules = [];
  readout.hidden = true;
}

/**
 * A line over a figure, or a band from one position to another.
 * @param {Figure} figure
 * @param {number} to
 * @param {number} from
 */
function rule(figure, to, from) {
  const { left, top, width, height } = figure.svg.getBoundingClientRect();
  const scale = width / figure.view.width;
  const line = document.createElement("div");
  line.className = from === to ? "rule" : "rule wide";
  line.style.left = `${left + scrollX + Math.min(from, to) * scale}px`;
  line.style.top = `${top + scrollY + figure.box[2] * scale}px`;
  line.style.height = `${height - (figure.box[2] + figure.box[3]) * scale}px`;
  if (from !== to) line.style.width = `${Math.abs(to - from) * scale}px`;
  document.body.append(line);
  rules.push(line);
}

/**
 * @param {Figure} figure
 * @param {number} position
 * @param {PointerEvent} event
 */
function read(figure, position, event) {
  const title = figure.svg.querySelector(".figure-title")?.textContent ?? "";
  const lines = figure.values(position).map(({ curve, value }) => {
    const line = document.createElement("p");
    const name = document.createElement("span");
    name.textContent = curve.getAttribute("data-name");
    const number = document.createElement("strong");
    number.textContent = value === null ? "–" : says(value, title);
    const colour = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    colour.setAttribute("viewBox", "0 0 14 4");
    colour.setAttribute("width", "14");
    colour.setAttribute("height", "4");
    const stroke = document.createElementNS("http://www.w3.org/2000/svg", "path");
    stroke.setAttribute("class", curve.getAttribute("class") ?? "");
    stroke.setAttribute("d", "M0 2H14");
    stroke.setAttribute("stroke-width", "3");
    colour.append(stroke);
    line.append(colour, name, number);
    return line;
  });
  const where = document.createElement("p");
  where.className = "soft";
  const axis = new URLSearchParams(location.search).get("x") === "epoch" ? "epoch" : "step";
  where.textContent = `${axis} ${figure.x(position).toFixed(axis === "epoch" ? 2 : 0)}`;
  readout.replaceChildren(where, ...lines);
  readout.hidden = false;
  const { offsetWidth: width, offsetHeight: height } = readout;
  readout.style.left = `${Math.min(event.clientX + 16, innerWidth - width - 8)}px`;
  readout.style.top = `${Math.min(event.clientY + 16, innerHeight - height - 8)}px`;
}

/**
 * A value as exact as a drawing tells it.
 * @param {number} value
 * @param {string} title
 */
function says(value, title) {
  if (/^(Accuracy|Firing|Device)/.test(title)) return `${(100 * value).toFixed(1)} %`;
  if (title === "Memory") return `${(value / 2 ** 20).toFixed(0)} MiB`;
  if (title === "Time per step") return metric(value, "step_seconds");
  return value.toPrecision(3);
}
