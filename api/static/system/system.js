// @ts-check
// Workers and queue, looked at again every few seconds while somebody sees them.
import { poll } from "../web/live.js";

const EVERY_MS = 5000;

poll(EVERY_MS);
