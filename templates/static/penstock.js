// What the pages do beyond links and forms. Nothing is inline: a policy against that can be set.

document.addEventListener("DOMContentLoaded", () => {
  document.querySelectorAll("[data-filter]").forEach(filterAsOneTypes);
  document.querySelectorAll("[data-copy]").forEach(copyOnClick);
  document.querySelectorAll("[data-starts] input").forEach(fillInOnChoice);
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
  apply(); // the browser may have kept what was typed before
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
    // Without https browsers offer no clipboard: then it is at least selected.
    getSelection().selectAllChildren(block);
    return false;
  }
}

// A variant brings starting values: they go into the fields that nobody has changed.
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
