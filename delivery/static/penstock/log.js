// The pages of the log. Only live updates need it: search is a form, and pages are links.

document.addEventListener("DOMContentLoaded", () => {
  document.querySelectorAll("[data-log]").forEach((log) => {
    suggest(log.querySelector("[data-suggest]"));
    const rows = selectable(log);
    followLive(log, rows);
    goByKeys(log);
  });
  document.querySelectorAll("[data-trend]").forEach(markTime);
  document.querySelectorAll("details.log-menu").forEach(closeAgain);
  document.querySelectorAll("button[data-go]").forEach(goToButton);
  document.querySelectorAll("[data-copy-text]").forEach(copyTextOnClick);
  document.querySelectorAll("[data-diff]").forEach(hideWhatIsSame);
  document.querySelectorAll("button[data-raw]").forEach(showRawOnClick);
  document.querySelectorAll("[data-find]").forEach(findInWhatIsShown);
  document.querySelectorAll("a[data-opens]").forEach(openOnClick);
});

function copyTextOnClick(button) {
  button.addEventListener("click", async () => {
    const before = button.innerHTML;
    try {
      await navigator.clipboard.writeText(button.dataset.copyText);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Copying is blocked"; // without HTTPS there is no clipboard
    }
    setTimeout(() => (button.innerHTML = before), 2000);
  });
}

function hideWhatIsSame(section) {
  const only = section.querySelector("[data-diff-only]");
  const apply = () => section.classList.toggle("log-only", only.checked);
  only.addEventListener("change", apply);
  apply(); // the browser may have restored an earlier choice
}

function openOnClick(link) {
  link.addEventListener("click", () => {
    const part = document.querySelector(link.getAttribute("href"));
    if (part) part.open = true;
  });
}

// --- Raw JSON ----------------------------------------------------------------------------------------

function showRawOnClick(button) {
  const block = button.parentElement.querySelector("pre");
  const pretty = [...block.childNodes];
  button.addEventListener("click", () => {
    const isRaw = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(isRaw));
    block.replaceChildren(...(isRaw ? [button.dataset.raw] : pretty));
    document.querySelector("[data-find] input")?.dispatchEvent(new Event("input")); // its matches are gone
  });
}

// --- find text in the bodies and headers of a page --------------------------------------------------

const MOST_FOUND = 1000;

function findInWhatIsShown(bar) {
  const input = bar.querySelector("input");
  const said = bar.querySelector("[data-find-count]");
  const buttons = bar.querySelectorAll("[data-find-go]");
  const blocks = [...document.querySelectorAll("pre.ps-code")];
  let found = []; // ranges, from the top of the page to its end
  let here = -1;

  function find() {
    const text = input.value.trim();
    found = text ? blocks.flatMap((block) => rangesIn(block, text)).slice(0, MOST_FOUND) : [];
    here = -1;
    buttons.forEach((button) => (button.disabled = !found.length));
    found.length ? go(1) : show();
  }

  function show() {
    // Ranges, not wrapping elements, because a match may span several elements of the highlighted code.
    CSS.highlights?.set("log-found", new Highlight(...found));
    CSS.highlights?.set("log-here", new Highlight(...found.slice(here, here + 1)));
    const many = found.length === MOST_FOUND ? "+" : "";
    const none = input.value.trim() ? "None" : "";
    said.textContent = found.length ? `${here + 1} of ${found.length}${many}` : none;
  }

  function go(by) {
    if (!found.length) return;
    here = (here + by + found.length) % found.length;
    reveal(found[here]);
    show();
  }

  input.addEventListener("input", find);
  input.addEventListener("keydown", (event) => {
    const step = { Enter: event.shiftKey ? -1 : 1, ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) {
      event.preventDefault();
      go(step);
    } else if (event.key === "Escape") {
      input.value = "";
      find();
      input.blur();
    }
  });
  buttons.forEach((button) => button.addEventListener("click", () => go(Number(button.dataset.findGo))));
  document.addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest("input, textarea, select")) return;
    event.preventDefault();
    input.select();
  });
  bar.hidden = !blocks.length;
  if (input.value) find(); // the browser may have restored earlier input
}

function rangesIn(block, text) {
  const walker = document.createTreeWalker(block, NodeFilter.SHOW_TEXT);
  const nodes = [];
  let whole = "";
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    nodes.push([whole.length, node]);
    whole += node.data;
  }
  const at = (place) => {
    const [start, node] = nodes.findLast(([start]) => start <= place);
    return [node, place - start];
  };
  const wanted = new RegExp(text.replace(/[.*+?^${}()|[\]\\/]/g, "\\$&"), "giu");
  const ranges = [];
  for (const { index, 0: { length } } of whole.matchAll(wanted)) {
    const range = document.createRange();
    range.setStart(...at(index));
    const [last, end] = at(index + length - 1);
    range.setEnd(last, end + 1);
    ranges.push(range);
  }
  return ranges;
}

// Opens the details around an element, and scrolls its box and the page until it is visible.
function reveal(range) {
  const block = range.startContainer.parentElement.closest("pre");
  for (let part = block.closest("details"); part; part = part.parentElement.closest("details")) part.open = true;
  const middle = (box, height) => box.top - height / 2;
  const inBlock = range.getBoundingClientRect();
  block.scrollTop += middle({ top: inBlock.top - block.getBoundingClientRect().top }, block.clientHeight);
  const onPage = range.getBoundingClientRect();
  if (onPage.top < 96 || onPage.bottom > innerHeight - 16) scrollBy({ top: middle(onPage, innerHeight) });
}

// --- dragging over a part of the trend selects that time ---------------------------------------------

function markTime(trend) {
  const mark = trend.querySelector(".log-marked");
  const [first, end] = [new Date(trend.dataset.since), new Date(trend.dataset.until)];
  let from = null;

  const place = (event) => {
    const { left, width } = trend.getBoundingClientRect();
    return Math.min(Math.max((event.clientX - left) / width, 0), 1);
  };
  const at = (share) => new Date(+first + share * (end - first)).toISOString().slice(0, 19) + "Z";

  function draw(to) {
    mark.hidden = false;
    mark.style.left = `${100 * Math.min(from, to)}%`;
    mark.style.width = `${100 * Math.abs(to - from)}%`;
  }

  trend.addEventListener("pointerdown", (event) => {
    from = place(event);
    trend.setPointerCapture(event.pointerId);
  });
  trend.addEventListener("pointermove", (event) => from !== null && draw(place(event)));
  trend.addEventListener("pointercancel", () => {
    from = null;
    mark.hidden = true;
  });
  trend.addEventListener("pointerup", (event) => {
    const ends = [from, place(event)].sort((a, b) => a - b);
    from = null;
    mark.hidden = true;
    if (ends[1] - ends[0] < 0.01) return; // a click, not a drag
    const until = ends[1] > 0.99 ? "" : ` until:${at(ends[1])}`; // the right edge means now
    const q = `${trend.dataset.trend} since:${at(ends[0])}${until}`.trim();
    location.assign(`?${new URLSearchParams({ q })}`);
  });
}

// --- suggestions: keys first, then values of a key ------------------------------------------------

function suggest(box) {
  const input = box.querySelector("input");
  const list = box.querySelector("ul");
  const keys = JSON.parse(box.dataset.keys);
  let chosen = -1;
  let asked = 0;

  // The word at the cursor: where it begins, and its text up to the cursor.
  function word() {
    const before = input.value.slice(0, input.selectionStart);
    const start = before.match(/(?:[A-Za-z_-]+:)?(?:"[^"]*|\S*)$/).index;
    return { start, text: before.slice(start) };
  }

  async function offer() {
    const mine = ++asked;
    const { text } = word();
    const not = text.startsWith("-") ? "-" : "";
    const [, key, value] = text.match(/^-?([^:]*):?(.*)$/s);
    const options = text.includes(":") ? await valuesOf(not, key, value) : keysLike(not, key);
    if (mine === asked && document.activeElement === input) show(options);
  }

  function keysLike(not, text) {
    return keys
      .filter(({ key }) => key.startsWith(text.toLowerCase()))
      .map(({ key, help }) => ({ code: `${not}${key}:`, help, text: `${not}${key}:` }));
  }

  async function valuesOf(not, key, typed) {
    if (!keys.some((each) => each.key === key)) return [];
    const text = typed.replace(/^"/, "");
    const answer = await fetch(`${box.dataset.suggest}?${new URLSearchParams({ key, text })}`);
    const { values } = answer.ok ? await answer.json() : { values: [] };
    return values.map((value) => ({ code: value, help: key, text: `${not}${key}:${quoted(value)} ` }));
  }

  function quoted(value) {
    return /^[^\s"\\]+$/.test(value) ? value : `"${value.replace(/[\\"]/g, "\\$&")}"`;
  }

  // A chosen suggestion stays chosen when the list is updated, because a response may come later.
  function show(options) {
    const before = list.children[chosen]?.dataset.text;
    list.replaceChildren(...options.map(drawn));
    list.hidden = options.length === 0;
    input.setAttribute("aria-expanded", String(!list.hidden));
    choose(options.findIndex(({ text }) => text === before));
  }

  function choose(number) {
    list.children[chosen]?.setAttribute("aria-selected", "false");
    chosen = number;
    const item = list.children[chosen];
    if (!item) return input.removeAttribute("aria-activedescendant");
    item.setAttribute("aria-selected", "true");
    item.scrollIntoView({ block: "nearest" });
    input.setAttribute("aria-activedescendant", item.id);
  }

  function drawn({ code, help, text }, number) {
    const item = document.createElement("li");
    Object.assign(item, { id: `log-suggestion-${number}`, role: "option" });
    item.setAttribute("aria-selected", "false");
    item.append(Object.assign(document.createElement("code"), { textContent: code }));
    item.append(Object.assign(document.createElement("span"), { className: "ps-subtle", textContent: help }));
    item.dataset.text = text;
    item.addEventListener("pointerdown", (event) => {
      event.preventDefault(); // the input keeps the focus
      take(item);
    });
    return item;
  }

  function take(item) {
    const { start } = word();
    const rest = input.value.slice(input.selectionStart).replace(/^\s+/, "");
    const text = item.dataset.text;
    input.value = input.value.slice(0, start) + text + rest;
    input.setSelectionRange(start + text.length, start + text.length);
    text.endsWith(":") ? offer() : show([]);
  }

  function move(step) {
    const count = list.children.length;
    if (count) choose((chosen + step + count + (chosen < 0 && step < 0 ? 1 : 0)) % count);
  }

  input.addEventListener("input", () => {
    choose(-1); // Enter searches for the typed text
    offer();
  });
  input.addEventListener("focus", offer);
  input.addEventListener("blur", () => show([]));
  input.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      list.hidden ? offer() : move(event.key === "ArrowDown" ? 1 : -1);
    } else if ((event.key === "Enter" || event.key === "Tab") && chosen >= 0 && !list.hidden) {
      event.preventDefault();
      take(list.children[chosen]);
    } else if (event.key === "Escape" && !list.hidden) {
      event.preventDefault();
      show([]);
    }
  });
}

// --- selection ------------------------------------------------------------------------------------

function selectable(log) {
  const all = log.querySelector("[data-tick-all]");
  const bar = log.querySelector("[data-selected]");
  const ticks = () => [...log.querySelectorAll("[data-body] .log-tick input")];

  function count() {
    const number = ticks().filter((tick) => tick.checked).length;
    bar.hidden = number === 0;
    bar.querySelector("[data-selected-count]").textContent = `${number} selected`;
    if (all) {
      all.checked = number > 0 && number === ticks().length;
      all.indeterminate = number > 0 && !all.checked;
    }
  }

  function tickAll(checked) {
    ticks().forEach((tick) => (tick.checked = checked));
    count();
  }

  all?.addEventListener("change", () => tickAll(all.checked));
  bar.querySelector("[data-untick]").addEventListener("click", () => tickAll(false));
  log.addEventListener("change", (event) => event.target.closest("[data-body]") && count());
  addEventListener("pageshow", count); // the browser may have restored checked boxes
  return { count };
}

// --- live: polls the newest rows, and inserts new and changed ones ----------------------------------

const EVERY = 2000; // milliseconds
const SUM_EVERY = 5; // polls of the rows per poll of the summary, which costs more
const MOST_ROWS = 200;

function followLive(log, selection) {
  const button = log.querySelector("[data-live]");
  const news = log.querySelector("[data-news]");
  const body = log.querySelector("[data-body]");
  const said = log.querySelector("[data-said]");
  const sum = log.querySelector("[data-summary]");
  let waiting = []; // rows that arrived while the reader is further down
  let timer = 0;
  let looks = 0;

  let isPressed = false; // whether a button of the pointer is down

  const isOn = () => button.getAttribute("aria-pressed") === "true";

  async function look() {
    clearTimeout(timer);
    if (!isOn() || document.hidden) return;
    try {
      const answer = await fetch(log.dataset.rows + location.search, { redirect: "error" });
      const html = await answer.text();
      // Whatever moves between pressing and releasing the pointer loses the click.
      if (answer.ok && isOn() && !isPressed) put(parsed(html));
      button.title = answer.ok ? "" : `Loading the log failed: HTTP ${answer.status}`;
      if (++looks % SUM_EVERY === 0) await addUp();
    } catch {
      button.title = "Penstock is not reachable. Retrying…";
    }
    timer = setTimeout(look, EVERY);
  }

  async function addUp() {
    const answer = await fetch(sum.dataset.summary + location.search, { redirect: "error" });
    const html = await answer.text();
    const isUsed = isPressed || sum.contains(document.activeElement) || sum.querySelector(".log-marked:not([hidden])");
    if (!answer.ok || !isOn() || isUsed) return;
    sum.innerHTML = html;
    showTimes(sum);
    sum.querySelectorAll("[data-trend]").forEach(markTime);
  }

  function parsed(html) {
    const template = document.createElement("template");
    template.innerHTML = html;
    return [...template.content.querySelectorAll("tr")];
  }

  function put(rows) {
    const shown = new Map([...body.rows].map((row) => [row.dataset.id, row]));
    const held = new Set(waiting.map((row) => row.dataset.id));
    for (const row of rows) {
      const old = shown.get(row.dataset.id);
      if (old && old.dataset.version !== row.dataset.version) replace(old, row);
    }
    const fresh = rows.filter((row) => !shown.has(row.dataset.id) && !held.has(row.dataset.id) && isNewer(row));
    waiting = [...fresh, ...waiting];
    waiting.length && isReading() ? announce() : insert();
  }

  const isNewer = (row) => !body.rows.length || Number(row.dataset.id) > Number(body.rows[0].dataset.id) || body.rows.length < 50;
  const isReading = () => body.getBoundingClientRect().top < 0;

  function replace(old, row) {
    row.querySelector(".log-tick input").checked = old.querySelector(".log-tick input").checked;
    const hadFocus = old.contains(document.activeElement) && document.activeElement.className;
    showTimes(row);
    old.replaceWith(row);
    if (hadFocus) row.querySelector(`.${hadFocus}`)?.focus();
  }

  function announce() {
    news.hidden = false;
    news.textContent = `${waiting.length} new ↑`;
  }

  function insert() {
    news.hidden = true;
    if (!waiting.length) return;
    said.textContent = `${waiting.length} new`;
    for (const row of waiting.reverse()) {
      row.classList.add("is-new");
      showTimes(row);
      const after = [...body.rows].find((each) => Number(each.dataset.id) < Number(row.dataset.id));
      body.insertBefore(row, after ?? null);
    }
    waiting = [];
    while (body.rows.length > MOST_ROWS) body.rows[body.rows.length - 1].remove();
    selection.count();
  }

  button.addEventListener("click", () => {
    button.setAttribute("aria-pressed", String(!isOn()));
    const address = new URL(location);
    isOn() ? address.searchParams.set("live", "1") : address.searchParams.delete("live");
    if (isOn() && !body) return location.assign(address); // there is no table yet
    history.replaceState(null, "", address);
    look();
  });
  news.addEventListener("click", () => {
    scrollTo({ top: 0 });
    insert();
  });
  document.addEventListener("visibilitychange", look);
  // Moves count too: a release outside the window or over a menu is not reported.
  for (const name of ["pointerdown", "pointermove", "pointerup", "pointercancel"]) {
    addEventListener(name, (event) => (isPressed = event.buttons > 0));
  }
  look();
}

// --- keys: / focuses the search, j and k move, x selects, r focuses "Deliver again" ------------------------------

function goByKeys(log) {
  const input = log.querySelector("[role=combobox]");
  document.addEventListener("keydown", (event) => {
    const isTyping = event.target.closest("input:not([type=checkbox]), textarea, select, [contenteditable]");
    if (isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "/") {
      event.preventDefault();
      input.focus();
    } else if (event.key === "j" || event.key === "k") {
      step(log, event.key === "j" ? 1 : -1);
    } else if (event.key === "x") {
      document.activeElement.closest("tr")?.querySelector(".log-tick input")?.click();
    } else if (event.key === "r") {
      const tick = document.activeElement.closest("tr")?.querySelector(".log-tick input:not(:checked)");
      tick?.click();
      log.querySelector("[data-selected] [data-again]")?.focus(); // then Enter delivers again
    }
  });
}

// On a delivery's page, r focuses the button; nothing is sent until it is pressed.
function goToButton(button) {
  document.addEventListener("keydown", (event) => {
    if (event.key !== "r" || event.ctrlKey || event.metaKey || event.altKey) return;
    if (!event.target.closest("input, textarea, select")) button.focus();
  });
}

// A menu closes on Escape and on a click elsewhere.
function closeAgain(menu) {
  menu.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    menu.open = false;
    menu.querySelector("summary").focus();
  });
  document.addEventListener("pointerdown", (event) => {
    if (!menu.contains(event.target)) menu.open = false;
  });
}

function step(log, by) {
  const links = [...log.querySelectorAll(".log-open")];
  const now = links.findIndex((link) => link.closest("tr").contains(document.activeElement));
  links[now < 0 ? 0 : Math.min(Math.max(now + by, 0), links.length - 1)]?.focus();
}
