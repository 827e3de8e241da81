// One value per layer: bars, parts stacked in bars, or lines with markers. The value axis stays put while controls move, or fits each frame.
export default figure((ui) => {
  const { options } = ui, common = [...options.y_range];
  let picked = null; // survives a change of frame, so that one layer can be followed
  return (frame) => {
    const count = Math.max(1, ...frame.series.map((line) => line.values.length));
    const layers = Array.from({ length: count }, (_, i) => frame.series.map((line) => line.values[i])), range = frame.y_range ?? common;
    if (!options.fixed && !frame.y_range) for (const v of options.stacked ? layers.map(total) : layers.flat()) {
      if (typeof v !== "number" || (options.log && v <= 0)) continue;
      range[0] = Math.min(range[0], v);
      range[1] = Math.max(range[1], v);
    }
    const names = frame.labels ?? Array.from({ length: count }, (_, i) => `${i + 1}`);
    ui.stage.replaceChildren();
    chart(ui, ui.stage, {
      series: frame.series.map((line) => ({ ...line, x: line.values.map((_, i) => i + 1), y: line.values })),
      x: { label: options.x_label, names, range: options.bars ? [0.5, count + 0.5] : [1, Math.max(2, count)] },
      y: { label: options.y_label, log: options.log, range },
      bars: options.bars,
      stacked: options.stacked,
      head: (i) => (frame.labels ? names[i - 1] : `${options.x_label.split(",")[0]} ${i}`),
      hint: options.bars && !options.stacked ? null : "Point at the chart, or use ← →",
      onpick: (i) => { picked = i; },
    }).pick(picked);
  };
});
