"use strict";
// Sections open and close; a link into a closed one opens it, and paper has all of them.
const parts = [...document.querySelectorAll("details.part")];
for (const button of document.querySelectorAll("[data-all]")) {
  button.parentElement.hidden = false;
  button.addEventListener("click", () => parts.forEach((part) => (part.open = button.dataset.all === "open")));
}
// The Python beside each picture, for those who want it.
const root = document.documentElement;
root.classList.add("no-code");
for (const button of document.querySelectorAll("[data-code]")) {
  button.addEventListener("click", () => {
    const hidden = root.classList.toggle("no-code");
    button.setAttribute("aria-pressed", String(!hidden));
    button.textContent = `${hidden ? "Show" : "Hide"} the code of each picture`;
  });
}
function openTarget() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  const part = target && (target.querySelector(":scope > details.part") || target.closest("details.part"));
  if (!part) return;
  const shut = [part, target.closest("details.fold")].filter((one) => one && !one.open);
  for (const one of shut) one.open = true;
  if (shut.length) target.scrollIntoView();
}
addEventListener("hashchange", openTarget);
// a second click on the same link changes no address
document.addEventListener("click", (event) => {
  const link = event.target.closest && event.target.closest('a[href^="#"], a[*|href^="#"]');
  if (link) setTimeout(openTarget);
});
let closed = [];
addEventListener("beforeprint", () => {
  closed = parts.filter((part) => !part.open);
  for (const part of closed) part.open = true;
});
addEventListener("afterprint", () => {
  for (const part of closed) part.open = false;
});
openTarget();
// Tables: a click on a head sorts by that column; empty cells stay at the end.
for (const table of document.querySelectorAll("table")) {
  const heads = [...table.querySelectorAll("th")];
  const body = table.tBodies[0];
  heads.forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      const number = head.classList.contains("number");
      const key = (row) => {
        const cell = row.cells[column];
        const text = number ? cell.dataset.value : cell.textContent.trim();
        return text === "" ? null : number ? Number(text) : text;
      };
      const order = (a, b) => (number ? a - b : a.localeCompare(b, "en", { numeric: true }));
      const rows = [...body.rows].map((row) => [key(row), row]);
      rows.sort(([a], [b]) => {
        if (a === null || b === null) return (a === null) - (b === null);
        return up ? order(a, b) : order(b, a);
      });
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      body.append(...rows.map(([, row]) => row));
    });
  });
}
// Pictures: a click shows one large; arrow keys go on, Escape closes.
const viewer = document.getElementById("viewer");
const stage = viewer.querySelector(".stage");
const buttons = [...document.querySelectorAll(".zoom")];
let current = 0;
function show(place) {
  current = (place + buttons.length) % buttons.length;
  const small = buttons[current].querySelector("img");
  const large = new Image();
  large.src = small.src;
  large.alt = small.alt;
  const grow = Math.min(stage.clientWidth / small.width, stage.clientHeight / small.height);
  const natural = Number(small.getAttribute("width"));
  // small pictures fill the window; large ones fit into it until they are clicked
  if (natural <= 600) large.style.width = `${Math.floor(Math.min(natural * 4, small.width * grow - 16))}px`;
  else large.addEventListener("click", () => large.classList.toggle("fill"));
  stage.replaceChildren(large);
  stage.scrollTo(0, 0);
  viewer.querySelector("p").textContent = small.alt;
}
function step(by) {  // to the next picture that is not folded away
  let place = current;
  do place = (place + by + buttons.length) % buttons.length;
  while (place !== current && !buttons[place].offsetParent);
  show(place);
}
buttons.forEach((button, place) =>
  button.addEventListener("click", () => {
    viewer.showModal();
    show(place);
    stage.focus();
  }),
);
viewer.addEventListener("click", (event) => {
  if (event.target === viewer || "close" in event.target.dataset) viewer.close();
  if ("go" in event.target.dataset) step(Number(event.target.dataset.go));
});
viewer.addEventListener("keydown", (event) => {
  if (event.key === "ArrowRight") step(1);
  if (event.key === "ArrowLeft") step(-1);
});
viewer.addEventListener("close", () => {
  stage.replaceChildren();
  buttons[current].focus();
});
