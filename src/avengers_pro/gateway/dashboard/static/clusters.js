// Draws the map, and opens a kind of query by click, by list, or by the address (#12).
import {money, row, score} from "./wording.js";

const kinds = JSON.parse(document.getElementById("kind").dataset.kinds);
const figure = document.getElementById("map");
const pick = document.getElementById("pick");

function open(number) {
  const kind = kinds.find((each) => each.cluster === number);
  if (!kind) return;
  const set = (id, text) => { document.getElementById(id).textContent = text; };
  pick.value = String(number);
  set("opened", `Kind ${number}`);
  set("kind-traffic", kind.traffic.toLocaleString("en"));
  set("kind-rows", Math.round(kind.rows).toLocaleString("en"));
  set("kind-model", kind.share === null ? kind.model : `${kind.model}, for ${Math.round(100 * kind.share)} % of its training queries`);
  const item = (text) => Object.assign(document.createElement("li"), {textContent: text});
  document.getElementById("kind-examples").replaceChildren(...(kind.examples.length ? kind.examples : ["none were kept"]).map(item));
  document.getElementById("kind-candidates").replaceChildren(...kind.candidates.map(([model, value, cost]) => row([model, score(value), money(cost)])));
}
pick.addEventListener("change", () => open(Number(pick.value)));
addEventListener("hashchange", () => open(Number(location.hash.slice(1))));
open(location.hash ? Number(location.hash.slice(1)) : Number(pick.value));

async function redraw() {
  if (!figure) return;
  const rows = kinds.map((kind) => ({...kind, example: (kind.examples[0] ?? "").slice(0, 90)})).sort((a, b) => b.size - a.size);
  const view = await window.dashboard.draw(figure, {clusters: rows});
  view?.addEventListener("click", (event, item) => { if (item?.datum && "cluster" in item.datum) open(item.datum.cluster); });
}
document.addEventListener("repaint", redraw);
redraw();
