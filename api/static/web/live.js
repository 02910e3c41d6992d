// @ts-check
// Keeps the regions marked `data-live` as the server would render them now, and times readable.
import { announce, LOST } from "./connection.js";
import { age } from "./format.js";
import { askText, isOfRequest, Unreachable } from "./http.js";

const SPACING_MS = 1500;
const AGAIN_MS = 5000; // after a refresh that failed
const SILENCE_MS = 40_000; // a request that is without an answer so long is given up
let waiting = 0;
let last = 0;
let running = false;
let again = false;
let polls = false;
/** @type {(() => void)[]} */
const listeners = [];

/**
 * Call this each time the live regions were exchanged.
 * @param {() => void} listener
 */
export function onRefresh(listener) {
  listeners.push(listener);
}

/** Fetch this page again soon, and exchange what differs in its live regions. */
export function refreshSoon() {
  if (waiting) return;
  waiting = window.setTimeout(run, Math.max(0, last + SPACING_MS - Date.now()));
}

/**
 * Refresh again and again while somebody sees the page, which has no stream, and say when the server
 * is away.
 * @param {number} everyMs
 */
export function poll(everyMs) {
  polls = true;
  return window.setInterval(() => {
    if (!document.hidden) refreshSoon();
  }, everyMs);
}

async function run() {
  waiting = 0;
  if (running) {
    again = true;
    return;
  }
  running = true;
  last = Date.now();
  try {
    const address = location.href;
    const page = await load(address);
    if (location.href === address) replace(page);
    if (polls) announce("");
  } catch (error) {
    if (!isOfRequest(error)) throw error;
    const isAway = error instanceof Unreachable || error.status >= 500;
    if (polls) announce(isAway ? LOST : ""); // else the stream says so
    if (isAway && !waiting) waiting = window.setTimeout(run, AGAIN_MS);
  } finally {
    running = false;
    if (again) {
      again = false;
      refreshSoon();
    }
  }
}

/**
 * A page as the server renders it now.
 * @param {string} address
 */
export async function load(address) {
  const limit = new AbortController();
  const timer = window.setTimeout(() => limit.abort(), SILENCE_MS);
  try {
    const headers = { Accept: "text/html" };
    const { text } = await askText(address, { headers, signal: limit.signal });
    return new DOMParser().parseFromString(text, "text/html");
  } finally {
    window.clearTimeout(timer);
  }
}

/**
 * Exchange what differs in the live regions.
 * @param {Document} fresh
 */
export function replace(fresh) {
  for (const region of document.querySelectorAll("[data-live]")) {
    const newer = fresh.getElementById(region.id);
    if (newer) patch(region, newer);
  }
  readableTimes(document);
  for (const listener of listeners) listener();
}

/**
 * Make `old` equal to `newer` and keep the elements that stay: focus, selection and scroll remain.
 * Elements with an id are recognised by it, others by their place.
 * @param {Element} old
 * @param {Element} newer
 */
function patch(old, newer) {
  for (const { name } of [...old.attributes]) {
    if (!newer.hasAttribute(name)) old.removeAttribute(name);
  }
  for (const { name, value } of newer.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  if (old.innerHTML === newer.innerHTML) return;
  if (!old.children.length || !newer.children.length || hasText(old) || hasText(newer)) {
    old.replaceChildren(...newer.childNodes);
    return;
  }
  const byId = new Map([...old.children].filter((child) => child.id).map((c) => [c.id, c]));
  const places = [...old.children];
  const result = [...newer.children].map((child, index) => {
    const match = child.id ? byId.get(child.id) : places[index];
    if (!match || match.id !== child.id || match.tagName !== child.tagName) return child;
    patch(match, child);
    return match;
  });
  const same = result.length === places.length && result.every((el, i) => el === places[i]);
  if (!same) old.replaceChildren(...result);
}

/** @param {Element} element */
function hasText(element) {
  return [...element.childNodes].some((n) => n instanceof Text && n.data.trim());
}

/**
 * Times in the reader's own zone; the title says them in UTC.
 * @param {ParentNode} root
 */
function readableTimes(root) {
  for (const time of root.querySelectorAll("time")) {
    const moment = new Date(time.dateTime);
    if ("age" in time.dataset) set(time, age(time.dateTime));
    else if ("clock" in time.dataset) set(time, moment.toLocaleTimeString("en-GB"));
    else if ("moment" in time.dataset) set(time, moment.toLocaleString("sv-SE"));
  }
}

/**
 * @param {Element} element
 * @param {string} text
 */
export function set(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

readableTimes(document);
window.setInterval(() => readableTimes(document), 20_000);
