// The page: tabs, and what follows when the formula changes.

import { get, post } from "./api.js";
import { showState, startBar } from "./bar.js";
import { drawDepth, startDepth } from "./depth.js";
import { byId, el, fill } from "./dom.js";
import { drawExits } from "./exits.js";
import { drawFunction, startFunction } from "./function.js";
import { drawMap, startMap } from "./map.js";
import { drawRuns, startRuns } from "./runs.js";
import { change, follow, readLink, state } from "./state.js";
import { startTrain } from "./train.js";

/** Let a process load torch before it is asked. */
const warm = (train) => post("warm", { train }).catch(() => {});

const TABS = {
  function: ["Function", null], map: ["Map", drawMap], depth: ["Depth lab", () => { warm(false); drawDepth(); }], train: ["Training", () => warm(true)],
  runs: ["Runs and model", drawRuns], exits: ["Take along", () => { warm(false); drawExits(); }],
};
const FOLLOWING = ["map", "depth", "exits"];

function open(tab, focus = false) {
  change({ tab }, false);
  for (const name of Object.keys(TABS)) {
    const chosen = name === tab;
    const button = byId(`tab-${name}`);
    button.setAttribute("aria-selected", String(chosen));
    button.tabIndex = chosen ? 0 : -1;
    byId(`panel-${name}`).hidden = !chosen;
    if (chosen && focus) button.focus();
  }
  TABS[tab][1]?.();
}

function tabs() {
  const names = Object.keys(TABS);
  fill(byId("tabs"), names.map((name) => el("button", {
    type: "button", role: "tab", id: `tab-${name}`, "aria-controls": `panel-${name}`, onclick: () => open(name) }, TABS[name][0])));
  byId("tabs").addEventListener("keydown", (event) => {
    const at = names.indexOf(state.tab);
    const next = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: names.length - 1 }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    open(names[(next + names.length) % names.length], true);
  });
}

async function begin() {
  readLink();
  if (!(state.tab in TABS)) state.tab = "function";
  tabs();
  startBar();
  startFunction();
  startMap();
  startDepth();
  startTrain();
  follow(() => {
    drawFunction();
    if (FOLLOWING.includes(state.tab)) TABS[state.tab][1]();
  });
  drawFunction();
  window.addEventListener("hashchange", () => { readLink(); showState(); drawFunction(); open(state.tab in TABS ? state.tab : "function"); });
  try {
    const start = await get("start");
    byId("version").textContent = start.version;
    startRuns(start, (tab) => open(tab, true));
  } catch (error) {
    byId("status").textContent = error.message;
  }
  open(state.tab);
}

begin();
