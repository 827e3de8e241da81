// Sentences as strips of tokens, shaded by value, underlined by mark; what stands at one place in strips of equal length is read together.
const LINES = ["solid", "dashed", "dotted", "double"];

export default figure((ui) => {
  const { options } = ui;
  let now = null; // [row, token], survives a change of frame
  return ({ rows }) => {
    const kinds = [...new Set([...options.marks, ...rows.flatMap((row) => row.marks ?? [])])].filter(Boolean);
    const line = (mark) => `border-bottom:3px ${LINES[kinds.indexOf(mark) % LINES.length]} currentColor`;
    const board = h("div", { class: `pcc-tokens${options.tight ? " pcc-tight" : ""}`, style: "padding:2px 3px", ...explorable(ui.alt) });
    const strips = rows.map(({ title, tokens, values, marks, role }, r) => {
      const chips = tokens.map((text, i) => {
        const node = chip(text, i, values?.[i] ?? 0, role);
        if (marks?.[i]) node.style = `${node.style.cssText};${line(marks[i])}`;
        return node;
      });
      board.append(h("div", { "data-row": r, style: "margin-bottom:6px" }, h("div", { style: "font-weight:600" }, title),
        chips.flatMap((node, i) => (options.tight && /^[\r\n]/.test(tokens[i]) ? [h("br"), node] : node)))); // lines of code as lines
      return chips;
    });
    ui.stage.replaceChildren(legend(), board);

    function legend() {
      const roles = [...new Set(rows.filter((row) => row.values).map((row) => row.role ?? "idea"))];
      const bar = (role) => h("span", { style: "white-space:nowrap" }, "0", h("span", { style: `display:inline-block;width:80px;height:12px;margin:0 6px;
        vertical-align:middle;border:1px solid #8888;background:linear-gradient(to right,var(--pcc-paper),var(--pcc-${role}))` }), "1");
      return h("div", { class: "pcc-row pcc-tokens" }, roles.length > 0 && h("span", {}, options.value_label), roles.map(bar),
        kinds.map((mark) => h("span", { style: `line-height:1.3;${line(mark)}` }, mark)));
    }
    function pick(found, aloud) {
      if (now) for (const chips of strips) chips[now[1]]?.classList.remove("pcc-at");
      now = found;
      if (!now) return ui.read(null, [], "Point at a token, or use the arrow keys");
      const [r, i] = now, together = rows.map((row, k) => k).filter((k) => k === r || rows[k].tokens.length === rows[r].tokens.length);
      const items = together.map((k) => {
        const { title, name = title, tokens, values, marks, notes } = rows[k];
        strips[k][i].classList.add("pcc-at");
        const about = [marks?.[i], notes?.[i] && isolated(notes[i])].filter(Boolean).join(", ");
        const value = values && values[i].toFixed(2);
        return { text: `${rows.length > 1 ? `${name}: ` : ""}${quoted(tokens[i])}${about && ` (${about})`}`, value };
      });
      ui.read(`token ${i + 1}`, items, null, aloud);
    }
    const step = (down, along) => () => {
      const r = now ? within(now[0] + down, 0, rows.length - 1) : 0;
      pick([r, now ? within(now[1] + along, 0, rows[r].tokens.length - 1) : 0], true);
    };
    arrows(board, {
      ArrowLeft: step(0, -1), ArrowRight: step(0, 1), ArrowUp: step(-1, 0), ArrowDown: step(1, 0), Home: step(0, -1e9), End: step(0, 1e9), Escape: () => pick(null),
    });
    const point = (event) => {
      const i = place(event);
      if (i !== null) pick([+event.target.closest("[data-row]").dataset.row, i]);
    };
    for (const name of ["pointermove", "pointerdown"]) board.addEventListener(name, point);
    board.addEventListener("pointerleave", () => pick(null));
    const kept = now;
    pick([0, 0]); // makes the room that a read-out takes
    pick(kept && kept[0] < rows.length && kept[1] < rows[kept[0]].tokens.length ? kept : null);
  };
});
