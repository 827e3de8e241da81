// A question the reader answers before the run, and its answer after it. They meet through a memory on the page, by key, in any order.
const memory = (window.pccPredictions ??= {});
function recall(key) {
  try { return memory[key] ?? JSON.parse(sessionStorage.getItem(`pcc-${key}`)); } catch { return memory[key] ?? null; }
}
function commit(key, choice) {
  memory[key] = choice;
  try { sessionStorage.setItem(`pcc-${key}`, JSON.stringify(choice)); } catch { /* private windows and files may have none */ }
  window.dispatchEvent(new CustomEvent("pcc-predicted", { detail: key }));
}
const render = figure((ui) => {
  const { options } = ui, { key, question, choices } = options, told = "answer" in options;
  const group = `pcc-predict-${(window.pccFigures = (window.pccFigures ?? 0) + 1)}`;
  let shown = false;
  function ask() {
    const said = recall(key), status = h("p", { role: "status", style: "margin:6px 0 0" });
    const inputs = choices.map((_, i) => h("input", { type: "radio", name: group, checked: said === i, disabled: said !== null, "data-lm-suppress-shortcuts": "true", onchange: () => { button.disabled = false; } }));
    const button = h("button", { type: "button", disabled: true, style: "font:inherit;padding:4px 14px;margin-top:6px", "data-lm-suppress-shortcuts": "true", onclick: () => commit(key, inputs.findIndex((input) => input.checked)) }, "Commit");
    if (said !== null) status.textContent = `You said: ${choices[said]}. Run on to find out.`;
    ui.stage.replaceChildren(h("fieldset", { style: "border:0;margin:0;padding:0" }, h("legend", { style: "font-weight:600;padding:0;margin-bottom:4px" }, question),
      choices.map((choice, i) => h("label", { style: "display:flex;align-items:baseline;gap:6px;padding:3px 0" }, inputs[i], h("span", {}, choice)))), said === null && button || "", status);
  }
  function answer() {
    const said = recall(key), parts = [h("p", { style: "font-weight:600;margin:0 0 4px" }, question)];
    if (said === null && !shown) parts.push(h("p", { style: "margin:0 0 4px" }, "You have not committed to an answer yet: go back and make your prediction, or"),
      h("button", { type: "button", style: "font:inherit;padding:4px 14px", "data-lm-suppress-shortcuts": "true", onclick: () => { shown = true; answer(); ui.stage.querySelector("[tabindex]").focus(); } }, "Show the answer"));
    else parts.push(h("ul", { style: "list-style:none;margin:0;padding:0", tabindex: -1 }, choices.map((choice, i) => {
      const right = i === options.answer, mine = i === said, color = right ? "idea" : mine ? "error" : null;
      return h("li", { style: `padding:3px 8px;border-left:4px solid ${color ? `var(--pcc-${color})` : "transparent"};${right ? "font-weight:600" : ""}` },
        `${right ? "✓" : mine ? "✗" : "\u2003"} ${choice}`, mine ? " (your prediction)" : "");
    })), h("p", { role: "status", style: "margin:6px 0 0" }, said === null ? "" : said === options.answer ? "You said it. " : `You said: ${choices[said]}. `, options.why));
    ui.stage.replaceChildren(...parts);
  }
  const draw = told ? answer : ask;
  let drawn = false;
  window.addEventListener("pcc-predicted", (event) => event.detail === key && drawn && draw());
  return () => {
    ui.root.querySelector(".pcc-read").hidden = true;
    if (!drawn) draw(); // later widths need no new drawing, and must not take the focus or the reader's half-made choice away
    drawn = true;
  };
});
export default { render };
