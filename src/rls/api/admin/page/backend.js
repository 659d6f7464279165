// Backend: what counts, and what decided where it failed. Shadow: whom rules in shadow mode would refuse.

import { get } from "./api.js";
import { ago, facts, h, meter, ruleCell, section, show, table, tag, tenantLink, whole } from "./dom.js";

const ms = (seconds) => `${seconds * 1000} ms`;

function durationRows({ up_to_seconds: bounds, requests }) {
  const all = requests.reduce((sum, number) => sum + number, 0) || 1;
  return requests.map((number, index) => ({
    range: index < bounds.length ? `up to ${ms(bounds[index])}` : `above ${ms(bounds.at(-1))}`,
    number,
    share: number / all,
  }));
}

const KEPT = { sent: "Sent to it later", in_doubt: "In doubt: it may have counted them", lost: "Lost: it may have missed them" };

export const backend = {
  title: "Backend",

  open(main) {
    const about = h("div");
    const nodes = h("div");
    const policies = h("div");
    const kept = h("div");
    const durations = h("div");
    const stores = h("div");
    main.append(section("What counts", about, nodes), section("What decided while it failed", policies), section("Hits counted here meanwhile", kept), section("How long checks take", durations), section("Counters in this process", stores));
    return async () => {
      const found = await get("/backend");
      show(about, facts([["Backend", h("span", { class: "mono" }, found.backend)], ["Requests that it failed to count", whole(found.errors)]]));
      show(nodes, found.nodes.length ? table("Nodes of Redis", [["Node", (row) => h("span", { class: "mono" }, row.address)], ["State", (row) => (row.up ? tag("up", "ok") : tag("down", "bad"))]], found.nodes) : null);
      show(policies, table("Checks that a policy decided", [["Rule", (row) => ruleCell(row)], ["Domain", (row) => row.domain], ["Policy", (row) => row.policy], ["Checks", (row) => whole(row.checks), "num"]], found.policies, "None: every check was counted."));
      show(kept, facts(Object.entries(found.fallback_hits).map(([name, number]) => [KEPT[name] ?? name, whole(number)])));
      show(durations, table("Checks since the server started, by how long they took", [["Time", (row) => row.range], ["Checks", (row) => whole(row.number), "num"], ["Share", (row) => meter(row.share, false), "num"]], durationRows(found.durations)));
      show(stores, table("Counters that this process holds", [["Store", (row) => row.store.replaceAll("_", " ")], ["Counters", (row) => whole(row.counters), "num"], ["At most", (row) => whole(row.limit), "num"], ["Evicted", (row) => whole(row.evicted), "num"]], found.stores));
    };
  },
};

const shadowRule = (row) =>
  h(
    "section",
    { class: "card" },
    h("h2", { class: "mono" }, `${row.domain} · ${row.rule}`),
    facts([
      ["Limit", row.limit],
      ["Place", row.place ? h("span", { class: "mono" }, row.place) : null],
      ["Would have been refused", [whole(row.would_be_refused.hits), row.would_be_refused.last ? [", last ", ago(row.would_be_refused.last)] : null]],
      ["First", row.would_be_refused.first ? ago(row.would_be_refused.first) : null],
    ]),
    table("Whom it would refuse", [["Entries", (one) => tenantLink(row.domain, one.entries)], ["Hits", (one) => whole(one.count), "num"], ["Share", (one) => meter(one.share_of_rule, false), "num"], ["Over since", (one) => ago(one.over_since), "num"]], row.top, "Nobody so far."),
    row.shadow_mode ? h("p", { class: "muted" }, "To enforce it, remove ", h("code", {}, "shadow_mode: true"), row.place ? ` at ${row.place}.` : " from the rule.") : h("p", { class: "muted" }, "The server lets these hits pass, by --shadow-mode or a quota."),
  );

export const shadow = {
  title: "Shadow",

  open(main) {
    const found = h("div");
    main.append(found);
    return async () => {
      const page = await get("/shadow", { limit: 100 });
      show(found, page.rules.length ? page.rules.map(shadowRule) : h("p", { class: "muted" }, "No rule is in shadow mode."), page.total > page.rules.length ? h("p", { class: "muted" }, `${whole(page.total - page.rules.length)} more.`) : null);
    };
  },
};
