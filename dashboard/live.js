// What is new, asked for again and again while somebody looks: panels, lists that grow at their head, columns, charts.
(() => {
  "use strict";
  const ANSWER_MS = 10_000;
  const SILENT_AFTER = 3; // questions without an answer
  let run = "";
  let seen = 0; // the number of the last change that stands on the page
  let shownIn = null; // the page may be drawn anew, and is empty then
  const made = new WeakMap(); // a column -> the markup that it was made of
  let unanswered = 0;
  let answeredAt = new Date();
  let wake = () => {};

  const place = (kind, name) => document.querySelector(`#floor [data-${kind}="${CSS.escape(name)}"]`);
  const parsed = (markup) => {
    const template = document.createElement("template");
    template.innerHTML = markup; // made by the server's escaping tag()
    return template.content.firstElementChild;
  };

  function showPanel(name, markup) {
    const at = place("panel", name);
    if (!at) return;
    const scrolled = new Map([...at.querySelectorAll(".scroll")].map((each) => [each.ariaLabel, [each.scrollLeft, each.scrollTop]]));
    at.innerHTML = markup ?? ""; // made by the server's escaping tag()
    for (const each of at.querySelectorAll(".scroll")) each.scrollTo(...(scrolled.get(each.ariaLabel) ?? [0, 0]));
  }

  function showLines(name, { whole, kept, rows }) {
    const list = place("lines", name);
    if (!list) return;
    if (whole) list.replaceChildren();
    for (const [id, markup] of rows.reverse()) {
      const item = parsed(markup);
      item.dataset.id = id;
      let next = list.firstElementChild;
      while (next && Number(next.dataset.id) > id) next = next.nextElementSibling;
      list.insertBefore(item, next);
    }
    while (list.children.length > kept) list.lastElementChild.remove();
  }

  // Whether a column is new: then what stands in it has to be asked for.
  function showColumns(columns) {
    const at = document.getElementById("columns");
    const known = new Map([...at.children].map((each) => [each.dataset.column, each]));
    let isNew = false;
    columns.forEach(([name, markup], index) => {
      let column = known.get(name);
      known.delete(name);
      if (made.get(column) !== markup) {
        column?.remove();
        column = parsed(markup);
        column.dataset.column = name;
        made.set(column, markup);
        isNew = true;
      }
      if (at.children[index] !== column) at.insertBefore(column, at.children[index] ?? null);
    });
    for (const gone of known.values()) gone.remove();
    return isNew;
  }

  function show({ run: itsRun, now, panels }) {
    const { columns, ...others } = panels;
    const isNew = columns !== undefined && showColumns(columns);
    for (const [name, payload] of Object.entries(others)) {
      if (payload?.rows) showLines(name, payload);
      else if (payload?.data) window.floorCharts.put(name, payload);
      else showPanel(name, payload);
    }
    seen = isNew && seen > 0 && run === itsRun ? 0 : now;
    run = itsRun;
  }

  const question = () =>
    fetch("updates", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ run, seen }),
      signal: AbortSignal.timeout(ANSWER_MS),
    });
  let early = question(); // on its way while the page is still being built
  early.catch(() => {});

  async function ask(root) {
    if (root !== shownIn) [seen, shownIn] = [0, root];
    const answer = await (early ?? question());
    early = null;
    if (answer.status === 401) {
      location.replace("login"); // the login has ended
      return;
    }
    if (answer.status === 200) show(await answer.json());
    else if (answer.status !== 204) throw new Error(`the dashboard answered ${answer.status}`);
  }

  function tell(isAnswered) {
    unanswered = isAnswered ? 0 : unanswered + 1;
    if (isAnswered) answeredAt = new Date();
    const silent = document.getElementById("silent");
    if (!silent) return;
    silent.hidden = unanswered < SILENT_AFTER;
    if (!silent.hidden && silent.textContent === "") {
      silent.textContent = `The dashboard has not answered since ${answeredAt.toLocaleTimeString()}. What is shown is from then; the page goes on asking.`;
    } else if (silent.hidden) silent.textContent = "";
  }

  async function live() {
    for (;;) {
      const root = document.getElementById("live");
      if (root && !document.hidden) {
        try {
          await ask(root);
          tell(true);
        } catch {
          early = null;
          tell(false);
        }
      }
      await new Promise((next) => {
        wake = next;
        setTimeout(next, root ? Number(root.dataset.everyMs) : 30);
      });
    }
  }

  document.addEventListener("visibilitychange", () => wake());
  live();
})();
