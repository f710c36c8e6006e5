// Keys and the theme. Pages work without it: every step is a link.
"use strict";
(() => {
  const root = document.documentElement;
  const kept = localStorage.getItem("spar-theme");
  if (kept) root.dataset.theme = kept;
  const dark = () => (root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches);
  const turn = () => {
    root.dataset.theme = dark() ? "light" : "dark";
    localStorage.setItem("spar-theme", root.dataset.theme);
  };
  const help = document.getElementById("help");
  document.getElementById("theme").addEventListener("click", turn);
  document.getElementById("keys").addEventListener("click", () => help.showModal());

  const rows = () => [...document.querySelectorAll("table.rows > tbody > tr")].filter((row) => row.querySelector("a"));
  const step = (by) => {
    const all = rows();
    if (!all.length) return;
    const at = all.findIndex((row) => row.classList.contains("chosen"));
    const next = all[Math.min(all.length - 1, Math.max(0, at < 0 ? 0 : at + by))];
    if (at >= 0) all[at].classList.remove("chosen");
    next.classList.add("chosen");
    next.scrollIntoView({ block: "nearest" });
    next.querySelector("a").focus({ preventScroll: true });
  };
  const follow = (selector) => {
    const link = document.querySelector(selector);
    if (link) link.click();
  };
  const rooms = { r: "/runs", t: "/trees", p: "/prompts", a: "/pairs", x: "/examples", d: "/drops", e: "/evaluation", m: "/models" };
  let going = 0;
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea, dialog[open]")) return;
    if (going && event.timeStamp - going < 1500 && rooms[event.key]) {
      location.href = rooms[event.key];
      return;
    }
    going = event.key === "g" ? event.timeStamp : 0;
    const actions = {
      j: () => step(1),
      k: () => step(-1),
      n: () => follow("[rel=next]"),
      p: () => follow("[rel=prev]"),
      u: () => follow("[data-key=u]"),
      t: turn,
      "?": () => help.showModal(),
      "/": () => {
        const search = document.querySelector("input[type=search]");
        if (search) search.focus();
      },
    };
    if (actions[event.key]) {
      event.preventDefault();
      actions[event.key]();
    }
  });
  // A filter chosen from a list is asked for at once.
  document.querySelectorAll("form.filters select").forEach((field) => field.addEventListener("change", () => field.form.requestSubmit()));
})();
// A page of something that goes on is asked for again while nobody is reading further down or typing.
(() => {
  const wish = document.querySelector("meta[name=refresh-seconds]");
  if (!wish) return;
  setInterval(() => {
    if (scrollY < 40 && !document.hidden && document.activeElement === document.body) location.reload();
  }, 1000 * Number(wish.content));
})();
