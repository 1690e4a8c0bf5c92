// Moves the operating point with alpha.
import {money, percent, row} from "./wording.js";

const place = document.getElementById("operating");
const figure = document.getElementById("frontier");
const slider = document.getElementById("alpha");
const points = JSON.parse(place.dataset.points);
const models = JSON.parse(place.dataset.models);
let view = null;

const spot = (point) => ({cost: point.cost, score: point.score, label: `alpha ${point.alpha.toFixed(2)}`});
async function show() {
  const point = points[Math.round(Number(slider.value) * (points.length - 1))];
  const set = (id, text) => { document.getElementById(id).textContent = text; };
  set("alpha-value", point.alpha.toFixed(2));
  set("name", `avengers-pro@${point.alpha.toFixed(2)}`);
  set("at-score", percent(point.score));
  set("at-range", `90 % interval ${percent(point.low)} to ${percent(point.high)}`);
  set("at-cost", money(point.cost));
  set("at-saved", point.saved);
  set("at-change", point.change);
  const shares = models.map((model, column) => [model, point.shares[column]]).filter(([, share]) => share > 0).sort((a, b) => b[1] - a[1]);
  document.getElementById("at-shares").replaceChildren(...shares.map(([model, share]) => row([model, percent(share)], share)));
  if (view) await view.data("chosen", [spot(point)]).runAsync();
}
async function redraw() {
  if (!figure) return;
  const point = points[Math.round(Number(slider.value) * (points.length - 1))];
  // On a narrow screen names would lie over each other: the table below has them, and each point says its own.
  const narrow = figure.clientWidth < 620;
  const named = (each) => (narrow ? {...each, short: "", under: ""} : each);
  view = await window.dashboard.draw(figure, {
    curve: points.map((each, order) => ({...spot(each), order})).filter((each) => each.cost > 0),
    models: JSON.parse(figure.dataset.singles).filter((each) => each.cost > 0 && each.score !== null).map(named),
    now: JSON.parse(figure.dataset.now).filter((each) => each.cost > 0 && each.score !== null).map((each) => (narrow ? {...each, short: each.brief} : each)),
    chosen: [spot(point)],
  });
}
slider.addEventListener("input", show);
document.addEventListener("repaint", redraw);
redraw();
