// Numbers as the server writes them, and table rows without any markup from outside.
export function money(value) {
  if (value === null || !Number.isFinite(value)) return "–";
  const sign = value < 0 ? "−" : "", size = Math.abs(value);
  if (size === 0) return "$0";
  if (size >= 1) return sign + size.toLocaleString("en", {style: "currency", currency: "USD", maximumFractionDigits: size >= 1000 ? 0 : 2, minimumFractionDigits: size >= 1000 ? 0 : 2});
  return `${sign}$${size.toFixed(Math.min(2 - Math.floor(Math.log10(size)), 10))}`;
}
export const percent = (value) => (value === null || !Number.isFinite(value) ? "–" : `${(100 * value).toFixed(1)}\u00a0%`);
export const score = (value) => (value === null || value === undefined ? "–" : value.toFixed(3));

// A row: the first text is its heading, the others are cells; with a share, a bar comes last.
export function row(texts, share = null, words = []) {
  const line = document.createElement("tr");
  texts.forEach((text, place) => {
    const cell = document.createElement(place ? "td" : "th");
    if (!place) cell.scope = "row";
    if (!place || words.includes(place)) cell.className = "word";
    cell.textContent = text;
    line.append(cell);
  });
  if (share !== null) {
    const space = "http://www.w3.org/2000/svg";
    const bar = document.createElementNS(space, "svg"), part = document.createElementNS(space, "rect");
    for (const [name, value] of [["class", "share"], ["viewBox", "0 0 100 8"], ["preserveAspectRatio", "none"], ["aria-hidden", "true"]]) bar.setAttribute(name, value);
    part.setAttribute("width", (100 * share).toFixed(1));
    part.setAttribute("height", "8");
    bar.append(part);
    const cell = document.createElement("td");
    cell.className = "word wide";
    cell.append(bar);
    line.append(cell);
  }
  return line;
}
