// @ts-check
// Uploading a data set in pieces: how far it is, what the check found. A lost connection, a page that
// was closed or a server that was started again costs the piece under way.
import { at } from "../web/address.js";
import { size } from "../web/format.js";
import { ask, explain, IdempotencyKeys, isOfRequest, parse, Refusal, token } from "../web/http.js";
import { refreshSoon } from "../web/live.js";
import { ready } from "../web/ready.js";

// Of vendor/tus-js-client, which knows no modules.
const tus = /** @type {any} */ (globalThis).tus;
const LOOK_MS = 700;
const PIECE = 8 * 2 ** 20;
const KEPT_MS = 24 * 3600 * 1000; // as the server keeps what nobody goes on with
// A quarter of an hour without an answer; each piece that arrives begins them anew.
const PAUSES = [0, 500, 1000, 2000, 5000, ...Array(60).fill(15000)];
const LATER = [408, 409, 423, 460];
const GONE = [404, 410];
const keys = new IdempotencyKeys();
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
  if (chosen) void send(chosen);
});
again.addEventListener("click", () => form.requestSubmit());
ready();
void tellUnfinished();

/**
 * Send a file, or what of it has not arrived, and make a data set of it.
 * @param {File} chosen
 * @param {boolean} [mayBeginAgain] where an earlier upload of the file turns out to be spent
 */
async function send(chosen, mayBeginAgain = true) {
  complain("", []);
  bar.value = 0;
  setBusy(true);
  const stopped = new AbortController();
  const key = new IdempotencyKeys().of("begin");
  const upload = new tus.Upload(chosen, {
    endpoint: new URL(at("/v1/uploads"), location.href).href,
    chunkSize: PIECE,
    metadata: { filename: chosen.name },
    headers: token(),
    retryDelays: PAUSES,
    // Where the answer is lost, the next request begins no second upload.
    onBeforeRequest: (/** @type {any} */ request) => {
      if (request.getMethod() === "POST") request.setHeader("Idempotency-Key", key);
    },
    onProgress: showProgress,
    onShouldRetry: (/** @type {any} */ error) => {
      const status = error.originalResponse?.getStatus() ?? 0;
      const retried = !status || status >= 500 || LATER.includes(status);
      if (retried) said.textContent = "The connection was lost; it goes on when it is back.";
      return retried;
    },
    onError: (/** @type {any} */ error) => {
      setBusy(false);
      said.textContent = "";
      const response = error.originalResponse;
      if (response) {
        const refusal = new Refusal(response.getStatus(), parse(response.getBody()));
        complain(refusal.message, refusal.errors);
      } else {
        complain("The connection was lost before the file had arrived.", []);
      }
      offerAgain();
    },
    onSuccess: () => void make(upload, chosen, stopped.signal, mayBeginAgain),
  });
  stop.onclick = async () => {
    stopped.abort();
    stop.disabled = true;
    said.textContent = "Stopping";
    await Promise.allSettled([upload.abort(), forget(upload)]);
    said.textContent = await giveUp(upload.url);
    stop.disabled = false;
    setBusy(false);
  };
  const before = await upload.findPreviousUploads();
  if (before.length) upload.resumeFromPreviousUpload(before[0]);
  upload.start();
}

/**
 * Delete what has arrived of an upload.
 * @param {string | null} url
 * @returns {Promise<string>} what is left of it, in words
 */
async function giveUp(url) {
  try {
    if (url) await ask(url, { method: "DELETE", headers: { "Tus-Resumable": "1.0.0" } });
  } catch (error) {
    if (!isOfRequest(error)) throw error;
    const status = error instanceof Refusal ? error.status : 0;
    if (status === 409 || status === 423) {
      refreshSoon();
      return "The file had arrived, and its check goes on: if it can be read, it appears in the list.";
    }
    if (!GONE.includes(status)) return "Stopped; what has arrived goes by itself within a day.";
  }
  return "Stopped; nothing was kept.";
}

/**
 * @param {number} arrived
 * @param {number} total
 */
function showProgress(arrived, total) {
  bar.value = total ? arrived / total : 1;
  said.textContent =
    arrived < total ? `${size(arrived)} of ${size(total)} sent` : "Sent, is being checked";
}

/**
 * Make a data set of a file that has arrived.
 * @param {any} upload
 * @param {File} chosen
 * @param {AbortSignal} signal
 * @param {boolean} mayBeginAgain
 */
async function make(upload, chosen, signal, mayBeginAgain) {
  if (signal.aborted) return;
  showProgress(chosen.size, chosen.size);
  /** @type {Record<string, string>} */
  const body = { upload: new URL(upload.url).pathname.split("/").pop() ?? "" };
  for (const field of form.querySelectorAll("input")) {
    const value = field.type === "file" ? "" : field.value.trim();
    if (value) body[field.name] = value;
  }
  try {
    const json = JSON.stringify(body);
    const headers = { "Idempotency-Key": keys.of(json) };
    const made = await ask(at("/v1/datasets"), { method: "POST", json, headers, signal });
    setBusy(false);
    await forget(upload);
    refreshSoon();
    void watch(made);
  } catch (error) {
    if (signal.aborted) return;
    if (mayBeginAgain && error instanceof Refusal && isSpent(error)) {
      await forget(upload);
      void send(chosen, false);
      return;
    }
    setBusy(false);
    said.textContent = "";
    if (error instanceof Refusal) {
      complain(error.message, error.errors);
    } else {
      explain(error);
      complain("The connection was lost before the server had answered.", []);
      offerAgain();
    }
  }
}

/**
 * Whether an upload has become another data set, or is gone, so that it has to be begun again.
 * @param {Refusal} refusal
 */
function isSpent({ status, errors }) {
  const isAnother = errors.some(({ pointer }) => pointer === "/upload");
  return GONE.includes(status) || (status === 409 && isAnother);
}

function offerAgain() {
  again.hidden = false;
  again.focus();
}

/**
 * The file may be sent again as another data set.
 * @param {any} upload
 */
async function forget(upload) {
  for (const { urlStorageKey } of await upload.findPreviousUploads()) {
    await tus.defaultOptions.urlStorage.removeUpload(urlStorageKey);
  }
}

/** Say which uploads this browser has begun and not finished. */
async function tellUnfinished() {
  const begun = await tus.defaultOptions.urlStorage.findAllUploads();
  const names = begun
    .filter((/** @type {any} */ one) => Date.now() - Date.parse(one.creationTime) < KEPT_MS)
    .map((/** @type {any} */ one) => one.metadata.filename);
  if (names.length && !said.textContent) {
    said.textContent = `Not uploaded to the end: ${names.join(", ")}. Choose the same file again, and it goes on.`;
  }
}

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
