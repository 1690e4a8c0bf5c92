// What every page does: theme, times in the viewer's zone, charts, and following the traffic.
const root = document.documentElement;
const dark = matchMedia("(prefers-color-scheme: dark)");

function remembered(name) {
  try { return localStorage.getItem(name); } catch { return null; }
}
function remember(name, value) {
  try { localStorage.setItem(name, value); } catch { /* it then holds for this page alone */ }
}

// Theme: what the system says, until the button says otherwise.
const isDark = () => (root.dataset.theme ?? (dark.matches ? "dark" : "light")) === "dark";
const themeButton = document.getElementById("theme");
function nameTheme() {
  themeButton.textContent = isDark() ? "Light theme" : "Dark theme";
}
themeButton.hidden = false;
themeButton.addEventListener("click", () => {
  root.dataset.theme = isDark() ? "light" : "dark";
  remember("theme", root.dataset.theme);
  repaint();
});
function repaint() {
  nameTheme();
  drawAll();
  document.dispatchEvent(new Event("repaint"));
}
dark.addEventListener("change", repaint);
nameTheme();

// Times come in UTC and are shown in the viewer's zone.
const forms = {
  full: new Intl.DateTimeFormat([], {dateStyle: "medium", timeStyle: "medium"}),
  short: new Intl.DateTimeFormat([], {month: "short", day: "numeric", hour: "2-digit", minute: "2-digit"}),
  second: new Intl.DateTimeFormat([], {month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit"}),
  clock: new Intl.DateTimeFormat([], {timeStyle: "medium"}),
};
function showTimes(within) {
  for (const time of within.querySelectorAll("time[datetime]")) {
    const moment = new Date(time.dateTime);
    time.textContent = (forms[time.dataset.form] ?? forms.full).format(moment);
    time.title = moment.toISOString();
  }
}

// Charts. The page has rows, models and colours; the specification has the rest.
// Both come when the first chart is drawn, so that no page waits for them.
let loading = null;
async function load() {
  const {vega, charts} = document.body.dataset;
  if (!vega) return null;
  const [answer] = await Promise.all([fetch(charts), import(vega)]);
  return answer.ok ? answer.json() : null;
}
const colour = (name) => getComputedStyle(root).getPropertyValue(`--${name}`).trim();
function look() {
  const text = {labelColor: colour("quiet"), titleColor: colour("quiet"), labelFontSize: 11, titleFontSize: 11, titleFontWeight: 500};
  return {
    background: null, font: getComputedStyle(document.body).fontFamily, padding: 4, view: {stroke: null},
    axis: {...text, domain: false, gridColor: colour("line"), tickColor: colour("line")},
    legend: {...text, labelColor: colour("ink")}, text: {color: colour("ink")},
  };
}
// Puts values in where the specification has a text that begins with $, or a list of nothing but such a text.
function filled(part, values) {
  if (typeof part === "string") return part in values ? values[part] : part;
  if (Array.isArray(part) && part.length === 1 && part[0] in values) return values[part[0]];
  if (Array.isArray(part)) return part.map((item) => filled(item, values));
  if (part && typeof part === "object") return Object.fromEntries(Object.entries(part).map(([key, item]) => [key, filled(item, values)]));
  return part;
}
const drawn = new WeakMap();
async function draw(figure, datasets) {
  loading ??= load().catch(() => null);
  const all = await loading;
  const specification = all?.[figure.dataset.chart];
  if (!specification || !window.vegaEmbed) return null;
  const models = JSON.parse(figure.dataset.models ?? "[]"); // pairs of a name and the name of its colour
  const values = {
    "$models": models.map(([name]) => name), "$colours": models.map(([, name]) => colour(name)), "$router": colour("router"), "$quiet": colour("quiet"), "$now": colour("now"), "$page": colour("page"),
  };
  const place = figure.querySelector(".chart");
  drawn.get(figure)?.finalize();
  // ast: expressions are interpreted, not compiled, so that the page may forbid eval.
  const made = await window.vegaEmbed(place, {...filled(specification, values), datasets}, {
    mode: "vega-lite", renderer: "svg", actions: false, ast: true, defaultStyle: false, config: look(),
    tooltip: {theme: "custom", disableDefaultStyle: true},
  });
  drawn.set(figure, made);
  return made.view;
}
function rowsOf(figure) {
  const step = Number(figure.dataset.step);
  const [since, until] = JSON.parse(figure.dataset.range);
  const [[model]] = [...JSON.parse(figure.dataset.models), ["no model"]];
  // Empty bars at both ends keep the axis as long as the range.
  const ends = [since, until - step].map((start) => ({start, model, requests: 0, cost: 0}));
  return [...JSON.parse(figure.dataset.rows), ...ends].map((row) => ({...row, end: row.start + step}));
}
async function drawAll() {
  for (const figure of document.querySelectorAll("figure[data-rows]")) await draw(figure, {rows: rowsOf(figure)});
}
// Scripts of single pages draw with this, and again when the theme changes.
window.dashboard = {draw};

// Following the traffic: the page is fetched again, and its parts that may change are put in place.
const pauseButton = document.getElementById("pause");
const EVERY = 5000;
let paused = remembered("paused") === "true";
function fresh(old, part) {
  const focused = old.contains(document.activeElement) ? document.activeElement : null;
  const open = [...old.querySelectorAll("details")].map((details) => details.open);
  const scrolled = [...old.querySelectorAll(".table")].map((table) => table.scrollLeft);
  const charts = new Map([...old.querySelectorAll("figure[data-rows]")].map((figure) => [figure.id, figure]));
  const changed = [];
  for (const figure of part.querySelectorAll("figure[data-rows]")) {
    const before = charts.get(figure.id);
    if (!before) { changed.push(figure.id); continue; }
    if (before.dataset.rows !== figure.dataset.rows) changed.push(figure.id);
    Object.assign(before.dataset, figure.dataset);
    figure.replaceWith(before);
  }
  old.replaceChildren(...part.childNodes);
  [...old.querySelectorAll("details")].forEach((details, place) => { details.open = open[place] ?? false; });
  [...old.querySelectorAll(".table")].forEach((table, place) => { table.scrollLeft = scrolled[place] ?? 0; });
  showTimes(old);
  if (focused) {
    const key = focused.id ? `#${CSS.escape(focused.id)}` : focused.getAttribute("href") ? `a[href="${CSS.escape(focused.getAttribute("href"))}"]` : focused.tagName.toLowerCase();
    old.querySelector(key)?.focus({preventScroll: true});
  }
  for (const id of changed) {
    const figure = document.getElementById(id);
    draw(figure, {rows: rowsOf(figure)});
  }
}
async function follow() {
  if (paused || document.hidden) return;
  const updated = document.getElementById("updated");
  try {
    const answer = await fetch(location.href, {redirect: "manual", credentials: "same-origin"});
    if (answer.type === "opaqueredirect") { location.reload(); return; }
    if (!answer.ok) throw new Error(String(answer.status));
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const old of document.querySelectorAll("[data-live]")) {
      const part = page.getElementById(old.id);
      if (part && old.dataset.seen !== part.innerHTML) {
        const seen = part.innerHTML;
        fresh(old, part);
        old.dataset.seen = seen;
      }
    }
    updated.textContent = `Live, ${forms.clock.format(new Date())}`;
  } catch {
    updated.textContent = "Not reached; trying again";
  }
}
function showPaused() {
  pauseButton.setAttribute("aria-pressed", String(paused));
  pauseButton.textContent = paused ? "Go on" : "Pause";
  document.getElementById("updated").textContent = paused ? "Paused" : "Live";
}
if (pauseButton) {
  document.getElementById("live").hidden = false;
  pauseButton.addEventListener("click", () => {
    paused = !paused;
    remember("paused", String(paused));
    showPaused();
    follow();
  });
  showPaused();
  setInterval(follow, EVERY);
}

showTimes(document);
drawAll();
