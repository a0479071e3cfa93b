// Axes: from values to places, and the values that are written beside them.

/** A scale over [low, high] in three kinds: "linear", "log", "symlog" (straight about 0, logarithmic beyond). */
export function scale(low, high, from, to, kind = "linear", near = 1) {
  const bend = {
    linear: (v) => v,
    log: (v) => Math.log10(v),
    symlog: (v) => Math.sign(v) * Math.log10(1 + Math.abs(v) / near),
  }[kind];
  const a = bend(low);
  const b = bend(high);
  const place = (v) => from + ((bend(v) - a) / (b - a || 1)) * (to - from);
  const room = Math.abs(to - from);
  return { place, low, high, kind, ticks: ticks(low, high, kind, room, near) };
}

function ticks(low, high, kind, room, near) {
  const most = Math.min(Math.max(Math.floor(room / 46), 2), 10);
  if (kind === "log") return powers(low, high, most);
  if (kind === "symlog") {
    const above = high > 0 ? powers(near, high, Math.max(most / 2, 2)) : [];
    const below = low < 0 ? powers(near, -low, Math.max(most / 2, 2)).map((v) => -v) : [];
    return [...below.reverse(), 0, ...above].filter((v) => v >= low && v <= high);
  }
  const rough = (high - low) / most;
  const size = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * size).find((s) => s >= rough) ?? size;
  const found = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step && found.length < 40; k += 1) found.push(k * step);
  return found.map((v) => (Math.abs(v) < 1e-9 * step ? 0 : Number(v.toPrecision(12))));
}

function powers(low, high, most) {
  const first = Math.ceil(Math.log10(low) - 1e-9);
  const last = Math.floor(Math.log10(high) + 1e-9);
  const step = Math.max(Math.ceil((last - first) / most), 1);
  const found = [];
  for (let k = first; k <= last; k += step) found.push(10 ** k);
  if (found.length >= 2) return found;
  const fine = [1, 2, 3, 5, 7].flatMap((m) => [first - 1, first, last].map((k) => m * 10 ** k));
  const inside = [...new Set(fine)].filter((v) => v >= low && v <= high).sort((a, b) => a - b);
  return inside.length >= 2 ? inside : [low, high].map((v) => Number(v.toPrecision(2))).filter((v) => v >= low && v <= high);
}

/** The ends of what is drawn, with a margin; of a logarithmic axis the positive values alone. */
export function ends(values, kind = "linear") {
  const known = values.filter((v) => Number.isFinite(v) && (kind !== "log" || v > 0));
  if (!known.length) return kind === "log" ? [0.1, 10] : [0, 1];
  let low = known[0];
  let high = known[0];
  for (const v of known) { if (v < low) low = v; if (v > high) high = v; }
  if (kind === "log") return low === high ? [low / 2, high * 2] : [low / 1.3, high * 1.3];
  const margin = 0.06 * (high - low) || 0.5 * Math.abs(low) || 0.5;
  return [low - margin, high + margin];
}
