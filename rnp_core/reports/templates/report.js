// Replaces the still drawings by Plotly charts in the colours of the page; paper keeps the drawings.
(() => {
  const charts = JSON.parse(document.getElementById("chart-data").textContent);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const themed = (layout) => {
    const style = getComputedStyle(document.documentElement);
    const ink = style.getPropertyValue("--ink").trim();
    const page = style.getPropertyValue("--page").trim();
    const axis = { gridcolor: style.getPropertyValue("--line").trim(), linecolor: ink };
    return {
      ...layout,
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: "system-ui, sans-serif", size: 13, color: ink },
      xaxis: { ...layout.xaxis, ...axis },
      yaxis: { ...layout.yaxis, ...axis },
      annotations: layout.annotations.map((note) => ({ ...note, bgcolor: page })),
    };
  };
  const draw = () => {
    for (const place of document.querySelectorAll("[data-chart]")) {
      const { data, layout } = charts[place.dataset.chart];
      place.hidden = false;
      place.closest("figure").classList.add("drawn");
      Plotly.react(place, data, themed(layout), { displayModeBar: false, responsive: true });
    }
  };
  draw();
  dark.addEventListener("change", draw);
})();
