// Pictures as SVG: lines, bands, points and bars on two axes. Colours come from the page's style, light or dark.

import { el, fill, svg, text } from "./dom.js";
import { ends, scale } from "./scale.js";

const MARGIN = { top: 12, right: 14, bottom: 40, left: 54 };
const DASHES = ["", "6 4", "2 3", "8 3 2 3"];
let clips = 0;

/** A card with a title and a picture that is drawn anew when its room changes: {root, draw(spec)}. */
export function card(title, { height = 240, save = true } = {}) {
  const place = el("div", { class: "picture" });
  const legend = el("div", { class: "legend" });
  const heading = el("h2", {}, title);
  const button = save
    ? el("button", { type: "button", class: "quiet", onclick: () => download(place, heading.textContent) }, "SVG",
      el("span", { class: "unseen" }, ` of ${title}`))
    : null;
  const root = el("article", { class: "card" }, el("div", { class: "card-head" }, heading, button), place, legend);
  let spec = null;
  const redraw = () => { if (spec && place.clientWidth) paint(place, legend, { height, ...spec, title: heading.textContent }); };
  new ResizeObserver(redraw).observe(place);
  return { root, heading, draw: (given) => { spec = given; redraw(); } };
}

/** spec: {x: axis, y: axis, lines, bands, points, bars, marks, reason, summary}; an axis is {label, ends, kind, near}. */
function paint(place, legend, spec) {
  if (spec.reason) {
    fill(place, el("p", { class: "reason" }, spec.reason));
    fill(legend);
    return;
  }
  const width = place.clientWidth;
  const room = { left: MARGIN.left, right: width - MARGIN.right, top: MARGIN.top, bottom: spec.height - MARGIN.bottom };
  const [xs, ys] = [axisOf(spec, "x", room.left, room.right), axisOf(spec, "y", room.bottom, room.top)];
  const clip = `clip-${(clips += 1)}`;
  const inside = svg("g", { "clip-path": `url(#${clip})` });
  for (const band of spec.bands ?? []) inside.append(area(band, xs, ys));
  for (const mark of spec.marks ?? []) inside.append(markOf(mark, xs, ys, room));
  for (const line of spec.lines ?? []) inside.append(lineOf(line, xs, ys));
  for (const bar of spec.bars ?? []) inside.append(...barOf(bar, xs, room));
  for (const point of spec.points ?? []) inside.append(...pointOf(point, xs, ys));
  fill(place, svg("svg", {
    width, height: spec.height, viewBox: `0 0 ${width} ${spec.height}`, role: "img",
    "aria-label": `${spec.title}. ${spec.summary ?? ""}`, class: "plot",
  },
  svg("defs", {}, svg("clipPath", { id: clip }, svg("rect", {
    x: room.left, y: room.top, width: Math.max(room.right - room.left, 0), height: room.bottom - room.top }))),
  ...frame(spec, xs, ys, room, width), inside, ...(spec.over?.(xs, ys, room) ?? [])));
  const named = [...(spec.lines ?? []), ...(spec.bars ?? []), ...(spec.points ?? [])].filter((item) => item.label);
  fill(legend, named.map((item) => el("span", { class: "key" },
    svg("svg", { width: 26, height: 10, "aria-hidden": "true" }, svg("line", {
      x1: 1, x2: 25, y1: 5, y2: 5, class: `stroke ${item.colour}`, "stroke-width": 3, "stroke-dasharray": DASHES[item.dash ?? 0] })),
    item.label)));
}

function axisOf(spec, name, from, to) {
  const axis = spec[name];
  const kind = axis.kind ?? "linear";
  const all = () => [
    ...(spec.lines ?? []).flatMap((line) => line[name]),
    ...(spec.points ?? []).map((point) => point[name]),
    ...(name === "y" ? (spec.bands ?? []).flatMap((band) => [...band.low, ...band.high]) : []),
  ];
  const [low, high] = axis.ends ?? ends(all(), kind);
  return scale(low, high, from, to, kind, axis.near ?? 1);
}

function frame(spec, xs, ys, room, width) {
  const parts = [];
  for (const v of xs.ticks) {
    const x = xs.place(v);
    parts.push(svg("line", { x1: x, x2: x, y1: room.top, y2: room.bottom, class: v === 0 ? "zero" : "grid" }));
    parts.push(svg("text", { x, y: room.bottom + 16, "text-anchor": "middle", class: "tick" }, text(v, 3)));
  }
  for (const v of ys.ticks) {
    const y = ys.place(v);
    parts.push(svg("line", { x1: room.left, x2: room.right, y1: y, y2: y, class: v === 0 ? "zero" : "grid" }));
    parts.push(svg("text", { x: room.left - 7, y: y + 4, "text-anchor": "end", class: "tick" }, text(v, 3)));
  }
  parts.push(svg("text", { x: (room.left + room.right) / 2, y: room.bottom + 34, "text-anchor": "middle", class: "axis" }, spec.x.label));
  const middle = (room.top + room.bottom) / 2;
  parts.push(svg("text", { x: 12, y: middle, "text-anchor": "middle", class: "axis", transform: `rotate(-90 12 ${middle})` }, spec.y.label));
  return width > 0 ? parts : [];
}

/** A path, interrupted where there is no value; far outside values are brought near, so that the path stays short. */
function path(x, y, xs, ys) {
  let found = "";
  let open = false;
  for (let i = 0; i < x.length; i += 1) {
    const usable = y[i] !== null && y[i] !== undefined && x[i] !== null && (ys.kind !== "log" || y[i] > 0);
    if (usable) {
      const at = Math.min(Math.max(ys.place(y[i]), -2000), 4000);
      found += `${open ? "L" : "M"}${xs.place(x[i]).toFixed(1)} ${at.toFixed(1)}`;
    }
    open = usable;
  }
  return found;
}

function lineOf(line, xs, ys) {
  return svg("path", {
    d: path(line.x, line.y, xs, ys), class: `stroke ${line.colour}${line.pale ? " pale" : ""}`,
    "stroke-width": line.width ?? 2, "stroke-dasharray": DASHES[line.dash ?? 0], fill: "none",
  });
}

function area(band, xs, ys) {
  const floor = ys.kind === "log" ? ys.low : null;
  const at = (v) => ys.place(floor !== null && !(v > floor) ? floor : v);
  const known = band.x.map((x, i) => [x, band.low[i], band.high[i]]).filter(([, a, b]) => a !== null && b !== null);
  if (known.length < 2) return svg("g");
  const up = known.map(([x, , high]) => `${xs.place(x).toFixed(1)} ${at(high).toFixed(1)}`);
  const down = known.map(([x, low]) => `${xs.place(x).toFixed(1)} ${at(low).toFixed(1)}`).reverse();
  return svg("path", { d: `M${[...up, ...down].join("L")}Z`, class: `band ${band.colour}` });
}

/** A line across at a value of x or of y. */
function markOf(mark, xs, ys, room) {
  const [x, y] = [mark.x === undefined ? null : xs.place(mark.x), mark.y === undefined ? null : ys.place(mark.y)];
  return svg("line", {
    x1: x ?? room.left, x2: x ?? room.right, y1: y ?? room.top, y2: y ?? room.bottom, class: "mark" });
}

/** A share of the height, with its own scale from 0 to 1: the mass of a single value. */
function barOf(bar, xs, room) {
  const x = xs.place(bar.x);
  const y = room.bottom - bar.share * (room.bottom - room.top);
  return [
    svg("line", { x1: x, x2: x, y1: room.bottom, y2: y, class: `stroke ${bar.colour}`, "stroke-width": 4 }),
    svg("circle", { cx: x, cy: y, r: 5, class: `fill ${bar.colour}` }),
  ];
}

function pointOf(point, xs, ys) {
  if (point.y === null || point.x === null || (ys.kind === "log" && !(point.y > 0))) return [];
  const [x, y] = [xs.place(point.x), ys.place(point.y)];
  const parts = [svg("circle", { cx: x, cy: y, r: point.size ?? 3, class: `fill ${point.colour}` })];
  if (point.error) {
    const [low, high] = [point.y - point.error, point.y + point.error];
    const bottom = ys.kind === "log" && !(low > 0) ? ys.place(ys.low) : ys.place(low);
    parts.unshift(svg("line", { x1: x, x2: x, y1: bottom, y2: ys.place(high), class: `stroke ${point.colour}`, "stroke-width": 1 }));
  }
  return parts;
}

const KEPT = ["stroke", "stroke-width", "stroke-dasharray", "stroke-opacity", "fill", "fill-opacity", "opacity", "font-family", "font-size"];

/** Save a picture with the colours that it has on the screen. */
export function download(place, title) {
  const shown = place.querySelector("svg");
  if (!shown) return;
  const copy = shown.cloneNode(true);
  copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  const [from, to] = [shown.querySelectorAll("*"), copy.querySelectorAll("*")];
  from.forEach((element, i) => {
    const style = getComputedStyle(element);
    for (const name of KEPT) to[i].setAttribute(name, style.getPropertyValue(name));
    to[i].removeAttribute("class");
  });
  const paper = getComputedStyle(document.body).backgroundColor;
  copy.prepend(svg("rect", { width: "100%", height: "100%", fill: paper }));
  const address = URL.createObjectURL(new Blob([new XMLSerializer().serializeToString(copy)], { type: "image/svg+xml" }));
  el("a", { href: address, download: `${title.replace(/[^A-Za-z0-9]+/g, "-").toLowerCase()}.svg` }).click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}
