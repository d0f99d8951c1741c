// Behaviour of the pages beyond links and forms. The content security policy forbids inline scripts.

document.addEventListener("DOMContentLoaded", () => {
  makeOperable();
  showTimes(document);
  setInterval(() => document.hidden || showTimes(document), 15_000);
  document.querySelectorAll("canvas[data-chart]").forEach(drawChart);
  document.querySelectorAll("[data-refresh]").forEach(keepFresh);
  document.querySelectorAll("[data-filter]").forEach(filterAsOneTypes);
  document.querySelectorAll("[data-copy]").forEach(copyOnClick);
  document.querySelectorAll("[data-starts] input").forEach(fillInOnChoice);
  document.querySelectorAll("form[data-check]").forEach(checkAsOneTypes);
  document.querySelectorAll("button[data-ask]").forEach(askOnClick);
});

function filterAsOneTypes(library) {
  const text = library.querySelector("[data-filter-text]");
  const category = library.querySelector("[data-filter-category]");
  const items = [...library.querySelectorAll("[data-filter-item]")];

  function apply() {
    const words = text.value.toLowerCase().split(/\s+/);
    for (const item of items) {
      const fits = words.every((word) => item.dataset.filterItem.includes(word));
      item.hidden = !fits || (category.value !== "" && category.value !== item.dataset.category);
    }
    const shown = items.filter((item) => !item.hidden).length;
    library.querySelector("[data-filter-none]").hidden = shown > 0;
    library.querySelector("[data-filter-count]").textContent =
      `${shown} integration${shown === 1 ? "" : "s"}`;
  }

  text.addEventListener("input", apply);
  category.addEventListener("change", apply);
  library.querySelector("[data-filter-reset]").addEventListener("click", () => {
    text.value = category.value = "";
    apply();
    text.focus();
  });
  apply(); // the browser may have restored earlier input
}

function copyOnClick(button) {
  button.addEventListener("click", async () => {
    const block = button.parentElement.querySelector("pre, code");
    const done = await copy(block);
    button.lastChild.textContent = done ? "Copied" : "Press Ctrl+C";
    setTimeout(() => (button.lastChild.textContent = "Copy"), 2000);
  });
}

async function copy(block) {
  try {
    await navigator.clipboard.writeText(block.textContent);
    return true;
  } catch {
    // Without HTTPS, browsers offer no clipboard, so select the text instead.
    getSelection().selectAllChildren(block);
    return false;
  }
}

// A variant has initial values, which go into the fields that were not changed.
function fillInOnChoice(radio) {
  radio.addEventListener("change", () => {
    const starts = JSON.parse(radio.closest("[data-starts]").dataset.starts);
    for (const [name, value] of Object.entries(starts)) {
      const field = radio.form.elements[name];
      if (!field.dataset.touched) field.value = value;
    }
  });
  radio.form.addEventListener("input", (event) => (event.target.dataset.touched = "yes"));
}

// Validates the form on the server while it is filled in. Only touched fields are marked.
function checkAsOneTypes(form) {
  const touched = new Set();
  let timer, asked = 0;

  async function check() {
    const number = ++asked;
    const answer = await fetch(form.dataset.check, { method: "POST", body: new FormData(form) });
    if (!answer.ok || number !== asked) return;
    const problems = await answer.json();
    for (const field of form.querySelectorAll("[data-field]")) {
      if (touched.has(field.dataset.field)) mark(field, problems[field.dataset.field] ?? "");
    }
  }

  form.addEventListener("input", (event) => {
    touched.add(event.target.name);
    clearTimeout(timer);
    timer = setTimeout(check, 350);
  });
}

function mark(field, problem) {
  const input = field.querySelector("input, select, textarea");
  const line = document.createElement("p");
  line.className = problem ? "ps-error" : "ps-fine";
  const icon = document.createElement("span");
  icon.className = "material-symbols-outlined";
  icon.setAttribute("aria-hidden", "true");
  icon.textContent = problem ? "error" : "check";
  line.append(icon, problem || "Looks good");
  input.setAttribute("aria-invalid", problem ? "true" : "false");
  field.classList.toggle("errors", problem !== "");
  field.classList.toggle("group", problem !== "");
  field.querySelector("[data-problem]").replaceChildren(line);
}

// Posts the form around a button to data-ask and shows the response, an HTML fragment, below it.
function askOnClick(button) {
  const form = button.closest("form");
  button.addEventListener("click", async () => {
    const place = form.querySelector("[data-answer]");
    button.disabled = true;
    place.textContent = "Loading…";
    try {
      const answer = await fetch(button.dataset.ask, { method: "POST", body: new FormData(form) });
      place.innerHTML = await answer.text();
    } catch {
      place.textContent = "Penstock did not answer. Try again.";
    }
    button.disabled = false;
    showTimes(place);
  });
}

// The theme's switches only react to clicks, and its regions have no roles.
function makeOperable() {
  document.getElementById("main")?.setAttribute("role", "main");
  document.querySelectorAll(".material-symbols-outlined:not([x-on\\:click])").forEach((icon) => {
    icon.setAttribute("aria-hidden", "true");
  });
  document.getElementById("searchbar-submit")?.setAttribute("aria-label", "Search");
  const labels = { dock_to_right: "Navigation", close: "Close navigation" };
  const switches = "span[x-on\\:click], a[x-on\\:click]:not([href]), div[x-on\\:click].cursor-pointer";
  for (const each of document.querySelectorAll(switches)) {
    const opensRelated = each.getAttribute("x-on:click").includes("openRelatedWidget");
    const label = opensRelated ? "Add or change options" : labels[each.textContent.trim()];
    if (label) each.setAttribute("aria-label", label);
    each.setAttribute("role", "button");
    each.tabIndex = 0;
    each.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      each.click();
    });
  }
}

// --- times: in the viewer's time zone, with exact time and UTC on hover ---------------------------

const ZONE = new Intl.DateTimeFormat(undefined, { timeZoneName: "short" });
const two = (number) => String(number).padStart(2, "0");

function showTimes(root) {
  for (const zone of root.querySelectorAll("[data-zone]")) zone.textContent = zoneInWords();
  for (const time of root.querySelectorAll("time[datetime]")) {
    const at = new Date(time.dateTime);
    if (isNaN(at)) continue;
    time.title = `${dayOf(at)} ${clockOf(at)} ${zoneOf(at)} · ${at.toISOString().slice(0, 19).replace("T", " ")} UTC`;
    if ("ago" in time.dataset) time.textContent = relative(at) || dayOf(at);
    if ("left" in time.dataset) time.textContent = left(at);
    if ("exact" in time.dataset) time.textContent = `${dayOf(at)} ${clockOf(at)}`;
    if ("clock" in time.dataset) {
      const today = dayOf(at) === dayOf(new Date());
      time.textContent = today ? clockOf(at) : `${dayOf(at)} ${clockOf(at)}`;
    }
  }
}

function dayOf(at) {
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
}

function clockOf(at) {
  return `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
}

// "Europe/Zurich (GMT+1)", or the name alone when both are the same
function zoneInWords() {
  const { timeZone } = ZONE.resolvedOptions();
  const short = zoneOf(new Date());
  return timeZone === short ? timeZone : `${timeZone} (${short})`;
}

// The same text as the template filter `left`.
function left(at) {
  const away = at - Date.now();
  const span = relative(at).replace("in ", "") || `${Math.round(away / 86_400_000)} d`;
  return away > 0 ? `${span} left` : "last attempt";
}

function zoneOf(at) {
  return ZONE.formatToParts(at).find((part) => part.type === "timeZoneName").value;
}

// The same text as integrations/templatetags/penstock.py: "12 s ago", "in 5 min", "" beyond a week.
function relative(at) {
  const seconds = (Date.now() - at) / 1000;
  const steps = [[60, 1, "s"], [3600, 60, "min"], [86400, 3600, "h"], [604800, 86400, "d"]];
  const step = steps.find(([limit]) => Math.abs(seconds) < limit);
  if (!step) return "";
  const number = `${Math.floor(Math.abs(seconds) / step[1])} ${step[2]}`;
  return seconds < 0 ? `in ${number}` : `${number} ago`;
}

// --- charts ---------------------------------------------------------------------------------------

// data-chart: {"at": [times], "isOpen", "sets": [{"label", "level", "kind": "bar" or "line", "values"}]}.
// A level is the colour of a status, taken from the stylesheet so that it fits the theme. isOpen: the
// last step is incomplete, and its bars are paler.
function drawChart(canvas) {
  const { at, sets, isOpen } = JSON.parse(canvas.dataset.chart);
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  const days = at.length > 1 && new Date(at.at(-1)) - new Date(at[0]) > 2 * 86_400_000;
  const label = (time) => (days ? dayOf(time).slice(5) : clockOf(time).slice(0, 5));
  const moments = at.map((each) => new Date(each));
  const soFar = (index) => (isOpen && index === at.length - 1 ? ", so far" : "");
  const chart = new Chart(canvas, {
    type: "bar",
    data: {
      labels: moments.map(label),
      datasets: sets.map((set) => ({
        label: set.label, type: set.kind, data: set.values, order: set.kind === "line" ? 0 : 1,
        pointRadius: 0, tension: 0.25, borderWidth: set.kind === "bar" ? 0 : 2, borderRadius: 2,
      })),
    },
    options: {
      animation: false,
      maintainAspectRatio: false,
      interaction: { mode: "index", intersect: false },
      plugins: {
        legend: { display: false },
        tooltip: {
          callbacks: {
            title: ([{ dataIndex: i }]) => `${dayOf(moments[i])} ${clockOf(moments[i]).slice(0, 5)} ${zoneOf(moments[i])}${soFar(i)}`,
            label: (item) => ` ${item.dataset.label}: ${item.formattedValue}`,
          },
        },
      },
      scales: {
        x: { stacked: true, grid: { display: false }, ticks: { maxTicksLimit: 8, maxRotation: 0 } },
        y: { stacked: true, beginAtZero: true, border: { display: false }, ticks: { maxTicksLimit: 5, precision: 0 } },
      },
    },
  });
  function paint() {
    chart.data.datasets.forEach((set, i) => {
      const whole = colour(`--ps-${sets[i].level}-fill`); // #rrggbb: two more digits make it paler
      set.borderColor = whole;
      set.backgroundColor = set.data.map((_, at) => (soFar(at) ? `${whole}66` : whole));
    });
    for (const scale of Object.values(chart.options.scales)) {
      scale.ticks.color = colour("--ps-quiet");
      scale.grid.color = colour("--ps-line");
    }
    chart.update();
  }
  paint();
  new MutationObserver(paint).observe(document.documentElement, { attributeFilter: ["class"] });
}

// --- live parts of a page -------------------------------------------------------------------------

// Reloads an element, by its id, every `data-refresh` milliseconds, until it comes without that
// attribute. An element with the focus keeps it.
function keepFresh(part) {
  const again = () => setTimeout(refresh, Number(part.dataset.refresh));
  async function refresh() {
    if (document.hidden || part.contains(document.activeElement)) return again();
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const fresh = page.getElementById(part.id);
      if (!answer.ok || !fresh) return again();
      part.replaceWith(fresh);
      part = fresh;
      showTimes(part);
    } catch {
      // the server is unreachable for a moment
    }
    if (part.dataset.refresh) again();
  }
  again();
}
