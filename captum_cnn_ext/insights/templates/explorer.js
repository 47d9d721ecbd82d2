// The grid: a click or the arrow keys choose a unit, other keys press buttons of the page.
const units = () => [...element.querySelectorAll(".unit")];
const BUTTONS = { u: "#back", o: "#ahead", d: "#freeze" };
let waiting = null;
let focused = false;

function choose(unit, delay) {
  for (const other of units()) {
    const same = other === unit;
    other.setAttribute("aria-pressed", same);
    other.tabIndex = same ? 0 : -1;
  }
  unit.focus({ preventScroll: delay === 0 });
  clearTimeout(waiting);
  waiting = setTimeout(() => trigger("pick", { unit: Number(unit.dataset.unit) }), delay);
}

element.addEventListener("click", (event) => {
  const unit = event.target.closest(".unit");
  if (unit) choose(unit, 0);
});
element.addEventListener("focusin", () => { focused = true; });
element.addEventListener("focusout", (event) => { if (event.relatedTarget) focused = false; });
element.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const key = event.key.toLowerCase();
  if (BUTTONS[key]) {
    event.preventDefault();
    document.querySelector(BUTTONS[key]).click();
    return;
  }
  if (key === "b") {
    const rules = [...document.querySelectorAll("#rule input")];
    const next = rules.findIndex((rule) => rule.checked) + 1;
    if (rules.length) rules[next % rules.length].click();
    return;
  }
  const all = units();
  const at = all.indexOf(document.activeElement.closest(".unit"));
  const columns = all.filter((unit) => unit.offsetTop === all[0].offsetTop).length;
  const far = event.shiftKey ? 3 : 1;
  const step = { arrowleft: -far, arrowright: far, arrowup: -columns * far,
    arrowdown: columns * far, home: -all.length, end: all.length }[key];
  if (step === undefined || at < 0) return;
  event.preventDefault();
  const next = at + step;
  if (next < 0 && at === 0 && key !== "home") document.querySelector("#former").click();
  else if (next >= all.length && at === all.length - 1 && key !== "end") {
    document.querySelector("#later").click();
  } else choose(all[Math.max(0, Math.min(all.length - 1, next))], 120);
});
watch("value", () => {
  if (!focused) return;
  const chosen = element.querySelector('.unit[aria-pressed="true"]') || units()[0];
  if (chosen) chosen.focus({ preventScroll: true });
});
