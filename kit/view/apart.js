// A head's scores taken apart: a map for each term, and the weights that the terms switched on give together.
const HINT = "Point at a cell, or use the arrow keys: a row looks, a column is looked at";
const clip = (text, most) => { const seen = visible(text); return seen.length > most ? `${[...seen].slice(0, most - 1).join("")}…` : seen; };
const signed = (v) => (Math.abs(v) < 0.005 ? "0" : `${v < 0 ? "−" : "+"}${Math.abs(v).toFixed(2)}`);
const far = (i, j) => (i === j ? "itself" : `${Math.abs(i - j)} to the ${j < i ? "left" : "right"}, i − j = ${signedWhole(i - j)}`);
const signedWhole = (v) => (v < 0 ? `−${-v}` : `${v}`);

export default figure((ui) => {
  const { terms: names, limit, colors } = ui.options, on = names.map(() => true); // the switches survive a change of frame
  const stops = colors.map((hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16)));
  const color = (t) => { // 0…1 on the diverging scale
    const at = within(t, 0, 1) * (stops.length - 1), k = Math.min(Math.floor(at), stops.length - 2);
    return stops[k].map((v, c) => Math.round(v + (stops[k + 1][c] - v) * (at - k)));
  };
  let cell = null;
  return (frame) => {
    const { tokens } = frame, n = tokens.length, terms = frame.terms.map((packed) => unpack(packed).values);
    let reach = limit; // the reader's own text may go beyond
    for (const values of terms) for (const v of values) reach = Math.max(reach, Math.abs(v));
    const count = names.length + 1, across = ui.width >= 760 ? count : Math.min(count, 2), down = Math.ceil(count / across), gap = 14;
    const texts = tokens.map((token) => clip(token, 9)), room = Math.ceil(Math.max(...texts.map((text) => textWidth(text)))) + 10, top = 22;
    const side = Math.floor(within((ui.width - room - 4 - gap * (across - 1)) / across - 2, 60, Math.min(320, (TALL - room) / down - top - gap))), step = side / n;
    let weights = null;
    const switches = names.map((name, k) => h("label", {}, h("input", {
      type: "checkbox", checked: on[k], ...OWN_KEYS, onchange: (event) => {
        on[k] = event.target.checked;
        redraw();
        ui.say(`${name} ${on[k] ? "on" : "off"}`);
      },
    }), name));
    const style = `display:grid;width:fit-content;grid-template-columns:repeat(${across},auto);gap:${gap}px`;
    const board = h("div", { style, ...explorable(ui.alt) }), panels = [], named = every(texts, side, 13);
    [...names, "weight"].forEach((name, k) => { // the tokens stand at the left of each row and under each column
      const left = k % across === 0 ? room : 1, foot = k + across >= count ? room : 2;
      const canvas = h("canvas", { style: `left:${left}px;top:${top}px;width:${side}px;height:${side}px` }), mark = s("g"), minus = s("g");
      const title = label(left, 14, name, "start", { class: "pcc-strong" });
      const svg = s("svg", { width: left + side + 2, height: top + side + foot, style: "position:relative", "aria-hidden": "true" }, title,
        s("rect", { x: left, y: top, width: side, height: side, fill: "none", stroke: "currentColor", "stroke-opacity": 0.5 }),
        left === room && named.map((i) => label(room - 5, top + (i + 0.5) * step + 4, isolated(texts[i]), "end")),
        foot === room && named.map((i) => {
          const x = left + (i + 0.5) * step + 4, y = top + side + 5;
          return label(x, y, isolated(texts[i]), "end", { transform: `rotate(-90 ${x} ${y})` });
        }), minus, mark);
      const spot = ({ clientX, clientY }) => {
        const area = canvas.getBoundingClientRect(), i = Math.floor(((clientY - area.top) / area.height) * n), j = Math.floor(((clientX - area.left) / area.width) * n);
        return i >= 0 && j >= 0 && i < n && j < n ? [i, j] : null;
      };
      for (const event of ["pointermove", "pointerdown"]) svg.addEventListener(event, (e) => pick(spot(e)));
      svg.addEventListener("pointerleave", () => pick(null));
      panels.push({ name, canvas, mark, minus, title, left });
      board.append(h("div", { class: "pcc-board" }, canvas, svg));
    });
    ui.stage.replaceChildren(h("div", { class: "pcc-row" }, h("fieldset", { class: "pcc-row", style: "border:0;margin:0;padding:0" },
      h("legend", { style: "float:left;padding:0" }, "terms in the sum"), switches), scales()), board);
    cell = cell && cell[0] < n && cell[1] < n ? cell : null;
    redraw();

    function scales() {
      const bar = (what, ramp, marks) => h("div", { class: "pcc-row" }, what, h("div", {},
        h("div", { style: `width:120px;height:10px;background:linear-gradient(to right,${ramp})` }),
        s("svg", { width: 120, height: 18, "aria-hidden": "true" }, marks.map((text, k) => label((k * 120) / (marks.length - 1), 14, text, ["start", "middle", "end"][k])))));
      return [bar("score", colors, [`−${show(+reach.toPrecision(2))}`, "0", show(+reach.toPrecision(2))]), bar("weight", STYLE.ramp, ["0", "0.5", "1"])];
    }
    function minuses(values, left) { // a sign on what takes away: without colour both ends of the scale look alike
      if (step < 7) return [];
      const signs = { "#000": "", "#fff": "" };
      values.forEach((v, at) => {
        const x = left + ((at % n) + 0.5) * step - 2, y = top + (Math.floor(at / n) + 0.5) * step;
        if (v < -0.1 * reach) signs[v < -0.7 * reach ? "#fff" : "#000"] += `M${x} ${y}h4`;
      });
      return Object.entries(signs).map(([tone, d]) => stroke(d, tone, 1.5));
    }
    function redraw() {
      weights = new Float32Array(n * n);
      for (let i = 0; i < n; i++) {
        const row = Array.from({ length: n }, (_, j) => terms.reduce((sum, values, k) => sum + (on[k] ? values[i * n + j] : 0), 0));
        const most = Math.max(...row), parts = row.map((v) => Math.exp(v - most)), whole = total(parts);
        parts.forEach((v, j) => { weights[i * n + j] = v / whole; });
      }
      panels.forEach(({ canvas, minus, title, name, left }, k) => {
        if (k < names.length) {
          const image = new ImageData(n, n);
          terms[k].forEach((v, i) => image.data.set([...color(0.5 + v / reach / 2), 255], i * 4));
          [canvas.width, canvas.height] = [n, n];
          canvas.getContext("2d").putImageData(image, 0, 0);
          canvas.style.opacity = minus.style.opacity = on[k] ? 1 : 0.18;
          minus.replaceChildren(...minuses(terms[k], left));
          title.textContent = on[k] ? name : `${name}, off`;
        } else {
          paint(canvas, weights, n, (v) => v);
          const from = `weight from ${names.filter((_, k) => on[k]).join(" + ") || "nothing"}`, some = `weight from ${on.filter(Boolean).length} of ${names.length}`;
          title.textContent = on.every(Boolean) ? "weight" : textWidth(from, true) < side ? from : some;
        }
      });
      pick(cell);
    }
    function pick(found, aloud) {
      cell = found;
      for (const { mark, left } of panels) mark.replaceChildren(...(cell ? [["#000", 4], [SELECTED, 2]].map(([tone, size]) =>
        stroke(`M${left + cell[1] * step - 1} ${top + cell[0] * step - 1}h${step + 2}v${step + 2}h${-step - 2}z`, tone, size)) : []));
      if (!cell) return ui.read(null, [], HINT);
      const [i, j] = cell, at = i * n + j;
      const items = names.map((name, k) => ({ text: on[k] ? name : `${name} (off)`, value: signed(terms[k][at]) }));
      items.push({ text: "weight", value: weights[at] > 0 && weights[at] < 0.005 ? "<0.01" : weights[at].toFixed(2) });
      ui.read(`${quoted(tokens[i])} looks at ${i === j ? "" : `${quoted(tokens[j])}, `}${far(i, j)}`, items, null, aloud);
    }
    const move = (rows, columns) => () => pick(cell ? [within(cell[0] + rows, 0, n - 1), within(cell[1] + columns, 0, n - 1)] : [0, 0], true);
    arrows(board, {
      ArrowUp: move(-1, 0), ArrowDown: move(1, 0), ArrowLeft: move(0, -1), ArrowRight: move(0, 1),
      Home: move(0, -n), End: move(0, n), Escape: () => pick(null),
    });
  };
});
