// @ts-check
// Links and a form that change what the page lists: the address changes, the live regions are
// exchanged, all else stays. Without this script they load whole pages.
import { isOfRequest } from "./http.js";
import { load, replace } from "./live.js";

const TYPING_MS = 250;
let turn = 0;

/** Follow links inside elements with `data-within` (`top`: and scroll up) without leaving the page. */
export function followLinks() {
  document.addEventListener("click", (event) => {
    const target = /** @type {Element} */ (event.target);
    const link = /** @type {HTMLAnchorElement | null} */ (target.closest("[data-within] a[href]"));
    const isPlain = !(event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey);
    if (!link || !isPlain || event.defaultPrevented) return;
    event.preventDefault();
    const place = /** @type {HTMLElement} */ (link.closest("[data-within]"));
    visit(link.href, place.dataset.within === "top");
  });
  // What is outside the live regions, such as the fields of a form, is the server's for each address.
  window.addEventListener("popstate", (event) => {
    if (event.state?.isWithin) location.reload();
  });
}

/**
 * Follow a form of filters while it is filled in.
 * @param {HTMLFormElement} form
 * @param {RegExp} kept names of parameters of the address that the form does not ask for
 */
export function followForm(form, kept) {
  let timer = 0;
  const follow = () => {
    window.clearTimeout(timer);
    const here = [...new URLSearchParams(location.search)].filter(([name]) => kept.test(name));
    const asked = [...new FormData(form)].filter(([name, value]) => value && !kept.test(name));
    const address = new URL(form.action);
    address.search = new URLSearchParams(
      [...asked, ...here].map(([name, value]) => [name, String(value)]),
    ).toString();
    if (address.href !== location.href) visit(address.href);
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    follow();
  });
  form.addEventListener("change", follow);
  form.addEventListener("input", () => {
    window.clearTimeout(timer);
    timer = window.setTimeout(follow, TYPING_MS);
  });
}

/**
 * @param {string} address
 * @param {boolean} [isToTop]
 */
async function visit(address, isToTop = false) {
  const mine = ++turn;
  try {
    const page = await load(address);
    if (mine !== turn) return; // the reader has gone on
    history.replaceState({ isWithin: true }, "");
    history.pushState({ isWithin: true }, "", address);
    replace(page);
    if (isToTop) window.scrollTo(0, 0);
  } catch (error) {
    if (!isOfRequest(error)) throw error;
    if (mine === turn) location.assign(address); // the browser says what is the matter
  }
}
