// The blueprint editor: actions as cards, each with a trigger and a mapping, and a preview of what
// they make of an event. The server validates the blueprint and renders the preview; see
// delivery/admin/installations/blueprints.py. The code editor is CodeMirror, built by `make editor`.

const QUIET_MS = 350; // pause in typing after which the server is asked

document.addEventListener("DOMContentLoaded", () => {
  const form = document.getElementById("blueprint");
  if (form) new Editor(form, JSON.parse(document.getElementById("blueprint-data").textContent));
});

class Editor {
  constructor(form, data) {
    this.form = form;
    this.data = data;
    this.list = document.getElementById("actions");
    this.otherwise = document.getElementById("otherwise");
    this.event = document.getElementById("event");
    this.cards = data.actions.map((action) => new Card(this, action));
    this.put();
    this.otherwise.value = data.otherwise;
    this.message = codeEditor({
      parent: document.getElementById("message"),
      label: "The message",
      text: EXAMPLE_MESSAGE,
      language: CodeMirror.json(),
      changed: () => this.changed(),
    });
    this.listen();
    this.before = this.text();
    this.dirty = data.changed;
    this.changed({ at: 0 });
  }

  listen() {
    const on = (id, what, act) => document.getElementById(id)?.addEventListener(what, act);
    on("add", "click", () => this.add(newAction(this.data.kinds)));
    on("otherwise", "change", () => this.changed());
    on("event", "change", () => this.changed({ at: 0 }));
    on("test", "click", () => this.sendTest());
    on("save", "click", () => this.askForSummary());
    on("not-yet", "click", () => document.getElementById("summary").close());
    this.form.addEventListener("submit", () => {
      this.form.elements.blueprint.value = this.text();
      this.leaving = true;
    });
    addEventListener("beforeunload", (event) => {
      if (this.dirty && !this.leaving) event.preventDefault();
    });
    addEventListener("keydown", (event) => {
      if (event.key === "s" && (event.ctrlKey || event.metaKey)) {
        event.preventDefault();
        if (!document.getElementById("save")?.disabled) this.askForSummary();
      }
    });
  }

  // The blueprint as JSON. Mappings are inserted as text, because JavaScript would round large
  // numbers in them.
  text() {
    const actions = this.cards.map((card) => card.text());
    return `{"version":1,"actions":[${actions.join(",")}],"otherwise":${JSON.stringify(this.otherwise.value)}}`;
  }

  // --- cards ---

  add(action, { at = this.cards.length } = {}) {
    const card = new Card(this, action);
    this.cards.splice(at, 0, card);
    this.put();
    card.part("name").focus();
    card.part("name").select();
    this.changed();
    return card;
  }

  move(card, by) {
    const from = this.cards.indexOf(card);
    const to = from + by;
    if (to < 0 || to >= this.cards.length) return;
    this.cards.splice(to, 0, ...this.cards.splice(from, 1));
    this.put();
    card.tool(by < 0 ? "up" : "down").focus();
    this.changed();
  }

  remove(card) {
    const at = this.cards.indexOf(card);
    this.cards.splice(at, 1);
    this.put();
    this.changed();
    const undo = document.getElementById("undo");
    undo.hidden = false;
    undo.firstElementChild.textContent = `“${card.part("name").value}” removed.`;
    undo.lastElementChild.onclick = () => {
      undo.hidden = true;
      this.cards.splice(at, 0, card);
      this.put();
      this.changed();
      card.part("name").focus();
    };
    undo.lastElementChild.focus();
  }

  put() {
    this.list.replaceChildren(...this.cards.map((card) => card.element));
    this.cards.forEach((card, at) => {
      card.tool("up").disabled = at === 0;
      card.tool("down").disabled = at === this.cards.length - 1;
    });
  }

  // --- problems and preview ---

  changed({ at = QUIET_MS } = {}) {
    if (this.before === undefined) return; // still being built
    this.dirty = this.data.changed || this.text() !== this.before;
    document.getElementById("message").hidden = this.event.value !== "";
    this.say();
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.ask(), at);
  }

  async ask() {
    const broken = this.cards.filter((card) => !card.readable());
    this.cards.forEach((card) => card.show([]));
    broken.forEach((card) => card.verdict(""));
    if (broken.length) return this.conclude([{ text: "A mapping is not valid JSON." }]);
    const asked = this.text();
    const answer = await this.post(this.form.dataset.preview);
    if (!answer || asked !== this.text()) return; // edited since, so another response is coming
    this.cards.forEach((card, index) => {
      card.show(answer.problems.filter(({ place }) => `${place}/`.startsWith(`actions/${index}/`)));
      card.verdict(answer.triggered ? (answer.triggered[index] ? "triggered" : "not triggered") : "");
    });
    if (answer.html) document.getElementById("shown").innerHTML = answer.html;
    this.conclude(answer.problems);
  }

  conclude(problems) {
    this.problems = problems;
    this.say();
    if (!problems.length) return;
    const shown = document.getElementById("shown");
    const count = problems.length === 1 ? "1 problem" : `${problems.length} problems`;
    shown.innerHTML = '<p class="ps-error" role="status"></p>';
    shown.firstChild.textContent = `Fix ${count} to see the preview.`;
  }

  say() {
    const broken = (this.problems ?? []).length > 0;
    const save = document.getElementById("save");
    if (save) save.disabled = !this.dirty || broken;
    const test = document.getElementById("test");
    if (test) test.disabled = broken;
    document.getElementById("saved-state").textContent = this.dirty ? (broken ? "Not saved. Fix the problems first." : "Not saved") : "";
  }

  async post(url, more = {}) {
    const given = this.event.value ? { event_id: this.event.value } : { message: this.message.state.doc.toString() };
    const token = this.form.elements.csrfmiddlewaretoken.value;
    try {
      const answer = await fetch(url, {
        method: "POST",
        headers: { "X-CSRFToken": token },
        body: new URLSearchParams({ blueprint: this.text(), ...given, ...more }),
      });
      if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
      return await answer.json();
    } catch (error) {
      this.conclude([{ text: `Penstock did not answer: ${error.message}` }]);
      return null;
    }
  }

  async sendTest() {
    const button = document.getElementById("test");
    button.disabled = true;
    document.getElementById("tried").textContent = "Sending…";
    const answer = await this.post(this.form.dataset.test);
    document.getElementById("tried").innerHTML = answer ? answer.html : "";
    this.say();
  }

  askForSummary() {
    document.getElementById("summary").showModal();
    document.getElementById("summary-text").focus();
  }
}

class Card {
  constructor(editor, { name, trigger, kind, mapping, enabled = true }) {
    this.editor = editor;
    this.element = document.getElementById("card").content.firstElementChild.cloneNode(true);
    this.part("name").value = name;
    this.part("enabled").checked = enabled;
    for (const each of new Set([...editor.data.kinds, kind])) this.part("kind").add(new Option(each.replaceAll("_", " "), each));
    this.part("kind").value = kind;
    const changed = () => editor.changed();
    this.trigger = codeEditor({
      parent: this.part("trigger"), label: `Trigger of ${name}`, text: trigger, language: TRIGGERS,
      complete: (context) => completeTrigger(context, editor.data), changed,
    });
    this.mapping = codeEditor({
      parent: this.part("mapping"), label: `Mapping of ${name}`, text: mapping, language: CodeMirror.json(),
      complete: (context) => completeMapping(context, editor.data), changed,
    });
    this.element.addEventListener("input", changed);
    for (const button of this.element.querySelectorAll("[data-do]")) {
      button.addEventListener("click", () => this.act(button.dataset.do));
    }
    this.part("name").addEventListener("input", () => this.nameTools());
    this.nameTools();
  }

  part(name) {
    return this.element.querySelector(`[data-part="${name}"]`);
  }

  tool(name) {
    return this.element.querySelector(`[data-do="${name}"]`);
  }

  nameTools() {
    for (const button of this.element.querySelectorAll("[data-do]")) {
      button.setAttribute("aria-label", `${button.title}: ${this.part("name").value}`);
    }
  }

  act(what) {
    if (what === "up") this.editor.move(this, -1);
    if (what === "down") this.editor.move(this, 1);
    if (what === "remove") this.editor.remove(this);
    if (what === "duplicate") {
      const copy = { ...this.values(), name: `${this.part("name").value} (copy)` };
      this.editor.add(copy, { at: this.editor.cards.indexOf(this) + 1 });
    }
  }

  values() {
    return {
      name: this.part("name").value,
      trigger: this.trigger.state.doc.toString(),
      kind: this.part("kind").value,
      enabled: this.part("enabled").checked,
      mapping: this.mapping.state.doc.toString(),
    };
  }

  text() {
    const { mapping, ...others } = this.values();
    return `${JSON.stringify(others).slice(0, -1)},"mapping":${mapping}}`;
  }

  // Returns whether the mapping is JSON, and marks a problem where it is.
  readable() {
    const wrong = CodeMirror.jsonParseLinter()(this.mapping);
    this.unreadable = wrong.map((each) => ({ ...each, to: Math.min(each.to + 1, this.mapping.state.doc.length) }));
    return !wrong.length;
  }

  // problems: {place, text, position} of this action
  show(problems) {
    const inTrigger = problems.filter(({ place }) => place.endsWith("/trigger"));
    const others = problems.filter((each) => !inTrigger.includes(each));
    underline(this.trigger, inTrigger.map((each) => atPosition(this.trigger, each)));
    const inMapping = others.filter(({ place }) => place.split("/")[2] === "mapping");
    underline(this.mapping, [...(this.unreadable ?? []), ...inMapping.map((each) => atPlace(this.mapping, each))]);
    const error = this.part("trigger-error");
    error.hidden = !inTrigger.length;
    error.textContent = inTrigger.map(({ text }) => capital(text)).join(" ");
    const texts = [...(this.unreadable ?? []).map(({ message }) => message), ...others.map(sentence)];
    const list = this.part("errors");
    list.hidden = !texts.length;
    list.replaceChildren(...texts.map((text) => Object.assign(document.createElement("li"), { textContent: text })));
    this.element.classList.toggle("ps-wrong", Boolean(inTrigger.length || texts.length));
  }

  verdict(text) {
    const chip = this.part("verdict");
    chip.hidden = !text;
    chip.textContent = text;
    chip.classList.toggle("ps-well", text === "triggered");
    chip.classList.toggle("ps-off", text !== "triggered");
  }
}

function newAction([kind]) {
  const mapping = '{\n  "event": {"@path": "$.event"},\n  "properties": {"@path": "$.properties"}\n}';
  return { name: "New action", trigger: 'type = "track"', kind, mapping };
}

function capital(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

function sentence({ place, text }) {
  const inside = place.split("/").slice(2).join("/");
  return inside ? `${inside}: ${text}` : text;
}

// --- the code editors ------------------------------------------------------------------------------

const CM = CodeMirror;

function codeEditor({ parent, label, text, language, complete, changed }) {
  const extensions = [
    CM.history(), CM.drawSelection(), CM.indentOnInput(), CM.bracketMatching(), CM.closeBrackets(),
    language, CM.syntaxHighlighting(COLOURS), THEME, CM.EditorView.lineWrapping,
    CM.EditorView.contentAttributes.of({ "aria-label": label, spellcheck: "false" }),
    CM.EditorView.updateListener.of((update) => update.docChanged && changed()),
    complete ? CM.autocompletion({ override: [complete], icons: false }) : [],
    // no Tab binding, so that keyboard users can leave the editor
    CM.keymap.of([...CM.closeBracketsKeymap, ...CM.completionKeymap, ...CM.lintKeymap, ...CM.historyKeymap, ...CM.defaultKeymap]),
  ];
  return new CM.EditorView({ parent, state: CM.EditorState.create({ doc: text, extensions }) });
}

function underline(view, diagnostics) {
  view.dispatch(CM.setDiagnostics(view.state, diagnostics));
}

// The range of a trigger's problem. Its position counts characters, from 1; CodeMirror UTF-16 units.
function atPosition(view, { position, text }) {
  const doc = view.state.doc.toString();
  const start = Math.min([...doc].slice(0, (position ?? 1) - 1).join("").length, doc.length);
  const word = /^\S+/.exec(doc.slice(start))?.[0].length ?? 0;
  // at the end, underline the character before it
  return { from: word ? start : Math.max(start - 1, 0), to: start + word, severity: "error", message: text };
}

// The range of a mapping's problem: the deepest key on its path that exists.
function atPlace(view, { place, text }) {
  let node = CM.syntaxTree(view.state).topNode.firstChild;
  let range = node ?? { from: 0, to: view.state.doc.length };
  for (const key of place.split("/").slice(3)) {
    const found = node && below(view, node, key);
    if (!found) break;
    [range, node] = found;
  }
  return { from: range.from, to: Math.min(range.to, range.from + 200), severity: "error", message: text };
}

// Returns what to underline for a key of an object or a list, and the value there.
function below(view, node, key) {
  if (node.name === "Array") {
    let item = node.firstChild?.nextSibling; // past the bracket
    for (let left = Number(key); item && left > 0; left--) item = item.nextSibling;
    return item && [item, item];
  }
  for (const property of node.name === "Object" ? node.getChildren("Property") : []) {
    const name = property.firstChild;
    if (JSON.parse(view.state.sliceDoc(name.from, name.to)) === key) return [name, property.lastChild];
  }
  return null;
}

// --- completion: fields of recent events, names, directives ----------------------------------------

const WORDS = ["and", "or", "not", "true", "false", "null"];

function completeTrigger(context, { fields, names }) {
  const value = context.matchBefore(/\b(event|name|type)\s*!?=\s*"?[^"=]*/);
  if (value) {
    const field = /^\w+/.exec(value.text)[0];
    const from = value.from + /^\w+\s*!?=\s*"?/.exec(value.text)[0].length;
    const known = field === "type" ? ["track", "identify", "page", "screen", "group", "alias"] : names;
    const quoted = value.text.includes('"');
    const apply = (name) => (quoted ? name : JSON.stringify(name));
    return { from, options: known.map((name) => ({ label: name, type: "text", apply: apply(name) })), validFor: /^[^"]*$/ };
  }
  const word = context.matchBefore(/[\w$.[\]]*/);
  if (!context.explicit && word.from === word.to) return null;
  return {
    from: word.from,
    options: [
      ...fields.filter(({ trigger }) => trigger).map(({ trigger, example }) => ({ label: trigger, detail: example, type: "property" })),
      { label: "contains", apply: 'contains(event, "")', type: "function" },
      { label: "match", apply: 'match(event, "*")', type: "function" },
      ...WORDS.map((label) => ({ label, type: "keyword" })),
    ],
    validFor: /^[\w$.[\]]*$/,
  };
}

const SKELETONS = {
  "@path": '"$."', "@template": '"{{}}"', "@literal": '""', "@excludeWhenNull": "{}",
  "@if": '{"exists": {"@path": "$."}, "then": , "else": }',
  "@case": '{"operator": "lower", "value": {"@path": "$."}}',
  "@replace": '{"pattern": "", "replacement": "", "value": {"@path": "$."}}',
  "@arrayPath": '["$.properties.products", {}]',
  "@flatten": '{"value": {"@path": "$."}, "separator": "."}',
  "@json": '{"mode": "encode", "value": {"@path": "$."}}',
  "@merge": '{"direction": "right", "objects": []}',
  "@transform": '{"apply": {}, "mapping": {}}',
};

function completeMapping(context, { fields, directives }) {
  const template = context.matchBefore(/\{\{\{?[^{}"]*/);
  if (template) return paths(fields, template.from + /^\{+/.exec(template.text)[0].length, (path) => path.slice(2));
  const path = context.matchBefore(/"(@path|@arrayPath)"\s*:\s*\[?\s*"[^"]*/);
  if (path) return paths(fields, path.from + path.text.lastIndexOf('"') + 1, (each) => each);
  const key = context.matchBefore(/"?@\w*/);
  if (!key && !context.explicit) return null;
  const options = directives.map((name) => ({ label: name, type: "keyword", apply: put(name) }));
  return { from: key ? key.to - key.text.replace('"', "").length : context.pos, options, validFor: /^@\w*$/ };
}

// Returns a function that inserts a directive and replaces quotes already typed around it.
function put(name) {
  const insert = `"${name}": ${SKELETONS[name] ?? "{}"}`;
  const inside = insert.length - (/["}\]]+$/.exec(insert)?.[0].length ?? 0);
  return (view, completion, from, to) => {
    const is = (at) => view.state.sliceDoc(at, at + 1) === '"';
    const start = from > 0 && is(from - 1) ? from - 1 : from;
    view.dispatch({ changes: { from: start, to: is(to) ? to + 1 : to, insert }, selection: { anchor: start + inside } });
  };
}

function paths(fields, from, written) {
  const options = fields.filter(({ path }) => path).map(({ path, example }) => ({ label: written(path), detail: example, type: "property" }));
  return { from, options, validFor: /^[^"{}]*$/ };
}

// --- syntax highlighting ----------------------------------------------------------------------------

// The trigger language, as far as highlighting needs it.
const TRIGGERS = CM.StreamLanguage.define({
  token(stream) {
    if (stream.eatSpace()) return null;
    if (stream.match(/^"(\\.|[^"\\])*"?/) || stream.match(/^'(\\.|[^'\\])*'?/)) return "string";
    if (stream.match(/^[+-]?\d+(\.\d+)?(?![\w$-])/)) return "number";
    if (stream.match(/^(and|or|not)\b/i)) return "keyword";
    if (stream.match(/^(true|false|null)\b/)) return "bool";
    if (stream.match(/^(contains|match)\b/)) return "keyword";
    if (stream.match(/^[\w$][\w$.-]*/)) return "propertyName";
    stream.next();
    return "operator";
  },
});

const { tags } = CM;
const COLOURS = CM.HighlightStyle.define([
  { tag: tags.propertyName, color: "var(--ps-key)" },
  { tag: tags.string, color: "var(--ps-text)" },
  { tag: tags.number, color: "var(--ps-number)" },
  { tag: [tags.bool, tags.null, tags.keyword], color: "var(--ps-word)" },
]);

const THEME = CM.EditorView.theme({
  "&": { backgroundColor: "var(--ps-soft)", color: "var(--ps-strong)", borderRadius: "6px", border: "1px solid var(--ps-line)", fontSize: "0.8125rem" },
  "&.cm-focused": { outline: "2px solid var(--ps-link)", outlineOffset: "1px" },
  ".cm-scroller": { fontFamily: "ui-monospace, SFMono-Regular, Menlo, Consolas, monospace", lineHeight: "1.55" },
  ".cm-content": { caretColor: "var(--ps-strong)", padding: "0.5rem 0" },
  ".cm-line": { padding: "0 0.625rem" },
  ".cm-cursor": { borderLeftColor: "var(--ps-strong)" },
  "&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, .cm-selectionBackground": { backgroundColor: "color-mix(in srgb, var(--ps-link) 25%, transparent)" },
  "&:not(.cm-focused) .cm-matchingBracket": { backgroundColor: "transparent" },
  "&.cm-focused .cm-matchingBracket": { backgroundColor: "color-mix(in srgb, var(--ps-link) 20%, transparent)" },
  ".cm-tooltip": { backgroundColor: "var(--ps-ground)", color: "var(--ps-strong)", border: "1px solid var(--ps-line)", borderRadius: "6px", overflow: "hidden", boxShadow: "0 8px 24px rgb(0 0 0 / 18%)" },
  ".cm-tooltip.cm-tooltip-autocomplete > ul > li": { padding: "0.1875rem 0.625rem" },
  ".cm-tooltip.cm-tooltip-autocomplete > ul > li[aria-selected]": { backgroundColor: "var(--color-primary-600)", color: "#fff" },
  ".cm-completionDetail": { color: "var(--ps-quiet)", fontStyle: "normal" },
  "li[aria-selected] .cm-completionDetail": { color: "#fff" },
  ".cm-diagnostic-error": { borderLeftColor: "var(--ps-attention)" },
});

const EXAMPLE_MESSAGE = `{
  "type": "track",
  "event": "Order Completed",
  "userId": "user-123",
  "properties": {
    "order_id": "A-1001",
    "revenue": 39.95
  }
}`;
