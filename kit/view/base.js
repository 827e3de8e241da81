// What all viewers share. Python puts `const STYLE = {...};` before this file and one viewer after it.

// ---- elements: strings become text nodes, so that a label such as <script> stays text
const SVG = (() => { // the namespace, without an address in the page
  const box = document.createElement("template");
  box.innerHTML = "<svg></svg>";
  return box.content.firstChild.namespaceURI;
})();
function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value == null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child != null && child !== false));
  return node;
}
const h = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
const s = (tag, attributes = {}, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);
const label = (x, y, text, anchor = "start", more = {}) => s("text", { x, y, "text-anchor": anchor, ...more }, text);
const stroke = (d, color, width = 1, more = {}) => s("path", { d, fill: "none", stroke: color, "stroke-width": width, ...more });
const OWN_KEYS = { "data-lm-suppress-shortcuts": "true" }; // or JupyterLab takes the arrow keys
const explorable = (name) => ({ // read by pointer or by keys
  tabindex: 0, role: "application", "aria-label": name, "aria-description": "Arrow keys read it out", ...OWN_KEYS });
const SELECTED = "var(--pcc-selected)", IDEA = "var(--pcc-idea)";

const CSS = `
.pcc-figure { margin: 1.2em 0; }
.pcc-figure figcaption { margin-top: .5em; }
.pcc-live { --pcc-paper: #fff; font: 14px/1.45 system-ui, sans-serif; position: relative; }
.pcc-live.pcc-dark { --pcc-paper: #111; }
.pcc-live svg, .pcc-live canvas { display: block; overflow: visible; max-width: none; }
.pcc-live svg text { font: 12px system-ui, sans-serif; fill: currentColor; }
.pcc-live svg text.pcc-strong { font-weight: 600; }
.pcc-live svg text.pcc-over { paint-order: stroke; stroke: var(--pcc-paper); stroke-width: 5px; stroke-linejoin: round; }
.pcc-live :focus-visible { outline: 2px solid currentColor; outline-offset: 2px; }
.pcc-live input { accent-color: var(--pcc-idea); margin: 0 4px 0 0; vertical-align: middle; }
.pcc-controls { display: flex; flex-wrap: wrap; gap: 6px 24px; margin-bottom: 8px; }
.pcc-controls > * { display: flex; max-width: 100%; align-items: center; gap: 4px 10px; border: 0; margin: 0; padding: 0; min-width: 0; }
.pcc-controls fieldset { flex-wrap: wrap; }
.pcc-controls legend { float: left; padding: 0; width: auto; }
.pcc-controls input[type=range] { flex: 1 1 90px; min-width: 60px; width: 220px; margin: 0; }
.pcc-controls output { min-width: 3ch; font-variant-numeric: tabular-nums; font-weight: 600; }
.pcc-note { margin: 0 0 6px; font-weight: 600; min-height: 1.45em; }
.pcc-read { display: flex; flex-wrap: wrap; align-content: flex-start; gap: 0 16px; min-height: 1.45em; font-variant-numeric: tabular-nums; }
.pcc-live [hidden] { display: none; }
.pcc-read > * { overflow-wrap: anywhere; }
.pcc-write { flex: 1 1 100%; flex-wrap: wrap; }
.pcc-live textarea { font: inherit; flex: 1 1 260px; min-width: 0; min-height: 2.2em; padding: 3px 6px; box-sizing: border-box; resize: vertical; }
.pcc-live textarea:focus-visible { outline-offset: -2px; }
.pcc-live select { font: inherit; min-width: 0; max-width: 100%; padding: 2px 4px; text-overflow: ellipsis; }
.pcc-dark select, .pcc-dark textarea { color-scheme: dark; }
.pcc-tokens { line-height: 1.9; }
.pcc-token { display: inline-block; vertical-align: top; max-width: 100%; margin: 3px 3px 0 0; line-height: 1.35; cursor: default; }
.pcc-token bdi { display: block; overflow: hidden; text-overflow: ellipsis; white-space: pre; min-width: 1ch; padding: 0 4px; border-radius: 3px;
border: 1px solid #8885; background: color-mix(in srgb, var(--pcc-tone) var(--pcc-share), var(--pcc-paper)); color: var(--pcc-on-light); }
.pcc-dark .pcc-token bdi { color: var(--pcc-on-dark); }
.pcc-tight .pcc-token { margin-right: 0; }
.pcc-tight .pcc-token bdi { padding: 0; border-width: 0; border-radius: 0; min-width: 0; }
.pcc-token.pcc-at bdi { outline: 2px solid var(--pcc-selected); outline-offset: -1px; }
.pcc-read svg { display: inline-block; vertical-align: middle; margin-right: 6px; }
.pcc-read b { font-weight: 600; }
.pcc-row { display: flex; flex-wrap: wrap; align-items: center; gap: 4px 18px; }
.pcc-board { position: relative; width: fit-content; }
.pcc-board canvas { position: absolute; image-rendering: pixelated; }
.pcc-gaps canvas { background: repeating-linear-gradient(45deg, #8888 0 2px, #0000 2px 6px); }
.pcc-live .pcc-key { display: inline-block; vertical-align: middle; margin-right: 6px; }
.pcc-live button { font: inherit; padding: 4px 14px; }
.pcc-choices { border: 0; margin: 0 0 6px; padding: 0; list-style: none; }
.pcc-choices label { display: flex; align-items: baseline; gap: 6px; padding: 3px 0; }
.pcc-choices li { padding: 3px 8px; border-left: 4px solid transparent; }
.pcc-choices + p, .pcc-question + p { margin: 0 0 6px; }
.pcc-ghost { position: absolute; left: 0; right: 0; visibility: hidden; }
.pcc-question { font-weight: 600; margin: 0 0 4px; padding: 0; }
.pcc-waiting :is(.pcc-stage, .pcc-note) { opacity: .4; }
.pcc-said { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
.pcc-problem { color: inherit; border-left: 4px solid var(--pcc-error); padding-left: 8px; margin: 4px 0; }
.pcc-problem:empty { display: none; }
.pcc-gone { margin: 4px 0; border-left: 4px solid currentColor; padding-left: 8px; }
`;

// ---- numbers
const power = (e) => "10" + String(e).replace("-", "⁻").replace(/\d/g, (d) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[d]);
function show(value) {
  if (typeof value !== "number") return value ? `${value} (not finite)` : "no value";
  if (Number.isNaN(value)) return "not finite";
  const size = Math.abs(value);
  if ((Number.isInteger(value) && size < 1e7) || (size >= 1e-3 && size < 1e5))
    return String(Number.isInteger(value) ? value : +value.toPrecision(3)).replace("-", "−");
  const [digits, e] = value.toExponential(1).split("e");
  return `${digits.replace("-", "−")}×${power(+e)}`;
}
function axis(lo, hi, from, to, log) { // value -> pixel; NaN for what the axis cannot show
  const t = log ? Math.log10 : (v) => v, step = (to - from) / (t(hi) - t(lo) || 1);
  return (v) => (typeof v === "number" && (!log || v > 0) ? from + (t(v) - t(lo)) * step : NaN);
}
function ticks(lo, hi, count, log) {
  const found = [];
  if (log) {
    const first = Math.ceil(Math.log10(lo) - 1e-9), last = Math.floor(Math.log10(hi) + 1e-9);
    const step = Math.max(1, Math.ceil((last - first) / count));
    const parts = last - first < 2 ? [1, 2, 5] : [1];
    for (let e = first - 1; e <= last; e += step) for (const part of parts) found.push(part * 10 ** e);
  } else {
    const raw = (hi - lo) / Math.max(1, count) || 1, ten = 10 ** Math.floor(Math.log10(raw));
    const step = ten * ([1, 2, 5].find((n) => n * ten >= raw * 0.999) ?? 10);
    for (let i = Math.ceil(lo / step - 1e-9); i * step <= hi + step * 1e-9; i++) found.push(+(i * step).toPrecision(10));
  }
  return found.filter((v) => v >= lo * (1 - 1e-9) - (log ? 0 : 1e-12) && v <= hi * (1 + 1e-9) + (log ? 0 : 1e-12));
}
function tickTexts(values, log) { // one notation per axis
  const wide = log && values.some((v) => v < 1e-3 || v > 1e4);
  return values.map((v) => {
    const e = Math.floor(Math.log10(v) + 1e-9), times = Math.round(v / 10 ** e);
    return wide && v !== 1 ? `${times > 1 ? `${times}×` : ""}${power(e)}` : show(+v.toPrecision(6));
  });
}
function every(names, pixels, gap) { // which of the bands show their names when a name needs `gap` pixels: round numbers if they count from 1
  const step = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000].find((k) => (k * pixels) / names.length >= gap) ?? names.length;
  return [...names.keys()].filter((i) => (i + (names[0] === "1" && names.length >= step ? 1 : 0)) % step === 0);
}
const pen = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
function textWidth(text, strong) {
  pen.font = `${strong ? "600 " : ""}12px system-ui, sans-serif`;
  return pen.measureText(text).width;
}
const TALL = 560; // what a picture may take of a laptop's or a phone's screen: controls, read-out and caption want some, too
const within = (v, lo, hi) => Math.max(lo, Math.min(hi, v));

// ---- arrays: {shape, bits, lo, hi, log, data}, quantised to bytes; the highest code is a gap
function unpack(array) {
  if (array.values) return array;
  const text = atob(array.data), bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i); // plain loops: attention has millions of weights
  const codes = array.bits === 16 ? new Uint16Array(bytes.buffer) : bytes;
  const top = 2 ** array.bits - 1, step = (array.hi - array.lo) / (top - 1);
  array.values = new Float32Array(codes.length);
  for (let i = 0; i < codes.length; i++) {
    const v = array.lo + codes[i] * step;
    array.values[i] = codes[i] === top ? NaN : array.log ? 10 ** v : v;
  }
  return array;
}
const LUT = (() => {
  const stops = STYLE.ramp.map((hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16)));
  return Array.from({ length: 256 }, (_, i) => {
    const t = (i / 255) * (stops.length - 1), k = Math.min(Math.floor(t), stops.length - 2);
    return stops[k].map((v, c) => Math.round(v + (stops[k + 1][c] - v) * (t - k)));
  });
})();
function paint(canvas, values, columns, toUnit) { // one pixel per value; gaps stay transparent
  const image = new ImageData(columns, values.length / columns);
  values.forEach((v, i) => {
    const t = toUnit(v);
    if (Number.isFinite(t)) image.data.set([...LUT[Math.round(within(t, 0, 1) * 255)], 255], i * 4);
  });
  [canvas.width, canvas.height] = [image.width, image.height];
  canvas.getContext("2d").putImageData(image, 0, 0);
}

// ---- tokens: text of any script, isolated so that it does not turn the line around
const isolated = (text) => `\u2068${text}\u2069`;
const visible = (text) => text.replace(/\n/g, "⏎").replace(/\t/g, "⇥").replace(/^\s*$/, (blank) => "␣".repeat(blank.length || 1));
const quoted = (text) => `“${isolated(visible(text.length > 24 ? `${[...text].slice(0, 23).join("")}…` : text))}”`;
function ink(value, role, dark) { // black or white, whichever reads better on the shade
  const linear = (v) => (v /= 255) <= 0.04 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4, paper = dark ? 17 : 255;
  const light = [1, 3, 5].map((i) => linear(paper + (parseInt(STYLE.roles[role][+dark].slice(i, i + 2), 16) - paper) * value));
  return 0.2126 * light[0] + 0.7152 * light[1] + 0.0722 * light[2] > 0.179 ? "#000" : "#fff";
}
function shade(node, value, role = "idea") { // 0 is paper, 1 the full colour of the role
  const style = { tone: `var(--pcc-${role})`, share: `${(100 * value).toFixed(1)}%`, "on-light": ink(value, role, false), "on-dark": ink(value, role, true) };
  for (const [name, text] of Object.entries(style)) node.style.setProperty(`--pcc-${name}`, text);
}
function chip(text, i, value, role) {
  const node = h("span", { class: "pcc-token", "data-i": i }, h("bdi", {}, visible(text)));
  shade(node, value, role);
  return node;
}
const place = (event) => { const node = event.target.closest?.(".pcc-token"); return node ? +node.dataset.i : null; }; // the token under the pointer

// ---- series: colour by role, dash by order within the role, marker by role
const EXTRAS = Object.keys(STYLE.roles).filter((role) => role.startsWith("extra")).length;
function styled(series) {
  const seen = {};
  let extra = 0;
  return series.map((line) => {
    const role = line.role ?? `extra${extra++ % EXTRAS}`, nth = line.dash ?? seen[role] ?? 0;
    seen[role] = (seen[role] ?? 0) + 1;
    return { ...line, color: `var(--pcc-${role})`, dash: STYLE.dashes[nth % STYLE.dashes.length], marker: STYLE.roles[role][2] };
  });
}
const MARKERS = {
  o: "m-3 0a3 3 0 1 0 6 0a3 3 0 1 0-6 0", s: "m-3-3h6v6h-6z", D: "m0-4l4 4l-4 4l-4-4z", "^": "m0-4l4 7h-8z", v: "m0 4l4-7h-8z", x: "m-3-3l6 6m0-6l-6 6",
  ">": "m4 0l-7 4v-8z", P: "m-1.5-4h3v2.5h2.5v3h-2.5v2.5h-3v-2.5h-2.5v-3h2.5z",
  "*": "m0-5l1.3 3.2 3.5.2-2.7 2.2.9 3.4-3-1.9-3 1.9.9-3.4-2.7-2.2 3.5-.2z",
};
const drawMarkers = ({ marker, color }, d) => (marker === "x" ? stroke(d, color, 2) : s("path", { d, fill: color }));
const drawLine = ({ color, dash }, d) => stroke(d, color, 2.2, { "stroke-dasharray": dash, "stroke-linecap": "round", "stroke-linejoin": "round" });
const swatch = (line) => s("svg", { width: 26, height: 12, "aria-hidden": "true" }, ...(line.part ? filled(line, "M7 0h12v12h-12z")
  : [drawLine(line, "M1 6H25"), drawMarkers(line, `M13 6${MARKERS[line.marker]}`)]));
// Bars of several series: a texture each, the first plain. A tile of 8 by 8, drawn in the colour of the paper.
const TEXTURES = ["", "M-2 2L2-2M-2 10L10-2M6 10L10 6", "M2 2h0M6 6h0", "M0 4H8", "M-2-2L10 10M-2 6L2 10M6-2L10 2"];
const filled = ({ color, texture }, d) => [s("path", { d, fill: color }), ...(texture ? [s("path", { d, fill: `url(#${texture})`, class: "pcc-texture" })] : [])];
const tile = (id, d) => s("pattern", { id, width: 8, height: 8, patternUnits: "userSpaceOnUse" }, stroke(d, "var(--pcc-paper)", 1.6, { "stroke-linecap": "round" }));
const total = (values) => values.reduce((sum, v) => (typeof v === "number" ? sum + v : sum), 0);
function stack(lines, count, X, Y) { // the parts of a bar on one another, the first at the bottom, a hair apart -> a path for each series
  const slot = X(2) - X(1), touch = count >= 100 || slot < 12, wide = touch ? slot : Math.min(slot * 0.8, 72);
  return lines.map((_, n) => {
    const boxes = Array.from({ length: count }, (_, i) => {
      const under = total(lines.slice(0, n).map((line) => line.y[i])), low = Y(under), top = Y(under + total([lines[n].y[i]]));
      return [X(i + 1) - wide / 2, X(i + 1) + wide / 2, top, low - (under > 0 && low - top > 3 ? 1 : 0)];
    });
    return (touch ? [boxes] : boxes.map((one) => [one])).map((run) => // bars that touch share one outline, or their seams would show
      `M${run[0][0]} ${run[0][3]}${run.map(([, right, top]) => `V${top}H${right}`).join("")}${
        run.reverse().map(([left, , , low]) => `V${low}H${left}`).join("")}z`).join("");
  });
}

// ---- a chart of series over x: axes, lines or bars, direct labels, a cursor for pointer and keyboard
function chart(ui, parent, { series, x, y, bars = false, stacked = false, height, name = ui.alt, head, legend = false, hint, onpick }) {
  const texture = (n) => (bars && n % TEXTURES.length ? `pcc-${ui.group}-${n % TEXTURES.length}` : "");
  const lines = styled(series).map((line, n) => ({ ...line, part: bars, texture: texture(n) })), width = ui.width;
  height ??= within(width * 0.42, 210, 330);
  const yTicks = ticks(...y.range, height / 40, y.log), yTexts = tickTexts(yTicks, y.log), labels = lines.map((line) => textWidth(line.name) + 26);
  const left = Math.ceil(Math.max(...yTexts.map((text) => textWidth(text)), 16)) + 10;
  const direct = !bars && !legend && lines.length < 9 && Math.max(0, ...labels) < width * 0.34;
  const right = width - (direct ? Math.max(0, ...labels) + 6 : 10), widest = (texts) => Math.max(0, ...texts.map((text) => textWidth(text))) + 12;
  const fold = bars && x.names?.length < 13 && widest(x.names) * x.names.length > right - left; // names of a few bars may take several lines
  const names = x.names?.map((name) => (fold ? name.split(" ") : [name])), rows = Math.max(1, ...(names ?? []).map((words) => words.length));
  const box = { left, right, top: 26, bottom: height - 21 - 15 * rows };
  const X = axis(...x.range, box.left, box.right), Y = axis(...y.range, box.bottom, box.top, y.log);
  const root = s("svg", { width, height, ...explorable(name) },
    bars && s("defs", {}, TEXTURES.slice(1, lines.length).map((d, n) => tile(texture(n + 1), d))));
  const clip = [box.left - 5, box.top - 5, box.right - box.left + 10, box.bottom - box.top + 5]; // room for whole markers
  const inner = s("svg", { x: clip[0], y: clip[1], width: clip[2], height: clip[3], viewBox: clip.join(" "), style: "overflow:hidden" });
  yTicks.forEach((v, i) => root.append(
    stroke(`M${box.left} ${Y(v)}H${box.right}`, "currentColor", 1, { "stroke-opacity": 0.14 }), label(box.left - 7, Y(v) + 4, yTexts[i], "end")));
  const xTicks = names
    ? every(x.names, box.right - box.left, widest(names.flat())).map((i) => [i + 1, names[i]])
    : ticks(...x.range, width / 90).map((v) => [v, [show(+v.toPrecision(6))]]);
  for (const [v, words] of xTicks) {
    const half = (widest(words) - 12) / 2, px = names ? within(X(v), half, width - half) : X(v);
    if (Math.abs(px - X(v)) < 12) root.append(...words.map((word, i) => label(px, box.bottom + 17 + 15 * i, word, "middle")));
  }
  root.append(stroke(`M${box.left} ${box.top}V${box.bottom}H${box.right}`, "currentColor", 1, { "stroke-opacity": 0.6 }),
    label(0, 13, y.label), label(box.right, height - 4, x.label, "end"), inner);
  const band = ((box.right - box.left) / Math.max(1, ...lines.map((line) => line.x.length))) * 0.8, broken = [];
  const stacks = stacked && stack(lines, Math.max(...lines.map((line) => line.x.length)), X, Y);
  lines.forEach((line, n) => {
    let d = "", dots = "", last = -99, open = false;
    line.x.forEach((at, i) => {
      const px = X(at), py = within(Y(line.y[i]), -1e5, 1e5);
      if (Number.isNaN(py) || Number.isNaN(px)) {
        open = false;
        if (typeof line.y[i] === "string") broken.push(px);
      } else if (stacked) {
        d = stacks[n];
      } else if (bars) {
        const side = band / lines.length, zero = y.log ? box.bottom : within(Y(0), box.top, box.bottom);
        d += `M${(px - band / 2 + n * side).toFixed(2)} ${zero}V${py.toFixed(2)}h${(side * 0.92).toFixed(2)}V${zero}z`;
      } else {
        d += `${open ? "L" : "M"}${px.toFixed(2)} ${py.toFixed(2)}${open ? "" : "h0"}`;
        open = true;
        line.end = [px, py];
        if (px - last >= 36 || line.x.length < 13) dots += `M${(last = px).toFixed(2)} ${py.toFixed(2)}${MARKERS[line.marker]}`;
      }
    });
    inner.append(...(bars ? filled(line, d) : [drawLine(line, d), drawMarkers(line, dots)]));
  });
  for (const px of broken) inner.append(stroke(`M${px} ${box.top + 6}${MARKERS.x}`, "var(--pcc-error)", 2));
  if (direct) {
    const ends = lines.filter((line) => line.end).sort((a, b) => a.end[1] - b.end[1]);
    let floor = box.top;
    for (const line of ends) floor = (line.at = Math.max(within(line.end[1], box.top, box.bottom), floor)) + 15;
    let roof = box.bottom;
    for (const line of ends.reverse()) roof = (line.at = Math.min(line.at, roof)) - 15;
    const moved = ends.some(({ end, at }) => Math.abs(at - end[1]) > 3); // then markers say whose name is whose
    for (const line of ends) { // a curve may end where others go on
      const { end: [px, py], at, color, name, marker } = line;
      root.append(stroke(`M${px + 3} ${within(py, box.top, box.bottom)}L${px + 13} ${at}`, color),
        label(px + (moved ? 26 : 16), at + 4, name, "start", { class: "pcc-over" }));
      if (moved) root.append(drawMarkers(line, `M${px + 18} ${at}${MARKERS[marker]}`));
    }
  }
  const stops = [...new Set(lines.flatMap((line) => line.x))].filter((v) => Number.isFinite(X(v))).sort((a, b) => a - b);
  const mark = s("g", { "pointer-events": "none" });
  root.append(mark);
  let now = -1;
  const nearest = (px) => stops.reduce((best, v, i) => (Math.abs(X(v) - px) < Math.abs(X(stops[best]) - px) ? i : best), 0);
  const rest = () => (direct ? ui.read(null, [], hint) : ui.read(null, lines.map((line) => ({ line, text: line.name })), hint));
  function pick(i, aloud) {
    mark.replaceChildren();
    now = i;
    if (i < 0 || !stops.length) return rest();
    const px = X(stops[i]), items = [];
    mark.append(stroke(`M${px} ${box.top}V${box.bottom}`, SELECTED, 2));
    for (const line of lines) {
      const k = line.x.indexOf(stops[i]);
      if (k < 0) continue;
      const py = Y(line.y[k]);
      if (!bars && py >= box.top - 1 && py <= box.bottom + 1)
        mark.append(s("circle", { cx: px, cy: py, r: 5, fill: line.color, stroke: SELECTED, "stroke-width": 2 }));
      items.push({ line, text: line.name, value: show(line.y[k]) });
    }
    if (stacked) items.push({ text: "total", value: show(total(lines.map((line) => line.y[i]))) });
    ui.read(head(stops[i]), items, null, aloud);
    onpick?.(stops[i]);
  }
  const move = (i) => pick(within(i, 0, stops.length - 1), true);
  const last = stops.length - 1;
  arrows(root, {
    ArrowRight: () => move(now + 1), ArrowLeft: () => move(now < 0 ? last : now - 1), Home: () => move(0), End: () => move(last), Escape: () => pick(-1),
  });
  root.addEventListener("pointermove", (event) => stops.length && pick(nearest(event.clientX - root.getBoundingClientRect().left)));
  root.addEventListener("pointerleave", () => pick(-1));
  parent.append(root);
  rest();
  return { pick: (value) => pick(stops.indexOf(value)) };
}
function arrows(node, actions) {
  node.addEventListener("keydown", (event) => {
    if (!actions[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    actions[event.key]();
    event.preventDefault();
    event.stopPropagation();
  });
}

// ---- the figure: controls choose a frame, a viewer draws it
// viewer(ui) is called once and returns draw(frame), called for each frame and each width
function figure(viewer) {
  const render = ({ model, el }) => {
    let data = model.get("data"), asked = null, width = 0, height = 0;
    const at = data.controls.map((control) => control.start), failed = {};
    const root = el.classList.contains("pcc-live") ? el : el.appendChild(h("div", { class: "pcc-live" }));
    const controls = h("div", { class: "pcc-controls" }), readout = h("div", { class: "pcc-read" }), stage = h("div", { class: "pcc-stage" });
    const note = h("p", { class: "pcc-note" }), problem = h("p", { class: "pcc-problem", role: "status" });
    const said = h("div", { class: "pcc-said", "aria-live": "polite" });
    const group = (window.pccFigures = (window.pccFigures ?? 0) + 1); // radio groups of different figures must not mix
    const ui = {
      stage, data, group, options: data.options, alt: data.alt, width: 0,
      quiet: () => { readout.hidden = true; }, // for viewers with nothing to read out
      say: (text) => { said.textContent = text; },
      reserve(faces) { // room on the stage for whatever may come there: lists of elements
        const heights = faces.map((face) => {
          const ghost = h("div", { class: "pcc-ghost" }, face);
          for (const input of ghost.querySelectorAll("input"))
            input.name = ""; // or it would take the mark from its original
          stage.append(ghost);
          const tall = ghost.offsetHeight; // a slide may be magnified
          ghost.remove();
          return tall;
        });
        stage.style.minHeight = `${Math.max(...heights)}px`;
      },
      read(head, items, hint, aloud) {
        const shown = items.map(({ line, text, value }) =>
          h("span", { class: "pcc-item" }, line && swatch(line), text, ...(value == null ? [] : [" ", h("b", {}, value)])));
        readout.replaceChildren(...[head && h("b", {}, head), ...shown, hint && h("span", {}, hint)].filter(Boolean));
        readout.style.minHeight = `${(height = Math.max(height, readout.offsetHeight))}px`; // grow, never jump back
        if (aloud) ui.say([head, ...items.map(({ text, value }) => (value == null ? text : `${text} ${value}`))].filter(Boolean).join(", "));
      },
      slider(name, labels, start, change) {
        const value = h("output", { "aria-live": "off", style: `min-width:${Math.max(...labels.map((text) => text.length))}ch` });
        const input = h("input", { type: "range", min: 0, max: labels.length - 1, step: 1, value: start, "aria-label": name, ...OWN_KEYS });
        const set = (i) => {
          input.value = i;
          value.textContent = labels[i];
          input.setAttribute("aria-valuetext", labels[i]);
        };
        input.addEventListener("input", () => { set(+input.value); change(+input.value); });
        set(start);
        return { set, node: controls.appendChild(h("label", {}, name, input, value)) };
      },
      radios(name, labels, start, change) {
        const inputs = labels.map((_, i) =>
          h("input", { type: "radio", name: `pcc-${group}-${name}`, checked: i === start, onchange: () => change(i), ...OWN_KEYS }));
        controls.append(h("fieldset", {}, h("legend", {}, name), labels.map((text, i) => h("label", {}, inputs[i], text))));
        return { set: (i) => { inputs[i].checked = true; } };
      },
      select(name, labels, start, change) {
        const input = h("select", { "aria-label": name, onchange: () => change(input.selectedIndex), ...OWN_KEYS }, labels.map((text) => h("option", {}, text)));
        const set = (i) => { input.selectedIndex = i; };
        set(start);
        return { set, node: controls.appendChild(h("label", {}, name, input)) };
      },
      write(name, most, change) { // the reader's own text, sent by Enter or by a pause
        let pause = 0;
        const status = h("span", { role: "status" });
        const box = h("textarea", { rows: 1, dir: "auto", placeholder: "Type here; Enter draws at once", ...OWN_KEYS });
        const send = () => {
          clearTimeout(pause);
          if (!root.isConnected) return;
          const text = box.value, letters = [...(text.toWellFormed?.() ?? text)], long = letters.length > most;
          status.textContent = !text.trim() ? "Nothing typed yet: the picture stays" : long ? `Only the first ${most} of ${letters.length} characters are used` : "";
          text.trim() ? change(letters.slice(0, most).join("")) : box.focus();
        };
        box.addEventListener("input", (event) => { // while a Korean syllable is being composed, nothing is sent
          clearTimeout(pause);
          if (!event.isComposing) pause = setTimeout(send, 250);
        });
        box.addEventListener("compositionend", () => {
          clearTimeout(pause);
          pause = setTimeout(send, 250);
        });
        box.addEventListener("keydown", (event) => {
          if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
          event.preventDefault();
          send();
        });
        controls.append(h("label", { class: "pcc-write" }, `your own ${name}`, box), status);
        return { send };
      },
    };
    const choose = (n, i) => {
      at[n] = i;
      delete failed[key()]; // asked again, it may succeed
      refresh(true);
    };
    const presets = data.presets ?? [], fits = (preset) => preset?.at.every((i, n) => i === null || i === at[n]);
    let preset = null, presetList = null; // the one whose settings are shown
    if (presets.length) {
      presetList = ui.select("preset", ["your own", ...presets.map(({ name }) => name)], 0, (k) => {
        preset = presets[k - 1];
        preset.at.forEach((i, n) => i !== null && sets[n]((at[n] = i)));
        delete failed[key()];
        refresh(true);
      });
      presetList.node.querySelector("option").disabled = true; // it tells; to have it, move a control
    }
    const sets = data.controls.map(({ name, labels, slider, write }, n) => {
      const long = write || labels.length > 6 || labels.join("").length > 80, kind = slider ? ui.slider : long ? ui.select : ui.radios;
      if (!write) return kind(name, labels, at[n], (i) => choose(n, i)).set;
      const list = kind(name, [...labels, "your own"], at[n], (i) => (i < labels.length ? choose(n, i) : box.send()));
      const box = ui.write(name, write, (text) => {
        list.set(labels.length);
        choose(n, text);
      });
      return list.set;
    });
    root.replaceChildren(h("style", {}, CSS), controls, note, problem, readout, stage, said);
    if (root !== el) root.append(h("p", { style: "margin:.5em 0" }, data.caption)); // a live widget has no figcaption of its own
    const draw = viewer(ui);
    const typed = new Map(); // the last few frames of typed text
    const keyOf = (ask) => (ask.some((i) => typeof i === "string") ? JSON.stringify(ask)
      : ask.reduce((sum, i, n) => sum * data.controls[n].labels.length + i, 0));
    const key = () => keyOf(at);
    function refresh(aloud) {
      const k = key(), frame = data.frames[k] ?? typed.get(k);
      if (!fits(preset)) preset = presets.find(fits);
      presetList?.set(presets.indexOf(preset) + 1);
      root.classList.toggle("pcc-waiting", !frame); // what is shown belongs to another setting
      problem.textContent = failed[k] ?? "";
      if (frame && width) {
        note.textContent = frame.note ?? "";
        note.hidden = !frame.note;
        draw(frame);
        if (aloud) ui.say([...data.controls.map((control, n) => `${control.name} ${control.labels[at[n]] ?? at[n]}`), frame.note].filter(Boolean).join(", "));
      } else if (!frame && !failed[k] && asked === null) { // one request in flight; its answer asks for the latest
        asked = k;
        model.send({ ask: [...at] });
      }
    }
    const answered = (message) => {
      if (!("ask" in message)) return;
      const k = keyOf(message.ask);
      if (message.problem) failed[k] = message.problem;
      else if (typeof k === "number") data.frames[k] = message.frame;
      else if (typed.set(k, message.frame).size > 8) typed.delete(typed.keys().next().value);
      asked = null;
      refresh(k === key());
    };
    const replaced = () => { data = ui.data = model.get("data"); refresh(); };
    model.on("msg:custom", answered);
    model.on("change:data", replaced);
    const theme = () => { // dark where the page's own text is light: right in JupyterLab, the book, and any other page
      pen.clearRect(0, 0, 1, 1);
      pen.fillStyle = getComputedStyle(root).color;
      pen.fillRect(0, 0, 1, 1);
      const [r, g, b] = pen.getImageData(0, 0, 1, 1).data, dark = 0.3 * r + 0.6 * g + 0.1 * b > 128;
      root.classList.toggle("pcc-dark", dark);
      for (const [role, colors] of Object.entries(STYLE.roles)) root.style.setProperty(`--pcc-${role}`, colors[dark ? 1 : 0]);
    };
    const retheme = () => { theme(); setTimeout(theme, 400); }; // pages fade from theme to theme
    const themes = new MutationObserver(retheme);
    for (const node of [document.documentElement, document.body]) themes.observe(node, { attributes: true });
    const scheme = matchMedia("(prefers-color-scheme: dark)");
    scheme.addEventListener("change", retheme);
    const fit = () => {
      if (Math.floor(stage.clientWidth) === width) return;
      width = ui.width = Math.floor(stage.clientWidth);
      height = 0;
      readout.style.minHeight = "";
      theme();
      refresh();
    };
    const sizes = new ResizeObserver(() => requestAnimationFrame(fit));
    sizes.observe(root);
    fit();
    return () => {
      sizes.disconnect();
      themes.disconnect();
      scheme.removeEventListener("change", retheme);
      model.off?.("msg:custom", answered);
      model.off?.("change:data", replaced);
    };
  };
  const mount = (id, inflate) => find(id, (node) => wake(node, render, inflate));
  return { initialize, render, mount };
}

// ---- with a kernel: a live figure is a widget that is never displayed. Its module runs on
// the page all the same and leaves the manager of the kernel's widgets here; there the
// figure finds the widget that its `data-kernel` names.
const managers = (window.pccManagers ??= new Set());
function initialize({ model }) {
  managers.add(model.widget_manager);
  window.dispatchEvent(new Event("pcc-kernel"));
}
const GONE = ["restarting", "autorestarting", "dead", "terminating"];
function answers(manager) { // pages of nbconvert have managers without a kernel
  try {
    const { isDisposed, status, connectionStatus } = manager.kernel;
    return !isDisposed && !GONE.includes(status) && connectionStatus !== "disconnected";
  } catch { // none, or the notebook was closed
    return false;
  }
}
async function widgetOf(id) {
  for (const manager of [...managers].reverse()) {
    if (!answers(manager) || !manager.has_model(id)) continue;
    const model = await manager.get_model(id);
    if (model.comm_live) return { model, manager };
  }
}
function onceGone({ model, manager }, tell) {
  const { sessionContext } = manager.context ?? {};
  const signals = ["statusChanged", "connectionStatusChanged", "kernelChanged"]
    .map((name) => sessionContext?.[name]).filter(Boolean);
  const check = () => {
    if (model.comm_live && answers(manager)) return;
    for (const signal of signals) signal.disconnect(check);
    model.off("comm_live_update", check);
    tell();
  };
  for (const signal of signals) signal.connect(check);
  model.on("comm_live_update", check);
}

// ---- on a page: a figure shows its own frames, or the kernel's as long as there is one
async function wake(node, render, inflate) {
  const el = node.querySelector(".pcc-live"), id = node.dataset.kernel;
  let stop = null, linked = false;
  const show = (model) => {
    stop?.();
    stop = render({ model, el });
  };
  const frozen = (data) => ({ get: () => data, on() {}, send() {} });
  try {
    const still = JSON.parse(await inflate(node.querySelector(".pcc-data").textContent));
    show(frozen(still));
    node.querySelector(".pcc-fallback").style.display = "none";
    const link = async () => {
      const found = await widgetOf(id);
      if (!found || linked) return;
      linked = true;
      window.removeEventListener("pcc-kernel", link);
      show(found.model);
      onceGone(found, () => {
        const last = found.model.get("data");
        show(frozen(last.options.total ? last : still)); // what grew stays as it is
        el.append(h("p", { class: "pcc-gone", role: "status" },
          "The kernel behind this figure is gone. ",
          "What is stored still works; for the rest, run the cell again."));
      });
    };
    if (id) {
      window.addEventListener("pcc-kernel", link); // widgets come later to a reloaded page
      await link();
    }
  } catch (error) { // the fallback stays
    el.replaceChildren();
    node.querySelector(".pcc-fallback").style.display = "";
    console.error(error);
  }
  hold(node);
}
// Jupyter empties a cell that is to run again: its room stays until it has run, so that
// nothing below moves.
function hold(node) {
  const cell = node.closest(".jp-CodeCell");
  if (!cell) return;
  let height = 0;
  const waits = () => cell.querySelector(".jp-InputPrompt")?.textContent.includes("*")
    || cell.querySelector(".pcc-live:empty");
  const sizes = new ResizeObserver(() => {
    if (cell.contains(node)) height = cell.offsetHeight;
  });
  const watch = new MutationObserver(() => {
    if (cell.contains(node)) return;
    cell.style.minHeight = waits() ? `${height}px` : "";
    if (cell.style.minHeight) return;
    watch.disconnect();
    sizes.disconnect();
  });
  sizes.observe(node);
  watch.observe(cell, { childList: true, subtree: true, characterData: true });
}

// The figures of this id that are not yet alive. They may come later than their script,
// and while a long page comes in, in parts: the script behind its data is a figure's last.
function find(id, bring) {
  const search = () => {
    const found = [...document.querySelectorAll(`figure[data-figure="${id}"]`)]
      .filter((one) => one.querySelector(".pcc-data ~ script"));
    for (const node of found.filter((one) => !one.pccAlive)) {
      node.pccAlive = true;
      bring(node);
    }
    return found.length > 0;
  };
  const watch = new MutationObserver(() => search() && watch.disconnect());
  if (!search()) watch.observe(document, { childList: true, subtree: true });
}
