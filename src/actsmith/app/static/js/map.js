// Tab 2: mine among the catalogue, by any two quantities. A point is a button: it loads its activation.

import { newest, post } from "./api.js";
import { load } from "./bar.js";
import { byId, el, fill, svg, text } from "./dom.js";
import { card } from "./plot.js";
import { change, state, subject } from "./state.js";

const CLASSES = { scale_invariant: "c2", zero_stable: "c1", half_stable: "c3", zero_unstable: "c4", none: "dim" };
let all = null;
let mine = null;
let asked = null;
let picture = null;

export function startMap() {
  picture = card("The catalogue", { height: 460 });
  byId("map-picture").append(picture.root);
}

const askMine = newest("place", (found) => { mine = found; draw(); }, (message) => { byId("map-hint").textContent = message; });

/** Draw for the state as it is; the catalogue is asked for once. */
export async function drawMap() {
  byId("map-hint").textContent = all ? "" : "The catalogue is computed, once: some seconds …";
  try {
    asked = asked ?? post("map", {});
    if (!all) {
      all = await asked;
      choices();
    }
    askMine(subject());
  } catch (error) {
    asked = null;
    byId("map-hint").textContent = error.message;
  }
}

function choices() {
  for (const name of ["x", "y"]) {
    const box = byId(`map-${name}`);
    fill(box, Object.entries(all.quantities).filter(([key]) => key !== "place" || all.measured)
      .map(([value, label]) => el("option", { value }, label)));
    if (!(state.map[name] in all.quantities)) state.map[name] = name === "x" ? "smoothed" : "ratio";
    box.value = state.map[name];
    box.addEventListener("change", () => { change({ map: { ...state.map, [name]: box.value } }, false); draw(); });
  }
}

function draw() {
  if (!all || !mine) return;
  const { x, y } = state.map;
  const here = all.points.filter((p) => p[x] !== null && p[y] !== null);
  const out = all.points.length - here.length;
  const missing = mine[x] === null || mine[y] === null;
  byId("map-hint").textContent = [
    all.measured ? `The fuller its colour, the better a function's place among ${all.measured.of} that were measured${all.points.some((p) => p.estimated !== false) ? "; grey rings were not" : ""}.`
      : "Coloured by universality class. How well they train is not measured yet: this copy holds no table of measurements.",
    out ? `${out} have no such quantity and are not shown.` : "",
    missing ? "Yours has no such quantity: it is not shown." : "",
    "Click a point, or press Enter on it, to load it.",
  ].join(" ");
  const points = missing ? here : [...here, { ...mine, own: true }];
  picture.draw({
    x: axis(x, points), y: axis(y, points), over: (xs, ys, room) => dots(points, xs, ys, room, x, y),
    lines: all.measured ? [] : Object.entries(CLASSES).map(([name, colour]) => ({ x: [], y: [], colour, label: name.replace("_", " ") })),
    summary: `${here.length} activations by ${all.quantities[x]} and ${all.quantities[y]}.`,
  });
  picture.root.querySelector("svg.plot")?.setAttribute("role", "group");
}

/** Straight where the values are of one size; bent where they are not. */
function axis(name, points) {
  const values = points.map((p) => p[name]);
  const sizes = values.map(Math.abs).filter((v) => v > 1e-9).sort((a, b) => a - b);
  const middle = sizes[Math.floor(sizes.length / 2)] ?? 1;
  const bent = sizes.length && sizes[sizes.length - 1] > 8 * middle;
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const near = middle || 1;
  const label = all.quantities[name];
  if (!bent) { const room = 0.07 * (high - low) || 0.5; return { label, ends: [low - room, high + room] }; }
  return { label, kind: "symlog", near, ends: [low < 0 ? 1.6 * low : -0.3 * near, 1.6 * high] };
}

function dots(points, xs, ys, room, x, y) {
  const taken = points.map((p) => [xs.place(p[x]) - 4, ys.place(p[y]) - 4, xs.place(p[x]) + 4, ys.place(p[y]) + 4]);
  const free = (box) => box[0] > room.left - 2 && box[2] < room.right + 6 && box[1] > room.top &&
    taken.every((t) => box[2] < t[0] || box[0] > t[2] || box[3] < t[1] || box[1] > t[3]);
  const order = [...points].sort((a, b) => (b.own ? 1 : 0) - (a.own ? 1 : 0) || first(a) - first(b));
  const made = order.map((p) => {
    const [cx, cy] = [xs.place(p[x]), ys.place(p[y])];
    const wide = 6.2 * p.name.length;
    const spots = [[cx + 8, cy + 4, "start"], [cx - 8, cy + 4, "end"], [cx, cy - 9, "middle"], [cx, cy + 17, "middle"]];
    const spot = spots.find(([tx, ty, side]) => {
      const left = side === "start" ? tx : side === "end" ? tx - wide : tx - wide / 2;
      const box = [left, ty - 10, left + wide, ty + 3];
      if (!free(box)) return false;
      taken.push(box);
      return true;
    });
    const named = `${p.own ? "yours: " : ""}${p.name}, ${text(p[x])}, ${text(p[y])}, ${p.universality.replace("_", " ")}` +
      (p.place === null ? "" : `, place ${text(p.place, 3)}${p.estimated ? " by its relatives" : ""}`);
    const go = () => { if (!p.own) load(p.name); };
    return svg("g", {
      class: `dot ${p.own ? "own" : ""}`, tabindex: 0, role: "button", "aria-label": named, onclick: go,
      onkeydown: (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); go(); } },
    }, svg("title", {}, named), svg("circle", { cx, cy, r: 13, class: "halo" }), mark(p, cx, cy),
    svg("text", spot ? { x: spot[0], y: spot[1], "text-anchor": spot[2], class: "dot-name" }
      : { class: "dot-name hidden", ...inside(cx, cy, wide, room) }, p.own ? "yours" : p.name));
  });
  return made.reverse();
}

/** Beside the point, on the side where there is room. */
const inside = (cx, cy, wide, room) => (cx + 8 + wide < room.right ? { x: cx + 8, y: cy + 4 } : { x: cx - 8, y: cy + 4, "text-anchor": "end" });

const KNOWN = ["relu", "gelu", "silu", "tanh", "sigmoid", "elu", "mish", "crrelu", "mrepu", "selu", "sin"];
const first = (p) => { const at = KNOWN.indexOf(p.name); return at < 0 ? KNOWN.length : at; };

function mark(p, cx, cy) {
  if (p.own) return svg("path", { d: `M${cx} ${cy - 9}L${cx + 9} ${cy}L${cx} ${cy + 9}L${cx - 9} ${cy}Z`, class: "fill c0" });
  if (!all.measured) return svg("circle", { cx, cy, r: 5, class: `fill ${CLASSES[p.universality]}` });
  const share = p.place === null || p.estimated ? null : (p.place - 1) / Math.max(all.measured.of - 1, 1);
  if (share === null) return svg("circle", { cx, cy, r: 5, class: "ring" });
  return svg("g", { class: "c1" }, svg("circle", { cx, cy, r: 6, class: "rank" }),
    svg("circle", { cx, cy, r: 6, class: "fill", "fill-opacity": (1 - 0.95 * share).toFixed(2) }));
}
