// Tenant: what the counters of a descriptor stand at, who was refused, and what can be done about it.

import { get, post } from "./api.js";
import { change } from "./change.js";
import { entriesOf, entriesText, entryOf, h, lasting, meter, rate, ruleCell, section, show, table, tag, tenantLink, to, when, whole } from "./dom.js";

const MOST = 20;

/** A field for a domain, with those that have rules to choose from. */
export function domainField(id, value) {
  const list = h("datalist", { id: `${id}-list` });
  const field = h("input", { id, list: `${id}-list`, autocomplete: "off", spellcheck: "false", required: true });
  field.value = value;
  const fill = async () => {
    const { rules } = await get("/rules", { limit: 500 });
    const names = [...new Set(rules.map((row) => row.domain))];
    show(list, names.map((name) => h("option", { value: name })));
    if (!field.value && names.length === 1) field.value = names[0];
  };
  fill().catch(() => null);
  return [h("label", { for: id }, "Domain"), field, list];
}

function counterTable(rows) {
  return table(
    "What its counters stand at",
    [
      ["Rule", (row) => [ruleCell(row), row.shadow_mode ? tag("shadow", "warn") : null, row.override ? tag("override", "warn") : null]],
      ["Limit", (row) => row.limit, "num"],
      ["Count", (row) => whole(row.count), "num"],
      ["Used", (row) => meter(row.requests_per_unit ? row.count / row.requests_per_unit : null), "num"],
      ["Remaining", (row) => whole(row.limit_remaining), "num"],
      ["Resets in", (row) => lasting(row.duration_until_reset), "num"],
      ["Next hit", (row) => (row.code === "OK" ? tag("passes", "ok") : tag("is refused", "bad")), "num"],
    ],
    rows,
    "No rule limits these entries, as they are. Explain says why.",
  );
}

const refusalTable = (rows) =>
  table(
    "Its last refusals",
    [
      ["Time", (row) => when(row.time)],
      ["Entries", (row) => h("span", { class: "mono" }, entriesText(row.entries))],
      ["Rule", (row) => ruleCell(row)],
      ["Count", (row) => whole(row.count), "num"],
      ["Limit", (row) => whole(row.requests_per_window), "num"],
      ["Decided by", (row) => row.policy ?? row.answered_by, "num"],
    ],
    rows,
    "None among the last 1,000 refusals.",
  );

const alsoTable = (rows) =>
  table(
    "Descriptors that have the first entry",
    [["Entries", (row) => tenantLink(row.domain, row.entries)], ["Rule", (row) => ruleCell(row)], ["Limit", (row) => row.limit ?? "–", "num"], ["Hits", (row) => whole(row.count), "num"], ["Per second", (row) => rate(row.per_second), "num"]],
    rows,
    "None near a limit in the last minutes.",
  );

function ask(domain, entries, say) {
  const text = entriesText(entries);
  const who = h("p", {}, h("code", {}, text), " in the domain ", h("code", {}, domain));
  const override = () =>
    change({
      title: "Override the limit",
      about: [who, h("p", { class: "muted" }, "All servers that count in the same store have it within two seconds. It ends by itself.")],
      fields: [
        ["limit", "Limit", { required: true, placeholder: "500/minute" }],
        ["for", "For how long", { required: true, placeholder: "2h", value: "2h" }],
        ["reason", "Reason", { required: true, placeholder: "a ticket, or why" }],
      ],
      verb: "Set override",
      run: async (typed) => {
        const found = await post("/overrides", { domain, entries, limit: typed.limit, for: typed.for, reason: typed.reason });
        return `Override set: ${found.before} → ${found.override.limit}, for ${lasting(found.override.seconds_left)}.`;
      },
      done: say,
    });
  const reset = () =>
    change({
      title: "Reset the counters",
      about: [who.cloneNode(true), h("p", {}, "Its counters begin at 0 again, on all servers. Its hits so far are forgotten.")],
      fields: [["reason", "Reason", { placeholder: "for the log" }]],
      verb: "Reset",
      run: async (typed) => {
        const found = await post("/counters/reset", { domain, entries, reason: typed.reason });
        return `Reset: ${found.counters.map((one) => `${one.rule} ${one.before} → ${one.count}`).join(", ")}.`;
      },
      done: say,
    });
  return h("p", { class: "buttons" }, h("button", { type: "button", onclick: override }, "Override for…"), h("button", { type: "button", class: "quiet", onclick: reset }, "Reset counter…"), h("a", { href: to("explain", { domain, descriptor: text }) }, "Explain"));
}

export const tenant = {
  title: "Tenant",

  open(main, parameters, refresh) {
    const domain = parameters.get("domain") ?? "";
    const text = parameters.get("entries") ?? entriesText(parameters.getAll("entry").map(entryOf));
    const entries = entriesOf(text);
    const field = h("input", { id: "entries", placeholder: "company_id=acme", autocomplete: "off", spellcheck: "false", required: true, "aria-describedby": "entries-help" });
    field.value = text;
    const domains = domainField("domain", domain);
    const open = (event) => {
      event.preventDefault();
      location.hash = to("tenant", { domain: domains[1].value, entries: field.value });
    };
    main.append(
      h("form", { class: "search", role: "search", onsubmit: open }, domains, h("label", { for: "entries" }, "Entries"), field, h("button", { type: "submit" }, "Show"), h("small", { id: "entries-help", class: "wide" }, "All entries of the descriptor in their order, with commas between them.")),
    );
    if (!domain || !entries.length) return async () => {};
    const said = h("p", { class: "banner ok", role: "status", hidden: true });
    const say = (words) => {
      said.textContent = words;
      said.hidden = false;
      refresh();
    };
    const counters = h("div");
    const refused = h("div");
    const also = h("div");
    main.append(said, h("section", { class: "card" }, h("h2", { class: "mono" }, text), counters, ask(domain, entries, say)), section("Refused lately", refused), section("Other limits it meets", also));
    const entry = entries.map((one) => `${one.key}=${one.value}`);
    return async () => {
      show(counters, counterTable((await get("/counters", { domain, entry })).counters));
      show(refused, refusalTable((await get("/refusals", { domain, entry, limit: MOST })).refusals));
      const rows = (await get("/top", { by: "hits", domain, entry: entry[0], limit: MOST })).rows;
      show(also, alsoTable(rows.filter((row) => entriesText(row.entries) !== entriesText(entries))));
    };
  },
};
