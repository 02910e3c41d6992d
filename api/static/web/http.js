// @ts-check
// Requests to the service, and its refusals in words that can be shown.

/** What the service answered instead of doing what it was asked (problem+json, RFC 9457). */
export class Refusal extends Error {
  /**
   * @param {number} status
   * @param {any} problem the parsed body; null where there is none that can be read
   */
  constructor(status, problem) {
    super(problem?.detail || `The server answered ${status}.`);
    this.status = status;
    /** @type {any[]} */
    this.errors = problem?.errors ?? [];
  }
}

/** No answer arrived: the service or the network is away. */
export class Unreachable extends Error {
  constructor() {
    super("The server does not answer.");
  }
}

/**
 * Send a request and read its answer.
 * @param {string} url
 * @param {RequestInit & { json?: string }} [options] `json`: a body that is JSON already
 * @returns {Promise<any>} the answer's JSON, or null where it has no body
 * @throws {Refusal} the status was not 2xx, or the body was no JSON
 * @throws {Unreachable}
 */
export async function ask(url, options) {
  const { status, ok, text } = await send(url, options);
  const body = parse(text);
  if (!ok || (body === null && text)) throw new Refusal(status, body);
  return body;
}

/**
 * The same, for an answer that is text.
 * @param {string} url
 * @param {RequestInit} [options]
 * @returns {Promise<{ text: string, headers: Headers }>}
 */
export async function askText(url, options) {
  const { status, ok, text, headers } = await send(url, options);
  if (!ok) throw new Refusal(status, parse(text));
  return { text, headers };
}

/**
 * What a browser that has signed in says with each request: that a page of this service sends it, and
 * the project that new things belong to.
 * @returns {Record<string, string>}
 */
export function token() {
  const meta = document.querySelector('meta[name="csrf"]');
  const project = document.getElementById("project");
  return {
    ...(meta instanceof HTMLMetaElement && { "X-CSRF-Token": meta.content }),
    // Names are of letters, digits and . _ @ -
    ...(project instanceof HTMLSelectElement && project.value && { "Saf-Project": project.value }),
  };
}

/**
 * @param {string} url
 * @param {RequestInit & { json?: string }} [options]
 */
async function send(url, { json, ...options } = {}) {
  const headers = new Headers(options.headers);
  if (json !== undefined) headers.set("Content-Type", "application/json");
  for (const [name, value] of Object.entries(token())) headers.set(name, value);
  try {
    const body = json ?? options.body;
    const response = await fetch(url, { ...options, headers, body });
    // A connection that breaks in the middle of the body is none as well.
    const text = await response.text();
    return { status: response.status, ok: response.ok, text, headers: response.headers };
  } catch {
    throw new Unreachable();
  }
}

/**
 * The value of a JSON text; null where it is none.
 * @param {string} text
 */
export function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/**
 * Whether an error came of a request. Any other is a fault of the page, to be thrown on.
 * @param {unknown} error
 * @returns {error is Refusal | Unreachable}
 */
export function isOfRequest(error) {
  return error instanceof Refusal || error instanceof Unreachable;
}

/**
 * What to tell the reader of a page about a request that failed; throws any other error on.
 * @param {unknown} error
 */
export function explain(error) {
  if (isOfRequest(error)) return error.message;
  throw error;
}

/** Keys for requests that may be sent twice (a lost answer, a second click): one for each content. */
export class IdempotencyKeys {
  #content = "";
  #key = "";

  /** @param {string} content */
  of(content) {
    if (this.#content !== content || !this.#key) {
      this.#content = content;
      // crypto.randomUUID exists on https and loopback alone.
      this.#key = [...crypto.getRandomValues(new Uint8Array(16))]
        .map((byte) => byte.toString(16).padStart(2, "0"))
        .join("");
    }
    return this.#key;
  }
}
