// Rules: as a tree, with what happens to each; and one of them, with who hits it.

import { get } from "./api.js";
import { ago, command, entriesText, facts, h, meter, rate, ruleCell, section, several, show, table, tag, tenantLink, to, whole } from "./dom.js";

const PAGE = 100;

/** By rule, hits per second since they were last looked at. */
class Rates {
  #last = new Map();

  of(row) {
    const key = `${row.domain}|${row.rule}`;
    const now = performance.now();
    const last = this.#last.get(key);
    if (!last || now - last.at > 1500) {
      const found = last ? (Math.max(0, row.hits - last.hits) * 1000) / (now - last.at) : null;
      this.#last.set(key, { hits: row.hits, at: now, rate: found });
    }
    return this.#last.get(key).rate;
  }
}

/** Rows with their depth: a rule lies below the last one whose path begins its own. */
function tree(rows) {
  const above = [];
  return rows.map((row) => {
    while (above.length && !(row.domain === above.at(-1).domain && row.rule.startsWith(`${above.at(-1).rule}.`))) above.pop();
    const depth = Math.min(above.length, 5);
    above.push(row);
    return { ...row, depth };
  });
}

const tags = (row) => [
  row.shadow_mode ? tag("shadow", "warn") : null,
  row.quota_mode ? tag("quota") : null,
  row.replaces.length ? tag(`replaces ${row.replaces.join(", ")}`) : null,
  row.overrides.length ? tag(several(row.overrides.length, "override"), "warn") : null,
];

function ruleTable(domain, rows, rates) {
  return table(
    domain,
    [
      ["Rule", (row) => h("div", { class: `depth${row.depth}` }, ruleCell(row), tags(row))],
      ["Limit", (row) => row.limit, "num"],
      ["Hits/s", (row) => rate(rates.of(row)), "num"],
      ["Utilization", (row) => meter(row.utilization), "num"],
      ["Refused", (row) => whole(row.shadow_mode ? row.shadow.hits : row.refused.hits), "num"],
      ["Last", (row) => ago(row.shadow_mode ? row.shadow.last : row.refused.last), "num"],
    ],
    rows,
  );
}

function byDomain(rows, rates) {
  const domains = Map.groupBy ? Map.groupBy(rows, (row) => row.domain) : new Map([...new Set(rows.map((row) => row.domain))].map((name) => [name, rows.filter((row) => row.domain === name)]));
  return [...domains].map(([name, some]) => h("div", { class: "card" }, h("h2", { class: "mono" }, name), ruleTable(`Rules of ${name}`, tree(some), rates)));
}

function unknownRows(unknown) {
  const rows = [
    ...unknown.domains.map((one) => ({ ...one, what: "domain without rules" })),
    ...unknown.descriptors.map((one) => ({ ...one, what: "no rule matches" })),
  ];
  const explain = (row) => to("explain", { domain: row.domain, descriptor: entriesText(row.last_entries) });
  const name = (row) => (row.keys ? h("a", { class: "mono", href: explain(row) }, row.keys.join(", ")) : h("span", { class: "mono" }, row.domain));
  return table(
    "Names in requests that the rules do not know",
    [["Keys or domain", name], ["Domain", (row) => row.domain], ["Why", (row) => row.what], ["Requests", (row) => whole(row.requests), "num"], ["Last", (row) => ago(row.last), "num"]],
    rows,
    "Every request had a rule.",
  );
}

function list(main, parameters) {
  const offset = Number(parameters.get("offset") ?? 0) || 0;
  const field = h("input", { id: "filter", type: "search", placeholder: "part of a domain, path or name", autocomplete: "off" });
  field.value = parameters.get("filter") ?? "";
  const open = (event) => {
    event.preventDefault();
    location.hash = to("rules", field.value ? { filter: field.value } : {});
  };
  const found = h("div");
  const pages = h("p", { class: "pages", "aria-live": "polite" });
  const unknown = h("div");
  main.append(
    h("form", { class: "search", role: "search", onsubmit: open }, h("label", { for: "filter" }, "Filter"), field, h("button", { type: "submit" }, "Filter")),
    found,
    pages,
    section("Requests without a rule", unknown),
  );
  const rates = new Rates();
  const turn = (text, at) => h("a", { href: to("rules", { filter: field.value, offset: at }) }, text);
  return async () => {
    const page = await get("/rules", { contains: parameters.get("filter") ?? "", limit: PAGE, offset });
    show(found, page.total ? byDomain(page.rules, rates) : h("p", { class: "muted" }, "No rule is like that."));
    const last = Math.min(page.total, offset + PAGE);
    show(pages, `${whole(Math.min(offset + 1, last))} to ${whole(last)} of ${whole(page.total)} `, offset ? turn("Back", Math.max(0, offset - PAGE)) : null, " ", last < page.total ? turn("Next", offset + PAGE) : null);
    show(unknown, unknownRows(await get("/unknown")));
  };
}

const topTable = (title, rows, word) =>
  table(title, [["Entries", (row) => tenantLink(row.domain, row.entries)], [word, (row) => whole(row.count), "num"], ["Per second", (row) => rate(row.per_second), "num"], ["Share", (row) => meter(row.share_of_rule, false), "num"]], rows, "Nobody in the last minutes.");

const quoted = (text) => JSON.stringify(text);

function one(main, domain, path) {
  main.firstChild.textContent = "Rule";
  document.title = `${path} · rls`;
  const about = h("div");
  const refused = h("div");
  const hits = h("div");
  const labels = `domain=${quoted(domain)},rule=${quoted(path)}`;
  main.append(
    h("p", {}, h("a", { href: "#/rules" }, "All rules")),
    h("section", { class: "card" }, h("h2", { class: "mono" }, `${domain} · ${path}`), about),
    section("Who is refused", refused),
    section("Who hits it most", hits, h("p", { class: "muted" }, "Counted from when a counter of the rule was first near its limit.")),
    section("In Prometheus", command(`sum(rate(rls_over_limit_total{${labels}}[5m]))`), command(`max(rls_rule_utilization_ratio{${labels}})`)),
  );
  const rates = new Rates();
  return async () => {
    const row = (await get("/rules", { domain, name: path })).rules.find((found) => found.rule === path);
    if (!row) {
      show(about, h("p", { class: "muted" }, "No such rule is in force."));
      return;
    }
    show(
      about,
      facts([
        ["Limit", row.limit],
        ["Name", row.name || null],
        ["Place", row.place ? h("span", { class: "mono" }, row.place) : null],
        ["Hits per second", rate(rates.of(row))],
        ["Utilization", meter(row.utilization)],
        ["Refused", [whole(row.refused.hits), row.refused.last ? [", last ", ago(row.refused.last)] : null]],
        ["Would have been refused", row.shadow.hits ? [whole(row.shadow.hits), ", last ", ago(row.shadow.last)] : null],
        ["While the backend fails", row.on_backend_error],
        ["Also", tags(row).some(Boolean) ? tags(row) : null],
      ]),
    );
    const top = `/rules/${encodeURIComponent(domain)}/${encodeURIComponent(path)}/top`;
    show(refused, topTable("The entries that were refused most", (await get(top, { by: "refused" })).rows, "Refused"));
    show(hits, topTable("The entries with the most hits", (await get(top, { by: "hits" })).rows, "Hits"));
  };
}

export const rules = {
  title: "Rules",
  open: (main, parameters) => (parameters.has("rule") ? one(main, parameters.get("domain") ?? "", parameters.get("rule")) : list(main, parameters)),
};
