// @ts-check
// A job: its state and numbers from the stream, charts, log, and the buttons.
import { Charts } from "./chart.js";
import { duration, metric, percent } from "./format.js";
import { refreshSoon, set } from "./live.js";
import { Stream } from "./stream.js";

const LOG_EVERY_MS = 1000;
const LOG_KEPT = 400_000; // characters
const root = /** @type {HTMLElement} */ (document.getElementById("job"));
const address = `/v1/jobs/${root.dataset.id}`;
const charts = new Charts(
  /** @type {HTMLElement} */ (document.getElementById("charts")),
  `${address}/metrics`,
  /** @type {HTMLButtonElement} */ (document.getElementById("reset-zoom")),
);

/** @param {any} job */
function show(job) {
  const { step, steps_total, epoch, epochs, fraction } = job.progress;
  const bar = /** @type {HTMLProgressElement} */ (document.getElementById("progress"));
  bar.value = fraction;
  const steps = steps_total ? `step ${step} of ${steps_total} · ` : "";
  text("steps", `${steps}epoch ${epoch.toFixed(2)} of ${epochs}`);
  text("left", job.eta_seconds == null ? "" : `${duration(job.eta_seconds)} left`);
  for (const cell of /** @type {NodeListOf<HTMLElement>} */ (
    document.querySelectorAll("#values [data-value]")
  )) {
    const name = cell.dataset.value ?? "";
    if (name === "best_accuracy") set(cell, percent(job.best_accuracy));
    else if (name in job.latest_metrics) set(cell, metric(job.latest_metrics[name], name));
  }
}

/**
 * @param {string} id
 * @param {string} content
 */
function text(id, content) {
  const element = document.getElementById(id);
  if (element) set(element, content);
}

// Log

const log = /** @type {HTMLElement} */ (document.getElementById("log"));
const follow = /** @type {HTMLInputElement} */ (document.getElementById("follow"));
let logAsked = 0;
let logTimer = 0;

function logSoon() {
  if (!logTimer) logTimer = window.setTimeout(readLog, logAsked + LOG_EVERY_MS - Date.now());
}

async function readLog() {
  logAsked = Date.now();
  try {
    const response = await fetch(`${address}/logs?after=${log.dataset.after}`);
    const piece = await response.text();
    if (response.ok && piece) {
      log.dataset.after = response.headers.get("X-Log-After") ?? log.dataset.after;
      const whole = log.textContent + piece;
      log.textContent = whole.length > LOG_KEPT ? whole.slice(-LOG_KEPT) : whole;
      if (follow.checked) log.scrollTop = log.scrollHeight;
    }
  } catch {
    // The stream says that the connection is lost; its next message asks again.
  } finally {
    logTimer = 0;
  }
}

follow.addEventListener("change", () => {
  if (follow.checked) log.scrollTop = log.scrollHeight;
});
log.scrollTop = log.scrollHeight;

// Buttons

const refusal = /** @type {HTMLElement} */ (document.getElementById("refusal"));
const QUESTIONS = new Map([
  ["delete", "Delete this job with its metrics, log and files?"],
  ["cancel", "Cancel this job? What it has learnt so far is lost."],
]);

document.getElementById("actions")?.addEventListener("click", async (event) => {
  const button = /** @type {Element} */ (event.target).closest("button");
  const action = button?.dataset.action;
  if (!button || !action) return;
  const question = QUESTIONS.get(action);
  if (question && !window.confirm(question)) return;
  refusal.hidden = true;
  button.disabled = true;
  try {
    const remove = action === "delete";
    const response = await fetch(remove ? address : `${address}/${action}`, {
      method: remove ? "DELETE" : "POST",
    });
    if (!response.ok) throw new Error((await response.json()).detail);
    if (remove) location.assign("/");
    else if (action === "retry") location.assign((await response.json()).urls.page);
  } catch (error) {
    refusal.textContent = `This could not be done: ${/** @type {Error} */ (error).message}`;
    refusal.hidden = false;
  } finally {
    button.disabled = false;
    refreshSoon();
  }
});

// Life

charts.reload();
if (root.dataset.over !== "true") {
  new Stream(
    `${address}/events`,
    {
      message(event) {
        refreshSoon();
        // A new attempt goes on from a checkpoint: points after it are gone.
        if (event.type === "running") charts.reload();
      },
      progress(job) {
        show(job);
        charts.growSoon();
        logSoon();
      },
      done(job) {
        if (job.deleted) {
          location.assign("/");
          return;
        }
        show(job);
        document.getElementById("way")?.classList.add("over");
        charts.reload();
        logSoon();
        refreshSoon();
      },
    },
    { after: Number(root.dataset.events) },
  );
}
