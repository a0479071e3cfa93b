// Elements from plain values: text is never read as HTML.

/** An element: attributes, listeners as functions under on..., children as nodes or text. */
export function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  set(made, attributes);
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

/** The same in SVG. */
export function svg(tag, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  set(made, attributes);
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

function set(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
}

export const byId = (id) => document.getElementById(id);

/** Put other children in the place of those there. */
export function fill(element, ...children) {
  element.replaceChildren(...children.flat().filter((child) => child !== null && child !== undefined));
}

/** A number as short as it says enough. */
export function text(value, digits = 4) {
  if (value === null || value === undefined) return "–";
  if (typeof value !== "number") return String(value);
  if (value === 0) return "0";
  const size = Math.abs(value);
  const shown = size >= 1e5 || size < 1e-3 ? value.toExponential(Math.max(digits - 2, 0)) : value.toPrecision(digits);
  const [digitsOf, power] = shown.split("e");
  const short = digitsOf.includes(".") ? digitsOf.replace(/\.?0+$/, "") : digitsOf;
  return (power ? `${short}e${Number(power)}` : short).replace("-", "−");
}

/** A text that fits a line. */
export const brief = (long) => (long.length > 40 ? `${long.slice(0, 39)}…` : long);

/** A table; each cell text or a node; the first cell of a row heads it. */
export function table(caption, head, rows) {
  return el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": caption },
    el("table", {}, el("caption", {}, caption),
      el("thead", {}, el("tr", {}, head.map((name) => el("th", { scope: "col" }, name)))),
      el("tbody", {}, rows.map(([first, ...rest]) =>
        el("tr", {}, el("th", { scope: "row" }, first), rest.map((cell) => el("td", {}, cell)))))));
}

let number = 0;

/** A slider with its value in a box beside it: {root, set}. `change(value)` follows the drag. */
export function slider({ label, low, high, value, logarithmic = false, whole = false, change }) {
  const id = `slider-${(number += 1)}`;
  const there = (v) => (logarithmic ? Math.log10(v) : v);
  const back = (v) => (logarithmic ? 10 ** v : v);
  const step = whole ? 1 : (there(high) - there(low)) / 400 || 1;
  const range = el("input", { type: "range", id, min: there(low), max: there(high), step });
  const box = el("input", { type: "number", step: "any", "aria-label": `${label}, as a number`, class: "number" });
  const shown = (v) => String(whole ? Math.round(v) : Number(v.toPrecision(4)));
  const show = (v) => { range.value = there(v); box.value = shown(v); range.setAttribute("aria-valuetext", box.value); };
  range.addEventListener("input", () => {
    const found = whole ? Math.round(back(Number(range.value))) : Number(back(Number(range.value)).toPrecision(4));
    box.value = shown(found);
    range.setAttribute("aria-valuetext", box.value);
    change(found);
  });
  box.addEventListener("change", () => {
    const found = Number(box.value);
    if (box.value === "" || !Number.isFinite(found)) return;
    range.value = there(found);
    change(found);
  });
  show(value);
  return { root: el("div", { class: "field slider" }, el("label", { for: id }, label), range, box), set: show };
}

/** A choice: {root, set}; options are [value, text]. */
export function choice({ label, options, value, change }) {
  const id = `choice-${(number += 1)}`;
  const box = el("select", { id, onchange: () => change(box.value) },
    options.map(([name, shown]) => el("option", { value: name }, shown)));
  box.value = value;
  return { root: el("div", { class: "field" }, el("label", { for: id }, label), box), set: (v) => { box.value = v; } };
}
