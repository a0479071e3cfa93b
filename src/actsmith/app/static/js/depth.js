// Tab 3: the depth lab. Lines are theory at infinite width, dots are random networks.

import { newest } from "./api.js";
import { byId, choice, slider, text } from "./dom.js";
import { card } from "./plot.js";
import { change, state, subject } from "./state.js";

const cards = {};
const own = [];
let theory = null;
let found = null;
let waiting = 0;

export function startDepth() {
  const d = state.depth;
  const set = (name) => (value) => { change({ depth: { ...state.depth, [name]: value } }, false); drawDepth(); };
  const start = choice({
    label: "start", value: d.start, change: (value) => { set("start")(value); ownOnly(); },
    options: [["critical", "critical point"], ["kaiming", "Kaiming: C_W = 2"], ["lecun", "LeCun: C_W = 1"], ["own", "my own"]],
  });
  own.push(slider({ label: "C_W", low: 0.05, high: 10, value: d.C_W, logarithmic: true, change: set("C_W") }).root);
  own.push(slider({ label: "C_b", low: 0, high: 2, value: d.C_b, change: set("C_b") }).root);
  byId("depth-controls").append(start.root, ...own,
    slider({ label: "layers", low: 1, high: 100, value: d.depth, whole: true, change: set("depth") }).root,
    slider({ label: "first kernel K0", low: 0.01, high: 100, value: d.K0, logarithmic: true, change: set("K0") }).root,
    slider({ label: "first correlation", low: -1, high: 0.999, value: d.rho0, change: set("rho0") }).root,
    slider({ label: "width", low: 8, high: 256, value: d.width, logarithmic: true, whole: true, change: set("width") }).root,
    slider({ label: "networks", low: 2, high: 64, value: d.nets, whole: true, change: set("nets") }).root);
  for (const [name, title] of [["kernel", "The signal"], ["gradient", "The gradient"], ["correlation", "Two inputs"], ["chi", "Susceptibilities"]]) {
    cards[name] = card(title, { height: 270 });
    byId("depth-cards").append(cards[name].root);
  }
  ownOnly();
}

function ownOnly() {
  for (const field of own) field.hidden = state.depth.start !== "own";
}

const fail = (message) => { byId("depth-error").textContent = message; };
const askTheory = newest("depth", (answer) => { theory = answer; fail(""); draw(); }, fail);
const askNetworks = newest("simulate", (answer, asked) => {
  found = { ...answer, of: JSON.stringify(asked) };
  draw();
}, fail);

/** Theory at once, networks once the drag has ended. */
export function drawDepth() {
  const { nets, ...rest } = state.depth;
  askTheory({ ...subject(), ...rest });
  clearTimeout(waiting);
  waiting = setTimeout(() => askNetworks({ ...subject(), ...state.depth }), 500);
}

function draw() {
  if (!theory) return;
  const fits = found && found.of === JSON.stringify({ ...subject(), ...state.depth });
  const lost = theory.known <= theory.depth;
  const layers = theory.kernel.map((_, i) => i);
  const dots = (name) => (fits ? found[name].map((y, x) => ({ x, y, error: found[`${name}_error`][x], colour: "c1" })) : []);
  byId("depth-hint").textContent = `C_W = ${text(theory.C_W)}, C_b = ${text(theory.C_b)}, K0 = ${text(theory.K0)}. ` +
    `Line: infinite width; band: one deviation over networks of width ${state.depth.width}, to first order. ` +
    (lost ? `The kernel ${theory.kernel[theory.known] > 1 || theory.kernel[theory.known] === null ? "explodes" : "dies"} after ${theory.known - 1} layers. ` : "") +
    (fits ? `Dots: mean of ${found.nets} random networks of that width, with standard error.` : "Random networks follow when you let go.");
  const x = { label: "layer", ends: [0, Math.max(layers.length - 1, 1)] };
  const lineOf = (y, label) => [{ x: layers, y, colour: "c0", width: 2.5, label }];
  const named = (points) => (points.length ? [{ ...points[0], label: "random networks" }, ...points.slice(1)] : []);
  cards.kernel.draw({
    x, y: { label: "kernel K", kind: "log", ends: logarithmic([...theory.kernel, ...dots("kernel").map((p) => p.y)]) },
    lines: lineOf(theory.kernel, "theory"), points: named(dots("kernel")),
    bands: theory.band.reason ? [] : [{ x: layers, low: theory.band.low, high: theory.band.high, colour: "c0" }],
    summary: `From ${text(theory.K0)} to ${text(theory.kernel[layers.length - 1])} after ${layers.length - 1} layers.`,
  });
  cards.gradient.draw(lost ? { reason: "No gradient comes back through layers in which the kernel has died or exploded." } : {
    x, y: { label: "squared gradient", kind: "log", ends: logarithmic([...theory.gradient, ...dots("gradient").map((p) => p.y)]) },
    lines: lineOf(theory.gradient, "theory"), points: named(dots("gradient")),
    summary: `The gradient at the first layer is ${text(theory.gradient[0])} of that at the last.`,
  });
  cards.correlation.draw(theory.correlation.reason ? { reason: theory.correlation.reason } : {
    x, y: { label: "correlation", ends: [Math.min(-0.05, ...theory.correlation.values.filter((v) => v !== null)) - 0.03, 1.04] },
    lines: lineOf(theory.correlation.values, "theory"), points: named(dots("correlation")), marks: [{ y: 1 }],
    summary: "How alike two inputs become: 1 is the same.",
  });
  cards.chi.draw({
    x, y: { label: "χ", ends: near([...theory.chi_par, ...theory.chi_perp]) }, marks: [{ y: 1 }],
    lines: [{ x: layers, y: theory.chi_perp, colour: "c0", label: "χ perpendicular" }, { x: layers, y: theory.chi_par, colour: "c2", dash: 1, label: "χ parallel" }],
    summary: "1 keeps signals and gradients.",
  });
}

function near(values) {
  const known = values.filter((v) => v !== null);
  return [Math.max(Math.min(0.8, ...known) - 0.05, -1), Math.min(Math.max(1.2, ...known) + 0.05, 4)];
}

/** At least two decades, at most from 1e-12 to 1e12. */
function logarithmic(values) {
  const known = values.filter((v) => v > 0);
  let [low, high] = [Math.max(Math.min(...known, 1e12), 1e-12), Math.min(Math.max(...known, 1e-12), 1e12)];
  const middle = Math.sqrt(low * high);
  low = Math.min(low / 1.5, middle / 10);
  high = Math.max(high * 1.5, middle * 10);
  return [low, high];
}
