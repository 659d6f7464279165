// Explain: which rule applies to a request, and why no other does.

import { post } from "./api.js";
import { command, entriesOf, facts, fileOf, h, lasting, section, show, tag, to, whole } from "./dom.js";
import { domainField } from "./tenant.js";

const TAKEN = new Set(["taken", "request goes on"]);
const quoted = (word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`);
const pairs = (entries) => entries.map((one) => `${one.key}=${one.value}`);

function verdict(found) {
  if (found.code === null) return h("p", { class: "verdict bad" }, tag("no answer from the store", "bad"), found.backend_error);
  const words = found.code === "OK" ? ["ok", "OK"] : ["bad", "OVER LIMIT"];
  const rule = found.rule ? ["by ", h("a", { class: "mono", href: to("rules", { domain: found.domain, rule: found.rule }) }, found.rule), `, ${found.limit ?? "no limit"}`] : found.known ? "no rule applies" : "the domain has no rules";
  return h("p", { class: "verdict" }, tag(words[1], words[0]), h("span", {}, rule));
}

const step = (one) => {
  const taken = TAKEN.has(one.verdict);
  return h(
    "li",
    { class: `depth${Math.min(one.level - 1, 5)} ${taken ? "taken" : ""}` },
    h("span", { class: taken ? "mark ok" : "mark", role: "img", "aria-label": taken ? "matches" : "does not match" }, taken ? "✓" : "✗"),
    h("span", {}, h("span", { class: "mono" }, one.entry), one.limit ? h("span", { class: "muted" }, ` ${one.limit}`) : null, h("small", { title: one.place }, [one.verdict, one.why, fileOf(one.place)].filter(Boolean).join(" · "))),
  );
};

function descriptor(found, index) {
  return section(
    pairs(found.entries).join(", ") || `Descriptor ${index + 1}`,
    facts([
      ["Rule", found.rule ? h("span", { class: "mono" }, found.rule) : "none"],
      ["Place", found.place ? h("span", { class: "mono", title: found.place }, fileOf(found.place)) : null],
      ["Limit", found.override ? [found.limit, " ", h("a", { href: to("overrides") }, tag("override", "warn"))] : found.limit],
      ["Count", found.count == null ? null : whole(found.count)],
      ["Would remain", found.limit_remaining == null ? null : whole(found.limit_remaining)],
      ["Resets in", found.duration_until_reset == null ? null : lasting(found.duration_until_reset)],
      ["Node", found.node],
      ["Answer", found.code],
      ["Key of the counter", found.counter_key ? h("span", { class: "mono" }, found.counter_key) : null],
    ]),
    found.reasons.length ? h("ul", {}, found.reasons.map((reason) => h("li", {}, reason))) : null,
    h("h3", {}, "The way through the rules"),
    h("ol", { class: "walk" }, found.considered.map(step)),
    found.unlisted ? h("p", { class: "muted" }, `${whole(found.unlisted)} more were considered.`) : null,
    found.end ? h("p", { class: "muted" }, found.end.why) : null,
  );
}

function commands(domain, descriptors) {
  const [first, ...rest] = descriptors;
  const words = [...pairs(first).map(quoted), ...rest.map((one) => `--descriptor ${quoted(pairs(one).map((text) => text.replaceAll(",", "\\,")).join(","))}`)].join(" ");
  const body = JSON.stringify({ domain, descriptors: descriptors.map((entries) => ({ entries })) });
  return section(
    "The same on the command line",
    command(`rls explain --admin ${location.host} --domain ${quoted(domain)} ${words}`),
    command(`rls call 127.0.0.1:8081 --domain ${quoted(domain)} ${words}`),
    command(`curl -s ${location.origin}/api/v1/explain --json '${body.replaceAll("'", "'\\''")}'`),
  );
}

export const explain = {
  title: "Explain",

  open(main, parameters) {
    const domain = parameters.get("domain") ?? "";
    const lines = parameters.getAll("descriptor");
    const domains = domainField("domain", domain);
    const field = h("textarea", { id: "descriptors", rows: 3, placeholder: "company_id=acme,path=/checkout", spellcheck: "false", required: true, "aria-describedby": "descriptors-help" });
    field.value = lines.join("\n");
    const found = h("div", { id: "explanation", "aria-live": "polite" });
    const ask = async () => {
      const texts = field.value.split("\n").map((line) => line.trim()).filter(Boolean);
      const asked = texts.map(entriesOf);
      try {
        const said = await post("/explain", { domain: domains[1].value, descriptors: asked.map((entries) => ({ entries })) });
        show(found, verdict(said), said.descriptors.map(descriptor), commands(domains[1].value, asked));
      } catch (error) {
        if (error.status === undefined) throw error;
        show(found, h("p", { class: "banner bad" }, `The server refused: ${error.words}`));
      }
    };
    const open = (event) => {
      event.preventDefault();
      const query = new URLSearchParams({ domain: domains[1].value });
      for (const line of field.value.split("\n").map((one) => one.trim()).filter(Boolean)) query.append("descriptor", line);
      const next = `#/explain?${query}`;
      if (next === location.hash) ask();
      else location.hash = next;
    };
    main.append(
      h("p", { class: "muted" }, "What would a request be answered, and why? Nothing is counted."),
      h("form", { class: "search", onsubmit: open }, domains, h("label", { for: "descriptors" }, "Descriptors"), field, h("button", { type: "submit" }, "Explain"), h("small", { id: "descriptors-help", class: "wide" }, "One descriptor a line: its entries in their order, with commas between them.")),
      found,
    );
    if (domain && lines.length) ask();
    return async () => {};
  },
};
