// @ts-check
// One data set: event frames step by step, deletion, and the end of its check.
import { at } from "../web/address.js";
import { ask, explain, Refusal, Unreachable } from "../web/http.js";
import { onRefresh, poll } from "../web/live.js";
import { ready } from "../web/ready.js";
import { offerRemarks } from "../web/remarks.js";

const LOOK_MS = 1000;
const STEP_MS = 160;

const scrubber = document.getElementById("scrubber");
if (scrubber) scrub(scrubber);

/**
 * Every strip shows a part of one picture; a time step is another part of it.
 * @param {HTMLElement} place
 */
function scrub(place) {
  const range = /** @type {HTMLInputElement} */ (document.getElementById("step"));
  const said = /** @type {HTMLOutputElement} */ (document.getElementById("step-said"));
  const play = /** @type {HTMLButtonElement} */ (document.getElementById("play"));
  const steps = (place.dataset.steps ?? "").split(",");
  const together = said.textContent;
  const [across, wide, tall] = [place.dataset.across, place.dataset.wide, place.dataset.tall].map(
    Number,
  );
  const strips = [...document.querySelectorAll(".strip")].map((strip) => ({
    strip,
    box: (strip.getAttribute("viewBox") ?? "").split(" ").map(Number),
  }));
  let timer = 0;

  function show() {
    const sheet = Number(range.value);
    for (const { strip, box } of strips) {
      const left = box[0] + (sheet % across) * wide;
      const top = box[1] + Math.floor(sheet / across) * tall;
      strip.setAttribute("viewBox", `${left} ${top} ${box[2]} ${box[3]}`);
    }
    said.textContent = sheet ? `step ${steps[sheet - 1]}` : together;
    range.setAttribute("aria-valuetext", said.textContent ?? "");
  }

  function stop() {
    window.clearInterval(timer);
    timer = 0;
    play.textContent = "Play";
    play.setAttribute("aria-pressed", "false");
  }

  range.addEventListener("input", () => {
    stop();
    show();
  });
  play.addEventListener("click", () => {
    if (timer) {
      stop();
      return;
    }
    play.textContent = "Stop";
    play.setAttribute("aria-pressed", "true");
    timer = window.setInterval(() => {
      range.value = String((Number(range.value) % steps.length) + 1);
      show();
    }, STEP_MS);
  });
  place.hidden = false;
}

const button = /** @type {HTMLButtonElement | null} */ (document.getElementById("delete"));
button?.addEventListener("click", async () => {
  const { url = "", name } = button.dataset;
  if (!window.confirm(`Delete the data set ${name}? Runs that have ended keep their results.`)) {
    return;
  }
  button.disabled = true;
  try {
    await ask(url, { method: "DELETE" });
    location.assign(at("/datasets"));
    return;
  } catch (error) {
    if (error instanceof Refusal && error.status === 404) {
      location.assign(at("/datasets"));
      return;
    }
    const again = error instanceof Unreachable ? " Nothing was deleted; try again." : "";
    refuse(explain(error) + again);
  }
  button.disabled = false;
});

const choices = document.getElementById("choices");
choices?.addEventListener("click", async (event) => {
  const chosen = /** @type {HTMLElement} */ (event.target).closest("button");
  if (!chosen) return;
  const { setting = "", value = "" } = chosen.dataset;
  const said = /** @type {HTMLElement} */ (document.getElementById("choosing"));
  const buttons = [...choices.querySelectorAll("button")];
  for (const each of buttons) each.disabled = true;
  said.textContent = `Being read with ${setting.replaceAll("_", " ")} ${value}`;
  try {
    const json = JSON.stringify({ [setting]: value });
    await ask(choices.dataset.url ?? "", { method: "POST", json });
    location.reload();
    return;
  } catch (error) {
    said.textContent = "";
    refuse(explain(error));
  }
  for (const each of buttons) each.disabled = false;
  chosen.focus();
});
const facts = /** @type {HTMLElement} */ (document.getElementById("facts"));
offerRemarks(facts.dataset.url ?? "");
ready();

/** @param {string} text */
function refuse(text) {
  const place = /** @type {HTMLElement} */ (document.getElementById("refusal"));
  place.textContent = text;
  place.hidden = false;
}

// What the page shows besides its facts is there once the check is over.
if (facts.dataset.status === "checking") {
  poll(LOOK_MS);
  onRefresh(() => {
    if (facts.dataset.status !== "checking") location.reload();
  });
}
