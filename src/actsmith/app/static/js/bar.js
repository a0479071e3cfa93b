// The bar at the top: formula, its sliders, the law and its sliders.

import { post } from "./api.js";
import { byId, el, fill, slider, text } from "./dom.js";
import { change, state } from "./state.js";

let shownNames = "";

export function startBar() {
  const box = byId("formula");
  byId("formula-form").addEventListener("submit", (event) => event.preventDefault());
  let waiting = 0;
  const typed = () => {
    clearTimeout(waiting);
    if (box.value.trim() && box.value !== state.formula) change({ formula: box.value });
  };
  box.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(typed, 300); });
  box.addEventListener("change", typed);
  byId("law-kind").addEventListener("change", (event) => chosen(event.target.value));
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    const file = event.dataTransfer?.files?.[0];
    if (file) sent(file);
  });
  showState();
}

/** Put the state into the bar, as after a click that loads a formula. */
export function showState() {
  byId("formula").value = state.formula;
  byId("law-kind").value = state.law.kind;
  lawSettings();
}

/** Load a formula from elsewhere. */
export function load(formula, values = {}) {
  shownNames = "";
  change({ formula, values: { ...values } });
  showState();
}

/** What the server understood: the formula as mathematics, and a slider for each parameter. */
export function showFormula(formula) {
  showError("formula", "");
  showError("law", "");
  const page = new DOMParser().parseFromString(formula.mathml, "text/html");
  fill(byId("rendered"), page.querySelector("math") ?? formula.text);
  const names = `${state.formula}|${formula.parameters.map((p) => p.name).join()}`;
  if (names === shownNames) return;
  shownNames = names;
  const field = byId("parameters");
  field.hidden = formula.parameters.length === 0;
  const values = Object.fromEntries(formula.parameters.map((p) => [p.name, p.value]));
  state.values = values;
  fill(field, field.querySelector("legend"), formula.parameters.map((p) => slider({
    label: p.name, low: p.low, high: p.high, value: p.value,
    change: (value) => change({ values: { ...state.values, [p.name]: value } }),
  }).root));
}

/** What the server refused, beside what it is about: "formula" or "law"; "" takes it back. */
export function showError(about, message) {
  byId(`${about}-error`).textContent = message;
  const box = about === "law" ? document.getElementById("law-text") : byId("formula");
  if (message) box?.setAttribute("aria-invalid", "true");
  else box?.removeAttribute("aria-invalid");
}

function chosen(kind) {
  if (kind === "text") change({ law: { kind, text: "student(5,0,1)" } });
  else if (kind === "samples") change({ law: { kind, law: null, label: "" } }, false);
  else change({ law: { kind, numbers: state.law.numbers ?? [0, 1] } });
  lawSettings();
}

function lawSettings() {
  const { law } = state;
  const place = byId("law-settings");
  if (law.kind === "text") {
    fill(place, el("div", { class: "field" }, el("label", { for: "law-text" }, "text"),
      el("input", {
        id: "law-text", type: "text", value: law.text, maxlength: 200, "aria-describedby": "law-hint",
        onchange: (event) => change({ law: { kind: "text", text: event.target.value } }),
      })),
    el("p", { class: "hint", id: "law-hint" }, "student(5,0,1), uniform(-1,1), lognormal, mixture:0.3*normal(-2,1)+0.7*normal(2,1)"));
  } else if (law.kind === "samples") {
    fill(place, el("div", { class: "field" }, el("label", { for: "law-file" }, ".npy file"),
      el("input", { id: "law-file", type: "file", accept: ".npy", onchange: (event) => { if (event.target.files[0]) sent(event.target.files[0]); } })),
    el("p", { class: "hint", id: "law-said" }, law.label || "Choose one, or drop it anywhere on the page."));
  } else {
    const second = law.kind === "normal" ? "deviation" : "scale";
    const set = (i) => (value) => {
      const numbers = [...state.law.numbers];
      numbers[i] = i ? Math.max(value, 1e-3) : value;
      change({ law: { kind: law.kind, numbers } });
    };
    fill(place,
      slider({ label: "mean", low: -4, high: 4, value: law.numbers[0], change: set(0) }).root,
      slider({ label: second, low: 0.05, high: 8, value: law.numbers[1], logarithmic: true, change: set(1) }).root);
  }
}

/** A law of samples, from a file or a probed layer. */
export function useSamples(law, label) {
  change({ law: { kind: "samples", law, label } });
  showState();
}

async function sent(file) {
  try {
    if (file.size > 2 ** 25) throw new Error("samples: at most 32 MB are read");
    const found = await post("law", await file.arrayBuffer());
    useSamples(rounded(found.law), `${file.name}: mean ${text(found.mean)}, deviation ${text(found.std)}`);
  } catch (error) {
    change({ law: { kind: "samples", law: state.law.law ?? null, label: error.message } }, false);
    showState();
  }
}

/** Digits that a link need not carry are cut. */
export function rounded(law) {
  const cut = (value) => (Array.isArray(value) ? value.map(cut) : typeof value === "number" ? Number(value.toPrecision(9)) : value);
  return Object.fromEntries(Object.entries(law).map(([name, value]) => [name, cut(value)]));
}
