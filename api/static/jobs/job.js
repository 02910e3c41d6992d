// @ts-check
// A job: its state and numbers from the stream, its parts kept up to date, and the buttons.
import { at } from "../web/address.js";
import { offerActions } from "../web/actions.js";
import { Charts } from "./chart.js";
import { count, duration, metric, percent } from "../web/format.js";
import { refreshSoon, set } from "../web/live.js";
import { ready } from "../web/ready.js";
import { offerExports } from "./exports.js";
import { offerMoreEpochs } from "./further.js";
import { offerRemarks } from "../web/remarks.js";
import { Log } from "./log.js";
import { Stream } from "../web/stream.js";
import { PredictForm } from "./predict.js";
import { SpikeStatistics } from "./spike_stats.js";

const root = /** @type {HTMLElement} */ (document.getElementById("job"));
const address = at(`/v1/jobs/${root.dataset.id}`);
const charts = new Charts(
  /** @type {HTMLElement} */ (document.getElementById("charts")),
  `${address}/metrics`,
  /** @type {HTMLButtonElement} */ (document.getElementById("reset-zoom")),
);

const QUIET_MS = 20_000; // so long without news, the page asks whether its worker is still heard of
let told = Date.now();

/** @param {any} job */
function show(job) {
  told = Date.now();
  const { step, steps_total, epoch, epochs, fraction, checked, to_check } = job.progress;
  const bar = /** @type {HTMLProgressElement} */ (document.getElementById("progress"));
  bar.value = fraction;
  const steps = steps_total ? `step ${count(step)} of ${count(steps_total)} · ` : "";
  text("steps", `${steps}epoch ${epoch.toFixed(2)} of ${count(epochs)}`);
  text(
    "checked",
    to_check ? `checking ${count(checked)} of ${count(to_check)} samples` : "",
  );
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

// Parts

const log = new Log(`${address}/logs`);
const spikeStatistics = new SpikeStatistics(`${address}/vitals`);
const predictSection = /** @type {HTMLElement} */ (document.getElementById("predict"));
/** @type {PredictForm | null} */
let predictForm = null;
/** @type {number | null} */
let checkpoint = null;

/** @param {number | null} step of the newest checkpoint; null once there is the network itself */
function offerPredictions(step) {
  checkpoint = step;
  predictSection.hidden = false;
  predictForm ??= new PredictForm(`${address}/predict`, step);
  predictForm.renew(step);
}

if (!predictSection.hidden) {
  const { step } = predictSection.dataset;
  offerPredictions(step ? Number(step) : null);
}

const settings = document.getElementById("chart-settings");
const logScale = /** @type {HTMLInputElement} */ (document.getElementById("log-scale"));
const smoothing = /** @type {HTMLInputElement} */ (document.getElementById("smoothing"));
if (settings) settings.hidden = false;
logScale.checked = charts.settings.log;
smoothing.value = String(charts.settings.smoothing);
text("smoothing-value", smoothing.value);
logScale.addEventListener("change", () => charts.set({ log: logScale.checked }));
smoothing.addEventListener("input", () => {
  text("smoothing-value", smoothing.value);
  charts.set({ smoothing: Number(smoothing.value) });
});

for (const button of /** @type {NodeListOf<HTMLButtonElement>} */ (
  document.querySelectorAll("[data-copy]")
)) {
  button.hidden = !navigator.clipboard;
  button.addEventListener("click", async () => {
    const source = document.getElementById(button.dataset.copy ?? "");
    await navigator.clipboard.writeText(source?.textContent ?? "");
    set(button, "Copied");
    window.setTimeout(() => set(button, "Copy"), 1500);
  });
}

// Buttons

offerActions(address, at("/"), {
  delete: "Delete this job with its metrics, log and files?",
  cancel: "Cancel this job? What it has learned since its last checkpoint is lost.",
});
offerMoreEpochs(address);
offerRemarks(address);
offerExports(address);
ready();

// Life

charts.reload();
spikeStatistics.reload();
if (root.dataset.over !== "true") {
  const quiet = window.setInterval(() => {
    if (!document.hidden && Date.now() - told > QUIET_MS) refreshSoon();
  }, QUIET_MS);
  new Stream(
    `${address}/events`,
    {
      message(event) {
        refreshSoon();
        // A new attempt goes on from a checkpoint: points after it are gone.
        if (event.type === "running") {
          charts.reload();
          spikeStatistics.reload();
        }
      },
      progress(job) {
        show(job);
        if (job.checkpoint_step !== null && job.checkpoint_step !== checkpoint) {
          offerPredictions(job.checkpoint_step);
          refreshSoon();
        }
        charts.growSoon();
        spikeStatistics.growSoon();
        log.readSoon();
      },
      done(job) {
        if (job.deleted) {
          location.assign(at("/"));
          return;
        }
        window.clearInterval(quiet);
        show(job);
        document.getElementById("way")?.classList.add("over");
        charts.reload();
        spikeStatistics.growSoon();
        log.readSoon();
        refreshSoon();
        if (job.status === "succeeded") offerPredictions(null);
      },
    },
    { after: Number(root.dataset.events) },
  );
}
