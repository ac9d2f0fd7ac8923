"use strict";
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const all = (selector, inside = document) => [...inside.querySelectorAll(selector)];
  const data = (id) => { const at = document.getElementById(id); return at ? JSON.parse(at.textContent) : null; };
  const decibels = (value, digits = 3) => (value < 0 ? "\u2212" : "+") + Math.abs(value).toFixed(digits);
  const element = (name, text, attributes = {}, space = null) => {
    const made = space ? document.createElementNS(space, name) : document.createElement(name);
    if (text !== null) made.textContent = text;
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  };
  document.documentElement.classList.add("js");

  // Tables: a click on a column's name sorts by it, a second one turns the order round. Empty cells stay last.
  const key = (row, column) => {
    const cell = row.cells[column], value = cell.dataset.value;
    return value === undefined ? cell.textContent.trim() : value === "" ? null : Number(value.replace("inf", "Infinity"));
  };
  const sort = (head, column) => {
    const table = head.closest("table"), body = table.tBodies[0], before = head.getAttribute("aria-sort");
    const numeric = head.dataset.sort === "number";
    const down = before === "none" ? numeric : before === "ascending";
    for (const other of all("th[aria-sort]", table)) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const rows = [...body.rows].map((row, place) => ({ row, place, value: key(row, column) }));
    rows.sort((a, b) => {
      if (a.value === null || b.value === null) return (a.value === null) - (b.value === null) || a.place - b.place;
      const order = numeric ? (a.value > b.value) - (a.value < b.value) : a.value.localeCompare(b.value);
      return (down ? -order : order) || a.place - b.place;
    });
    body.append(...rows.map((one) => one.row));
  };
  for (const head of all("th[data-sort]")) {
    const button = element("button", head.textContent.trim(), { type: "button" });
    head.replaceChildren(button);
    head.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => sort(head, Number(head.dataset.column)));
  }

  // Curves: the pointer, or the arrow keys, choose an iteration, whose values are said below the chart.
  for (const chart of all(".chart")) {
    const plot = chart.querySelector("svg"), cross = plot.querySelector(".cross");
    const readout = chart.querySelector(".readout"), facts = JSON.parse(chart.querySelector("script").textContent);
    let at = -1;
    const show = (step) => {
      at = Math.min(Math.max(step, 0), facts.steps.length - 1);
      chart.classList.add("active");
      cross.setAttribute("x1", facts.places[at]);
      cross.setAttribute("x2", facts.places[at]);
      const known = facts.lines.filter((line) => line.values[at] !== null).sort((a, b) => b.values[at] - a.values[at]);
      readout.replaceChildren(element("b", `Iteration ${facts.steps[at].toLocaleString("en")}: `));
      for (const line of known) readout.append(element("span", `${line.label} ${line.values[at].toFixed(3)}`), " ");
    };
    plot.addEventListener("pointermove", (event) => {
      const box = plot.getBoundingClientRect();
      const x = (event.clientX - box.left) * plot.viewBox.baseVal.width / box.width;
      const near = facts.places.map((place) => Math.abs(place - x));
      show(near.indexOf(Math.min(...near)));
    });
    plot.addEventListener("keydown", (event) => {
      const moves = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: facts.steps.length - 1 };
      if (!(event.key in moves)) return;
      event.preventDefault();
      show(moves[event.key]);
    });
    const buttons = all(".legend button", chart), series = all("g.series", chart);
    const highlight = (chosen) => series.forEach((one, i) => one.classList.toggle("dim", chosen >= 0 && i !== chosen));
    const pressed = () => buttons.findIndex((one) => one.getAttribute("aria-pressed") === "true");
    buttons.forEach((button, number) => {
      button.addEventListener("click", () => {
        const on = button.getAttribute("aria-pressed") === "true";
        buttons.forEach((other) => other.setAttribute("aria-pressed", "false"));
        button.setAttribute("aria-pressed", String(!on));
        highlight(pressed());
      });
      for (const [event, chosen] of [["pointerenter", () => number], ["pointerleave", pressed]])
        button.addEventListener(event, () => highlight(chosen()));
    });
  }

  // Per image: any two systems, on the seeds that both have; bicubic and the teacher with all seeds of a method.
  const images = data("images");
  const bar = (gain, largest) => {
    const plot = element("svg", null, { viewBox: "-100 0 200 10", preserveAspectRatio: "none", "aria-hidden": "true" }, SVG);
    const length = 100 * Math.abs(gain) / largest;
    const place = { x: gain < 0 ? -length : 0, y: 0, width: length, height: 10, class: gain < 0 ? "down" : "up" };
    plot.append(element("rect", null, { x: -0.4, y: 0, width: 0.8, height: 10, class: "axis" }, SVG), element("rect", null, place, SVG));
    return plot;
  };
  const mean = (system, set, number, seeds) => {
    const found = seeds.map((seed) => system.psnr[set][system.seeds[set].indexOf(seed)][number]).filter((one) => one !== null);
    return found.length ? found.reduce((sum, one) => sum + one, 0) / found.length : null;
  };
  const gains = (a, b, set) => {
    const common = a.paired && b.paired ? a.seeds[set].filter((seed) => b.seeds[set].includes(seed)) : [];
    const of = (system) => (common.length ? common : system.seeds[set]);
    const found = images.sets[set].map((name, number) => {
      const [ours, theirs] = [mean(a, set, number, of(a)), mean(b, set, number, of(b))];
      return ours === null || theirs === null ? null : [name, ours - theirs];
    });
    return found.filter((one) => one !== null).sort((x, y) => y[1] - x[1] || (x[0] < y[0] ? -1 : 1));
  };
  const lists = document.getElementById("gains");
  if (images && lists) {
    const [first, second] = all("#images-choice select");
    const chosen = (select) => images.systems.find((one) => one.key === select.value);
    const draw = () => {
      const parts = [];
      for (const set of Object.keys(images.sets)) {
        const found = gains(chosen(first), chosen(second), set);
        if (!found.length) continue;
        const largest = Math.max(...found.map((one) => Math.abs(one[1])), 1e-9);
        const part = element("div", null), list = element("ol", null, { class: "bars" });
        const more = found.filter((one) => one[1] > 0).length;
        part.append(element("h3", set), element("p", `${more} of ${found.length} images gain`, { class: "soft" }), list);
        found.forEach(([name, gain], number) => {
          if (found.length > 30 && number >= 12 && number < found.length - 12) {
            if (number === 12) list.append(element("li", `${found.length - 24} images between`, { class: "between" }));
            return;
          }
          const row = element("li", null);
          row.append(element("span", name, { title: name }), bar(gain, largest), element("span", decibels(gain)));
          list.append(row);
        });
        parts.push(part);
      }
      lists.replaceChildren(...(parts.length ? parts : [element("p", "These two have no image in common.")]));
    };
    for (const select of [first, second]) select.addEventListener("change", draw);
  }

  // Crops: the pictures are those of the sheets below; each slider moves the edge between two of them.
  const picked = all("#crops-choice select");
  const refresh = () => {
    for (const figure of all(".sliders figure")) {
      const sheet = document.getElementById(figure.dataset.sheet);
      const found = picked.map((select) => sheet.querySelector(`img[data-system="${CSS.escape(select.value)}"]`));
      const [under, over] = all(".compare img", figure), names = all(".sides span", figure);
      [over, under].forEach((image, side) => {
        const from = found[side], label = picked[side].selectedOptions[0].textContent;
        image.hidden = !from;
        if (from) { image.src = from.src; image.alt = from.alt; }
        names[side].textContent = from ? `${side ? "" : "\u25c0 "}${from.dataset.says}${side ? " \u25b6" : ""}` : `${label}: no image`;
      });
    }
  };
  for (const figure of all(".sliders figure")) {
    const input = figure.querySelector("input"), box = figure.querySelector(".compare");
    const move = () => {
      box.style.setProperty("--at", `${input.value}%`);
      input.setAttribute("aria-valuetext", `${input.value} % from the left is the first system`);
    };
    input.addEventListener("input", move);
    move();
  }
  for (const select of picked) select.addEventListener("change", refresh);
  if (picked.length) refresh();

  // Paper has nothing to unfold with: these are printed open, and closed again afterwards.
  let unfolded = [];
  window.addEventListener("beforeprint", () => {
    unfolded = [...unfolded, ...all("details.print:not([open])")];
    for (const one of unfolded) one.open = true;
  });
  window.addEventListener("afterprint", () => {
    for (const one of unfolded.splice(0)) one.open = false;
  });
})();
