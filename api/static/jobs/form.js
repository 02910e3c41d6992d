// @ts-check
// The form for a new job: shows what belongs together, asks the server while one types.
import { at } from "../web/address.js";
import { duration, size } from "../web/format.js";
import { ask, explain, IdempotencyKeys, Refusal, Unreachable } from "../web/http.js";
import { ready } from "../web/ready.js";
import { draw } from "./memory.js";

const PAUSE_MS = 300;
const form = /** @type {HTMLFormElement} */ (document.getElementById("form"));
const button = /** @type {HTMLButtonElement} */ (document.getElementById("submit"));
const refusal = /** @type {HTMLElement} */ (document.getElementById("refusal"));
const warnings = /** @type {HTMLElement} */ (document.getElementById("warnings"));
const body = /** @type {HTMLElement} */ (document.getElementById("body"));
const resolved = /** @type {HTMLElement} */ (document.getElementById("resolved"));
const varied = /** @type {HTMLTextAreaElement} */ (document.getElementById("over"));
const variedProblem = /** @type {HTMLElement} */ (document.getElementById("over-problem"));
const time = /** @type {HTMLElement} */ (document.getElementById("time"));
const basis = /** @type {HTMLElement} */ (document.getElementById("time-basis"));

/** @typedef {{ pointer: string, detail: string }} Problem */

/** Fields of other choices (another network, another method) are hidden and not sent. */
function choose() {
  for (const field of /** @type {NodeListOf<HTMLElement>} */ (
    form.querySelectorAll("[data-when]")
  )) {
    const select = /** @type {HTMLSelectElement} */ (
      form.querySelector(`select[data-pointer="${field.dataset.when}"]`)
    );
    field.hidden = select.value !== field.dataset.is;
  }
  for (const select of form.querySelectorAll("select")) {
    const notes = /** @type {NodeListOf<HTMLElement>} */ (
      select.parentElement?.querySelectorAll("[data-note]") ?? []
    );
    for (const note of notes) {
      note.hidden = note.dataset.note !== select.value;
      note.id = note.hidden ? "" : `${select.id}-hint`;
    }
  }
}

/** @returns {HTMLElement[]} the inputs that are asked for */
function inputs() {
  const all = /** @type {NodeListOf<HTMLElement>} */ (form.querySelectorAll("[data-pointer]"));
  return [...all].filter((input) => !input.closest("[hidden]"));
}

/** The specification as it stands. What is left empty is "auto", or left to the server's default. */
function specification() {
  /** @type {Record<string, any>} */
  const result = {};
  for (const input of inputs()) {
    const value = read(input);
    if (value === undefined) continue;
    const parts = (input.dataset.pointer ?? "").split("/").slice(1);
    const last = /** @type {string} */ (parts.pop());
    let place = result;
    for (const part of parts) place = place[part] ??= {};
    place[last] = value;
  }
  return result;
}

/**
 * A text that is no number is sent as it is: the server says what it wants instead.
 * @param {any} input
 */
function read(input) {
  /** @type {string} */
  const text = (input.value ?? "").trim();
  switch (input.dataset.kind) {
    case "check":
      return input.checked;
    case "checks":
      return [...input.querySelectorAll("input:checked")].map((box) => box.value);
    case "list":
      return text
        ? text
            .split(/[\s,]+/)
            .filter(Boolean)
            .map(numeric)
        : undefined;
    case "json":
      try {
        return text ? JSON.parse(text) : undefined;
      } catch {
        return text;
      }
    case "pairs": {
      const lines = text.split("\n").filter((line) => line.trim());
      if (!lines.length) return undefined;
      return Object.fromEntries(
        lines.map((line) => {
          const [key, ...rest] = line.split("=");
          return [key.trim(), rest.join("=").trim()];
        }),
      );
    }
    case "integer":
    case "number":
      if (text === "none" && "none" in input.dataset) return null;
      if (!text && "auto" in input.dataset) return "auto";
      return text ? numeric(text) : undefined;
    default:
      return text || undefined;
  }
}

/** The values that are varied, by pointer; nothing where none are. */
function over() {
  const lines = varied.value.split("\n").filter((line) => line.trim());
  if (!lines.length) return undefined;
  /** @type {Record<string, any[]>} */
  const values = {};
  for (const line of lines) {
    const [key, ...rest] = line.split("=");
    const escaped = key.trim().replaceAll("~", "~0").replaceAll("/", "~1");
    const place = `/${escaped.replaceAll(".", "/")}`;
    values[place] = [...(values[place] ?? []), ...list(rest.join("=").trim())];
  }
  return values;
}

/** @param {string} text */
function list(text) {
  const whole = text.startsWith("[") ? parsed(text) : undefined;
  if (Array.isArray(whole)) return whole;
  return text
    .split(",")
    .map((one) => parsed(one.trim()))
    .filter((one) => one !== "");
}

/** @param {string} text */
function parsed(text) {
  try {
    const value = JSON.parse(text);
    return isFaithful(value) ? value : text;
  } catch {
    return text;
  }
}

/** Where the form goes, and what it sends there: a job, or a sweep of many. */
function request() {
  const values = over();
  const { name, ...rest } = specification();
  return values
    ? { url: at("/v1/sweeps"), body: { name, job: rest, over: values } }
    : { url: at("/v1/jobs"), body: specification() };
}

/**
 * Whether a value arrives as it was typed: a number that JavaScript or JSON cannot hold does not.
 * @param {any} value
 * @returns {boolean}
 */
function isFaithful(value) {
  if (typeof value === "number") {
    return Number.isFinite(value) && (!Number.isInteger(value) || Number.isSafeInteger(value));
  }
  return !value || typeof value !== "object" || Object.values(value).every(isFaithful);
}

/** @param {string} text */
function numeric(text) {
  const value = Number(text);
  return isFaithful(value) ? value : text;
}

/** @param {Problem[]} problems */
function show(problems) {
  const known = inputs();
  for (const input of known) {
    const own = problems.filter((problem) => owner(problem.pointer, known) === input);
    const place = document.getElementById(`${input.id}-problem`);
    if (!place) continue;
    place.textContent = own.map((problem) => problem.detail).join("; ");
    place.hidden = !own.length;
    if (own.length) input.setAttribute("aria-invalid", "true");
    else input.removeAttribute("aria-invalid");
  }
  return problems.filter((problem) => !owner(problem.pointer, known));
}

/**
 * The input for a pointer, or for the nearest thing around it (`/network/channels/1` is a part of
 * the channels, `/network` is said beside the network's name).
 * @param {string} pointer
 * @param {HTMLElement[]} known
 */
function owner(pointer, known) {
  for (let path = pointer; path; path = path.slice(0, path.lastIndexOf("/"))) {
    const input = known.find((i) => [path, `${path}/name`].includes(i.dataset.pointer ?? ""));
    if (input) return input;
  }
  return undefined;
}

/** @param {any} needs the answer to validate_only */
function showNeeds(needs) {
  for (const cell of /** @type {NodeListOf<HTMLElement>} */ (
    document.querySelectorAll("[data-need]")
  )) {
    const value = needs?.[cell.dataset.need ?? ""];
    if (value == null) cell.textContent = "–";
    else if (cell.dataset.need === "memory_forecast_bytes") cell.textContent = size(value);
    else cell.textContent = value.toLocaleString("en-US");
  }
  showTime(needs);
  draw(needs?.memory_curves ?? [], needs?.specification.timesteps);
  showAutomatic(needs?.automatic ?? []);
  resolved.textContent = needs ? JSON.stringify(needs.specification, null, 2) : "";
  warnings.replaceChildren(
    ...(needs?.warnings ?? []).map((/** @type {Problem} */ warning) => {
      const line = document.createElement("p");
      line.className = "notice warning";
      const field = owner(warning.pointer, inputs())?.closest(".field")?.querySelector("label");
      line.textContent = `${field?.textContent ?? warning.pointer}: ${warning.detail}`;
      return line;
    }),
  );
}

/**
 * What an empty field has become is said in its place.
 * @param {{ pointer: string, value: any }[]} automatic
 */
function showAutomatic(automatic) {
  const decided = new Map(automatic.map(({ pointer, value }) => [pointer, value]));
  for (const input of /** @type {NodeListOf<HTMLInputElement>} */ (
    form.querySelectorAll("[data-auto]")
  )) {
    const value = decided.get(input.dataset.pointer ?? "");
    input.placeholder = value === undefined ? "auto" : `auto: ${value}`;
  }
  const optimizer = decided.get("/optimizer");
  /** @type {HTMLElement | null} */
  const note = form.querySelector('[data-pointer="/optimizer/name"] ~ [data-note="auto"]');
  if (note && optimizer) {
    note.dataset.said ??= note.textContent ?? "";
    note.textContent = `${note.dataset.said} Here: ${optimizer.name}, ${optimizer.learning_rate}.`;
  }
}

/** @param {any} needs the answer to validate_only */
function showTime(needs) {
  const found = needs?.time_forecast;
  if (!found) {
    time.textContent = needs ? "no estimate yet" : "–";
    basis.textContent = needs ? "no run by this method has ended here" : "";
    return;
  }
  time.textContent = `about ${duration(found.seconds)}`;
  const runs = `${found.runs} earlier run${found.runs === 1 ? "" : "s"} on ${found.device}`;
  basis.textContent =
    found.basis === "measured"
      ? `as ${runs} with this network, method and T`
      : `by the number of multiplications, from ${runs} by this method`;
}

/** @param {string} text */
function refuse(text) {
  refusal.textContent = text;
  refusal.hidden = !text;
}

/** @param {Problem[]} problems @param {string} detail */
function refuseWith(problems, detail) {
  const ofJobs = problems.map(({ pointer, detail }) => ({
    pointer: pointer.replace(/^\/job(?=\/|$)/, ""),
    detail,
  }));
  const ofValues = ofJobs.filter(({ pointer }) => !pointer || pointer.startsWith("/over"));
  showVaried(ofValues.map((problem) => problem.detail).join("; "));
  const elsewhere = show(ofJobs.filter((problem) => !ofValues.includes(problem)));
  if (!problems.length) refuse(detail);
  else refuse(elsewhere.map((problem) => `${problem.pointer}: ${problem.detail}`).join("; "));
}

/** @param {string} problem */
function showVaried(problem) {
  variedProblem.textContent = problem;
  variedProblem.hidden = !problem;
  if (problem) varied.setAttribute("aria-invalid", "true");
  else varied.removeAttribute("aria-invalid");
}

let turn = 0;
let timer = 0;

async function check() {
  const mine = ++turn;
  const wanted = request();
  body.textContent = JSON.stringify(wanted.body, null, 2);
  try {
    const asked = validate(wanted.url, wanted.body);
    // What one of many jobs needs is shown for the settings as they stand in the form.
    const single =
      wanted.url === at("/v1/jobs") ? asked : validate(at("/v1/jobs"), specification());
    const [answer, needs] = await Promise.all([asked, single]);
    if (mine !== turn) return;
    if (answer instanceof Refusal) {
      refuseWith(answer.errors, answer.message);
    } else {
      refuse("");
      show([]);
      showVaried("");
    }
    const count = answer instanceof Refusal ? 1 : (answer.jobs_total ?? 1);
    button.textContent = count > 1 ? `Submit ${count} jobs` : "Submit job";
    showNeeds(needs instanceof Refusal ? null : needs);
  } catch (error) {
    if (mine === turn) refuse(`${explain(error)} What you typed is kept.`);
  }
}

/**
 * What would come of a request: the answer to it, or why it would be refused.
 * @param {string} url
 * @param {any} body
 */
async function validate(url, body) {
  try {
    const json = JSON.stringify(body);
    return await ask(`${url}?validate_only=true`, { method: "POST", json });
  } catch (error) {
    if (error instanceof Refusal) return error;
    throw error;
  }
}

const keys = new IdempotencyKeys();

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  window.clearTimeout(timer);
  turn++;
  button.disabled = true;
  const { url, body: asked } = request();
  const json = JSON.stringify(asked);
  try {
    const headers = { "Idempotency-Key": keys.of(json) };
    const answer = await ask(url, { method: "POST", headers, json });
    location.assign(answer.urls.page);
    return;
  } catch (error) {
    if (error instanceof Refusal) {
      refuseWith(error.errors, error.message);
      /** @type {HTMLElement | null} */ (form.querySelector("[aria-invalid]"))?.focus();
    } else if (error instanceof Unreachable) {
      refuse(`${error.message} Nothing is lost: submit again, nothing is made twice.`);
    } else {
      throw error;
    }
  }
  button.disabled = false;
});

form.addEventListener("input", () => {
  choose();
  turn++; // an answer on its way is about what stood there before
  window.clearTimeout(timer);
  timer = window.setTimeout(check, PAUSE_MS);
});

ready();
choose();
check();
