// What every figure brings along, beside its data and its deflated viewer: wakes the figures of one id.
// The viewer is loaded once a page, however many figures bring it.
((id, version, code) => {
  const viewers = (window.pccViewers ??= {}), script = { type: "text/javascript" };
  const bytes = (text) => new Blob([Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0))]);
  const inflate = (text) => new Response(bytes(text).stream().pipeThrough(new DecompressionStream("deflate"))).text();
  document.querySelectorAll(`figure[data-figure="${id}"] .pcc-asleep`).forEach((line) => line.remove());
  viewers[version] ??= inflate(code).then((text) => import(URL.createObjectURL(new Blob([text], script))));
  viewers[version].then((viewer) => viewer.default.mount(id, inflate));
})
