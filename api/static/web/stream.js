// @ts-check
// One server-sent event stream that says when it is cut, comes back, and rests while unseen.

import { announce, LOST } from "./connection.js";

const REST_AFTER_MS = 10_000; // browsers allow six connections to a server, all tabs together
const RETRY_MS = [1000, 2000, 5000, 10_000];
const SILENCE_MS = 40_000; // a stream that says something every 15 s and is silent so long is dead

/**
 * @typedef {Object} Handlers
 * @property {(data: any, id: string) => void} [message] a line of the timeline
 * @property {(data: any) => void} [progress] a snapshot
 * @property {(data: any) => void} [begin] of the list: from here on every change is told
 * @property {(data: any) => void} [job] a job of the list changed
 * @property {(data: any) => void} [deleted] a job of the list is gone
 * @property {(data: any) => void} [beat] of the list: the stream lives
 * @property {(data: any) => void} [done] nothing more will come
 */

export class Stream {
  /**
   * @param {string} url
   * @param {Handlers} handlers
   * @param {{ after?: number }} [options] the id of the last message that is known already
   */
  constructor(url, handlers, { after = 0 } = {}) {
    this.url = url;
    this.handlers = handlers;
    this.last = after;
    this.failures = 0;
    this.ended = false;
    this.progress = ""; // the newest snapshot, which comes again in a quiet time
    /** @type {EventSource | null} */
    this.source = null;
    this.timer = 0;
    this.watchdog = 0;
    document.addEventListener("visibilitychange", () => this.#seen());
    this.#open();
  }

  close() {
    this.ended = true;
    this.#rest();
    announce("");
  }

  #open() {
    if (this.ended || this.source) return;
    window.clearTimeout(this.timer);
    const address = new URL(this.url, location.href);
    if (this.last) address.searchParams.set("after", String(this.last));
    const source = new EventSource(address);
    this.source = source;
    this.#watch(); // one that connects and never answers is given up as well
    source.onopen = () => {
      this.failures = 0;
      announce("");
      this.#watch();
    };
    source.onerror = () => {
      announce(LOST);
      // The browser tries again by itself, with Last-Event-ID, unless the server refused.
      if (source.readyState === EventSource.CLOSED) {
        this.#rest();
        const pause = RETRY_MS[Math.min(this.failures++, RETRY_MS.length - 1)];
        this.timer = window.setTimeout(() => this.#open(), pause);
      }
    };
    source.onmessage = (event) => {
      this.#watch();
      const id = Number(event.lastEventId);
      if (id && id <= this.last) return;
      if (id) this.last = id;
      this.handlers.message?.(JSON.parse(event.data), event.lastEventId);
    };
    for (const name of /** @type {const} */ (["progress", "begin", "job", "deleted", "beat"])) {
      source.addEventListener(name, (event) => {
        this.#watch();
        if (name === "progress") {
          if (event.data === this.progress) return;
          this.progress = event.data;
        }
        this.handlers[name]?.(JSON.parse(event.data));
      });
    }
    source.addEventListener("done", (event) => {
      this.close();
      this.handlers.done?.(JSON.parse(event.data));
    });
  }

  /** A connection that is cut without a word (sleep, a network that changed) is opened anew. */
  #watch() {
    window.clearTimeout(this.watchdog);
    this.watchdog = window.setTimeout(() => {
      announce("Nothing heard from the server, trying again. What you see may be out of date.");
      this.#rest();
      if (!document.hidden) this.#open();
    }, SILENCE_MS);
  }

  #rest() {
    window.clearTimeout(this.timer);
    window.clearTimeout(this.watchdog);
    this.watchdog = 0;
    this.source?.close();
    this.source = null;
  }

  #seen() {
    if (document.hidden) {
      window.clearTimeout(this.timer);
      this.timer = window.setTimeout(() => this.#rest(), REST_AFTER_MS);
    } else if (this.source) {
      window.clearTimeout(this.timer);
    } else {
      this.#open();
    }
  }
}
