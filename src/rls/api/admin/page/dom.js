// Builds and updates elements. Data only ever becomes text: nothing here parses HTML.

const FEWEST = 12;
const SVG = new Set(["svg", "path", "rect", "line", "title"]);

/** An element: attributes, `on…` handlers, and children: nodes, texts, or lists of them; null is left out. */
export function h(name, attributes = {}, ...children) {
  const found = SVG.has(name) ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value == null || value === false) continue;
    if (key.startsWith("on")) found[key] = value;
    else found.setAttribute(key, value === true ? "" : value);
  }
  found.append(...children.flat(9).filter((one) => one != null && one !== false));
  return found;
}

/** Make `children` those of `target`, changing only what differs: focus, selection and what was typed stay. */
export function show(target, ...children) {
  const next = target.cloneNode(false);
  next.append(...children.flat(9).filter((one) => one != null && one !== false));
  patch(target, next);
}

function patch(old, next) {
  const olds = [...old.childNodes];
  const news = [...next.childNodes];
  news.forEach((node, index) => {
    const was = olds[index];
    if (!was) old.append(node);
    else if (was.nodeName !== node.nodeName || was.id !== node.id) was.replaceWith(node);
    else if (node.nodeType === Node.TEXT_NODE) {
      if (was.data !== node.data) was.data = node.data;
    } else {
      attributes(was, node);
      patch(was, node);
    }
  });
  for (const rest of olds.slice(news.length)) rest.remove();
}

function attributes(was, node) {
  was.onclick = node.onclick;
  for (const { name } of [...was.attributes]) {
    if (!node.hasAttribute(name) && name !== "open") was.removeAttribute(name);
  }
  for (const { name, value } of node.attributes) {
    if (was.getAttribute(name) !== value) was.setAttribute(name, value);
  }
}

/** A table. A column is [title, cell of a row, "num" where it is a number]; the first one heads its row. */
export function table(caption, columns, rows, empty = "Nothing.") {
  if (!rows.length) return h("p", { class: "muted" }, empty);
  // With roles, since a phone shows rows as blocks, which are no table for every reader.
  const head = columns.map(([title, , kind]) => h("th", { scope: "col", role: "columnheader", class: kind }, title));
  const line = (row) =>
    columns.map(([title, cell, kind], index) =>
      index
        ? h("td", { role: "cell", class: kind, "data-label": title }, h("div", {}, cell(row)))
        : h("th", { scope: "row", role: "rowheader", class: kind }, cell(row)),
    );
  return h(
    "table",
    { role: "table" },
    h("caption", {}, caption),
    h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, head)),
    h("tbody", { role: "rowgroup" }, rows.map((row) => h("tr", { role: "row" }, line(row)))),
  );
}

/** A section with a heading. */
export const section = (title, ...children) => h("section", { class: "card" }, h("h2", {}, title), children);

/** Names and values, side by side. */
export const facts = (pairs) =>
  h("dl", {}, pairs.filter(([, value]) => value != null).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));

export const tag = (text, kind = "") => h("span", { class: `tag ${kind}` }, text);

const NUMBERS = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
export const whole = (number) => (number == null ? "–" : NUMBERS.format(number));

/** A rate, with as many digits as say something. */
export function rate(number) {
  if (number == null) return "–";
  if (number >= 100 || number === 0) return whole(number);
  return number < 0.1 ? "<0.1" : number.toFixed(1);
}

/** A number of things, each a *word*. */
export const several = (number, word) => `${whole(number)} ${word}${number === 1 ? "" : "s"}`;

const percent = (share) => (share == null ? "–" : `${whole(share * 100)} %`);

/** Seconds as people say them: 40 s, 5 min, 3 h, 2 d. */
export function lasting(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 120) return `${whole} s`;
  if (whole < 7200) return `${Math.round(whole / 60)} min`;
  return whole < 172800 ? `${Math.round(whole / 3600)} h` : `${Math.round(whole / 86400)} d`;
}

const two = (number) => String(number).padStart(2, "0");
export const clock = (date) => [date.getHours(), date.getMinutes(), date.getSeconds()].map(two).join(":");

/** How long ago `iso` was, with the time itself for whoever points at it. */
export function ago(iso) {
  if (!iso) return "–";
  const at = new Date(iso);
  return h("time", { datetime: iso, title: at.toLocaleString() }, `${lasting((Date.now() - at) / 1000)} ago`);
}

/** A time of day; with its date where it is not today's. */
export function when(iso) {
  const at = new Date(iso);
  const day = at.toDateString() === new Date().toDateString() ? "" : `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} `;
  return h("time", { datetime: iso, title: at.toLocaleString() }, day + clock(at));
}

/** Entries as one text, as the command line takes them. */
export const entriesText = (entries) => entries.map((one) => `${one.key}=${one.value}`.replaceAll(",", "\\,")).join(",");

/** An entry from `key=value`. */
export function entryOf(text) {
  const at = text.indexOf("=");
  return at < 0 ? { key: text, value: "" } : { key: text.slice(0, at), value: text.slice(at + 1) };
}

/** Entries from such a text, with blanks around them. */
export const entriesOf = (text) =>
  text.split(/(?<!\\),/).map((part) => part.trim().replaceAll("\\,", ",")).filter(Boolean).map(entryOf);

/** The address of a view. */
export const to = (view, parameters = {}) => `#/${view}?${new URLSearchParams(parameters)}`.replace(/\?$/, "");

/** A link to what a descriptor stands at. */
export function tenantLink(domain, entries) {
  const text = entriesText(entries);
  return h("a", { class: "mono", href: to("tenant", { domain, entries: text }) }, text || "(no entries)");
}

/** The end of a place: the file and the line, without the folders. */
export const fileOf = (place) => place.split("/").at(-1);

/** A rule, with its name and where it stands. */
export function ruleCell(row, link = true) {
  const name = row.rule || "(no rule)";
  const head = link && row.rule ? h("a", { class: "mono", href: to("rules", { domain: row.domain, rule: row.rule }) }, name) : h("span", { class: "mono" }, name);
  const more = [row.name && row.name !== row.rule ? row.name : "", fileOf(row.place)].filter(Boolean).join(" · ");
  return [head, more ? h("small", { title: row.place }, more) : null];
}

/** A share as a bar, beside its number; `warns` where a high one is bad news. */
export function meter(share, warns = true) {
  if (share == null) return "–";
  const width = Math.min(100, share * 100);
  const kind = !warns ? "" : share >= 1 ? "bad" : share >= 0.8 ? "warn" : "";
  return h(
    "span",
    { class: "meter" },
    h("svg", { viewBox: "0 0 100 6", preserveAspectRatio: "none", "aria-hidden": "true", class: kind }, h("rect", { class: "back", width: 100, height: 6 }), h("rect", { class: "fill", width: width.toFixed(1), height: 6 })),
    h("span", {}, percent(share)),
  );
}

/** What was measured over time, as a line over an area; it ends at the right. */
export function sparkline(values, label, kind = "") {
  const most = Math.max(...values, 0) || 1;
  const slots = Math.max(values.length, FEWEST);
  const step = 300 / (slots - 1);
  const first = slots - values.length;
  const points = values.map((value, index) => `${((first + index) * step).toFixed(1)} ${(46 - (value / most) * 42).toFixed(1)}`);
  const line = points.length ? `M${points.join("L")}` : "";
  return h(
    "svg",
    { viewBox: "0 0 300 48", preserveAspectRatio: "none", role: "img", "aria-label": label, class: `spark ${kind}` },
    h("title", {}, label),
    h("path", { class: "area", d: line && `${line}L300 48L${(first * step).toFixed(1)} 48Z` }),
    h("path", { class: "line", d: line }),
  );
}

/** A command, and a button that copies it. */
export function command(text) {
  const copy = async (event) => {
    await navigator.clipboard?.writeText(text);
    event.target.textContent = "Copied";
  };
  return h("div", { class: "command" }, h("code", {}, text), h("button", { type: "button", class: "quiet", onclick: copy, "aria-label": `Copy: ${text}` }, "Copy"));
}
