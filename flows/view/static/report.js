// The theme, and nodes opened without the page jumping. Without it every link still leads to its place.
"use strict";
(() => {
  const root = document.documentElement;
  const framed = window !== window.parent;
  const dark = () => (root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches);
  const turn = () => (root.dataset.theme = dark() ? "light" : "dark");
  document.getElementById("theme").addEventListener("click", turn);
  const open = (section) => {
    const nodes = section.parentElement;
    nodes.classList.add("by-hand");
    for (const other of nodes.children) other.classList.toggle("shown", other === section);
    for (const link of section.closest(".item").querySelectorAll("svg.tree a"))
      link.firstElementChild.classList.toggle("chosen", link.getAttribute("href") === `#${section.id}`);
  };
  const reveal = (id) => {
    const place = id && document.getElementById(id);
    if (!place) return;
    const tree = place.closest("details.tree");
    if (tree) tree.open = true;
    if (place.matches(".nodes > section")) open(place);
    else (tree || place).scrollIntoView({ block: "start" });
  };
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[href^='#']");
    const id = link && link.getAttribute("href").slice(1);
    const place = id && document.getElementById(id);
    // MLflow's frame has no addresses of places within it: there every link is followed by hand.
    if (!place || !(framed || place.matches(".nodes > section"))) return;
    event.preventDefault();
    reveal(id);
  });
  addEventListener("hashchange", () => reveal(location.hash.slice(1)));
  reveal(location.hash.slice(1));
  if (framed) root.classList.add("framed");
  else for (const link of document.querySelectorAll("a[href^='http']")) {
    link.target = "_blank";
    link.rel = "noopener noreferrer";
  }
  const trees = [...document.querySelectorAll("details.tree")];
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input[type=search]")) return;
    if (event.key === "t") turn();
    if (event.key !== "n" && event.key !== "p") return;
    const at = trees.findIndex((tree) => tree.open);
    const next = trees[event.key === "n" ? at + 1 : at - 1];
    if (!next) return;
    if (at >= 0) trees[at].open = false;
    next.open = true;
    next.scrollIntoView({ block: "start" });
  });
})();
