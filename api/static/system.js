// @ts-check
// Workers and queue, looked at again every few seconds while somebody sees them.
import { refreshSoon } from "./live.js";

const EVERY_MS = 5000;

window.setInterval(() => {
  if (!document.hidden) refreshSoon();
}, EVERY_MS);
