// Tab 6: what one takes along.

import { newest } from "./api.js";
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
  ask({ ...subject(), law: typeof law === "string" ? law : { samples: true } });
}

function show(found) {
  fill(byId("exits"),
    part("A link that holds everything on this page", link(), state.law.kind === "samples" ? "The law of the samples is in it, too." : ""),
    Object.entries(TITLES).map(([name, title]) => part(title, found[name], "", name === "file" ? "activation.py" : null)),
    el("p", { class: "hint" }, "Every picture has a button that saves it as SVG, in the colours that it has on the screen."));
}

function part(title, text, hint, file = null) {
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
      file ? el("button", { type: "button", class: "quiet", onclick: () => save(text, file) }, `Save ${file}`) : null)),
  el("pre", { tabindex: 0, "aria-label": title }, text), hint ? el("p", { class: "hint" }, hint) : null);
}

function save(text, name) {
  const address = URL.createObjectURL(new Blob([text], { type: "text/plain" }));
  el("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}
