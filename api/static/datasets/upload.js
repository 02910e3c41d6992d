// @ts-check
// Uploading a data set: how far it is, what the check found.
import { at } from "../web/address.js";
import { size } from "../web/format.js";
import { ask, explain, parse, Refusal } from "../web/http.js";
import { refreshSoon } from "../web/live.js";

const LOOK_MS = 700;
const form = /** @type {HTMLFormElement} */ (document.getElementById("upload"));
const file = /** @type {HTMLInputElement} */ (document.getElementById("file"));
const drop = /** @type {HTMLElement} */ (document.getElementById("drop"));
const sending = /** @type {HTMLElement} */ (document.getElementById("sending"));
const bar = /** @type {HTMLProgressElement} */ (document.getElementById("sent"));
const said = /** @type {HTMLElement} */ (document.getElementById("said"));
const problems = /** @type {HTMLElement} */ (document.getElementById("problems"));
const stop = /** @type {HTMLButtonElement} */ (document.getElementById("stop"));
const button = /** @type {HTMLButtonElement} */ (form.querySelector("button.primary"));
const again = /** @type {HTMLButtonElement} */ (document.getElementById("again"));

/** @param {boolean} busy */
function setBusy(busy) {
  sending.hidden = !busy;
  stop.hidden = !busy;
  button.disabled = busy;
  again.hidden = true;
}

/**
 * @param {string} title
 * @param {{ detail?: string, message?: string, hint?: string }[]} list
 */
function complain(title, list) {
  const line = document.createElement("p");
  line.textContent = title;
  const items = document.createElement("ul");
  for (const one of list) {
    const item = document.createElement("li");
    item.textContent = one.detail ?? `${one.message}. ${one.hint}`;
    items.append(item);
  }
  problems.replaceChildren(line, ...(list.length ? [items] : []));
  problems.hidden = !title;
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const chosen = file.files?.[0];
  if (!chosen) return;
  complain("", []);
  const data = new FormData();
  const name = /** @type {HTMLInputElement} */ (document.getElementById("name")).value.trim();
  if (name) data.set("name", name);
  data.set("file", chosen);
  // fetch cannot say how much has been sent.
  const request = new XMLHttpRequest();
  request.open("POST", at("/v1/datasets"));
  request.upload.onprogress = ({ loaded, total }) => {
    bar.value = loaded / total;
    said.textContent =
      loaded < total ? `${size(loaded)} of ${size(total)} sent` : "Sent, is being checked";
  };
  request.onload = () => {
    setBusy(false);
    const answer = parse(request.responseText);
    if (request.status >= 400 || !answer) {
      said.textContent = "";
      const refusal = new Refusal(request.status, answer);
      complain(refusal.message, refusal.errors);
      return;
    }
    refreshSoon();
    watch(answer);
  };
  request.onerror = () => {
    setBusy(false);
    said.textContent = "";
    complain("The connection was lost before the file had arrived.", []);
    again.hidden = false;
    again.focus();
  };
  request.onabort = () => {
    setBusy(false);
    said.textContent = "Stopped; nothing was kept.";
  };
  stop.onclick = () => request.abort();
  again.onclick = () => form.requestSubmit();
  bar.value = 0;
  setBusy(true);
  request.send(data);
});

/**
 * Look until the check of a data set is over.
 * @param {any} dataset
 */
async function watch(dataset) {
  while (dataset.status === "checking") {
    said.textContent = `${dataset.name} is being checked`;
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    try {
      dataset = await ask(at(`/v1/datasets/${dataset.id}`));
    } catch (error) {
      if (error instanceof Refusal && error.status < 500) {
        said.textContent = "";
        complain(error.message, error.errors);
        return; // somebody has deleted it
      }
      said.textContent = `${explain(error)} Trying again.`;
    }
  }
  refreshSoon();
  if (dataset.status === "needs_choice") {
    location.assign(dataset.urls.page); // where it is asked how it is to be read
  } else if (dataset.status === "ready") {
    said.textContent = `${dataset.name} is ready.`;
    form.reset();
  } else {
    said.textContent = "";
    complain(`${dataset.name} cannot be used:`, dataset.problems);
  }
}

for (const name of ["dragover", "dragleave", "drop"]) {
  drop.addEventListener(name, (event) => {
    event.preventDefault();
    drop.classList.toggle("over", name === "dragover");
    const files = /** @type {DragEvent} */ (event).dataTransfer?.files;
    if (name === "drop" && files?.length) file.files = files;
  });
}
