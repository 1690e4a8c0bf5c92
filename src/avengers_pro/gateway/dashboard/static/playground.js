// Asks for a decision whenever something changes; sends only when told to. All texts are set as text, never as markup.
import {money, row, score} from "./wording.js";

const form = document.getElementById("ask");
const element = (id) => document.getElementById(id);
let newest = 0;

function trial() {
  const most = element("max-cost").value;
  return {
    text: element("text").value, alpha: Number(element("alpha").value), max_cost: most === "" ? null : Number(most),
    exclude: [...form.querySelectorAll("[name=exclude]:checked")].map((box) => box.value),
  };
}
async function post(address) {
  const answer = await fetch(address, {
    method: "POST", headers: {"content-type": "application/json", "x-csrf-token": form.dataset.csrf}, body: JSON.stringify(trial()),
  });
  const found = await answer.json();
  if (!answer.ok) throw new Error(found.error?.message ?? `status ${answer.status}`);
  return found;
}
function complain(message) {
  element("problem").hidden = message === "";
  element("problem").textContent = message;
}
function show(found) {
  element("decision").hidden = false;
  const best = found.candidates.find((each) => each.model === found.model);
  element("chosen").textContent = best ? `${found.model}: expected score ${score(best.expected_score)} for ${money(best.expected_cost)}` : found.model;
  element("reason").textContent = found.reason ?? "";
  element("candidates").replaceChildren(...found.candidates.map((each) => row(
    [each.model, score(each.expected_score), `${score(each.interval[0])} to ${score(each.interval[1])}`, money(each.expected_cost), each.removed ?? (each.model === found.model ? "chosen" : "")], null, [4],
  )));
  element("stretches").replaceChildren(...(found.by_alpha ?? []).map((each) => row([`${each.from.toFixed(3)} to ${each.to.toFixed(3)}`, each.model ?? "none"], null, [1])));
  const near = found.nearest_clusters?.[0];
  element("near").textContent = near ? `Nearest kind of query: ${near.cluster}${near.examples.length ? `, such as “${near.examples[0]}”` : ""}. Decided in ${found.decision_ms.toFixed(2)} ms.` : "";
}
async function decide() {
  const number = ++newest;
  if (element("text").value.trim() === "") { complain("Type a query first."); return; }
  try {
    const found = await post("/dashboard/playground/decide");
    if (number !== newest) return;
    complain("");
    show(found);
  } catch (error) {
    if (number !== newest) return;
    element("decision").hidden = true;
    complain(error.message);
  }
}
let waiting = null;
function soon() {
  element("alpha-value").textContent = Number(element("alpha").value).toFixed(2);
  clearTimeout(waiting);
  waiting = setTimeout(decide, 250);
}
form.addEventListener("input", soon);
form.addEventListener("submit", (event) => { event.preventDefault(); decide(); });
element("send").addEventListener("click", async () => {
  const button = element("send");
  button.disabled = true;
  button.textContent = "Sending…";
  try {
    const found = await post("/dashboard/playground/send");
    complain("");
    element("answer").hidden = false;
    element("answer-text").textContent = found.text;
    element("answered").textContent = `${found.model} answered in ${(found.milliseconds / 1000).toFixed(1)} s; decision ${found.decision}`;
  } catch (error) {
    complain(error.message);
  }
  button.disabled = false;
  button.textContent = "Send";
});
decide();
