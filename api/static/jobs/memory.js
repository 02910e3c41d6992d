// @ts-check
// The small chart of the form: memory against the number of time steps, by method.
import { size } from "../web/format.js";

const [WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM] = [300, 150, 6, 74, 10, 18];
const LABEL_HEIGHT = 13;

/** @typedef {{ label: string, timesteps: number[], bytes: number[] }} Curve */

const figure = /** @type {HTMLElement} */ (document.getElementById("memory"));
const picture = /** @type {SVGSVGElement} */ (figure.querySelector("svg"));

/**
 * @param {Curve[]} curves
 * @param {number} [here] the number of steps that is asked for
 */
export function draw(curves, here) {
  figure.hidden = !curves.length || here === undefined;
  if (!curves.length || here === undefined) return;
  const lines = merge(curves);
  const steps = curves[0].timesteps;
  const most = Math.max(...curves.flatMap((curve) => curve.bytes));
  const last = Math.log2(steps[steps.length - 1]);
  const x = (/** @type {number} */ t) =>
    LEFT + ((WIDTH - LEFT - RIGHT) * Math.log2(t)) / last;
  const y = (/** @type {number} */ bytes) =>
    HEIGHT - BOTTOM - ((HEIGHT - TOP - BOTTOM) * bytes) / most;
  const parts = [
    make("line", { class: "axis", x1: LEFT, x2: x(2 ** last), y1: y(0), y2: y(0) }),
    make("line", { class: "here", x1: x(here), x2: x(here), y1: TOP, y2: y(0) }),
  ];
  for (const t of steps) {
    if (t !== here && tooClose(t, here)) continue;
    parts.push(make("text", { x: x(t), y: HEIGHT - 4, class: t === here ? "here" : "tick" }, `${t}`));
  }
  const said = [];
  let above = Infinity;
  for (const { names, place, bytes } of lines.sort((a, b) => last_(a.bytes) - last_(b.bytes))) {
    const points = steps.map((t, i) => `${x(t).toFixed(1)},${y(bytes[i]).toFixed(1)}`).join(" ");
    parts.push(make("polyline", { class: `curve of-${place}`, points }));
    const now = bytes[steps.indexOf(here)];
    parts.push(make("circle", { class: `dot of-${place}`, cx: x(here), cy: y(now), r: 2.5 }));
    above = Math.min(above - LABEL_HEIGHT, y(last_(bytes)) + 4);
    const label = { class: `name of-${place}`, x: x(2 ** last) + 5, y: above };
    parts.push(make("text", label, names));
    said.push(`${names} ${size(now)}`);
  }
  parts.push(make("text", { class: "tick top", x: LEFT, y: TOP - 2 }, size(most)));
  picture.replaceChildren(...parts);
  picture.setAttribute("aria-label", `Memory at ${here} time steps: ${said.join(", ")}`);
}

/**
 * Methods that need the same are one line.
 * @param {Curve[]} curves
 */
function merge(curves) {
  /** @type {Map<string, { names: string, place: number, bytes: number[] }>} */
  const lines = new Map();
  for (const { label, bytes } of curves) {
    const line = lines.get(bytes.join());
    if (line) line.names += `, ${label.replace("SAF-", "")}`;
    else lines.set(bytes.join(), { names: label, place: lines.size, bytes });
  }
  return [...lines.values()];
}

/** @param {number} t @param {number} here */
function tooClose(t, here) {
  return Math.abs(Math.log2(t) - Math.log2(here)) < 0.5;
}

/** @param {number[]} values */
function last_(values) {
  return values[values.length - 1];
}

/**
 * @param {string} name
 * @param {Record<string, string | number>} attributes
 * @param {string} [text]
 */
function make(name, attributes, text = "") {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value));
  if (text) element.textContent = text;
  return element;
}
