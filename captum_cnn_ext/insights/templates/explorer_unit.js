// The address of the page is that of the unit shown.
watch("value", () => {
  const link = element.querySelector("a.permalink");
  if (link) history.replaceState(null, "", link.getAttribute("href"));
});
