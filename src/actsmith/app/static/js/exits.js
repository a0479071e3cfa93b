// Tab 6: what one takes along.

import { file, newest } from "./api.js";
import { byId, el, fill } from "./dom.js";
import { lawOf, link, state, subject } from "./state.js";

const TITLES = {
  command: "Command line", notebook: "Notebook cell", module: "As a module of PyTorch, with Actsmith",
  file: "As a file that needs torch alone, with its start", latex: "LaTeX", bibtex: "BibTeX",
};

const ask = newest("exits", show, (message) => fill(byId("exits"), el("p", { class: "error", role: "alert" }, message)));

/** Draw for the state as it is. */
export function drawExits() {
  const law = lawOf();
  if (!byId("exits").children.length) fill(byId("exits"), el("p", { class: "reason" }, "Being written: some seconds …"));
  ask({ ...subject(), law: typeof law === "string" ? law : { samples: true } });
}

function show(found) {
  fill(byId("exits"),
    part("A link that holds everything on this page", link(), state.law.kind === "samples" ? "The law of the samples is in it, too." : ""),
    Object.entries(TITLES).map(([name, title]) => part(title, found[name], "", name === "file" ? "activation.py" : null)),
    figure(),
    el("p", { class: "hint" }, "Every picture has a button that saves it as SVG, in the colours that it has on the screen."));
}

/** The analysis as the package draws it, made when it is asked for. */
function figure() {
  const said = el("span", { role: "status", class: "hint" });
  const made = async () => {
    said.textContent = "Being drawn: some seconds …";
    try {
      save(await file("figure", { ...subject(), law: lawOf() }), "analysis.pdf");
      said.textContent = "Saved.";
    } catch (error) {
      said.textContent = error.message;
    }
  };
  return el("section", { class: "exit" }, el("div", { class: "card-head" }, el("h2", {}, "As a figure for a paper's column"),
    el("span", {}, said, el("button", { type: "button", class: "quiet", onclick: made }, "Save analysis.pdf"))));
}

function part(title, text, hint, name = null) {
  const said = el("span", { role: "status", class: "hint" });
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      said.textContent = "Copied.";
    } catch {
      said.textContent = "The browser allows no copying here: select the text.";
    }
  };
  return el("section", { class: "exit" }, el("div", { class: "card-head" }, el("h2", {}, title),
    el("span", {}, said, el("button", { type: "button", class: "quiet", onclick: copy }, "Copy", el("span", { class: "unseen" }, ` ${title}`)),
      name ? el("button", { type: "button", class: "quiet", onclick: () => save(new Blob([text], { type: "text/plain" }), name) }, `Save ${name}`) : null)),
  el("pre", { tabindex: 0, "aria-label": title }, text), hint ? el("p", { class: "hint" }, hint) : null);
}

function save(blob, name) {
  const address = URL.createObjectURL(blob);
  el("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}
