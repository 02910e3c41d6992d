// Addresses of this service, which may lie under a path of a server.

/** The path of the service there, found by where this module lies: `…/static/HASH/web/address.js`. */
const root = new URL("../../..", import.meta.url).pathname.replace(/\/$/, "");

/** @param {string} path inside the service, such as `/v1/jobs` */
export function at(path) {
  return root + path;
}
