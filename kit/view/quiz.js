// Which tokens were replaced? The reader picks and commits; then the truth, a judge's probabilities, and both scores.
// The judge gets as many picks as the reader took (or one for each fake, if none), and takes its most suspected.
export default figure((ui) => {
  const { judge } = ui.options, games = new Map(); // frame -> { picked, done }, so that one may go to another text and back
  const line = "border-bottom:3px solid currentColor";
  const inLines = (nodes, tokens) => nodes.flatMap((node, i) => (tokens[i] === "\n" ? [node, h("br")] : node));
  let shown = null, at = 0;
  const wrong = ({ tokens, originals }, i) => tokens[i] !== originals[i];
  function score(frame, says) { // what a player found, what was none, and how many tokens were judged rightly
    const all = [...frame.tokens.keys()], count = (test) => all.filter(test).length;
    return { found: count((i) => says(i) && wrong(frame, i)), there: count((i) => wrong(frame, i)),
      false: count((i) => says(i) && !wrong(frame, i)), right: count((i) => says(i) === wrong(frame, i)) };
  }
  function suspects(frame) {
    const count = games.get(frame).picked.size || frame.tokens.filter((_, i) => wrong(frame, i)).length;
    return new Set([...frame.tokens.keys()].sort((i, k) => frame.values[k] - frame.values[i]).slice(0, count));
  }
  const both = (frame) => [games.get(frame).picked, suspects(frame)].map((picks) => score(frame, (i) => picks.has(i)));
  const alarms = (n) => (n ? `${n} false alarm${n > 1 ? "s" : ""}` : "no false alarm");
  const hint = (frame) => (games.get(frame).done
    ? "Point at a token, or use the arrow keys"
    : "Pick the tokens that you think were replaced: click, or use ← → and the space bar");
  function ask(frame) {
    const game = games.get(frame), { tokens } = frame, state = h("span", { role: "status" });
    const buttons = tokens.map((text, i) => {
      const flip = () => { if (!game.picked.delete(i)) game.picked.add(i); at = i; mark(); };
      const style = "padding:0;border:0;background:none;cursor:pointer";
      return h("button", { type: "button", class: "pcc-token", "data-i": i, style, onclick: flip, ...OWN_KEYS }, h("bdi", {}, visible(text)));
    });
    const mark = () => {
      buttons.forEach((node, i) => {
        node.setAttribute("aria-pressed", game.picked.has(i));
        node.tabIndex = i === at ? 0 : -1;
        shade(node, +game.picked.has(i), "selected");
      });
      state.textContent = `${game.picked.size} of ${tokens.length} picked`;
      reserve(frame);
    };
    const step = (to) => () => { at = within(to(at), 0, tokens.length - 1); mark(); buttons[at].focus(); };
    const board = h("div", { class: "pcc-tokens", role: "group", "aria-label": ui.alt, style: "padding:2px 3px" }, inLines(buttons, tokens));
    arrows(board, { ArrowLeft: step((i) => i - 1), ArrowRight: step((i) => i + 1), Home: step(() => 0), End: step(() => 1e9) });
    const commit = () => { game.done = true; tell(frame); ui.stage.querySelector("[role=application]").focus(); };
    at = within(at, 0, tokens.length - 1);
    ui.stage.replaceChildren(board, h("div", { class: "pcc-row", style: "margin-top:8px" },
      h("button", { type: "button", onclick: commit, ...OWN_KEYS }, "Commit"), state));
    mark();
    ui.read(null, [], hint(frame));
  }
  function reserve(frame) { // committing moves nothing below
    const game = games.get(frame), { done } = game;
    game.done = true;
    const result = told(frame);
    game.done = done;
    ui.reserve([result]);
  }
  function told(frame) {
    const game = games.get(frame), { tokens, originals, values } = frame, [you, it] = both(frame), its = suspects(frame);
    const strip = (title, texts, value, role) => h("div", { style: "margin-bottom:6px" }, h("div", { style: "font-weight:600" }, title), inLines(texts.map((text, i) => {
      const node = chip(text, i, value(i), role);
      if (wrong(frame, i)) node.style = `${node.style.cssText};${line}`;
      return node;
    }), texts));
    const board = h("div", { class: "pcc-tokens", style: "padding:2px 3px", ...explorable(ui.alt) },
      strip("your picks", tokens, (i) => +game.picked.has(i), "selected"), strip(`${judge}: probability of “replaced”${its.size ? `; its ${its.size > 1 ? `${its.size} picks are` : "pick is"} the highest` : ""}`, tokens, (i) => values[i], "idea"),
      strip("what stood there", originals, () => 0, "idea"));
    const played = [...games].filter(([, one]) => one.done).map(([one]) => [one, both(one)]);
    const sum = (who) => total(played.map(([, scores]) => scores[who].right)), all = total(played.map(([one]) => one.tokens.length));
    const verdict = `You found ${you.found} of ${you.there} replaced tokens, with ${alarms(you.false)}; ${judge} ${it.found}, with ${alarms(it.false)}.`;
    const so_far = `Tokens judged rightly ${played.length > 1 ? `in ${played.length} texts` : "here"}: you ${sum(0)} of ${all}, ${judge} ${sum(1)}.`;
    return [h("p", { role: "status", style: "margin:0 0 6px" }, h("b", {}, verdict), " ", so_far),
      h("div", { class: "pcc-row pcc-tokens" }, h("span", { style: `line-height:1.3;${line}` }, "replaced")), board];
  }
  function readOut(frame, i, aloud) {
    const { tokens, originals, values } = frame, its = suspects(frame).has(i);
    const mine = games.get(frame).picked.has(i), now = quoted(tokens[i]);
    ui.read(`token ${i + 1}`, [
      { text: wrong(frame, i) ? `${now} instead of ${quoted(originals[i])}` : `${now} (original)` },
      { text: "you:", value: mine ? "replaced" : "original" },
      { text: `${judge}:`, value: `${values[i].toFixed(2)}${its ? ", picked" : ""}` },
    ], null, aloud);
  }
  function tell(frame) {
    const parts = told(frame), board = parts.at(-1), { tokens } = frame;
    ui.stage.replaceChildren(...parts);
    let now = -1; // the token that is read out
    const pick = (i, aloud) => {
      board.querySelectorAll(".pcc-at").forEach((node) => node.classList.remove("pcc-at"));
      if ((now = i) < 0) return ui.read(null, [], hint(frame));
      board.querySelectorAll(`[data-i="${i}"]`).forEach((node) => node.classList.add("pcc-at"));
      readOut(frame, i, aloud);
    };
    const step = (to) => () => pick(within(to(now), 0, tokens.length - 1), true);
    arrows(board, { ArrowLeft: step((i) => (i < 0 ? 1e9 : i - 1)), ArrowRight: step((i) => i + 1), Home: step(() => 0), End: step(() => 1e9), Escape: () => pick(-1) });
    const point = (event) => { const i = place(event); if (i !== null) pick(i); };
    for (const name of ["pointermove", "pointerdown"]) board.addEventListener(name, point);
    board.addEventListener("pointerleave", () => pick(-1));
    pick(-1);
  }
  return (frame) => {
    if (!games.has(frame)) games.set(frame, { picked: new Set(), done: false });
    const { tokens } = frame, length = (i) => 99 * wrong(frame, i) + tokens[i].length;
    const longest = tokens.reduce((best, _, i) => (length(i) > length(best) ? i : best), 0);
    readOut(frame, longest); // makes the room that a read-out takes
    if (frame === shown) { // drawn anew, it would lose the focus
      reserve(frame);
      return ui.read(null, [], hint(frame));
    }
    shown = frame;
    games.get(frame).done ? tell(frame) : ask(frame);
  };
});
