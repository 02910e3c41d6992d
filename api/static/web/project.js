// @ts-check
// The project that new things belong to: chosen in the menu, remembered by this browser. `http.js` sends it.

const KEPT = "saf-project";
const select = document.getElementById("project");
if (select instanceof HTMLSelectElement) {
  const before = localStorage.getItem(KEPT) ?? "";
  if ([...select.options].some((option) => option.value === before)) select.value = before;
  select.addEventListener("change", () => localStorage.setItem(KEPT, select.value));
  select.disabled = false; // a choice made before would be lost
}
