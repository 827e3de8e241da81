// A network, data flowing left to right: width of a box means channels, height means image size, an arc is a shortcut.
const ARC = { identity: "", projection: "7 4", "zero-pad": "2 3", concat: "" };
const FILL = { input: 0, sum: 0, pool: 0.06, fc: 0.1, conv: 0.16, block: 0.3 };
const ROUND = 26; // a sum is a circle
const least = (values) => values.reduce((a, b) => Math.min(a, b), Infinity), greatest = (values) => values.reduce((a, b) => Math.max(a, b), -Infinity);

export default figure((ui) => {
  let picked = ui.options.picked, map = null; // both survive a change of frame
  return (frame) => {
    const { nodes, shortcuts } = frame, place = new Map(nodes.map((node, i) => [node.id, i])), many = nodes.length > 30;
    const concat = shortcuts.filter(([, , kind]) => kind === "concat");
    if (!place.has(picked)) picked = (nodes.find((node) => node.maps) ?? nodes[0]).id;

    // boxes: as wide as the room allows; where it is short, the drawing scrolls
    const channels = greatest(nodes.map((node) => node.channels ?? 1)), size = greatest(nodes.map((node) => node.size ?? 1));
    const close = many ? 3 : nodes.length > 16 ? 6 : 12, thin = many ? 5 : 10, tallest = 110, low = 22;
    const shares = nodes.map((node) => (node.channels ?? 0) / channels), room = ui.width - 4 - (close + thin) * nodes.length;
    const sum = shares.reduce((a, b) => a + b, 0) || 1, scale = within(room / sum, 3, nodes.length > 8 ? 56 : 90);
    const gap = concat.length ? within(close + (room - scale * sum) / nodes.length, close, 36) : close; // many arcs need air
    const lift = (a, b) => 14 + Math.min(b - a, 6) * 4;
    const span = ([from, to]) => place.get(to) - place.get(from);
    const rise = within(110 / Math.max(1, ...concat.map(span)), 3, 20); // how much higher a concat arc goes for each node that it spans
    const arcs = shortcuts.length
      ? greatest(shortcuts.map((one) => (one[2] === "concat" ? 12 + rise * span(one) : 16 + lift(place.get(one[0]), place.get(one[1]))))) : 8;
    const middle = arcs + tallest / 2, floor = arcs + tallest;
    let x = 2;
    const boxes = nodes.map((node, i) => {
      const round = node.kind === "sum", w = round ? ROUND : thin + scale * shares[i];
      const tall = round ? ROUND : low + (tallest - low) * ((node.size ?? 0) / size);
      const box = { x, w, tall, y: middle - tall / 2, end: x + w };
      x += w + gap;
      return box;
    });

    const widths = nodes.map((node) => textWidth(node.label)), inside = (i) => widths[i] + 4 < boxes[i].w; // names that do not fit go below, level or upright
    const level = (i) => widths[i] + 2 < boxes[i].w + gap, below = nodes.map((node, i) => node.kind !== "sum" && !inside(i) && (level(i) || boxes[i].w + gap > 13));
    const foot = floor + greatest([0, ...below.map((yes, i) => yes && (level(i) ? 18 : widths[i] + 10))]);
    const svg = s("svg", { width: Math.ceil(x - gap + 2), height: foot + 40, role: "radiogroup", "aria-label": ui.alt },
      concat.length || stroke(boxes.slice(1).map((box) => `M${box.x - gap} ${middle}h${gap}`).join(""), "currentColor", 1.5));
    const items = boxes.map(({ x, y, w, tall }, i) => {
      const { kind, label: name, shape, id } = nodes[i], go = (k) => () => choose(k, true);
      const read = concat.filter(([, to]) => to === id).map(([from]) => nodes[place.get(from)].label).join(" and ");
      const item = s("g", { role: "radio", "aria-label": [name, shape, read && `reads ${read}`].filter(Boolean).join(", "), style: "cursor:pointer", onclick: go(i), ...OWN_KEYS },
        s("rect", { x: x - gap / 2, y: arcs, width: w + gap, height: tallest, fill: "transparent" }), // what a finger can hit
        s("rect", { x, y, width: w, height: tall, rx: kind === "sum" ? ROUND / 2 : 2, fill: "currentColor", "fill-opacity": FILL[kind], stroke: "currentColor" }),
        inside(i) && label(x + w / 2, middle + 4, name, "middle"));
      arrows(item, { ArrowRight: go(i + 1), ArrowDown: go(i + 1), ArrowLeft: go(i - 1), ArrowUp: go(i - 1), Home: go(0), End: go(nodes.length - 1) });
      svg.append(item);
      const px = x + w / 2 + 4;
      if (below[i]) svg.append(level(i) ? label(px - 4, floor + 14, name, "middle") : label(px, floor + 5, name, "end", { transform: `rotate(-90 ${px} ${floor + 5})` }));
      return item;
    });
    const joints = concat.map((one) => { // from the top of one box, over those between, to the top of the other
      const [start, end] = [boxes[place.get(one[0])], boxes[place.get(one[1])]], from = start.end - Math.min(start.w / 4, 8), tip = end.x + Math.min(end.w / 4, 8);
      const roof = least(boxes.slice(place.get(one[0]), place.get(one[1]) + 1).map((box) => box.y)) - 6, top = roof - (rise * span(one) * 4) / 3;
      return svg.appendChild(s("g", { "pointer-events": "none" },
        stroke(`M${from} ${start.y}V${roof}C${from} ${top} ${tip} ${top} ${tip} ${roof}V${end.y}`, IDEA), s("circle", { cx: tip, cy: end.y - 2, r: 3, fill: IDEA })));
    });
    for (const [from, to, kind] of shortcuts.filter((one) => !concat.includes(one))) { // from the end of one box, over those between, to the sum, or the end of the box that holds it
      const [a, b] = [place.get(from), place.get(to)], [start, end] = [boxes[a], boxes[b]];
      const tip = nodes[b].kind === "sum" ? end.x + ROUND / 2 : end.end;
      const top = Math.max(6, least(boxes.slice(a, b + 1).map((box) => box.y)) - lift(a, b));
      const way = tip === end.end ? `C${start.end} ${top} ${tip} ${top} ${tip} ${end.y - 3}` // to a sum, straight over what lies between
        : `Q${start.end} ${top} ${start.end + 12} ${top}H${tip - 12}Q${tip} ${top} ${tip} ${end.y - 3}`;
      svg.append(s("g", { "pointer-events": "none" },
        stroke(`M${start.end} ${start.y}${way}`, IDEA, 2, { "stroke-dasharray": ARC[kind] }),
        s("circle", { cx: tip, cy: end.y - 2, r: many ? 2.2 : 3.4, fill: IDEA })));
    }
    for (let i = 0, j = 0, edge = 0; i < nodes.length; i = j) { // one label under each run of equal shapes
      for (j = i + 1; j < nodes.length && nodes[j].shape === nodes[i].shape; j++);
      const from = boxes[i].x, to = boxes[j - 1].end, text = nodes[i].shape, half = textWidth(text ?? "") / 2, px = Math.max(half, (from + to) / 2);
      if (!text || 2 * half > to - from + gap || px - half < edge) continue;
      edge = px + half;
      svg.append(stroke(`M${from} ${foot + 6}H${to}`, "currentColor", 1, { "stroke-opacity": 0.5 }), label(px, foot + 22, text, "middle"));
    }
    const arc = (kind) => s("svg", { width: 30, height: 10, class: "pcc-key", "aria-hidden": "true" },
      stroke("M1 9C6 0 24 0 29 9", IDEA, 2, { "stroke-dasharray": ARC[kind] }));
    const kinds = [...new Set(shortcuts.map(([, , kind]) => kind))].map((kind) => h("span", {}, arc(kind), kind === "concat" ? "concatenated" : `${kind} shortcut`));
    const scroll = h("div", { style: "overflow-x:auto;padding:2px 0" }, svg), detail = h("div");
    ui.stage.replaceChildren(h("div", { class: "pcc-row" }, kinds, h("span", {}, "width: channels"), new Set(nodes.map((node) => node.size)).size > 1 && h("span", {}, "height: image size")), scroll, detail);

    function choose(i, byHand) {
      if (!nodes[i]) return;
      picked = nodes[i].id;
      items.forEach((item, k) => {
        const [, face, name] = item.children, mine = k === i;
        fill(item, { tabindex: mine ? 0 : -1, "aria-checked": `${mine}` }, []);
        fill(face, { fill: mine ? SELECTED : "currentColor", "fill-opacity": mine ? 1 : FILL[nodes[k].kind], "stroke-width": mine ? 2.5 : 1 }, []);
        if (name) name.style.fill = mine ? "#000" : "";
      });
      joints.forEach((joint, k) => { // what the node reads is thick; what reads it, plain; all else, faint
        const [from, to] = concat[k], reads = to === picked;
        fill(joint, { opacity: reads ? 1 : from === picked ? 0.8 : 0.35 }, []);
        fill(joint.firstChild, { "stroke-width": reads ? 3 : 1.5 }, []);
        if (reads) svg.append(joint);
      });
      if (byHand) {
        items[i].focus({ preventScroll: true });
        const { x, end } = boxes[i];
        if (x < scroll.scrollLeft || end > scroll.scrollLeft + scroll.clientWidth) scroll.scrollLeft = x - scroll.clientWidth / 2;
      }
      const { label: name, shape, text, maps } = nodes[i];
      ui.read(name, shape ? [{ text: shape }] : []);
      if (byHand && text) ui.say(text); // the name of what has the focus is read anyway
      detail.replaceChildren(...[text && h("p", { style: "margin:0 0 6px" }, text), maps && grid(maps, name)].filter(Boolean));
    }
    function grid(packed, name) { // the feature maps of a node, on one colour scale
      const { values, shape: [count, high, wide] } = unpack(packed), finite = values.filter(Number.isFinite), lo = least(finite), hi = greatest(finite);
      const gutter = 4, across = within(Math.floor((ui.width + gutter) / 68), 1, Math.min(count, 16));
      const w = Math.min(wide > 2 * high ? 24 * wide : 96, Math.floor((ui.width + gutter) / across) - gutter), tall = Math.round((w * high) / wide);
      const box = (n) => `left:${(n % across) * (w + gutter)}px;top:${Math.floor(n / across) * (tall + gutter)}px;width:${w}px;height:${tall}px`;
      const one = (n) => values.subarray(n * high * wide, (n + 1) * high * wide);
      const extent = `width:${across * (w + gutter) - gutter}px;height:${Math.ceil(count / across) * (tall + gutter) - gutter}px`;
      const board = h("div", { class: "pcc-board", style: extent, ...explorable(`${count} feature maps of ${name}`) });
      for (let n = 0; n < count; n++) {
        const canvas = h("canvas", { style: box(n), "aria-hidden": "true" });
        paint(canvas, one(n), wide, (v) => (v - lo) / (hi - lo || 1));
        board.append(canvas);
      }
      const ring = h("div"), range = h("p", { style: "margin:2px 0 0" });
      board.append(ring);
      function look(n, aloud) {
        map = n;
        ring.style = n === null ? "display:none" : `${box(n)};position:absolute;outline:3px solid ${SELECTED}`;
        range.textContent = n === null
          ? `${count === 1 ? "1 map" : `${count} maps on one colour scale`}, ${show(lo)} to ${show(hi)}. Point at one, or use the arrow keys`
          : `map ${n + 1} of ${count}: smallest ${show(least(one(n).filter(Number.isFinite)))}, largest ${show(greatest(one(n).filter(Number.isFinite)))}`;
        if (aloud) ui.say(range.textContent);
      }
      const step = (d) => () => look(map === null ? 0 : within(map + d, 0, count - 1), true);
      arrows(board, {
        ArrowRight: step(1), ArrowLeft: step(-1), ArrowDown: step(across), ArrowUp: step(-across),
        Home: step(-count), End: step(count), Escape: () => look(null),
      });
      board.addEventListener("pointermove", ({ clientX, clientY }) => {
        const area = board.getBoundingClientRect(), row = Math.floor((clientY - area.top) / (tall + gutter));
        const n = row * across + Math.floor((clientX - area.left) / (w + gutter));
        look(n >= 0 && n < count ? n : null);
      });
      board.addEventListener("pointerleave", () => look(null));
      look(map !== null && map < count ? map : null);
      return h("div", {}, board, range);
    }
    choose(place.get(picked));
  };
});
