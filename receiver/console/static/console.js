// What the console does in the browser beyond htmx: times, charts, and the sign that a page is out of date.
"use strict";

const STALE_AFTER_MS = 5000;

// uPlot's forms of times on an axis, with 24 hours and days before months: from a distance between two labels on, in
// seconds, the form of a label, and what is added to one at which a year, a month or a day begins.
const TIME_LABELS = [
  [31536000, "{YYYY}", null, null, null, null, null, null, 1],
  [2419200, "{MMM}", "\n{YYYY}", null, null, null, null, null, 1],
  [86400, "{D} {MMM}", "\n{YYYY}", null, null, null, null, null, 1],
  [60, "{HH}:{mm}", "\n{D} {MMM} {YYYY}", null, "\n{D} {MMM}", null, null, null, 1],
  [1, "{HH}:{mm}:{ss}", "\n{D} {MMM} {YYYY}", null, "\n{D} {MMM}", null, null, null, 1],
];
const OPEN_AGAIN_AFTER_MS = 2000;
const PLOT_HEIGHT = 170;

const zone = {
  get local() { return localStorage.getItem("zone") === "local"; },
  toggle() { localStorage.setItem("zone", this.local ? "utc" : "local"); },
};

function pad(number) { return String(number).padStart(2, "0"); }

function exact(moment) {
  if (!zone.local) return moment.toISOString().slice(0, 19).replace("T", " ") + " UTC";
  const day = [moment.getFullYear(), pad(moment.getMonth() + 1), pad(moment.getDate())].join("-");
  return `${day} ${pad(moment.getHours())}:${pad(moment.getMinutes())}:${pad(moment.getSeconds())}`;
}

function relative(moment) {
  const seconds = (Date.now() - moment) / 1000;
  const size = Math.abs(seconds);
  const units = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  const [name, length] = units.find(([, each]) => size >= each) || units[3];
  if (size < 1) return "now";
  const text = `${Math.floor(size / length)} ${name}`;
  return seconds > 0 ? `${text} ago` : `in ${text}`;
}

function showTimes(root) {
  for (const element of root.querySelectorAll("time[datetime]")) element.textContent = exact(new Date(element.dateTime));
  for (const element of root.querySelectorAll(".ago")) element.textContent = relative(new Date(element.dataset.at));
}

function drawChart(element) {
  const chart = JSON.parse(element.dataset.chart);
  // A custom property keeps light-dark() as it is written; a real colour comes from an element that uses it.
  const probe = document.createElement("span");
  document.body.append(probe);
  const resolved = (name) => { probe.style.color = `var(${name})`; return getComputedStyle(probe).color; };
  const [soft, line] = [resolved("--soft"), resolved("--line")];
  const strokes = ["--charging", "--busy", "--available", "--broken"].map(resolved);
  probe.remove();
  const [first, last] = [chart.times[0], chart.times.at(-1)];
  const axis = { stroke: soft, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 } };
  const options = {
    width: element.clientWidth,
    height: PLOT_HEIGHT,  // the legend below takes what it needs
    tzDate: (seconds) => zone.local ? new Date(seconds * 1000) : uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
    scales: {
      // uPlot asks for a range of all values, and for what a pointer chose.
      x: { range: (_plot, low, high) => (low === first && high >= last ? chart.span : [low, high]) },
      y: { range: (_plot, low, high) => [Math.min(low ?? 0, 0), Math.max(high ?? 1, 1e-3) * 1.05] },
    },
    axes: [{ ...axis, values: TIME_LABELS }, { ...axis, size: 60 }],
    series: [
      { value: "{YYYY}-{MM}-{DD} {HH}:{mm}:{ss}" },
      ...chart.series.map((series, index) => ({
        label: series.name,
        stroke: strokes[index % strokes.length],
        width: 2,
        spanGaps: series.joined,
        paths: series.stepped ? uPlot.paths.stepped({ align: 1 }) : undefined,
        value: (_plot, value) => (value === null ? "–" : `${value.toLocaleString()} ${chart.unit}`),
      })),
    ],
  };
  element.replaceChildren();
  element.plot = new uPlot(options, [chart.times, ...chart.series.map((series) => series.values)], element);
}

function drawCharts(root) { root.querySelectorAll("[data-chart]").forEach(drawChart); }

// htmx opens a stream again that broke, but not one that could not be opened, as while the console restarts.
function openStreams() {
  for (const element of document.querySelectorAll("[data-live]")) {
    if (!element._htmx?.sse) htmx.ajax("GET", element.getAttribute("hx-sse:connect"), { source: element }).catch(() => {});
  }
}

let lastMessageAt = Date.now();

function watchFreshness() {
  if (!document.querySelector("[data-live]")) return;
  document.addEventListener("htmx:sse:after:message", () => { lastMessageAt = Date.now(); });
  document.addEventListener("missed", () => location.reload());
  document.addEventListener("visibilitychange", () => { lastMessageAt = Date.now(); });
  setInterval(() => {
    const stale = !document.hidden && Date.now() - lastMessageAt > STALE_AFTER_MS;
    document.documentElement.classList.toggle("stale", stale);
  }, 500);
  setInterval(openStreams, OPEN_AGAIN_AFTER_MS);
}

document.addEventListener("DOMContentLoaded", () => {
  showTimes(document);
  drawCharts(document);
  watchFreshness();
  setInterval(() => showTimes(document), 1000);
  document.addEventListener("htmx:after:swap", () => showTimes(document));
  addEventListener("resize", () => drawCharts(document));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawCharts(document));
  const button = document.querySelector("[data-zone]");
  if (button) {
    const label = () => { button.textContent = zone.local ? "Local time" : "UTC"; };
    button.hidden = false;
    label();
    button.addEventListener("click", () => { zone.toggle(); label(); showTimes(document); drawCharts(document); });
  }
  for (const form of document.querySelectorAll("form[data-submit]")) form.addEventListener("change", () => form.requestSubmit());
});
