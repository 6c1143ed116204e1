// What the page does by itself: times in the viewer's zone, countdowns, tables that sort, filter and export, dialogs.
(() => {
  "use strict";
  const sorted = new Map(); // table name -> [column, descending]
  const filters = new Map(); // table name -> text
  let lastFocus = null;
  let opener = ""; // the button that opened the dialog: it may have been drawn anew since

  const zone = { hour12: false, hour: "2-digit", minute: "2-digit" };
  const clock = new Intl.DateTimeFormat(undefined, { ...zone, second: "2-digit" });
  const day = new Intl.DateTimeFormat(undefined, { ...zone, year: "numeric", month: "2-digit", day: "2-digit" });

  function showTimes(root) {
    for (const each of root.querySelectorAll("time[datetime]:not([data-local])")) {
      const moment = new Date(each.dateTime);
      if (!Number.isNaN(moment.getTime())) each.textContent = (each.dataset.form === "date" ? day : clock).format(moment);
      each.dataset.local = "";
    }
  }

  function spelled(seconds) {
    const left = Math.max(0, Math.round(seconds));
    const two = (number) => String(number).padStart(2, "0");
    const [hours, minutes, rest] = [Math.floor(left / 3600), Math.floor(left / 60) % 60, left % 60];
    return hours ? `${hours}:${two(minutes)}:${two(rest)}` : `${two(minutes)}:${two(rest)}`;
  }

  function countDown() {
    for (const each of document.querySelectorAll(".countdown[data-seconds]")) {
      each.dataset.began ??= String(performance.now());
      each.textContent = spelled(Number(each.dataset.seconds) - (performance.now() - Number(each.dataset.began)) / 1000);
    }
  }

  const cellValue = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.value ?? cell.textContent.trim();
  };

  function sortTable(table) {
    const [column, descending] = sorted.get(table.dataset.table) ?? [];
    if (column === undefined) return;
    const heads = table.tHead.rows[0].cells;
    for (const head of heads) head.removeAttribute("aria-sort");
    heads[column].setAttribute("aria-sort", descending ? "descending" : "ascending");
    const isNumber = heads[column].classList.contains("number");
    const key = (row) => {
      const value = cellValue(row, column);
      return isNumber ? (value === "" || Number.isNaN(Number(value)) ? -Infinity : Number(value)) : value;
    };
    const rows = [...table.tBodies[0].rows].sort((one, other) => {
      const [a, b] = [key(one), key(other)];
      return isNumber ? a - b : String(a).localeCompare(String(b));
    });
    if (descending) rows.reverse();
    table.tBodies[0].append(...rows);
  }

  function filterTable(table) {
    const wanted = (filters.get(table.dataset.table) ?? "").toLowerCase();
    for (const row of table.tBodies[0].rows) row.hidden = wanted !== "" && !row.textContent.toLowerCase().includes(wanted);
  }

  function csvOf(table) {
    const plain = /^[+-]?[0-9][0-9.]*(e[+-]?[0-9]+)?$/i;
    // a spreadsheet takes a text that begins like this for a formula
    const safe = (value) => (/^[=+\-@\t\r]/.test(value) && !plain.test(value) ? `'${value}` : value);
    const quoted = (value) => `"${safe(value).replaceAll('"', '""')}"`;
    const heads = [...table.tHead.rows[0].cells].map((each) => quoted(each.dataset.heading));
    const rows = [...table.tBodies[0].rows]
      .filter((row) => !row.hidden)
      .map((row) => [...row.cells].map((_, column) => quoted(cellValue(row, column))));
    return [heads, ...rows].map((row) => row.join(",")).join("\r\n") + "\r\n";
  }

  function exportTable(table) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([csvOf(table)], { type: "text/csv;charset=utf-8" }));
    link.download = `${table.dataset.table.replaceAll(/[^a-z0-9-]+/gi, "-")}.csv`;
    link.click();
    URL.revokeObjectURL(link.href);
  }

  function dress(table) {
    const name = table.dataset.table;
    if (table.dataset.dressed !== undefined) return;
    table.dataset.dressed = "";
    const tools = document.createElement("div");
    tools.className = "tools";
    const filter = document.createElement("input");
    Object.assign(filter, { type: "search", placeholder: "filter", id: `filter-${name}`, value: filters.get(name) ?? "" });
    filter.setAttribute("aria-label", `filter ${name}`);
    filter.addEventListener("input", () => { filters.set(name, filter.value); filterTable(table); });
    const save = document.createElement("button");
    Object.assign(save, { type: "button", textContent: "CSV", id: `csv-${name}` });
    save.setAttribute("aria-label", `export ${name} as CSV`);
    save.addEventListener("click", () => exportTable(table));
    tools.append(filter, save);
    table.parentElement.before(tools);
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      head.querySelector("button").addEventListener("click", () => {
        const [before, descending] = sorted.get(name) ?? [];
        sorted.set(name, [column, before === column ? !descending : head.classList.contains("number")]);
        sortTable(table);
      });
    });
    sortTable(table);
    filterTable(table);
  }

  function tidy() {
    const root = document.getElementById("floor");
    if (!root) return;
    showTimes(root);
    for (const table of root.querySelectorAll("table[data-table]")) dress(table);
    // Gradio names its empty chart without a role, and then no screen reader may say the name
    for (const each of root.querySelectorAll('div[aria-label="Empty value"]:not([role])')) each.setAttribute("role", "img");
    // what had the focus was drawn anew: give it back, with the place in its text
    if (lastFocus && document.activeElement === document.body) {
      const again = document.getElementById(lastFocus.id);
      if (again) {
        again.focus({ preventScroll: true });
        if (lastFocus.at !== null && again.setSelectionRange) again.setSelectionRange(lastFocus.at, lastFocus.at);
      }
    }
  }

  // ---- dialogs: why this trade, and what the owner asks
  const dialog = () => document.getElementById("dialog");
  const part = (name) => document.getElementById(`dialog-${name}`);

  function openDialog(title, ...content) {
    part("title").textContent = title;
    part("body").replaceChildren(...content);
    showTimes(part("body"));
    if (!dialog().open) dialog().showModal();
  }

  function element(name, properties, ...children) {
    const made = Object.assign(document.createElement(name), properties);
    made.append(...children);
    return made;
  }

  async function showStory(button) {
    openDialog("Why this trade", element("p", { textContent: "Reading the record…" }));
    const body = element("div", {});
    try {
      body.innerHTML = await window.floorServer.story(Number(button.dataset.story)); // made by the server's escaping tag()
    } catch {
      body.textContent = "The dashboard did not answer: see that it still runs, then try again.";
    }
    openDialog("Why this trade", body);
  }

  const MEANING = {
    pause: "skips its sessions until it is resumed", resume: "trades again: pause, reduce and halt are lifted",
    reduce: "may only sell until it is resumed", halt: "stops at once and trades nothing until it is resumed",
    run: "runs its next session now", strategy: "gets the strategy below",
  };

  function askControl(button) {
    const { act, account } = button.dataset;
    const whom = account || "every trader";
    const password = element("input", { type: "password", id: "control-password", autocomplete: "current-password", required: true });
    const strategy = element("textarea", { id: "control-strategy", rows: 8, maxLength: 10000, required: true });
    strategy.style.width = "100%";
    const told = element("p", { id: "control-told" });
    told.setAttribute("role", "status");
    const confirm = element("button", { type: "submit", id: "control-confirm", textContent: `Yes, ${act} ${whom}` });
    const form = element(
      "form", {},
      element("p", { textContent: `${whom} ${MEANING[act]}. It is put on record.` }),
      ...(act === "strategy" ? [element("label", {}, "New strategy", element("br", {}), strategy)] : []),
      element("p", {}, element("label", {}, "Password ", password)),
      confirm, told,
    );
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      confirm.disabled = true;
      try {
        const asked = { action: act, account, argument: act === "strategy" ? strategy.value : "", password: password.value };
        const { done, sentence } = await window.floorServer.control(asked);
        told.textContent = sentence;
        told.className = done ? "up" : "down";
        if (!done) confirm.disabled = false;
      } catch {
        told.textContent = "The dashboard did not answer: nothing is known to have changed.";
        confirm.disabled = false;
      }
      password.value = "";
    });
    openDialog(`${act} ${whom}`, form);
    (act === "strategy" ? strategy : password).focus();
  }

  document.addEventListener("click", (event) => {
    const at = (selector) => event.target.closest?.(selector);
    if (at("[data-story], [data-act]")) opener = at("[data-story], [data-act]").id;
    if (at("#dialog-close") || event.target === dialog()) dialog().close();
    else if (at("[data-story]")) showStory(at("[data-story]"));
    else if (at("[data-act]")) askControl(at("[data-act]"));
    else if (at("[data-symbol]")) {
      window.floorChooses?.(at("[data-symbol]").dataset.symbol);
      document.getElementById("symbol-choice")?.scrollIntoView({ block: "start" });
    }
  });

  document.addEventListener("close", () => document.getElementById(opener)?.focus({ preventScroll: true }), true);

  document.addEventListener("focusin", (event) => {
    const { id, selectionStart } = event.target;
    lastFocus = id ? { id, at: selectionStart ?? null } : null;
  });
  document.addEventListener("input", (event) => {
    if (lastFocus && lastFocus.id === event.target.id) lastFocus.at = event.target.selectionStart ?? null;
  });

  let waiting = false;
  new MutationObserver(() => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; tidy(); });
  }).observe(document.documentElement, { childList: true, subtree: true });
  setInterval(countDown, 500);
})();
