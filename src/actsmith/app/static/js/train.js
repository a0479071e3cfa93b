// Tab 4: live training beside ReLU and GELU, streamed from the server.

import { post } from "./api.js";
import { byId, choice, el, fill, slider, text } from "./dom.js";
import { card } from "./plot.js";
import { change, state, subject } from "./state.js";

const COLOURS = { yours: "c0", relu: "c1", gelu: "c2" };
const EPOCHS = { spirals: 60, function: 200, digits: 15, burgers: 100 };
const pictures = {};
let curve = null;
let source = null;
let about = null;
let history = {};
let buttons = null;

export function startTrain() {
  const d = state.train;
  const set = (name) => (value) => change({ train: { ...state.train, [name]: value } }, false);
  const epochs = slider({ label: "epochs", low: 5, high: 400, value: d.epochs, whole: true, change: set("epochs") });
  const scene = choice({
    label: "what to learn", value: d.scene,
    options: [["spirals", "two spirals"], ["function", "a function of x"], ["digits", "digits, 8 × 8"], ["burgers", "Burgers' equation"]],
    change: (value) => { change({ train: { ...state.train, scene: value, epochs: EPOCHS[value] } }, false); epochs.set(EPOCHS[value]); },
  });
  const init = choice({ label: "start", value: d.init, options: [["critical", "each its own critical"], ["kaiming", "Kaiming for all"]], change: set("init") });
  const begin = el("button", { type: "submit" }, "Train");
  const end = el("button", { type: "button", disabled: true, onclick: () => post("stop", {}) }, "Stop");
  buttons = { begin, end };
  byId("train-controls").append(scene.root,
    slider({ label: "width", low: 4, high: 64, value: d.width, whole: true, change: set("width") }).root,
    slider({ label: "hidden layers", low: 1, high: 10, value: d.depth, whole: true, change: set("depth") }).root,
    slider({ label: "seeds", low: 1, high: 8, value: d.seeds, whole: true, change: set("seeds") }).root,
    slider({ label: "learning rate", low: 1e-4, high: 0.1, value: d.rate, logarithmic: true, change: set("rate") }).root,
    epochs.root, init.root, el("div", { class: "buttons" }, begin, end));
  byId("train-controls").addEventListener("submit", (event) => { event.preventDefault(); train(); });
  curve = card("On held-out data", { height: 260 });
  byId("train-curve").append(curve.root);
  curve.draw({ reason: "Nothing was trained yet." });
}

async function train() {
  byId("train-error").textContent = "";
  running(true);
  curve.draw({ reason: "Training begins: the first time torch is loaded, which takes some seconds." });
  fill(byId("train-pictures"));
  byId("train-progress").value = 0;
  try {
    await post("train", { ...subject(), ...state.train });
    listen();
  } catch (error) {
    ended(error.message);
  }
}

function running(is) {
  buttons.begin.disabled = is;
  buttons.end.disabled = !is;
  if (is) byId("status").textContent = "Training begins.";
}

function listen() {
  source?.close();
  history = {};
  about = null;
  source = new EventSource("/api/progress");
  source.onmessage = ({ data }) => take(JSON.parse(data));
  source.addEventListener("end", () => { source.close(); running(false); });
  source.onerror = () => { source.close(); ended("The connection to the server was lost."); };
}

function take(event) {
  if (event.refused) ended(event.refused.endsWith("stopped") ? "" : event.refused, `Stopped. ${results()}`);
  else if (event.done) {
    const failed = Object.entries(event.done.failed).map(([name, why]) => `${name}: ${why}`).join(" ");
    ended(failed, `Trained in ${text(event.done.seconds, 3)} s. ${results()}`);
  } else if (event.scene) begun(event);
  else report(event);
}

function ended(message, said = "") {
  if (message) byId("train-error").textContent = message;
  byId("status").textContent = said;
  running(false);
}

function begun(event) {
  about = event;
  history = Object.fromEntries(event.activations.map((name) => [name, []]));
  fill(byId("train-pictures"));
  for (const name of Object.keys(pictures)) delete pictures[name];
  if (event.scene === "digits") return;
  for (const name of event.activations) {
    pictures[name] = event.scene === "spirals" ? plane(name) : card(name, { height: 220 });
    byId("train-pictures").append(pictures[name].root);
  }
}

function report(event) {
  history[event.activation].push(event);
  byId("train-progress").value = Math.min(...about.activations.map((name) => history[name].at(-1)?.epoch ?? 0)) / about.epochs;
  scores();
  if (!event.picture) return;
  if (about.scene === "spirals") pictures[event.activation].draw(event.picture);
  else fitted(event);
}

function scores() {
  const kind = about.metric.log ? "log" : "linear";
  const lines = about.activations.map((name) => ({
    x: history[name].map((e) => e.epoch), y: history[name].map((e) => e.score[0]), colour: COLOURS[name], label: labelled(name) }));
  curve.draw({
    x: { label: "epoch", ends: [0, about.epochs] },
    y: { label: `${about.metric.name}${about.metric.log ? ", lower is better" : ""}`, kind, ends: kind === "log" ? undefined : [0, 1.03] },
    lines,
    bands: about.activations.map((name) => ({
      x: history[name].map((e) => e.epoch), low: history[name].map((e) => e.score[1]), high: history[name].map((e) => e.score[2]), colour: COLOURS[name] })),
    summary: results(),
  });
}

const labelled = (name) => { const last = history[name].at(-1); return last ? `${name} ${text(last.score[0], 3)}` : name; };
const results = () => (about ? `${about.metric.name}, mean over the seeds: ${about.activations.map(labelled).join(", ")}.` : "");

function fitted(event) {
  const { activation, picture } = event;
  const { exact } = about;
  const values = exact.y;
  const room = 0.25 * (Math.max(...values) - Math.min(...values));
  pictures[activation].draw({
    x: { label: about.scene === "burgers" ? "x at t = 1" : "x", ends: [about.x[0], about.x.at(-1)] },
    y: { label: "value", ends: [Math.min(...values) - room, Math.max(...values) + room] },
    lines: [{ x: exact.x, y: exact.y, colour: "ink", dash: 1, width: 1.2, label: "exact" }, { x: about.x, y: picture.mean, colour: COLOURS[activation], label: activation }],
    bands: [{ x: about.x, low: picture.low, high: picture.high, colour: COLOURS[activation] }],
    points: (about.points ?? []).map(([x, y]) => ({ x, y, size: 1.8, colour: "ink" })),
    summary: `The fit of ${activation} after ${event.epoch} epochs.`,
  });
}

/** The plane of the spirals, coloured by the mean probability over the seeds. */
function plane(name) {
  const side = 260;
  const canvas = el("canvas", { width: side, height: side, class: "plane", role: "img", "aria-label": `Decisions of ${name}` });
  const root = el("article", { class: "card" }, el("div", { class: "card-head" }, el("h2", {}, name)), canvas);
  const small = new OffscreenCanvas(about.grid, about.grid);
  const draw = (odds) => {
    const [warm, cool] = [rgb("--k0"), rgb("--k1")];
    const image = new ImageData(about.grid, about.grid);
    odds.forEach((odd, i) => {
      const row = about.grid - 1 - Math.floor(i / about.grid);
      const at = 4 * (row * about.grid + (i % about.grid));
      for (let c = 0; c < 3; c += 1) image.data[at + c] = (odd * warm[c] + (100 - odd) * cool[c]) / 100;
      image.data[at + 3] = 150;
    });
    small.getContext("2d").putImageData(image, 0, 0);
    const paper = canvas.getContext("2d");
    paper.clearRect(0, 0, side, side);
    paper.drawImage(small, 0, 0, side, side);
    about.points.forEach(([x, y], i) => {
      paper.fillStyle = `rgb(${(about.arms[i] ? cool : warm).join()})`;
      paper.strokeStyle = getComputedStyle(document.body).backgroundColor;
      paper.beginPath();
      paper.arc(((x / about.reach + 1) / 2) * side, ((1 - y / about.reach) / 2) * side, 2.6, 0, 7);
      paper.fill();
      paper.stroke();
    });
  };
  return { root, draw };
}

function rgb(name) {
  const found = getComputedStyle(document.documentElement).getPropertyValue(name).trim().slice(1);
  return [0, 2, 4].map((i) => parseInt(found.slice(i, i + 2), 16));
}
