// The list of layers: a click chooses one, typing narrows the list, the chosen one is in sight.
element.addEventListener("click", (event) => {
  const layer = event.target.closest(".layer");
  if (layer) trigger("pick", { layer: layer.dataset.layer });
});
element.addEventListener("input", (event) => {
  const wanted = event.target.value.trim().toLowerCase();
  for (const layer of element.querySelectorAll(".layer")) {
    layer.hidden = !layer.dataset.layer.toLowerCase().includes(wanted);
  }
  for (const fold of element.querySelectorAll("details")) {
    fold.open = wanted
      ? fold.querySelector(".layer:not([hidden])") !== null
      : fold.querySelector("[aria-current]") !== null;
  }
});
function show() {
  const current = element.querySelector("[aria-current]");
  const scroll = element.querySelector(".scroll");
  if (current) scroll.scrollTop = current.offsetTop - scroll.clientHeight / 2;
}
watch("value", show);
show();
