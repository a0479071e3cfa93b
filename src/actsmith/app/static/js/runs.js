// Tab 5: run folders as they grow, and the model that the command line named.

import { get } from "./api.js";
import { load, rounded, useSamples } from "./bar.js";
import { byId, el, fill, svg, table, text } from "./dom.js";
import { state } from "./state.js";

const EVERY = 2000;
let show = null;

export function startRuns(start, open) {
  show = open;
  if (!start.runs.length) {
    fill(byId("runs"), el("p", { class: "reason" }, "No run is shown: start with ",
      el("code", {}, "actsmith app --runs DIR"), ", the folder of a search or of a reproduction, or a search's storage."));
  }
  model(start.model);
  if (start.runs.length) setInterval(() => { if (state.tab === "runs" && !document.hidden) drawRuns(); }, EVERY);
}

let drawn = "";
let busy = false;

/** Ask for the folders as they are now; what did not change stays, with whatever has the focus. */
export async function drawRuns() {
  if (busy) return;
  busy = true;
  try {
    const { runs } = await get("runs");
    const now = JSON.stringify(runs.map((run) => ({ ...run, seconds_since: null })));
    if (now === drawn || !runs.length) return;
    drawn = now;
    fill(byId("runs"), runs.map(one));
  } catch (error) {
    drawn = "";
    fill(byId("runs"), el("p", { class: "error" }, error.message));
  } finally {
    busy = false;
  }
}

function one(run) {
  return el("section", { class: "run" }, el("h2", {}, `${run.name}: ${run.kind}`),
    el("p", {}, `${run.state[0].toUpperCase()}${run.state.slice(1)}. ${run.trainings} trainings${run.other ? `, ${run.other} other records` : ""}.`),
    run.conclusion ? el("p", { class: "verdict" }, run.conclusion) : null,
    run.tables.map(board),
    run.latest.length ? el("p", { class: "hint" }, `Finished last: ${run.latest.map((t) => `${t.name} (${t.stage}, ${text(t.score, 3)})`).join("; ")}.`) : null);
}

function board(found) {
  const { metric } = found;
  const ends = found.rows.flatMap((row) => [row.low, row.high, row.mean]).filter((v) => v !== null);
  const middle = [...ends].sort((a, b) => a - b);
  const [low, high] = [middle[Math.floor(0.05 * middle.length)] ?? 0, middle.at(-1 - Math.floor(0.05 * middle.length)) ?? 1];
  return table(`${found.title}: ${metric}, with 95 % intervals`, ["activation", metric, "stage", "seeds"], found.rows.map((row) => [
    el("button", { type: "button", class: "link", onclick: () => { load(row.formula, row.values); show("function"); } }, row.name),
    el("span", {}, row.mean === null ? "diverged" : `${text(row.mean)}${row.low === null ? "" : ` [${text(row.low)}, ${text(row.high)}]`}`,
      whisker(row, low, high)), `${row.stage}${row.verdict ? `: ${row.verdict}` : ""}`, text(row.seeds)]));
}

function whisker(row, low, high) {
  const at = (v) => 4 + 112 * Math.min(Math.max((v - low) / (high - low || 1), 0), 1);
  const line = svg("svg", { width: 120, height: 14, "aria-hidden": "true", class: "whisker" });
  if (row.low !== null) line.append(svg("line", { x1: at(row.low), x2: at(row.high), y1: 7, y2: 7, class: "stroke c1", "stroke-width": 2 }));
  if (row.mean !== null) line.append(svg("circle", { cx: at(row.mean), cy: 7, r: 4, class: "fill c1" }));
  return line;
}

function model(found) {
  if (!found) {
    fill(byId("model"), el("p", { class: "reason" }, "No model was probed: start with ",
      el("code", {}, "actsmith app --model my_module:my_model --example inputs.npy"), "."));
    return;
  }
  fill(byId("model"), el("p", {}, `${found.model}: ${found.inputs}.`),
    table("What its activations see", ["site", "activation", "law of its input", "mean", "deviation", "K", "K*", "J out", "zero", "dead"],
      found.sites.map((site) => [site.path, site.formula
        ? el("button", { type: "button", class: "link", onclick: () => { load(site.formula, site.values); show("function"); } }, site.activation) : site.activation,
      site.law ? el("button", { type: "button", onclick: () => { useSamples(rounded(site.law), `${found.model}, ${site.path}`); show("function"); } }, "use")
        : site.reason ?? "none",
      text(site.mean), text(site.std), text(site.K), site.universality === "scale_invariant" ? "any" : text(site.K_star),
      text(site.smoothed_out), `${text(100 * site.zeros, 3)} %`, `${text(100 * site.dead, 3)} %`])));
}
