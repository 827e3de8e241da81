// Where heads look: all of them as small maps (a row looks, a column is looked at), and one in detail, token by token.
const GAP = 3;
const HINT = "Point at a token to see where it looks; a click or Enter keeps it, Escape lets it go";
const FLIP = { from: "to", to: "from" };
const COLORS = Uint32Array.from(LUT, ([r, g, b]) => ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0);
const precise = (v) => (v > 0 && v < 0.005 ? "<0.01" : v.toFixed(2));
const ring = () => h("div", { style: `position:absolute;pointer-events:none;outline:2px solid ${SELECTED};box-shadow:0 0 0 4px #000` });
const upright = (x, y, text) => label(x, y, text, "middle", { transform: `rotate(-90 ${x} ${y})` });
function put(node, left, top, width, height) {
  for (const [name, v] of Object.entries({ left, top, width, height })) node.style[name] = `${v}px`;
  return node;
}
function maps(values, n, rows, columns, side) { // heads in a grid; where pixels are scarce, each shows the greatest weight under it
  const px = 2 * side, step = px + 2 * GAP, image = new ImageData(columns * step - 2 * GAP, rows * step - 2 * GAP);
  const pixels = new Uint32Array(image.data.buffer), cut = Array.from({ length: px + 1 }, (_, k) => Math.floor((k * n) / px));
  for (let r = 0; r < rows; r++) for (let c = 0; c < columns; c++) for (let y = 0; y < px; y++) for (let x = 0; x < px; x++) {
    const i1 = Math.max(cut[y] + 1, cut[y + 1]), j1 = Math.max(cut[x] + 1, cut[x + 1]), base = (r * columns + c) * n * n;
    let top = 0;
    for (let i = cut[y]; i < i1; i++) for (let j = cut[x]; j < j1; j++) top = Math.max(top, values[base + i * n + j]);
    pixels[(r * step + y) * image.width + c * step + x] = COLORS[Math.round(Math.sqrt(top) * 255)];
  }
  const canvas = h("canvas", { width: image.width, height: image.height, "aria-hidden": "true" });
  canvas.getContext("2d").putImageData(image, 0, 0);
  return put(canvas, 0, 0, image.width / 2, image.height / 2);
}

export default figure((ui) => {
  let [layer, head] = ui.options.picked.map((i) => i - 1); // this and the pinned token survive a change of frame
  let pin = null, now = null, sentence = null; // tokens: {side: "from" or "to", i, also: one on the other side}
  return (frame) => {
    const { tokens } = frame, { values, shape: [layers, heads, n] } = unpack(frame.attention);
    [layer, head] = [Math.min(layer, layers - 1), Math.min(head, heads - 1)];
    if (sentence !== (sentence = tokens.join("\n"))) pin = now = null;
    const left = 44, abreast = ui.width >= 640, pitch = abreast ? 22 : 18, listed = n <= (abreast ? 22 : 16); // longer sentences are set as running text
    const room = (abreast ? Math.min(ui.width * 0.52, 620) : ui.width - 4) - left;
    const side = within(Math.floor(Math.min((room + GAP) / heads, (abreast ? 250 : 170) / layers)) - GAP, 8, 44), step = side + GAP;
    const large = Math.round(within(room, 120, abreast ? 200 : 130)), wide = abreast ? Math.min(ui.width - left - Math.max(large, heads * step - GAP) - 34, 480) : ui.width;
    let own = null; // the weights of the chosen head
    const weight = (i, j) => own[i * n + j];
    const overview = all(), map = matrix(), detail = listed ? pairs() : running();
    ui.stage.replaceChildren(h("div", { style: "display:flex;flex-wrap:wrap;align-items:flex-start;gap:16px 28px" },
      h("div", { style: "max-width:100%;overflow-x:auto;padding:0 4px 4px 0" }, scale(), overview.board, map.board),
      h("div", { style: `width:${wide}px` }, detail.board)));
    choose(layer, head);

    function scale() {
      const bar = h("div", { style: `width:150px;height:10px;background:linear-gradient(to right,${STYLE.ramp.map((color, i) => `${color} ${(100 * i) / 15}%`)})` });
      const numbers = [0, 0.1, 0.5, 1].map((v) => label(4 + Math.sqrt(v) * 142, 14, `${v}`, "middle"));
      return h("div", { class: "pcc-row" }, "weight", h("div", {}, bar, s("svg", { width: 150, height: 20, "aria-hidden": "true" }, numbers)));
    }
    function frameOf(across, down, name, ...parts) { // maps with room for names at the left and above
      const svg = s("svg", { width: left + across, height: 20 + down, "aria-hidden": "true" }, ...parts);
      const board = put(h("div", { class: "pcc-board", style: "position:absolute", ...explorable(name) }), left, 20, across, down);
      return { board: h("div", { class: "pcc-board", style: "margin-bottom:14px" }, svg, board), inner: board };
    }

    // ---- all heads
    function all() {
      const names = (count) => Array.from({ length: count }, (_, i) => `${i + 1}`), middle = (i) => i * step + side / 2;
      const across = heads * step - GAP, down = layers * step - GAP, chosen = ring();
      const { board, inner } = frameOf(across, down, ui.alt,
        label(left - 8, 13, "head", "end"), upright(12, 20 + down / 2, "layer"),
        every(names(heads), across, 24).map((i) => label(left + middle(i), 13, `${i + 1}`, "middle")),
        every(names(layers), down, 15).map((i) => label(left - 8, 24 + middle(i), `${i + 1}`, "end")));
      inner.append(maps(values, n, layers, heads, side), chosen);
      const spot = ({ clientX, clientY }) => {
        const area = inner.getBoundingClientRect();
        return [within(Math.floor((clientY - area.top) / step), 0, layers - 1), within(Math.floor((clientX - area.left) / step), 0, heads - 1)];
      };
      const move = (rows, columns) => () => choose(within(layer + rows, 0, layers - 1), within(head + columns, 0, heads - 1), true);
      arrows(inner, {
        ArrowUp: move(-1, 0), ArrowDown: move(1, 0), ArrowLeft: move(0, -1), ArrowRight: move(0, 1), Home: move(0, -heads), End: move(0, heads),
      });
      inner.addEventListener("pointermove", (event) => habits(...spot(event)));
      inner.addEventListener("pointerleave", () => look(now));
      inner.addEventListener("click", (event) => choose(...spot(event)));
      return { board, mark: () => put(chosen, head * step, layer * step, side, side) };
    }
    function habits(l, k, hint, aloud) { // of what heads are known to do, the two things that this one does most
      const base = (l * heads + k) * n * n;
      const known = [["itself", (i) => i], ["the token before", (i) => i - 1], ["the token after", (i) => i + 1],
        [`the first, ${quoted(tokens[0])}`, () => 0], [`the last, ${quoted(tokens[n - 1])}`, () => n - 1]];
      const found = known.map(([text, target]) => {
        const those = [...tokens.keys()].filter((i) => target(i) >= 0 && target(i) < n);
        return { text, mean: those.reduce((sum, i) => sum + values[base + i * n + target(i)], 0) / Math.max(1, those.length) };
      }).sort((a, b) => b.mean - a.mean).slice(0, 2);
      ui.read(`layer ${l + 1}, head ${k + 1}: on average a token looks at`, found.map(({ text, mean }) => ({ text, value: precise(mean) })), hint, aloud);
    }

    // ---- the chosen head
    function choose(l, k, aloud) {
      [layer, head] = [l, k];
      own = values.subarray((layer * heads + head) * n * n, (layer * heads + head + 1) * n * n);
      overview.mark();
      map.redraw();
      detail.redraw();
      look(now, aloud);
    }
    function look(found, aloud) {
      now = found;
      const active = pin ?? now, also = !pin ? now?.also : now && now.i !== (listed ? -1 : pin.i) && (!listed || now.side !== pin.side) ? now.i : null;
      const strength = active && ((j) => (active.side === "from" ? weight(active.i, j) : weight(j, active.i)));
      map.show(active, also);
      detail.show(active, also, strength);
      if (!active) return habits(layer, head, HINT, aloud);
      const best = also == null ? [...tokens.keys()].sort((a, b) => strength(b) - strength(a)).slice(0, 3) : [also];
      const items = best.map((j) => ({ text: quoted(tokens[j]), value: precise(strength(j)) }));
      const verb = active.side === "from" ? "looks at" : "is looked at by";
      ui.read(`layer ${layer + 1}, head ${head + 1}: ${quoted(tokens[active.i])} ${verb}`, items, null, aloud);
    }
    function toggle(found, aloud) {
      pin = pin && pin.side === found.side && pin.i === found.i ? null : { side: found.side, i: found.i };
      look({ side: found.side, i: found.i }, aloud);
    }
    function matrix() {
      const cell = large / n, row = ring(), dot = ring(), canvas = h("div");
      const title = label(left, 13, "", "start", { class: "pcc-strong" });
      const { board, inner } = frameOf(large, large, "the map of the chosen head", title, upright(left - 8, 20 + large / 2, "← looks from"),
        large < 170 ? label(left + large + 8, 32, "looks at →") : label(left + large, 13, "looks at →", "end"));
      inner.append(canvas, row, dot);
      const spot = ({ clientX, clientY }) => {
        const area = inner.getBoundingClientRect();
        return { side: "from", i: within(Math.floor((clientY - area.top) / cell), 0, n - 1), also: within(Math.floor((clientX - area.left) / cell), 0, n - 1) };
      };
      const move = (rows, columns) => () => {
        const at = now ?? { i: 0, also: 0 };
        pin = null;
        look({ side: "from", i: within(at.i + rows, 0, n - 1), also: within((at.also ?? 0) + columns, 0, n - 1) }, true);
      };
      arrows(inner, {
        ArrowUp: move(-1, 0), ArrowDown: move(1, 0), ArrowLeft: move(0, -1), ArrowRight: move(0, 1), Home: move(0, -n), End: move(0, n), Escape: escape,
        Enter: () => now && toggle({ ...now, side: "from" }, true),
      });
      inner.addEventListener("pointermove", (event) => !pin && look(spot(event)));
      inner.addEventListener("pointerleave", () => !pin && look(null));
      inner.addEventListener("click", (event) => toggle(spot(event)));
      const show = (active, also) => {
        row.hidden = !active;
        dot.hidden = also == null;
        if (active) active.side === "from" ? put(row, 0, active.i * cell, large, cell) : put(row, active.i * cell, 0, cell, large);
        if (also != null) put(dot, (active.side === "from" ? also : active.i) * cell, (active.side === "from" ? active.i : also) * cell, cell, cell);
      };
      const redraw = () => {
        canvas.replaceChildren(maps(own, n, 1, 1, large));
        title.textContent = `layer ${layer + 1}, head ${head + 1}`;
      };
      return { board, show, redraw };
    }
    function escape() {
      const was = pin;
      pin = null;
      look(was, true);
    }
    function keys(board) {
      const go = (d, to) => () => { // with a token kept, the keys walk along the other side
        const at = now ?? pin ?? { side: "from", i: 0 }, first = !now && !pin;
        look({ side: listed && pin ? FLIP[pin.side] : to ?? at.side, i: first ? 0 : within(at.i + d, 0, n - 1) }, true);
      };
      arrows(board, {
        ArrowUp: go(-1), ArrowDown: go(1), ArrowLeft: listed ? go(0, "from") : go(-1), ArrowRight: listed ? go(0, "to") : go(1),
        Home: go(-n), End: go(n), Escape: escape, Enter: () => (pin ? escape() : now && toggle(now, true)),
      });
    }
    function pairs() { // the sentence twice, a line for each pair
      const column = Math.ceil(within(Math.max(...tokens.map((text) => textWidth(visible(text)))) * 1.17 + 16, 70, wide * 0.34)), top = 24, at = (i) => top + (i + 0.5) * pitch;
      const faint = s("g"), strong = s("g"), svg = s("svg", { width: wide, height: top + n * pitch, "aria-hidden": "true" },
        label(column, 13, "looks from", "end"), label(wide - column, 13, "looks at"), faint, strong);
      const board = h("div", { class: "pcc-board pcc-tokens", ...explorable("the chosen head, token by token") }, svg);
      const chips = {};
      for (const from of ["from", "to"]) {
        chips[from] = tokens.map((text, i) => chip(text, i, 0));
        chips[from].forEach((node, i) => {
          const box = h("div", { style: `position:absolute;line-height:0;text-align:${from === "from" ? "right" : "left"}` }, node);
          if (pitch < 22) node.style.cssText += ";font-size:12px;line-height:1.25";
          board.append(put(box, from === "from" ? 0 : wide - column, at(i) - pitch / 2, column, pitch));
        });
      }
      const line = (i, j, opacity, width) =>
        stroke(`M${column + 3} ${at(i)}C${wide / 2} ${at(i)} ${wide / 2} ${at(j)} ${wide - column - 3} ${at(j)}`, IDEA, width, { "stroke-opacity": opacity });
      const redraw = () => {
        faint.replaceChildren();
        for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) if (weight(i, j) > 0.03) faint.append(line(i, j, weight(i, j).toFixed(2), 1 + 2 * weight(i, j)));
      };
      const show = (active, also, strength) => {
        for (const from of ["from", "to"]) chips[from].forEach((node, i) => {
          shade(node, active && active.side !== from ? Math.sqrt(strength(i)) : 0);
          node.classList.toggle("pcc-at", !!active && i === (active.side === from ? active.i : also));
        });
        fill(faint, { opacity: active ? 0.12 : 1 }, []);
        strong.replaceChildren(...(active ? tokens.map((_, j) => [j, strength(j)]).filter(([j, w]) => w > 0.005 || j === also) : []).map(([j, w]) => {
          const [i, k] = active.side === "from" ? [active.i, j] : [j, active.i];
          return line(i, k, also == null || j === also ? Math.max(0.15, Math.sqrt(w)) : 0.15, 1 + 5 * w);
        }));
      };
      const spot = ({ clientX, clientY }) => {
        const area = board.getBoundingClientRect();
        return { side: clientX - area.left < wide / 2 ? "from" : "to", i: within(Math.floor((clientY - area.top - top) / pitch), 0, n - 1) };
      };
      board.addEventListener("pointermove", (event) => look(spot(event)));
      board.addEventListener("pointerleave", () => look(null));
      board.addEventListener("click", (event) => toggle(spot(event)));
      keys(board);
      return { board, redraw, show };
    }
    function running() { // a long sentence, shaded by what the token looks at
      const chips = tokens.map((text, i) => chip(text, i, 0));
      const board = h("div", { class: "pcc-tokens", style: "padding:2px", ...explorable("the chosen head, token by token") }, chips);
      const show = (active, also, strength) => chips.forEach((node, i) => {
        shade(node, active ? Math.sqrt(strength(i)) : 0);
        node.classList.toggle("pcc-at", !!active && (i === active.i || i === also));
      });
      const spot = (event) => { const i = place(event); return i === null ? null : { side: "from", i }; };
      board.addEventListener("pointermove", (event) => spot(event) && look(spot(event)));
      board.addEventListener("pointerleave", () => look(null));
      board.addEventListener("click", (event) => spot(event) && toggle(spot(event)));
      keys(board);
      return { board, redraw() {}, show };
    }
  };
});
