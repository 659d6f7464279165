// Asks before something is changed, and shows what the server says.

import { hasToken, keepToken } from "./api.js";
import { h } from "./dom.js";

/**
 * Open a dialog that says what will change.
 *
 * `fields` are [name, label, attributes of an input]; `run` gets what was typed in by name, and returns a promise of what to
 * say when it is done. A refusal is shown in the dialog, which stays.
 */
export function change({ title, about, fields = [], verb, run, done }) {
  const dialog = document.getElementById("dialog");
  const said = h("p", { class: "said", role: "alert" });
  const inputs = fields.map(([name, label, more]) => [name, label, h("input", { id: `change-${name}`, autocomplete: "off", ...more })]);
  const token = h("input", { id: "change-token", type: "password", autocomplete: "off", spellcheck: "false" });
  const untrusted = h("div", { class: "row", hidden: hasToken() }, h("label", { for: "change-token" }, "Token"), token, h("small", {}, "The server refuses changes without a valid one."));
  const submit = h("button", { type: "submit" }, verb);
  const send = async (event) => {
    event.preventDefault();
    const typed = Object.fromEntries(inputs.map(([name, , input]) => [name, input.value.trim()]));
    if (token.value) keepToken(token.value);
    document.dispatchEvent(new Event("token"));
    submit.disabled = true;
    said.textContent = "";
    try {
      const text = await run(typed);
      dialog.close();
      done(text);
    } catch (error) {
      if (error.status === undefined) throw error;
      said.textContent = `${error.status ? "The server refused: " : ""}${error.words}`;
      if (error.status === 401) {
        keepToken("");
        document.dispatchEvent(new Event("token"));
        untrusted.hidden = false;
      }
    } finally {
      submit.disabled = false;
    }
  };
  const form = h(
    "form",
    { onsubmit: send },
    h("h2", { id: "dialog-title" }, title),
    about,
    inputs.map(([name, label, input]) => [h("label", { for: `change-${name}` }, label), input]),
    untrusted,
    said,
    h("p", { class: "buttons" }, submit, h("button", { type: "button", class: "quiet", onclick: () => dialog.close() }, "Cancel")),
  );
  dialog.replaceChildren(form);
  dialog.showModal();
}
