// Matrices side by side on one colour scale. With a cursor, a slider moves through the columns and a profile shows the chosen one.
const HINT = "Point at a cell, or use the arrow keys";
const short = (name) => (name.length > 14 ? `${name.slice(0, 13)}…` : name);
const widest = (names) => Math.max(...names.map((name) => textWidth(short(name))));
const count = (names, n) => names ?? Array.from({ length: n }, (_, i) => `${i + 1}`);
const named = (axis, name) => (/^[\d.-]+$/.test(name) ? `${axis.split(",")[0]} ${name}` : name); // "layer, from the input" -> "layer 3"
const ringed = (make) => [make("#000", 4), make(SELECTED, 2)]; // orange on black shows on every colour of the map

export default figure((ui) => {
  const { options } = ui, range = [...options.value_range], t = options.log ? Math.log10 : (v) => v;
  const unit = (v) => (t(v) - t(range[0])) / (t(range[1]) - t(range[0]) || 1);
  let cell = null, column = 0, slider = null, walked = null, walk = null;
  return (frame) => {
    const panels = frame.panels.map((panel) => ({ ...panel, ...unpack(panel.values) }));
    for (const { values } of options.fixed ? [] : panels) for (const v of values) if (v > 0 || (!options.log && v <= 0)) {
      range[0] = Math.min(range[0], v);
      range[1] = Math.max(range[1], v);
    }
    const [rows, columns] = [0, 1].map((side) => Math.max(...panels.map((panel) => panel.shape[side])));
    const rowNames = count(frame.rows, rows), columnNames = count(frame.columns, columns), lanes = styled(panels), marks = [];
    const value = (panel, r, c) => (r < panel.shape[0] && c < panel.shape[1] ? panel.values[r * panel.shape[1] + c] : NaN);
    const place = (r, c) => `${named(options.y_label, rowNames[r])}, ${named(options.x_label, columnNames[c])}`;
    column = within(column, 0, columns - 1);

    const abreast = ui.width >= within(30 * columns, 200, 280) * panels.length ? panels.length : 1;
    const full = Math.floor(Math.min((ui.width - 24 * (abreast - 1)) / abreast, 720));
    const left = Math.ceil(widest(rowNames)) + 28, top = 24, w = full - left - 8;
    const slanted = widest(columnNames) + 10 > w / columns && columnNames.some((name) => Number.isNaN(+name));
    const foot = slanted ? widest(columnNames) * 0.77 + 34 : 38, stacked = panels.length / abreast;
    const most = Math.max(70, Math.min(380, (TALL - 40 - (options.cursor ? 200 : 0)) / stacked - top - foot)); // what is compared fits one screen
    const tall = within((w * rows) / columns, Math.min(rows * 22, abreast > 1 ? 230 : 180, most), most);
    const board = h("div", { class: "pcc-row", ...explorable(ui.alt) }), below = h("div");
    ui.stage.replaceChildren(scale(), board, below);
    for (const panel of panels) {
      const [high, wide] = panel.shape, mark = s("g");
      const canvas = h("canvas", { style: `left:${left}px;top:${top}px;width:${w}px;height:${tall}px` });
      paint(canvas, panel.values, wide, unit);
      const svg = s("svg", { width: full, height: tall + top + foot, style: "position:relative", "aria-hidden": "true" },
        label(12, top + tall / 2, options.y_label, "middle", { transform: `rotate(-90 12 ${top + tall / 2})` }),
        label(left, 13, panel.title, "start", { class: "pcc-strong" }), label(left + w, top + tall + foot - 4, options.x_label, "end"),
        s("rect", { x: left, y: top, width: w, height: tall, fill: "none", stroke: "currentColor", "stroke-opacity": 0.5 }),
        every(rowNames.slice(0, high), tall, 16).map((r) => label(left - 7, top + ((r + 0.5) * tall) / high + 4, short(rowNames[r]), "end")),
        every(columnNames.slice(0, wide), w, slanted ? 16 : widest(columnNames) + 10).map((c) => {
          const x = left + ((c + 0.5) * w) / wide, y = top + tall + (slanted ? 12 : 17);
          return label(x, y, short(columnNames[c]), slanted ? "end" : "middle", slanted && { transform: `rotate(-50 ${x} ${y})` });
        }), mark);
      const spot = ({ clientX, clientY }) => {
        const area = canvas.getBoundingClientRect();
        const r = Math.floor(((clientY - area.top) / area.height) * high), c = Math.floor(((clientX - area.left) / area.width) * wide);
        return r >= 0 && c >= 0 && r < high && c < wide ? [r, c] : null;
      };
      const point = (event) => {
        cell = spot(event);
        if (cell && options.cursor && event.buttons) go(cell[1]);
        else pick(cell);
      };
      for (const name of ["pointermove", "pointerdown"]) svg.addEventListener(name, point);
      svg.addEventListener("pointerleave", () => pick(null));
      marks.push({ mark, high, wide });
      board.append(h("div", { class: "pcc-board pcc-gaps" }, canvas, svg));
    }

    function scale() {
      const wide = Math.min(260, ui.width * 0.5), at = axis(...range, 0, wide, options.log);
      const values = ticks(...range, wide / 40, options.log), texts = tickTexts(values, options.log);
      const bar = h("div", { style: `width:${wide}px;height:10px;background:linear-gradient(to right,${STYLE.ramp})` });
      const numbers = values.map((v, i) => label(at(v), 14, texts[i], "middle"));
      return h("div", { class: "pcc-row" }, options.value_label, h("div", {}, bar, s("svg", { width: wide, height: 20, "aria-hidden": "true" }, numbers)));
    }
    function pick(found, aloud) {
      cell = found;
      for (const { mark, high, wide } of marks) {
        const [dx, dy] = [w / wide, tall / high];
        mark.replaceChildren();
        if (options.cursor) mark.append(...ringed((color, size) => stroke(`M${left + (column + 0.5) * dx} ${top - 4}v${tall + 8}`, color, size)));
        if (cell && cell[0] < high && cell[1] < wide)
          mark.append(...ringed((color, size) => stroke(`M${left + cell[1] * dx - 1} ${top + cell[0] * dy - 1}h${dx + 2}v${dy + 2}h${-dx - 2}z`, color, size)));
      }
      if (!cell) return ui.read(null, [], HINT);
      const items = panels.map((panel, n) => ({ line: options.cursor && lanes[n], text: panel.title, value: show(value(panel, ...cell)) }));
      ui.read(place(...cell), items, null, aloud);
    }
    function go(c) { // the cursor
      column = c;
      slider.set(c);
      below.replaceChildren();
      const x = Array.from({ length: rows }, (_, i) => i + 1);
      chart(ui, below, {
        series: panels.map((panel) => ({ name: panel.title, role: panel.role, x, y: x.map((i) => value(panel, i - 1, c)) })),
        x: { label: options.y_label, names: rowNames, range: [1, Math.max(2, rows)] },
        y: { label: options.value_label, range, log: options.log },
        height: 200, name: `one column as a curve: ${options.value_label} along ${options.y_label}`, head: (i) => place(i - 1, c), hint: HINT,
      });
      pick(cell);
    }
    const step = (dr, dc) => () => pick(cell ? [within(cell[0] + dr, 0, rows - 1), within(cell[1] + dc, 0, columns - 1)] : [0, column], true);
    arrows(board, {
      ArrowUp: step(-1, 0), ArrowDown: step(1, 0), ArrowLeft: step(0, -1), ArrowRight: step(0, 1),
      Home: step(0, -columns), End: step(0, columns), Escape: () => pick(null),
    });
    cell = null;
    walk = go; // the slider outlives this frame
    if (options.cursor && columnNames.join() !== walked) {
      const old = slider?.node;
      walked = columnNames.join();
      slider = ui.slider(options.cursor, columnNames, column, (c) => walk(c));
      old?.replaceWith(slider.node);
    }
    options.cursor ? go(column) : pick(null);
  };
});
