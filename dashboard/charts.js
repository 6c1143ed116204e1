// Charts of the page: what is shown of them (time, unit, accounts) is chosen by buttons, and stays so when they change.
(() => {
  "use strict";
  const LIBRARY_MS = 30_000;
  const DAY_MS = 86_400_000;
  const SHARED = ["equity", "drawdown"]; // they show the same accounts over the same time
  const figures = new Map();
  const hidden = new Set(); // accounts' titles
  let days = "all"; // null once the viewer has moved the chart
  let moved = null; // [from, to] in ms or as Plotly says it
  let unit = "share";

  const place = (name) => document.querySelector(`#floor [data-chart="${CSS.escape(name)}"]`);
  const newest = (data) => Math.max(...data.map((trace) => Date.parse(trace.x[trace.x.length - 1])));

  function inDollars(trace) {
    return { ...trace, y: trace.customdata, customdata: trace.y, hovertemplate: "%{y:,.2f} USD · %{customdata:+.2f} %" };
  }

  // the span of what is seen: Plotly would take that of all time
  function heights(data, from, to) {
    let [low, high] = [Infinity, -Infinity];
    for (const trace of data) {
      if (trace.visible === false) continue;
      trace.x.forEach((x, index) => {
        const at = Date.parse(x);
        if (at < from || at > to) return;
        low = Math.min(low, trace.y[index]);
        high = Math.max(high, trace.y[index]);
      });
    }
    const room = (high - low) * 0.06 || Math.abs(high) * 0.001 || 1;
    return low <= high ? [low - room, high + room] : undefined;
  }

  function shaped(name) {
    const figure = figures.get(name);
    const layout = { ...figure.layout, xaxis: { ...figure.layout.xaxis }, yaxis: { ...figure.layout.yaxis } };
    let data = figure.data.map((trace) => ({ ...trace }));
    if (matchMedia("(pointer: coarse)").matches) layout.dragmode = false; // a finger scrolls the page
    if (!SHARED.includes(name) || !data.length) return { data, layout };
    for (const trace of data) trace.visible = !hidden.has(trace.name);
    if (name === "equity" && unit === "usd") {
      data = data.map(inDollars);
      Object.assign(layout.yaxis, { ticksuffix: "", tickprefix: "$", tickformat: ",.6~g" });
    }
    layout.uirevision = `${days} ${unit}`;
    if (days === null) layout.xaxis.range = moved;
    else if (days !== "all") {
      const to = newest(data);
      const from = to - Number(days) * DAY_MS;
      layout.xaxis.range = [from, to];
      layout.yaxis.range = heights(data, from, to);
    }
    return { data, layout };
  }

  async function draw(name) {
    const at = place(name);
    if (!at || !figures.has(name) || !window.Plotly) return;
    const { data, layout } = shaped(name);
    const isFirst = !at.classList.contains("js-plotly-plot");
    await window.Plotly.react(at, data, layout, { displayModeBar: false, responsive: true });
    if (isFirst && SHARED.includes(name)) at.on("plotly_relayout", (told) => move(name, told));
  }

  function move(name, told) {
    const range = told["xaxis.range"] ?? [told["xaxis.range[0]"], told["xaxis.range[1]"]];
    if (told["xaxis.autorange"]) [days, moved] = ["all", null];
    else if (range[0] !== undefined) [days, moved] = [null, range];
    else return;
    press();
    for (const other of SHARED) if (other !== name || days === "all") draw(other);
  }

  function press() {
    for (const each of document.querySelectorAll("#floor [data-range]")) {
      each.setAttribute("aria-pressed", String(each.dataset.range === days));
    }
    for (const each of document.querySelectorAll("#floor [data-unit]")) {
      each.setAttribute("aria-pressed", String(each.dataset.unit === unit));
    }
  }

  // what Plotly's own legend would be, of buttons that a keyboard reaches
  function showLegend() {
    const legend = document.getElementById("legend");
    const figure = figures.get("equity");
    if (!legend || !figure) return;
    const known = new Map([...legend.children].map((each) => [each.dataset.line, each]));
    figure.data.toReversed().forEach((trace, index) => { // what is drawn last lies on top
      const button = known.get(trace.name) ?? lineButton(trace);
      if (legend.children[index] !== button) legend.insertBefore(button, legend.children[index] ?? null);
      known.delete(trace.name);
      button.setAttribute("aria-pressed", String(!hidden.has(trace.name)));
      const last = trace.y.length - 1;
      const percent = Math.abs(trace.y[last]).toFixed(2);
      const share = `${percent === "0.00" ? "" : trace.y[last] < 0 ? "\u2212" : "+"}${percent} %`;
      const dollars = trace.customdata[last].toLocaleString("en-US", { style: "currency", currency: "USD" });
      button.lastElementChild.textContent = unit === "usd" ? dollars : share;
    });
    for (const gone of known.values()) gone.remove();
  }

  function lineButton({ name, line }) {
    const button = document.createElement("button");
    const [mark, title, last] = ["i", "span", "span"].map((each) => document.createElement(each));
    Object.assign(button, { type: "button", id: `line-${name}` });
    button.dataset.line = title.textContent = name;
    mark.style.borderTop = `3px ${line.dash ? "dotted" : "solid"} ${line.color}`;
    last.className = "last";
    button.append(mark, title, last);
    return button;
  }

  function chosen(button) {
    const { range, unit: itsUnit, line } = button.dataset;
    if (range) [days, moved] = [range, null];
    if (itsUnit) unit = itsUnit;
    if (line !== undefined && !hidden.delete(line)) hidden.add(line);
    press();
    showLegend();
    SHARED.forEach(draw);
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("#floor :is([data-range], [data-unit], [data-line])");
    if (button) chosen(button);
  });

  window.floorCharts = {
    put(name, figure) {
      figures.set(name, figure);
      if (name === "equity") showLegend();
      draw(name);
    },
  };

  const began = performance.now();
  const waiting = setInterval(() => {
    if (window.Plotly && document.getElementById("live")) {
      clearInterval(waiting);
      for (const name of figures.keys()) draw(name);
    } else if (performance.now() - began > LIBRARY_MS) {
      clearInterval(waiting);
      for (const each of document.querySelectorAll("#floor .chart")) each.textContent = "The charts did not load: reload the page.";
    }
  }, 50);
})();
