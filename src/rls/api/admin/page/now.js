// Now: how much there is to decide, who is refused, and what changed.

import { get } from "./api.js";
import { ago, h, lasting, rate, ruleCell, section, show, sparkline, table, tag, tenantLink, when, whole } from "./dom.js";

const MOST_EVENTS = 8;
const KINDS = { reason_began: "bad", rules_rejected: "bad", reason_ended: "ok", override_set: "warn", override_began: "warn" };

/** The last events, the newest first. */
export function eventList(events) {
  if (!events.length) return h("p", { class: "muted" }, "Nothing since the server started.");
  return h(
    "ul",
    { class: "events" },
    events.map((one) =>
      h("li", {}, when(one.time), tag(one.kind.replaceAll("_", " "), KINDS[one.kind]), h("span", {}, [one.reason?.replaceAll("_", " "), one.text].filter(Boolean).join(": "))),
    ),
  );
}

function figure(title, live, unit, values, kind, seconds) {
  const number = rate(live);
  const most = Math.max(...values, live ?? 0);
  const span = lasting(values.length * seconds);
  const label = `${title} in the last ${span}: ${number} ${unit} now, at most ${rate(most)}`;
  return h("div", { class: "card figure" }, h("h2", {}, title), h("p", {}, h("strong", {}, number), ` ${unit}`), sparkline(values, label, kind), h("small", {}, `highest in ${span}: ${rate(most)}`));
}

function figures(traffic, last) {
  const seconds = last ? (traffic.read - last.read) / 1000 : 0;
  const live = (name, values) => (seconds > 0.5 ? Math.max(0, traffic[name] - last[name]) / seconds : values.at(-1));
  const p99 = traffic.p99_seconds.map((one) => one * 1000);
  return [
    figure("Checks", live("requests", traffic.checks_per_second), "per second", traffic.checks_per_second, "", traffic.seconds),
    figure("Refused", live("refused", traffic.refused_per_second), "per second", traffic.refused_per_second, "bad", traffic.seconds),
    figure("Time of a check", p99.at(-1), "ms (p99)", p99, "quiet", traffic.seconds),
  ];
}

function refusedRows(top) {
  return table(
    "The entries that were refused most in the last minutes",
    [
      ["Entries", (row) => tenantLink(row.domain, row.entries)],
      ["Rule", (row) => ruleCell(row)],
      ["Limit", (row) => row.limit ?? "–", "num"],
      ["Refused", (row) => whole(row.count), "num"],
      ["Per second", (row) => rate(row.per_second), "num"],
      ["Since", (row) => ago(row.over_since), "num"],
    ],
    top.rows,
    "Nobody was refused in the last minutes.",
  );
}

export const now = {
  title: "Now",

  open(main) {
    const rates = h("div", { class: "figures" });
    const refused = h("div");
    const events = h("div");
    main.append(rates, section("Who is refused", refused), section("What changed", events, h("p", {}, h("a", { href: "#/changes" }, "All changes"))));
    let last = null;
    return async () => {
      const traffic = { ...(await get("/traffic")), read: performance.now() };
      show(rates, figures(traffic, last));
      if (!last || traffic.read - last.read > 1500) last = traffic;
      show(refused, refusedRows(await get("/top", { by: "refused", limit: 10 })));
      show(events, eventList((await get("/events", { limit: MOST_EVENTS })).events));
    };
  },
};
