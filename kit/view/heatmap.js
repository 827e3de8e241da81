// Matrices side by side on one colour scale. With a cursor, a slider moves through the columns and a profile shows the chosen one.
const HINT = "Point at a cell, or use the arrow keys";
const render = figure((ui) => {
  const { options } = ui, range = [...options.value_range], t = options.log ? Math.log10 : (v) => v;
  let cell = null, column = 0, slider = null, walked = null;
  const unit = (v) => (t(v) - t(range[0])) / (t(range[1]) - t(range[0]) || 1);
  return (frame) => {
    const panels = frame.panels.map((panel) => ({ ...panel, ...unpack(panel.values) }));
    for (const { values } of options.fixed ? [] : panels) for (const v of values) if (v > 0 || (!options.log && v <= 0)) {
      range[0] = Math.min(range[0], v);
      range[1] = Math.max(range[1], v);
    }
    const rows = Math.max(...panels.map((panel) => panel.shape[0])), columns = Math.max(...panels.map((panel) => panel.shape[1]));
    const rowNames = frame.rows ?? Array.from({ length: rows }, (_, i) => `${i + 1}`);
    const columnNames = frame.columns ?? Array.from({ length: columns }, (_, i) => `${i + 1}`);
    column = within(column, 0, columns - 1);
    const short = (name) => (name.length > 14 ? `${name.slice(0, 13)}…` : name);
    const named = (label, text) => (/^[\d.−-]+$/.test(text) ? `${label.split(",")[0]} ${text}` : text);
    const board = h("div", { tabindex: 0, role: "application", "aria-label": ui.alt, "data-lm-suppress-shortcuts": "true", style: "display:flex;flex-wrap:wrap;gap:8px 24px" });
    const below = h("div"), marks = [], lanes = styled(panels.map(({ title, role }) => ({ name: title, role })));
    ui.stage.replaceChildren(bar(), board, below);

    const left = Math.ceil(Math.max(...rowNames.map((name) => textWidth(short(name))))) + 28;
    const abreast = ui.width >= 300 * panels.length ? panels.length : 1;
    const full = Math.floor(Math.min((ui.width - 24 * (abreast - 1)) / abreast, 720)), w = full - left - 8;
    const tall = within((w * rows) / columns, Math.min(rows * 22, abreast > 1 ? 230 : 180), 380), top = 24;
    const longest = Math.max(...columnNames.map((name) => textWidth(short(name)))), slanted = longest + 10 > w / columns && columnNames.some((name) => Number.isNaN(+name));
    const foot = slanted ? longest * 0.77 + 34 : 38;
    panels.forEach((panel) => {
      const [high, wide] = panel.shape, canvas = h("canvas", { style: `position:absolute;left:${left}px;top:${top}px;width:${w}px;height:${tall}px;image-rendering:pixelated;background:repeating-linear-gradient(45deg,#8888 0 2px,#0000 2px 6px)` });
      paint(canvas, panel.values, wide, unit);
      const svg = s("svg", { width: full, height: tall + top + foot, style: "position:relative", "aria-hidden": "true" });
      svg.append(s("text", { x: 12, y: top + tall / 2, "text-anchor": "middle", transform: `rotate(-90 12 ${top + tall / 2})` }, options.y_label), s("text", { x: left, y: 13, class: "pcc-strong" }, panel.title),
        s("text", { x: left + w, y: top + tall + foot - 4, "text-anchor": "end" }, options.x_label),
        s("rect", { x: left, y: top, width: w, height: tall, fill: "none", stroke: "currentColor", "stroke-opacity": 0.5 }));
      for (const r of every(rowNames.slice(0, high), tall, 16)) svg.append(s("text", { x: left - 7, y: top + ((r + 0.5) * tall) / high + 4, "text-anchor": "end" }, short(rowNames[r])));
      for (const c of every(columnNames.slice(0, wide), w, slanted ? 16 : longest + 10)) {
        const x = left + ((c + 0.5) * w) / wide, y = top + tall + (slanted ? 12 : 17);
        svg.append(s("text", { x, y, "text-anchor": slanted ? "end" : "middle", transform: slanted && `rotate(-50 ${x} ${y})` }, short(columnNames[c])));
      }
      const mark = s("g");
      svg.append(mark);
      marks.push({ mark, high, wide });
      const spot = (event) => {
        const area = canvas.getBoundingClientRect(), r = Math.floor(((event.clientY - area.top) / area.height) * high), c = Math.floor(((event.clientX - area.left) / area.width) * wide);
        return r >= 0 && c >= 0 && r < high && c < wide ? [r, c] : null;
      };
      const seek = (found) => found && options.cursor && go(found[1]);
      svg.addEventListener("pointermove", (event) => { pick(spot(event)); if (event.buttons) seek(spot(event)); });
      svg.addEventListener("pointerdown", (event) => seek(spot(event)));
      svg.addEventListener("pointerleave", () => pick(null));
      board.append(h("div", { style: `position:relative;width:${full}px` }, canvas, svg));
    });

    function bar() { // the colour scale
      const wide = Math.min(260, ui.width * 0.5), at = axis(...range, 0, wide, options.log), values = ticks(...range, wide / 50, options.log), texts = tickTexts(values, options.log), name = h("span", {}, options.value_label);
      const svg = s("svg", { width: wide, height: 28, "aria-hidden": "true" }, values.map((v, i) => s("text", { x: at(v), y: 24, "text-anchor": "middle" }, texts[i])));
      return h("div", { style: "display:flex;align-items:flex-start;flex-wrap:wrap;gap:2px 26px;margin:2px 0 8px" }, name,
        h("div", { style: "position:relative" }, h("div", { style: `position:absolute;width:${wide}px;height:10px;background:${LIGHTER}` }), svg));
    }
    function overlay() {
      for (const { mark, high, wide } of marks) {
        mark.replaceChildren();
        if (options.cursor) for (const [color, size] of [["#000", 4], ["var(--pcc-selected)", 2]])
          mark.append(s("path", { d: `M${left + ((column + 0.5) * w) / wide} ${top - 4}v${tall + 8}`, stroke: color, "stroke-width": size }));
        if (cell && cell[0] < high && cell[1] < wide) for (const [color, size] of [["#000", 4], ["var(--pcc-selected)", 2]])
          mark.append(s("rect", { x: left + (cell[1] * w) / wide - 1, y: top + (cell[0] * tall) / high - 1, width: w / wide + 2, height: tall / high + 2, fill: "none", stroke: color, "stroke-width": size }));
      }
    }
    function pick(found, aloud) {
      cell = found;
      overlay();
      if (!cell) return ui.read(null, [], HINT);
      const [r, c] = cell, items = panels.map((panel, n) => ({ line: options.cursor && lanes[n], text: panel.title, value: r < panel.shape[0] && c < panel.shape[1] ? show(panel.values[r * panel.shape[1] + c]) : "–" }));
      ui.read(`${named(options.y_label, rowNames[r])}, ${named(options.x_label, columnNames[c])}`, items, null, aloud);
    }
    function go(c) { // the cursor
      column = c;
      slider.querySelector("input").value = c;
      slider.querySelector("output").textContent = columnNames[c];
      slider.querySelector("input").setAttribute("aria-valuetext", columnNames[c]);
      below.replaceChildren();
      chart(ui, below, {
        series: panels.map((panel) => {
          const x = Array.from({ length: panel.shape[0] }, (_, i) => i + 1);
          return { name: panel.title, role: panel.role, x, y: x.map((i) => (c < panel.shape[1] ? panel.values[(i - 1) * panel.shape[1] + c] : NaN)) };
        }),
        x: { label: options.y_label, names: rowNames, range: [1, Math.max(2, rows)] }, y: { label: options.value_label, range, log: options.log },
        height: 200, head: (i) => `${named(options.y_label, rowNames[i - 1])}, ${options.cursor} ${columnNames[c]}`, hint: HINT,
      });
      pick(cell);
    }
    const step = (dr, dc) => () => pick(cell ? [within(cell[0] + dr, 0, rows - 1), within(cell[1] + dc, 0, columns - 1)] : [0, column], true);
    arrows(board, { ArrowUp: step(-1, 0), ArrowDown: step(1, 0), ArrowLeft: step(0, -1), ArrowRight: step(0, 1), Home: step(0, -1e6), End: step(0, 1e6), Escape: () => pick(null) });
    if (options.cursor && columnNames.join() !== walked) {
      walked = columnNames.join();
      const old = slider;
      slider = ui.slider(options.cursor, columnNames, column, (c) => go(c));
      old?.replaceWith(slider);
    }
    cell = null;
    options.cursor ? go(column) : pick(null);
  };
});
export default { render };
