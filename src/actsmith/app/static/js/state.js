// All that a link holds: the formula, its parameters, the law, the tab and the settings of each.

const EMPTY = {
  formula: "x*sigmoid(b*x)",
  values: { b: 1.7 },
  law: { kind: "normal", numbers: [0, 1] },
  tab: "function",
  map: { x: "smoothed", y: "ratio" },
  depth: { start: "critical", depth: 30, C_W: 2, C_b: 0, K0: 1, rho0: 0.5, width: 64, nets: 16 },
  train: { scene: "spirals", width: 32, depth: 3, seeds: 4, rate: 0.01, epochs: 60, init: "critical" },
};

export const state = structuredClone(EMPTY);
const listeners = new Set();

/** Call when what is computed changes: the formula, its parameters or the law. */
export const follow = (listener) => listeners.add(listener);

/** Take changes in; `computed` says whether pictures of the formula must follow. */
export function change(part, computed = true) {
  Object.assign(state, part);
  write();
  if (computed) listeners.forEach((listener) => listener(state));
}

let waiting = 0;

/** The address follows, not faster than browsers allow. */
function write() {
  clearTimeout(waiting);
  waiting = setTimeout(() => history.replaceState(null, "", link()), 250);
}

/** The address that holds everything. */
export function link() {
  return `${location.origin}${location.pathname}#${encodeURIComponent(JSON.stringify(state))}`;
}

/** Read the address; what does not fit is left as it is. */
export function readLink() {
  let found;
  try {
    found = JSON.parse(decodeURIComponent(location.hash.slice(1)));
  } catch {
    return;
  }
  if (found && typeof found === "object") take(state, EMPTY, found);
}

function take(into, form, found) {
  for (const [name, like] of Object.entries(form)) {
    const value = found[name];
    if (value === undefined || value === null || typeof value !== typeof like) continue;
    if (name === "values") into.values = numbers(value);
    else if (name === "law") into.law = law(value) ?? into.law;
    else if (typeof like === "object") take(into[name], like, value);
    else if (typeof like !== "number" || Number.isFinite(value)) into[name] = value;
  }
}

const numbers = (value) =>
  Object.fromEntries(Object.entries(value).filter(([, v]) => typeof v === "number" && Number.isFinite(v)).slice(0, 16));

function law(value) {
  if (["normal", "laplace", "logistic"].includes(value.kind)) {
    const given = Array.isArray(value.numbers) ? value.numbers.map(Number) : [];
    return given.length === 2 && given.every(Number.isFinite) ? { kind: value.kind, numbers: given } : null;
  }
  if (value.kind === "text" && typeof value.text === "string") return { kind: "text", text: value.text };
  if (value.kind === "samples" && value.law && typeof value.law === "object") {
    return { kind: "samples", law: value.law, label: String(value.label ?? "samples") };
  }
  return null;
}

/** The law as the server takes it. */
export function lawOf(given = state.law) {
  if (given.kind === "text") return given.text;
  if (given.kind === "samples") return given.law ?? "normal(0,1)";
  return `${given.kind}(${given.numbers.join(",")})`;
}

/** Formula and parameters, as every job takes them. */
export const subject = () => ({ formula: state.formula, values: state.values });
