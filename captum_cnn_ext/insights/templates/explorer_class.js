// A click into the box of classes selects what is in it, so that typing replaces it.
document.addEventListener("focusin", (event) => {
  if (event.target.matches("#target input")) setTimeout(() => event.target.select());
});
