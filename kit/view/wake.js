// What every figure brings along, beside its data and its deflated viewer: wakes the figures of one id.
// The viewer is loaded once a page, however many figures bring it. A figure drawn again keeps its height meanwhile, so that nothing
// below it moves.
((id, version, code) => {
  const shared = (window.pccShared ??= { viewers: {}, heights: {} });
  const bytes = (text) => new Blob([Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0))]);
  const inflate = (text) => new Response(bytes(text).stream().pipeThrough(new DecompressionStream("deflate"))).text();
  for (const node of document.querySelectorAll(`figure[data-figure="${id}"]`)) {
    if (!node.pccAlive) node.style.minHeight = `${shared.heights[id] ?? 0}px`;
    node.querySelector(".pcc-asleep")?.remove();
  }
  const load = (text) => import(URL.createObjectURL(new Blob([text], { type: "text/javascript" })));
  shared.viewers[version] ??= inflate(code).then(load);
  shared.viewers[version].then((viewer) => viewer.default.mount(id, inflate, shared.heights));
})
