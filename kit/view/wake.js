// What every figure brings along, beside its data and its deflated viewer: wakes the
// figures of one id. A page loads a viewer once, however many figures bring it.
((id, version, code) => {
  const viewers = (window.pccViewers ??= {}), script = { type: "text/javascript" };
  const inflate = (text) => {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream();
    return new Response(stream.pipeThrough(new DecompressionStream("deflate"))).text();
  };
  for (const line of document.querySelectorAll(`[data-figure="${id}"] .pcc-asleep`))
    line.remove();
  viewers[version] ??= inflate(code).then(
    (text) => import(URL.createObjectURL(new Blob([text], script))));
  viewers[version].then((viewer) => viewer.default.mount(id, inflate));
})
