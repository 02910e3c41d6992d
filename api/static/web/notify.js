// @ts-check
// Notifications of the browser that jobs and sweeps of one's own have ended, while a page is open.
import { at } from "./address.js";
import { ask, isOfRequest } from "./http.js";

const KEPT = "saf-notify"; // whether it is switched on here
const GOING = "saf-notify-going"; // ids of jobs that have not ended, as of the last look
const AGAIN_MS = 10_000;
const HELD = 1000; // of these ids
/** @type {Record<string, string>} */
const ENDED = { succeeded: "succeeded", failed: "failed", cancelled: "was cancelled" };

const button = document.getElementById("notify");
const isOffered = "Notification" in window && "locks" in navigator; // over https, or on this machine
/** @type {(() => void) | null} */
let stop = null;

function isOn() {
  return isOffered && Notification.permission === "granted" && localStorage.getItem(KEPT) === "on";
}

function show() {
  if (!button) return;
  button.hidden = !isOffered;
  button.setAttribute("aria-pressed", String(isOn()));
  button.title =
    isOffered && Notification.permission === "denied"
      ? "This browser does not allow notifications of this site: change that beside its address."
      : "Says when a job or a sweep of yours has ended, while a page of this service is open.";
}

/** Begin or end to listen, as it is switched on or off. */
function follow() {
  show();
  if (!isOn()) {
    stop?.();
    stop = null;
  } else if (!stop) {
    const limit = new AbortController();
    stop = () => limit.abort();
    // Of all tabs one listens; the next takes its place when it is closed.
    navigator.locks
      .request(KEPT, { signal: limit.signal }, () => listen(limit.signal))
      .catch((error) => {
        if (error.name !== "AbortError") throw error;
      });
  }
}

/**
 * Tell of what ends, until the signal. The stream begins with all jobs of the list, so that what
 * ended while no page was open, or the connection was lost, is told then.
 * @param {AbortSignal} signal
 */
function listen(signal) {
  /** @type {Set<string>} */
  const going = new Set(JSON.parse(localStorage.getItem(GOING) ?? "[]"));
  /** @type {EventSource | null} */
  let source = null;
  let timer = 0;
  const open = () => {
    source = new EventSource(at("/v1/stream"));
    source.addEventListener("job", (event) => {
      const { id, status } = JSON.parse(event.data);
      const had = going.has(id);
      if (status in ENDED) going.delete(id);
      else going.add(id);
      if (had !== going.has(id)) {
        localStorage.setItem(GOING, JSON.stringify([...going].slice(-HELD)));
      }
      if (had && status in ENDED) void tell(id);
    });
    source.addEventListener("deleted", (event) => going.delete(JSON.parse(event.data).id));
    source.onerror = () => {
      if (source?.readyState === EventSource.CLOSED) timer = window.setTimeout(open, AGAIN_MS);
    };
  };
  open();
  return new Promise((done) => {
    signal.addEventListener("abort", () => {
      window.clearTimeout(timer);
      source?.close();
      done(undefined);
    });
  });
}

/** @param {string} id of a job that has ended */
async function tell(id) {
  try {
    const job = await ask(at(`/v1/jobs/${id}`));
    if (!isMine(job)) return;
    if (!job.sweep) {
      notify(`Job ${job.name || id} ${ENDED[job.status]}`, job.error?.message ?? "", at(`/jobs/${id}`));
      return;
    }
    const { counts, name } = await ask(at(`/v1/sweeps/${job.sweep}`));
    if (Object.keys(counts).every((status) => status in ENDED || !counts[status])) {
      const said = Object.entries(counts).map(([status, number]) => `${status}: ${number}`);
      notify(`Sweep ${name || job.sweep} has ended`, said.join(", "), at(`/sweeps/${job.sweep}`));
    }
  } catch (error) {
    if (!isOfRequest(error)) throw error; // it was deleted, or the server is away
  }
}

/** @param {{ owner: string | null }} thing */
function isMine({ owner }) {
  const meta = document.querySelector('meta[name="account"]');
  return !(meta instanceof HTMLMetaElement) || meta.content === owner;
}

/**
 * @param {string} title
 * @param {string} body
 * @param {string} address of the page; with the same one a notification takes the place of the last
 */
function notify(title, body, address) {
  const note = new Notification(title, { body, tag: address });
  note.onclick = () => {
    window.focus();
    location.href = address;
  };
}

button?.addEventListener("click", async () => {
  if (isOn()) localStorage.setItem(KEPT, "off");
  else if ((await Notification.requestPermission()) === "granted") localStorage.setItem(KEPT, "on");
  follow();
});
window.addEventListener("storage", follow); // switched in another tab
follow();
