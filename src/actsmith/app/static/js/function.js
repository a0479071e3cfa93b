// Tab 1: the function, its slopes, what goes in and comes out, and what depth does.

import { newest } from "./api.js";
import { showError, showFormula } from "./bar.js";
import { brief, byId, el, fill, table, text } from "./dom.js";
import { card } from "./plot.js";
import { lawOf, state, subject } from "./state.js";

const GHOSTS = { relu: "c1", gelu: "c2", silu: "c3" };
const NAMES = ["f(x)", "f′(x)", "f″(x)"];
const CLASSES = {
  scale_invariant: "scale invariant", zero_stable: "zero stable", half_stable: "half stable",
  zero_unstable: "zero unstable", none: "no universality class",
};
const cards = {};
let settled = 0;
let drawn = {};

export function startFunction() {
  for (const [name, title] of [
    ["f0", "The function"], ["f1", "Its slope"], ["f2", "Its curvature"], ["in", "What goes in"],
    ["out", "What comes out"], ["kernel", "Kernel by depth"], ["chi", "Susceptibilities by depth"],
  ]) {
    cards[name] = card(title);
    byId("entropies").parentElement.before(cards[name].root);
  }
}

const ask = newest("function", show, (message) => {
  const law = state.formula === drawn.formula && JSON.stringify(lawOf()) !== drawn.law;
  showError(law ? "law" : "formula", message);
});

const askVerdict = newest("verdict", ({ shape, verdict, note }) => {
  byId("verdict").textContent = `${shape[0].toUpperCase()}${shape.slice(1)}. ${verdict.sentence}${verdict.by_network ? ` By network: ${verdict.by_network}.` : ""}${note ? ` ${note}` : ""}`;
}, (message) => { byId("verdict").textContent = message; });

/** Draw for the state as it is. */
export const drawFunction = () => ask({ ...subject(), law: lawOf() });

function show(found, asked) {
  drawn = { formula: asked.formula, law: JSON.stringify(asked.law) };
  showFormula(found.formula);
  shapes(found);
  output(found);
  depth(found.depth);
  entropies(found.entropy);
  criticality(found.criticality);
  document.title = `${found.formula.name} · Actsmith`;
  clearTimeout(settled);
  settled = setTimeout(() => { say(found); askVerdict(asked); }, 400);
}

/** For those who do not see the pictures, once the drag has ended. */
function say(found) {
  const j = found.entropy.smoothed;
  byId("status").textContent = `${brief(found.formula.name)}: drawn in ${Math.round(found.milliseconds)} ms; ` +
    `${j === undefined || j === null ? "no smoothed entropy" : `smoothed entropy ${text(j)}`}; ` +
    `${CLASSES[found.criticality.universality] ?? "criticality unknown"}.`;
}

function shapes({ shape, formula, law }) {
  shape.curves.forEach((y, k) => {
    const ghosts = Object.entries(shape.ghosts).map(([name, ghost]) => (
      { x: ghost.x, y: ghost.curves[k], colour: GHOSTS[name], pale: true, dash: 1, width: 1.5, label: name }));
    cards[`f${k}`].draw({
      x: { label: "pre-activation x", ends: range(shape.x) },
      y: { label: NAMES[k], ends: shape.views[k] },
      lines: [...ghosts, { x: shape.x, y, colour: "c0", width: 2.5, label: "yours" }],
      marks: formula.kinks.map((x) => ({ x })),
      summary: `${NAMES[k]} of ${formula.name} under ${law.spec}, with relu, gelu and silu behind it.`,
    });
  });
  const { x, p } = shape.density;
  const high = Math.max(...p.filter((v) => v !== null), 1e-12);
  cards.in.draw({
    x: { label: "pre-activation x", ends: range(x) }, y: { label: "density", ends: [0, 1.08 * high] },
    lines: [{ x, y: p, colour: "c1" }], bands: [{ x, low: p.map(() => 0), high: p, colour: "c1" }],
    summary: `The density of X, ${law.spec}: mean ${text(law.mean)}, deviation ${text(law.std)}.`,
  });
}

const range = (x) => [x[0], x[x.length - 1]];

function output({ output: o }) {
  if (o.reason) { cards.out.draw({ reason: o.reason }); return; }
  const floor = o.scale?.[0] ?? 0;
  cards.out.draw({
    x: { label: "activation f(x)", ends: o.window },
    y: { label: "density", ends: o.scale ?? [0, 1], kind: o.logarithmic ? "log" : "linear" },
    lines: o.stretches.map((s) => ({ x: s.z, y: s.q, colour: "c0" })),
    bands: o.stretches.map((s) => ({ x: s.z, low: s.z.map(() => floor), high: s.q, colour: "c0" })),
    bars: o.atoms.map((a, i) => ({ x: a.value, share: a.mass, colour: "c2", label: i ? null : "probability of a single value (full height is 1)" })),
    summary: o.atoms.length ? `Single values carry probability: ${o.atoms.map((a) => `${text(a.mass)} at ${text(a.value)}`).join(", ")}.` : "No single value carries probability.",
  });
}

function depth(d) {
  if (d.reason) { cards.kernel.draw({ reason: d.reason }); cards.chi.draw({ reason: d.reason }); return; }
  const layers = d.kernel[0].map((_, i) => i);
  const where = `C_W = ${text(d.C_W)}, C_b = ${text(d.C_b)}, ${d.critical ? "critical" : "gradients kept"}`;
  cards.kernel.draw({
    x: { label: `layer (${where})`, ends: [0, layers.length - 1] }, y: { label: "kernel K", kind: "log" },
    lines: d.kernel.map((y, i) => ({ x: layers, y, colour: `c${i}`, dash: i % 4, label: `from ${text(d.starts[i], 3)}` })),
    summary: `The kernel over ${layers.length - 1} layers from ${d.starts.map((s) => text(s, 3)).join(", ")}, ${where}.`,
  });
  cards.chi.draw({
    x: { label: "layer; full: perpendicular, dashed: parallel", ends: [0, layers.length - 1] },
    y: { label: "χ", ends: around(d) }, marks: [{ y: 1 }],
    lines: d.kernel.flatMap((_, i) => [
      { x: layers, y: d.chi_perp[i], colour: `c${i}`, label: `from ${text(d.starts[i], 3)}` },
      { x: layers, y: d.chi_par[i], colour: `c${i}`, dash: 1, width: 1.5 }]),
    summary: `Susceptibilities over the layers; 1 keeps signals and gradients. ${where}.`,
  });
}

/** Ends that hold 1 and what is within 2 of it. */
function around(d) {
  const all = [...d.chi_perp, ...d.chi_par].flat().filter((v) => v !== null);
  return [Math.max(Math.min(0.9, ...all) - 0.05, -1), Math.min(Math.max(1.1, ...all) + 0.05, 3)];
}

const ENTROPIES = {
  smoothed: "J: standardised, with noise", scale_free: "H − log std", mixed: "with atoms", differential: "H(Z)",
};

function entropies(e) {
  const place = byId("entropies");
  if (e.reason) { fill(place, el("p", { class: "reason" }, e.reason)); return; }
  fill(place, table("In nats", ["entropy", "value"], [
    ...Object.entries(ENTROPIES).map(([name, what]) => [named(what, e.reasons[name]), text(e[name], 6)]),
    ["share on flat pieces", text(e.atom_mass)], ["mean of f(X)", text(Math.abs(e.mean) < 1e-12 * e.std && e.mean !== null ? 0 : e.mean)], ["deviation of f(X)", text(e.std)],
  ]), el("p", { class: "hint" }, "Entropy alone orders nothing: what depth does vetoes, and training decides."));
}

const named = (what, reason) => (reason ? el("span", {}, what, el("span", { class: "hint" }, reason)) : what);

function criticality(c) {
  const place = byId("criticality");
  if (c.reason) { fill(place, el("p", { class: "reason" }, c.reason)); return; }
  const lead = c.universality === "none" ? [] : [el("strong", {}, CLASSES[c.universality]), ". "];
  fill(place, el("p", {}, lead, c.verdict), c.points.length
    ? table("Critical points", ["K*", "C_W", "C_b", "kind"], c.points.map((p) => [
      p.kind === "scale_invariant" ? "any" : text(p.K, 5), text(p.C_W, 5), text(p.C_b, 5), p.kind.replace("_", " ")]))
    : null);
}
