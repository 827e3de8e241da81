// A network, data flowing left to right: width of a box means channels, height means image size, an arc is a shortcut.
const render = figure((ui) => {
  const { options } = ui;
  let picked = options.picked, map = null;
  const ARC = { identity: "", projection: "7 4", "zero-pad": "2 3" };
  return (frame) => {
    const { nodes, shortcuts } = frame, place = new Map(nodes.map((node, i) => [node.id, i]));
    if (!place.has(picked)) picked = (nodes.find((node) => node.maps) ?? nodes[0]).id;
    const channels = Math.max(1, ...nodes.map((node) => node.channels ?? 0)), size = Math.max(1, ...nodes.map((node) => node.size ?? 0));
    const gap = nodes.length > 30 ? 3 : nodes.length > 16 ? 6 : 12, least = nodes.length > 30 ? 5 : 10;
    const room = ui.width - 4 - gap * (nodes.length - 1) - least * nodes.length, parts = nodes.map((node) => (node.channels ?? 0) / channels);
    const scale = within(room / parts.reduce((a, b) => a + b, 1e-9), 3, nodes.length > 8 ? 56 : 90); // when the room is short, the drawing scrolls
    const reach = Math.max(0, ...shortcuts.map(([from, to]) => place.get(to) - place.get(from)));
    const arcs = shortcuts.length ? 30 + Math.min(reach, 6) * 4 : 8, tallest = 110, middle = arcs + tallest / 2, floor = arcs + tallest;
    let x = 2;
    const boxes = nodes.map((node, i) => {
      const w = least + scale * parts[i], tall = node.size ? 22 + (tallest - 22) * (node.size / size) : 22, box = { x, w, h: tall, y: middle - tall / 2, node };
      x += w + gap;
      return box;
    });
    const wide = Math.ceil(x - gap + 2);
    const svg = s("svg", { width: wide, height: floor + 40, role: "radiogroup", "aria-label": ui.alt });
    const wires = boxes.slice(1).map((box) => `M${box.x - gap} ${middle}h${gap}`).join("");
    svg.append(s("path", { d: wires, stroke: "currentColor", "stroke-width": 1.5, "stroke-opacity": 0.7 }));
    const items = boxes.map((box, i) => {
      const solid = { input: 0, pool: 0.06, conv: 0.16, block: 0.3, fc: 0.1 }[box.node.kind];
      const item = s("g", { role: "radio", "aria-label": [box.node.label, box.node.shape].filter(Boolean).join(", "), style: "cursor:pointer", "data-lm-suppress-shortcuts": "true", onclick: () => choose(i, true) },
        s("rect", { x: box.x - gap / 2, y: arcs, width: box.w + gap, height: tallest, fill: "transparent" }),
        s("rect", { x: box.x, y: box.y, width: box.w, height: box.h, rx: 2, fill: "currentColor", "fill-opacity": solid, stroke: "currentColor", "stroke-opacity": 0.7 }),
        textWidth(box.node.label) + 6 < box.w && s("text", { x: box.x + box.w / 2, y: middle + 4, "text-anchor": "middle" }, box.node.label));
      arrows(item, { ArrowRight: () => choose(i + 1, true), ArrowLeft: () => choose(i - 1, true), ArrowDown: () => choose(i + 1, true), ArrowUp: () => choose(i - 1, true), Home: () => choose(0, true), End: () => choose(nodes.length - 1, true) });
      svg.append(item);
      return item;
    });
    for (const [from, to, kind] of shortcuts) { // from the end of one box over those between to the end of another, where it is added
      const [a, b] = [place.get(from), place.get(to)], between = boxes.slice(a, b + 1);
      const start = [boxes[a].x + boxes[a].w, boxes[a].y], end = [boxes[b].x + boxes[b].w, boxes[b].y];
      const top = Math.max(6, Math.min(...between.map((box) => box.y)) - 14 - Math.min(b - a, 6) * 4);
      svg.append(s("path", { d: `M${start} C${start[0]} ${top} ${end[0]} ${top} ${end[0]} ${end[1] - 3}`, fill: "none", stroke: "var(--pcc-idea)", "stroke-width": 2, "stroke-dasharray": ARC[kind], "pointer-events": "none" }),
        s("circle", { cx: end[0], cy: end[1] - 2, r: nodes.length > 30 ? 2.2 : 3.4, fill: "var(--pcc-idea)", "pointer-events": "none" }));
    }
    for (let i = 0, j = 0; i < nodes.length; i = j) { // one label under each run of equal shapes
      for (j = i + 1; j < nodes.length && nodes[j].shape === nodes[i].shape; j++);
      const from = boxes[i].x, to = boxes[j - 1].x + boxes[j - 1].w, text = nodes[i].shape ?? "";
      if (text && textWidth(text) <= to - from + gap) svg.append(s("path", { d: `M${from} ${floor + 6}H${to}`, stroke: "currentColor", "stroke-opacity": 0.5 }), s("text", { x: (from + to) / 2, y: floor + 22, "text-anchor": "middle" }, text));
    }
    const kinds = [...new Set(shortcuts.map(([, , kind]) => kind))];
    const key = h("div", { style: "display:flex;flex-wrap:wrap;gap:0 18px" }, kinds.map((kind) => h("span", {}, swatchLine(ARC[kind]), `${kind} shortcut`)), h("span", {}, "width: channels"), h("span", {}, "height: image size"));
    const detail = h("div", { style: "margin-top:6px" });
    const scroll = h("div", { style: "overflow-x:auto;padding:2px 0" }, svg);
    ui.stage.replaceChildren(key, scroll, detail);

    function swatchLine(dash) {
      return s("svg", { width: 30, height: 10, style: "display:inline-block;vertical-align:middle;margin-right:6px", "aria-hidden": "true" }, s("path", { d: "M1 9C6 0 24 0 29 9", fill: "none", stroke: "var(--pcc-idea)", "stroke-width": 2, "stroke-dasharray": dash }));
    }
    function choose(i, byHand) {
      if (!nodes[i]) return;
      picked = nodes[i].id;
      items.forEach((item, k) => {
        item.setAttribute("tabindex", k === i ? 0 : -1);
        item.setAttribute("aria-checked", k === i);
        const face = item.children[1], name = item.children[2];
        face.setAttribute("fill", k === i ? "var(--pcc-selected)" : "currentColor");
        face.style.fillOpacity = k === i ? 1 : "";
        face.setAttribute("stroke-width", k === i ? 2.5 : 1);
        if (name) name.style.fill = k === i ? "#000" : "";
      });
      if (byHand) {
        items[i].focus({ preventScroll: true });
        const { x: from, w } = boxes[i];
        if (from < scroll.scrollLeft || from + w > scroll.scrollLeft + scroll.clientWidth) scroll.scrollLeft = from - scroll.clientWidth / 2;
      }
      const { label, shape, text, maps } = nodes[i];
      ui.read(label, [shape && { text: shape }].filter(Boolean), null);
      detail.replaceChildren(...[text && h("p", { style: "margin:0 0 6px" }, text), maps && grid(maps, label)].filter(Boolean));
    }
    function grid(packed, label) {
      const { values, shape: [count, high, wide] } = unpack(packed), finite = values.filter(Number.isFinite), gutter = 4;
      const lo = finite.reduce((a, b) => Math.min(a, b), Infinity), hi = finite.reduce((a, b) => Math.max(a, b), -Infinity);
      const across = within(Math.floor((ui.width + gutter) / 68), 1, Math.min(count, 16)), w = Math.min(wide > 2 * high ? 24 * wide : 96, Math.floor((ui.width + gutter) / across) - gutter), tall = Math.round((w * high) / wide);
      const down = Math.ceil(count / across), frameOf = (n) => [(n % across) * (w + gutter), Math.floor(n / across) * (tall + gutter)];
      const board = h("div", { tabindex: 0, role: "application", "aria-label": `${count} feature maps of ${label}`, "data-lm-suppress-shortcuts": "true", style: `position:relative;width:${across * (w + gutter) - gutter}px;height:${down * (tall + gutter) - gutter}px` });
      for (let n = 0; n < count; n++) {
        const [left, top] = frameOf(n), canvas = h("canvas", { "aria-hidden": "true", style: `position:absolute;left:${left}px;top:${top}px;width:${w}px;height:${tall}px;image-rendering:pixelated` });
        paint(canvas, values.subarray(n * high * wide, (n + 1) * high * wide), wide, (v) => (v - lo) / (hi - lo || 1));
        board.append(canvas);
      }
      const ring = h("div", { style: "position:absolute;outline:3px solid var(--pcc-selected);pointer-events:none", hidden: true });
      const range = h("p", { style: "margin:2px 0 0" });
      board.append(ring);
      function look(n, aloud) {
        map = n;
        ring.hidden = n === null;
        if (n === null) return void (range.textContent = `${count === 1 ? "1 map" : `${count} maps on one colour scale`}, ${show(lo)} to ${show(hi)}. Point at one, or use the arrow keys`);
        const [left, top] = frameOf(n), own = values.subarray(n * high * wide, (n + 1) * high * wide).filter(Number.isFinite);
        Object.assign(ring.style, { left: `${left}px`, top: `${top}px`, width: `${w}px`, height: `${tall}px` });
        range.textContent = `map ${n + 1} of ${count}: smallest ${show(own.reduce((a, b) => Math.min(a, b), Infinity))}, largest ${show(own.reduce((a, b) => Math.max(a, b), -Infinity))}`;
        if (aloud) ui.say(range.textContent);
      }
      const step = (d) => () => look(map === null ? 0 : within(map + d, 0, count - 1), true);
      arrows(board, { ArrowRight: step(1), ArrowLeft: step(-1), ArrowDown: step(across), ArrowUp: step(-across), Home: step(-count), End: step(count), Escape: () => look(null) });
      board.addEventListener("pointermove", (event) => {
        const area = board.getBoundingClientRect(), n = Math.floor((event.clientY - area.top) / (tall + gutter)) * across + Math.floor((event.clientX - area.left) / (w + gutter));
        look(n >= 0 && n < count ? n : null);
      });
      board.addEventListener("pointerleave", () => look(null));
      look(map !== null && map < count ? map : null);
      return h("div", {}, h("div", { style: "position:relative;width:fit-content;max-width:100%" }, board), range);
    }
    choose(place.get(picked));
  };
});
export default { render };
