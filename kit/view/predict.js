// A question the reader answers before the run, and its answer after it. They meet through a memory on the page, by key, in any order.
const memory = (window.pccPredictions ??= {});
function recall(key) { // after a reload the page's own memory is gone, the tab's is not; private windows may have none
  try { return memory[key] ?? JSON.parse(sessionStorage.getItem(`pcc-${key}`)); } catch { return memory[key] ?? null; }
}
function commit(key, choice) {
  memory[key] = choice;
  try { sessionStorage.setItem(`pcc-${key}`, JSON.stringify(choice)); } catch { /* the page's own memory will do */ }
  window.dispatchEvent(new CustomEvent("pcc-predicted", { detail: key }));
}
export default figure((ui) => {
  const { key, question, choices, answer, why } = ui.options;
  let shown = false, drawn = false;
  const button = (text, onclick, disabled = false) => h("button", { type: "button", disabled, onclick, ...OWN_KEYS }, text);
  function asking(said) {
    const open = said === null;
    const inputs = choices.map((_, i) => h("input", {
      type: "radio", name: `pcc-${key}-${ui.group}`, checked: said === i, disabled: !open, onchange: () => { send.disabled = false; }, ...OWN_KEYS,
    }));
    const send = button("Commit", () => commit(key, inputs.findIndex((input) => input.checked)), true);
    const list = choices.map((choice, i) => h("label", { style: said === i ? "font-weight:600" : "" }, inputs[i], h("span", {}, choice)));
    return [h("fieldset", { class: "pcc-choices" }, h("legend", { class: "pcc-question" }, question), list),
      h("p", { role: "status" }, open ? "" : `You said: “${choices[said]}”. Go on to find out.`), open ? send : ""];
  }
  function telling(said) {
    const reveal = () => {
      shown = true;
      draw();
      ui.stage.querySelector("ul").focus();
    };
    const item = (choice, i) => {
      const right = i === answer, mine = i === said, color = right ? IDEA : mine ? "var(--pcc-error)" : "transparent";
      const text = `${right ? "✓" : mine ? "✗" : "\u2003"} ${choice}${mine ? " (your prediction)" : ""}`;
      return h("li", { style: `border-color:${color};font-weight:${right ? 600 : 400}` }, text);
    };
    const verdict = said === null ? "" : said === answer ? "You said it. " : `You said: “${choices[said]}”. `;
    return [h("p", { class: "pcc-question" }, question), ...(said === null && !shown
      ? [h("p", {}, "You have not committed to an answer yet: go back and make your prediction, or"), button("Show the answer", reveal)]
      : [h("ul", { class: "pcc-choices", tabindex: -1 }, choices.map(item)), h("p", { role: "status" }, verdict, why)])];
  }
  const face = answer === undefined ? asking : telling;
  const draw = () => ui.stage.replaceChildren(...face(recall(key)));
  function reserve() { // answering moves nothing below, here and where the answer stands
    const was = shown;
    shown = true;
    ui.reserve([null, ...choices.keys()].map(face));
    shown = was;
  }
  window.addEventListener("pcc-predicted", ({ detail }) => detail === key && drawn && draw());
  ui.quiet();
  return () => {
    if (!drawn) draw(); // a new width needs no new drawing, which would take away the focus and a half-made choice
    drawn = true;
    reserve();
  };
});
