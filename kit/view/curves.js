// Curves over a common x, each named at its end; a cursor reads all of them. `total` adds a progress bar (live training).
export default figure((ui) => {
  const { options } = ui;
  return (frame) => {
    const x_label = frame.x_label ?? options.x_label;
    const numbers = (name) => frame.series.flatMap((line) => line[name]).filter((v) => typeof v === "number");
    const xs = numbers("x"), ys = numbers("y").filter((v) => !options.log || v > 0);
    const span = (values, room) => {
      if (!values.length) return options.log && room ? [0.1, 1] : [0, 1];
      const lo = values.reduce((a, b) => Math.min(a, b)), hi = values.reduce((a, b) => Math.max(a, b));
      if (!room) return lo < hi ? [lo, hi] : [lo, lo + 1];
      if (options.log) return lo < hi ? [lo / 1.2, hi * 1.2] : [lo / 2, hi * 2];
      const pad = (hi - lo || Math.abs(hi) || 1) * 0.04;
      return [lo >= 0 && lo < hi / 2 ? 0 : lo - pad, hi + pad]; // start at zero when zero is near
    };
    ui.stage.replaceChildren();
    if (options.total) {
      const { done } = ui.data, percent = Math.floor((100 * done) / options.total);
      ui.stage.append(h("label", { class: "pcc-row" }, h("progress", { max: options.total, value: done }), `${done} of ${options.total} (${percent} %)`));
    }
    chart(ui, ui.stage, {
      series: frame.series,
      legend: frame.series.filter((line) => !line.role).length > EXTRAS, // there colours come again, and a key shows the dashes
      x: { label: x_label, range: options.x_range ?? span(xs) },
      y: { label: options.y_label, log: options.log, range: frame.y_range ?? options.y_range ?? span(ys, true) },
      head: (v) => `${x_label} ${show(v)}`,
      hint: options.total ? null : "Point at the chart, or use ← →",
    });
  };
});
