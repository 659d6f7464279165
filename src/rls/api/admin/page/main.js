// Which view is shown, and what all of them share: the state of the server, the token, and the beat of the updates.

import { get, hasToken, keepToken, listen, silence } from "./api.js";
import { clock, h, lasting, several, show, tag, to, when } from "./dom.js";
import { backend, shadow } from "./backend.js";
import { changes, overrides } from "./changes.js";
import { explain } from "./explain.js";
import { now } from "./now.js";
import { rules } from "./rules.js";
import { tenant } from "./tenant.js";

const VIEWS = { now, rules, tenant, explain, changes, overrides, backend, shadow };
const EVERY_MS = 2000;
const RUNBOOK = "https://github.com/you/istio-rate-limiter/blob/main/docs/operations.md#";
const part = (id) => document.getElementById(id);

let view = null;
let update = async () => {};
let beating = false;
let wanted = false;
let asked = false;
let timer = 0;
let stream = null;

function navigate() {
  const [name, query] = location.hash.replace(/^#\/?/, "").split("?", 2);
  const next = VIEWS[name] ? name : "now";
  const isFirst = view === null;
  view = next;
  const main = part("main");
  main.replaceChildren(h("h1", { tabindex: "-1" }, VIEWS[view].title));
  document.title = `${VIEWS[view].title} · rls`;
  const link = (key) => h("li", {}, h("a", { href: to(key), "aria-current": key === view ? "page" : null }, VIEWS[key].title));
  show(part("views"), Object.keys(VIEWS).map(link));
  update = VIEWS[view].open(main, new URLSearchParams(query ?? ""), beat);
  if (!isFirst) main.firstChild.focus();
  beat();
}

/** Ask for all that is shown, now, and again in a while. */
async function beat() {
  if (beating) {
    wanted = true;
    return;
  }
  beating = true;
  wanted = false;
  clearTimeout(timer);
  const mine = update;
  try {
    showState(await get("/status"));
    await mine();
    if (mine === update) complain("");
  } catch (error) {
    if (error.status === undefined) throw error;
    if (error.status && mine === update) complain(error.words);
    if (error.status === 401 && !hasToken() && !asked) {
      asked = true;
      askForToken();
    }
  } finally {
    beating = false;
    showSilence();
    if (wanted) beat();
    else if (!document.hidden) timer = setTimeout(beat, EVERY_MS);
  }
}

/** Say what is wrong with what was asked for; nothing where `text` is "". */
function complain(text) {
  let place = part("wrong");
  if (!text) place?.remove();
  else if (!place) part("main").firstChild.after(h("p", { id: "wrong", class: "banner bad", role: "alert" }, text));
  else if (place.textContent !== text) place.textContent = text;
}

function showSilence() {
  const since = silence();
  const banner = part("silent");
  banner.hidden = !since;
  document.body.classList.toggle("stale", Boolean(since));
  if (!since) return;
  const text = `The server has not answered since ${clock(since)}. What is shown is from before.`;
  if (banner.textContent !== text) banner.textContent = text;
}

const WORDS = { enforced: ["ok", "Limits are enforced"], degraded: ["warn", "Degraded"], off: ["bad", "Limits are off"] };

function showState(status) {
  const [kind, words] = WORDS[status.state] ?? ["bad", status.state];
  // Only what is new is read out, not how long it has lasted.
  const spoken = [words, ...status.reasons.map((one) => one.reason.replaceAll("_", " "))].join(", ");
  if (part("spoken").textContent !== spoken) part("spoken").textContent = spoken;
  part("pod").textContent = `${status.pod} · ${status.version}`;
  const down = status.nodes.filter((node) => !node.up).length;
  const nodes = status.nodes.length ? `${status.nodes.length - down} of ${status.nodes.length} nodes up` : status.backend.split(":")[0];
  const fact = (view, ...texts) => h("a", { href: to(view) }, texts);
  show(
    part("state"),
    h("p", { class: `state ${kind}` }, h("strong", {}, words), " since ", when(status.since), h("span", { class: "muted" }, `, ${lasting((Date.now() - new Date(status.since)) / 1000)}`), status.draining ? tag("draining", "warn") : null),
    h(
      "p",
      { class: "facts" },
      fact("rules", several(status.rules, "rule")),
      fact("changes", "revision ", h("span", { class: "mono" }, status.revision ?? "none")),
      status.errors ? h("a", { class: "bad", href: to("changes") }, `${several(status.errors, "error")} in files`) : null,
      fact("overrides", several(status.overrides.in_force, "override")),
      h("a", { class: down ? "bad" : null, href: to("backend") }, nodes),
    ),
    status.reasons.length
      ? h(
          "ul",
          { class: "reasons" },
          status.reasons.map((one) =>
            h("li", {}, h("strong", {}, one.reason.replaceAll("_", " ")), ` for ${lasting((Date.now() - new Date(one.since)) / 1000)}: ${one.text} `, h("a", { href: RUNBOOK + one.reason, rel: "noreferrer", target: "_blank", "aria-label": `What to do about ${one.reason}` }, "What to do")),
          ),
        )
      : null,
  );
}

function hear(kind, row) {
  if (kind === "status") showState(row);
  // Refusals may be many: they are seen with the next beat.
  else if (!kind.startsWith("refusal")) beat();
}

function follow() {
  stream?.abort();
  stream = null;
  if (document.hidden) return;
  stream = new AbortController();
  listen(hear, stream.signal);
  beat();
}

function showToken() {
  part("token").textContent = hasToken() ? "Changes allowed" : "Read-only";
}

/** Let a token be typed in. */
function askForToken() {
  const dialog = part("dialog");
  if (dialog.open) return;
  const field = h("input", { id: "token-field", type: "password", autocomplete: "off", spellcheck: "false" });
  const keep = (text) => {
    keepToken(text);
    dialog.close();
    showToken();
    follow();
  };
  const form = h(
    "form",
    { onsubmit: (event) => (event.preventDefault(), keep(field.value)) },
    h("h2", { id: "dialog-title" }, "Token"),
    h("p", {}, "A token of ", h("code", {}, "--admin-token-file"), " allows changes: overrides, and resets of counters. It is kept until this page is closed, and nowhere else."),
    h("label", { for: "token-field" }, "Token"),
    field,
    h("p", { class: "buttons" }, h("button", { type: "submit" }, "Use it"), hasToken() ? h("button", { type: "button", class: "quiet", onclick: () => keep("") }, "Forget it") : null, h("button", { type: "button", class: "quiet", onclick: () => dialog.close() }, "Cancel")),
  );
  dialog.replaceChildren(form);
  dialog.showModal();
}

part("token").onclick = askForToken;
part("skip").onclick = (event) => {
  event.preventDefault();
  part("main").focus();
};
document.addEventListener("visibilitychange", follow);
document.addEventListener("token", showToken);
addEventListener("hashchange", navigate);
showToken();
navigate();
follow();
