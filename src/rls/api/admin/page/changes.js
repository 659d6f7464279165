// Changes: what each load of rules changed. Overrides: which are in force.

import { get, remove } from "./api.js";
import { change } from "./change.js";
import { ago, entriesText, h, lasting, ruleCell, section, several, show, table, tag, tenantLink, when, whole } from "./dom.js";
import { eventList } from "./now.js";

const changeTable = (rows) =>
  table(
    "Rules that changed",
    [
      ["Rule", (row) => [ruleCell(row), row.warning ? h("small", { class: "bad" }, row.warning) : null]],
      ["Change", (row) => [tag(row.kind, row.kind === "removed" ? "bad" : row.kind === "added" ? "ok" : ""), row.stricter ? tag("stricter", "warn") : null]],
      ["Before", (row) => row.before ?? "–", "num"],
      ["After", (row) => row.after ?? "–", "num"],
    ],
    rows,
    "No rule changed.",
  );

const notes = (title, texts) => (texts.length ? [h("h4", {}, title), h("ul", {}, texts.map((text) => h("li", { class: "mono" }, text)))] : null);

function revision(load) {
  const counts = ["added", "changed", "removed", "stricter"].filter((name) => load[name]).map((name) => `${whole(load[name])} ${name}`);
  return h(
    "section",
    { class: "card" },
    h("h3", {}, h("span", { class: "mono" }, load.before ? `${load.before} → ${load.revision}` : load.revision)),
    h("p", { class: "muted" }, when(load.time), ", ", ago(load.time), `: ${several(load.rules, "rule")}`, counts.length ? `, ${counts.join(", ")}` : "", load.files.length ? `, from ${load.files.join(", ")}` : "", load.files_total > load.files.length ? ` and ${load.files_total - load.files.length} more files` : ""),
    load.errors_total ? h("div", { class: "banner bad" }, `${several(load.errors_total, "error")}: parts of the files are not in force.`, load.errors.map((text) => h("pre", {}, text))) : null,
    notes("Overrides that began", load.overrides_began),
    notes("Overrides that ended", load.overrides_ended),
    load.changes.length ? changeTable(load.changes) : null,
    load.unlisted ? h("p", { class: "muted" }, `${whole(load.unlisted)} more rules changed.`) : null,
  );
}

export const changes = {
  title: "Changes",

  open(main) {
    const events = h("div");
    const revisions = h("div");
    main.append(section("Events", events), h("h2", {}, "Revisions of the rules"), revisions);
    return async () => {
      show(events, eventList((await get("/events", { limit: 50 })).events));
      const found = (await get("/revisions")).revisions;
      show(revisions, found.length ? found.map(revision) : h("p", { class: "muted" }, "No rules were loaded."));
    };
  },
};

export const overrides = {
  title: "Overrides",

  open(main, _parameters, refresh) {
    const said = h("p", { class: "banner ok", role: "status", hidden: true });
    const about = h("p", { class: "muted" });
    const list = h("div");
    const end = (row) =>
      change({
        title: "End the override",
        about: h("p", {}, h("code", {}, entriesText(row.entries)), ` has ${row.limit} for another ${lasting(row.seconds_left)}. Then the rule's own limit holds again, on all servers.`),
        fields: [["reason", "Reason", { placeholder: "for the log" }]],
        verb: "End it",
        run: async (typed) => {
          const query = typed.reason ? `?${new URLSearchParams({ reason: typed.reason })}` : "";
          const found = await remove(`/overrides/${encodeURIComponent(row.id)}${query}`);
          return `Ended: ${entriesText(found.ended.entries)} has ${found.after} again.`;
        },
        done: (words) => {
          said.textContent = words;
          said.hidden = false;
          refresh();
        },
      });
    main.append(said, h("section", { class: "card" }, h("h2", {}, "In force"), list, about));
    return async () => {
      const found = await get("/overrides");
      show(
        list,
        table(
          "Limits that hold for a time",
          [
            ["Entries", (row) => tenantLink(row.domain, row.entries)],
            ["Domain", (row) => row.domain],
            ["Limit", (row) => row.limit, "num"],
            ["Ends in", (row) => lasting(row.seconds_left), "num"],
            ["By", (row) => row.author],
            ["Reason", (row) => row.reason],
            ["Change", (row) => h("button", { type: "button", class: "quiet", onclick: () => end(row), "aria-label": `End the override of ${entriesText(row.entries)}` }, "End…"), "num"],
          ],
          found.overrides,
          "None. To set one, look for a tenant.",
        ),
      );
      show(about, `At most ${whole(found.at_most)} at one time. `, found.error ? h("span", { class: "bad" }, `They cannot be read: ${found.error}`) : found.read ? ["Read from the store ", ago(found.read), "."] : null);
    };
  },
};
