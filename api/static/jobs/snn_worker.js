// @ts-check
// Runs the WebAssembly of a job's network beside the page: a message with its address and a sample
// comes in, the answer that the server would give goes out. WebAssembly is allowed here alone
// (api/web/assets.py).
import { answered } from "./answer.js";
import { load } from "./snn.js";

/** @typedef {import("./snn.js").Network} Network */

/** @type {Map<string, Promise<Network>>} */
const networks = new Map();

self.addEventListener("message", async ({ data: { turn, url, pixels } }) => {
  try {
    if (!networks.has(url)) networks.set(url, load(fetch(url)));
    const network = await /** @type {Promise<Network>} */ (networks.get(url));
    const answer = pixels ? answered(network, pixels) : network.about;
    self.postMessage({ turn, answer });
  } catch (error) {
    networks.delete(url); // the next question tries again
    self.postMessage({ turn, error: String(error) });
  }
});
