"use strict";
(() => {
  const items = [...document.querySelectorAll(".item")];
  const fields = ["q", "show", "benchmark"].map((id) => document.getElementById(id));
  const [search, show, benchmark] = fields;
  const apply = () => {
    const wanted = search.value.toLowerCase();
    let left = 0;
    for (const item of items) {
      const fits =
        (!show.value || item.dataset.marks.split(" ").includes(show.value)) &&
        (!benchmark || !benchmark.value || item.dataset.benchmark === benchmark.value) &&
        (!wanted || item.textContent.toLowerCase().includes(wanted));
      item.hidden = !fits;
      left += fits;
    }
    document.getElementById("count").textContent = `${left} of ${items.length} items`;
  };
  for (const field of fields) if (field) field.addEventListener("input", apply);
  document.getElementById("filters").addEventListener("submit", (event) => event.preventDefault());
})();
