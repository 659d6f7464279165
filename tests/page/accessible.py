"""What a page must have for people with a keyboard, a screen reader, or weak eyes; found in the page itself."""

FAULTS = r"""
(() => {
  const faults = [];
  const seen = (one) => one.checkVisibility({ visibilityProperty: true }) && !one.closest('[aria-hidden="true"]');
  const all = (selector) => [...document.querySelectorAll(selector)].filter(seen);
  const named = (one) => (one.getAttribute("aria-label") ?? one.textContent).trim() || one.querySelector("img[alt]:not([alt=''])");
  const say = (what, one) => faults.push(`${what}: ${one.outerHTML.slice(0, 120)}`);

  if (!document.documentElement.lang) faults.push("no language");
  if (!document.title) faults.push("no title");
  for (const [landmark, number] of [["body > header", 1], ["nav[aria-label]", 1], ["main", 1]]) {
    if (all(landmark).length !== number) faults.push(`${all(landmark).length} times ${landmark}`);
  }
  const levels = all("main :is(h1, h2, h3, h4)").map((one) => Number(one.tagName[1]));
  if (levels.filter((level) => level === 1).length !== 1 || levels[0] !== 1) faults.push(`headings ${levels}`);
  levels.forEach((level, index) => {
    if (index && level > levels[index - 1] + 1) faults.push(`a heading is left out: ${levels}`);
  });
  for (const one of all("h1, h2, h3, button, a, th")) if (!named(one) && one.tagName !== "TH") say("no name", one);
  for (const one of all("input, textarea, select")) if (!one.labels?.length && !one.getAttribute("aria-label")) say("no label", one);
  for (const one of all("img:not([alt]), svg:not([role=img]):not([aria-hidden])")) say("no text instead", one);
  for (const one of all("svg[role=img]")) if (!one.getAttribute("aria-label")) say("no text instead", one);
  for (const one of all("table")) {
    if (!one.caption?.textContent) say("no caption", one);
    if (one.querySelector("thead th:not([scope=col]), tbody th:not([scope=row])")) say("no scope", one);
  }
  for (const one of all("[aria-describedby], [aria-labelledby]")) {
    const ids = `${one.getAttribute("aria-describedby") ?? ""} ${one.getAttribute("aria-labelledby") ?? ""}`.trim().split(/\s+/);
    if (ids.some((id) => !document.getElementById(id))) say("refers to nothing", one);
  }
  const ids = [...document.querySelectorAll("[id]")].map((one) => one.id);
  for (const id of new Set(ids)) if (ids.filter((one) => one === id).length > 1) faults.push(`the id ${id} twice`);

  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (color) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    const [red, green, blue, alpha] = canvas.getImageData(0, 0, 1, 1).data;
    return { parts: [red, green, blue], alpha: alpha / 255 };
  };
  const over = (top, below) => top.parts.map((part, index) => part * top.alpha + below[index] * (1 - top.alpha));
  const behind = (one) => {
    const layers = [];
    for (let at = one; at; at = at.parentElement) {
      const found = rgba(getComputedStyle(at).backgroundColor);
      layers.unshift(found);
      if (found.alpha === 1) break;
    }
    return layers.reduce((below, layer) => over(layer, below), [255, 255, 255]);
  };
  const light = (parts) => {
    const [red, green, blue] = parts.map((part) => part / 255).map((part) => (part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const contrast = (one, color) => {
    const below = behind(one);
    const [low, high] = [light(over(rgba(color), below)), light(below)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };
  let texts = 0;
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const one = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !seen(one) || one.closest("svg, option")) continue;
    texts += 1;
    const style = getComputedStyle(one);
    const isLarge = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && style.fontWeight >= 700);
    const found = contrast(one, style.color);
    if (found < (isLarge ? 3 : 4.5)) say(`contrast ${found.toFixed(2)}`, one);
  }
  if (!texts) faults.push("no text");
  for (const one of all("input, textarea")) {
    if (one.placeholder && contrast(one, getComputedStyle(one, "::placeholder").color) < 4.5) say("contrast of the placeholder", one);
    if (contrast(one.parentElement, getComputedStyle(one).borderTopColor) < 3) say("contrast of the border", one);
  }
  return [...new Set(faults)];
})()
"""
"""WCAG 2.2 AA, as far as a program sees it: names, labels, headings, landmarks, tables, ids, contrast."""

CONTROLS = """
[...document.querySelectorAll("a[href], button, input, textarea")]
  .filter((one) => one.checkVisibility({ visibilityProperty: true }) && !one.disabled)
  .map((one) => one.id || one.getAttribute("href") || one.textContent)
"""
FOCUSED = "(({activeElement: one}) => one.id || one.getAttribute('href') || one.textContent)(document)"
OUTLINE = """
(({activeElement: one}) => one.matches(":focus-visible") && getComputedStyle(one).outlineStyle !== "none")(document)
"""
