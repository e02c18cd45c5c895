"use strict";
(() => {
  const source = document.getElementById("fl-samples");
  const data = source ? JSON.parse(source.textContent) : { samples: {}, moments: {}, normal: [] };
  const select = document.getElementById("fl-row");
  const table = document.querySelector("#fl-table table");
  const rows = table ? [...table.tBodies[0].rows] : [];
  const byRow = new Map(rows.map((row) => [row.dataset.r, row]));

  // ---- the law of the chosen row
  const W = 400, H = 250, LEFT = 52, RIGHT = 12, TOP = 12, BOTTOM = 40;
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const unpack = ([low, high, tallest, first, last, counts, steps]) => {
    const bars = [...bytes(counts)].map((v) => v / 255 * tallest);
    const quantiles = [...bytes(steps)].map((v) => first + v / 255 * (last - first));
    return { low, high, bars, quantiles };
  };
  const node = (name, attributes, text) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    return made;
  };
  const ticks = (low, high, count) => {
    const raw = (high - low) / count, base = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].map((m) => m * base).find((s) => raw <= s * 1.000001);
    const found = [];
    for (let k = Math.ceil(low / step - 1e-9); k <= high / step + 1e-9; k++) found.push(k * step);
    const places = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
    const large = Math.max(Math.abs(low), Math.abs(high)) >= 1e6 || places > 5;
    const label = (v) => Math.abs(v) < step / 2 ? "0" : (large ? v.toPrecision(3) : v.toFixed(places)).replaceAll("-", "−");
    return found.map((v) => [v, label(v)]);
  };
  const scale = (low, high, start, end) => {
    const map = (v) => (start + (v - low) / (high - low) * (end - start)).toFixed(1);
    return Object.assign(map, { low, high, start });
  };
  // the plane begins right of the longest tick label, as in chart.py
  const beside = (up) => {
    const longest = Math.max(0, ...ticks(up.low, up.high, 5).map(([, text]) => text.length));
    return Math.min(Math.max(LEFT, 24 + 6.7 * longest), W / 3);
  };
  const axes = (across, up, labelX, labelY) => {
    const g = node("g", { class: "frame" }), left = across.start;
    for (const [v, text] of ticks(up.low, up.high, 5)) {
      g.append(node("path", { d: `M${left} ${up(v)}H${W - RIGHT}`, class: "grid" }));
      g.append(node("text", { x: left - 6, y: Number(up(v)) + 3.5, class: "ty" }, text));
    }
    for (const [v, text] of ticks(across.low, across.high, 6)) {
      g.append(node("path", { d: `M${across(v)} ${H - BOTTOM}v4`, class: "tick" }));
      g.append(node("text", { x: across(v), y: H - BOTTOM + 16, class: "tx" }, text));
    }
    g.append(node("path", { d: `M${left} ${H - BOTTOM}H${W - RIGHT}`, class: "axis" }));
    g.append(node("text", { x: (left + W - RIGHT) / 2, y: H - 5, class: "lx" }, labelX));
    g.append(node("text", { transform: `translate(11 ${(TOP + H - BOTTOM) / 2})rotate(-90)`, class: "ly" }, labelY));
    return g;
  };
  const curve = (points) => {
    const g = node("g", { class: "c1 line" });
    g.append(node("path", { d: "M" + points.map(([x, y]) => `${x} ${y}`).join("L"), class: "line" }));
    return g;
  };
  const drawHistogram = ({ low, high, bars }, [mean, std]) => {
    const width = (high - low) / bars.length, points = [];
    const density = (v) => Math.exp(-(((v - mean) / std) ** 2) / 2) / std / Math.sqrt(2 * Math.PI);
    const gaussian = mean !== null && std > 0;
    for (let i = 0; gaussian && i <= 160; i++) points.push(low + i / 160 * (high - low));
    const top = 1.05 * Math.max(...bars, ...points.map(density));
    const up = scale(0, top, H - BOTTOM, TOP), across = scale(low, high, beside(up), W - RIGHT);
    const d = bars.map((b, i) => b > 0 ? `M${across(low + i * width)} ${up(0)}V${up(b)}H${across(low + (i + 1) * width)}V${up(0)}z` : "").join("");
    const drawn = [axes(across, up, "entry", "density"), node("path", { d, class: "hist" })];
    if (gaussian) drawn.push(curve(points.map((v) => [across(v), up(density(v))])));
    return drawn;
  };
  const drawQuantiles = ({ quantiles }, [mean, std]) => {
    const normal = data.normal, ends = [normal[0], normal[normal.length - 1]];
    const gaussian = mean !== null && std > 0;
    const line = gaussian ? ends.map((v) => mean + std * v) : [];
    let low = Math.min(...quantiles, ...line), high = Math.max(...quantiles, ...line);
    const pad = (high - low || Math.abs(high) || 1) * 0.06;
    low -= pad; high += pad;
    const side = 0.02 * (ends[1] - ends[0]);
    const up = scale(low, high, H - BOTTOM, TOP), across = scale(ends[0] - side, ends[1] + side, beside(up), W - RIGHT);
    const drawn = [axes(across, up, "quantile of N(0,1)", "entry")];
    if (gaussian) drawn.push(curve(ends.map((v, i) => [across(v), up(line[i])])));
    const marks = node("g", { class: "c0 marks" });
    quantiles.forEach((q, i) => marks.append(node("circle", { cx: across(normal[i]), cy: up(q) })));
    drawn.push(marks);
    return drawn;
  };
  const nothing = () => [node("text", { class: "none", x: W / 2, y: H / 2 }, "nothing finite to draw")];
  const facts = (row) => {
    const list = document.querySelector("#fl-facts dl");
    if (!list || !row) return;
    const heads = [...table.tHead.rows[0].cells], made = [];
    heads.forEach((head, i) => {
      const text = row.cells[i].textContent;
      if (text === "" || text === "–") return;
      const term = document.createElement("dt"), value = document.createElement("dd");
      term.textContent = head.textContent;
      term.title = head.querySelector("button").title;
      value.textContent = text;
      made.push(term, value);
    });
    list.replaceChildren(...made);
  };
  const show = (row) => {
    for (const old of document.querySelectorAll(".picked, tr.on")) old.classList.remove("picked", "on");
    for (const mark of document.querySelectorAll(`.chart [data-r="${row}"]`)) {
      mark.classList.add("picked");
      mark.parentNode.append(mark);
    }
    const line = byRow.get(row);
    if (line) line.classList.add("on");
    facts(line);
    const pictures = document.querySelectorAll("#fl-law svg[role=img]");
    if (pictures.length < 2) return;
    const packed = data.samples[row], moments = data.moments[row] || [null, null];
    const sample = packed && unpack(packed);
    const name = select.selectedOptions[0] ? select.selectedOptions[0].textContent : "";
    [["Histogram", drawHistogram], ["Quantiles", drawQuantiles]].forEach(([title, draw], i) => {
      pictures[i].replaceChildren(...(sample ? draw(sample, moments) : nothing()));
      pictures[i].setAttribute("aria-label", `${title} of ${name}`);
    });
  };
  const choose = (row) => {
    if (select && [...select.options].some((option) => option.value === row)) select.value = row;
    show(row);
  };
  if (select) {
    const start = select.value;
    select.replaceChildren(...data.rows.map((row) => {
      const line = byRow.get(String(row)), option = document.createElement("option");
      option.value = row;
      option.textContent = `${line.cells[0].textContent} (${line.cells[1].textContent})`;
      return option;
    }));
    select.value = start;
    select.addEventListener("change", () => show(select.value));
    for (const button of document.querySelectorAll(".step")) {
      button.addEventListener("click", () => {
        const next = select.selectedIndex + Number(button.dataset.step);
        if (next < 0 || next >= select.options.length) return;
        select.selectedIndex = next;
        show(select.value);
      });
    }
    show(select.value);
  }
  // ---- the marks near the pointer, wherever lines and other marks lie over them
  const REACH = 12, places = new WeakMap();
  const place = (mark) => {
    const number = (name) => Number(mark.getAttribute(name));
    if (mark.tagName === "circle") return [number("cx"), number("cy"), mark];
    if (mark.tagName === "rect") return [number("x") + 2.6, number("y") + 2.6, mark];
    const [x, y] = mark.getAttribute("d").slice(1).split(/[ l]/).map(Number);
    return [x, y, mark];
  };
  const near = (event) => {
    const svg = event.target.closest && event.target.closest(".chart svg[role=img]");
    if (!svg) return [];
    if (!places.has(svg)) places.set(svg, [...svg.querySelectorAll("[data-r]")].map(place));
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    const found = places.get(svg).map(([x, y, mark]) => [Math.hypot(x - at.x, y - at.y), mark]);
    const least = Math.min(REACH, ...found.map(([distance]) => distance));
    return found.filter(([distance]) => distance <= least + 1.5).sort((a, b) => a[0] - b[0]).map(([, mark]) => mark);
  };
  document.addEventListener("click", (event) => {
    const marks = near(event);
    if (marks.length) {
      // marks that lie on one another, to within a pixel and a half, take turns
      const before = marks.findIndex((mark) => mark.classList.contains("picked"));
      choose(marks[(before + 1) % marks.length].dataset.r);
      return;
    }
    const target = event.target.closest("[data-r]");
    if (!target) return;
    choose(target.dataset.r);
    if (target.matches("button")) document.getElementById("row")?.scrollIntoView({ block: "start" });
  });

  // ---- what a mark is
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  document.body.append(tip);
  const hide = () => { tip.hidden = true; };
  let pointed = null;
  document.addEventListener("pointermove", (event) => {
    const mark = near(event)[0], row = mark && byRow.get(mark.dataset.r);
    pointed?.classList.remove("near");
    pointed = row ? mark.ownerSVGElement : null;
    if (!row) return hide();
    pointed.classList.add("near");
    tip.textContent = `${row.cells[0].textContent} · ${row.cells[1].textContent}`;
    tip.hidden = false;
    const box = mark.getBoundingClientRect(), left = box.left + box.width / 2;
    tip.style.left = `${Math.min(Math.max(left - tip.offsetWidth / 2, 6), innerWidth - tip.offsetWidth - 6)}px`;
    tip.style.top = `${box.top - tip.offsetHeight - 7}px`;
  });
  addEventListener("scroll", hide, { passive: true });

  // ---- fewer columns, until all are asked for
  const all = document.getElementById("fl-all");
  if (all && table) {
    const holder = document.getElementById("fl-table");
    const columns = () => holder.classList.toggle("few", !all.checked);
    if (table.tHead.rows[0].cells.length > Number(holder.dataset.first)) all.closest("label").hidden = false;
    all.addEventListener("change", columns);
    columns();
  }
})();
