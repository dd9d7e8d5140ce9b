// The page begins here.

/** Where the address of the page leads: `#task=writer&at=12ms`, `#scheduler=2&task=17`, `#from=1s&to=1.2s`. */
function follow(trace, timeline) {
  const wanted = new URLSearchParams(location.hash.slice(1));
  const [from, to] = [parsePlace(wanted.get("from")), parsePlace(wanted.get("to"))];
  if (from < to) timeline.show(from, to);
  if (!wanted.has("task") && !wanted.has("scheduler")) return;
  const at = parsePlace(wanted.get("at"));
  const task = findTask(trace, wanted.get("scheduler"), wanted.get("task"), at);
  if (!task) return;
  const slice = Number.isNaN(at) ? -1 : trace.slices.at(task, at);
  if (slice < 0) timeline.goToTask(task);
  else timeline.goTo(slice);
}

/** A task by its name or its number, which may have had others before: "12.3" is the fourth task 12. */
function findTask(trace, schedulerText, text, at) {
  const isScheduler = (scheduler) =>
    schedulerText === null ||
    scheduler.name === schedulerText ||
    scheduler.number === Number(schedulerText);
  const scheduler = trace.schedulers.find(isScheduler);
  if (text === null) return scheduler?.loop;
  const [, slot, use] = /^(\d+)(?:\.(\d+))?$/.exec(text) ?? [];
  const isIt = (task) =>
    !task.isLoop &&
    isScheduler(task.scheduler) &&
    (task.name === text ||
      (slot !== undefined &&
        task.slot === Number(slot) &&
        (use === undefined || task.use === Number(use))));
  const found = trace.tasks.filter(isIt);
  return found.find((task) => task.first <= at && at < task.last) ?? found[0];
}

/** The address that leads to what is marked. */
function addressOf(trace, timeline) {
  const { task, slice } = timeline;
  const wanted = new URLSearchParams();
  if (task) {
    if (trace.schedulers.length > 1 || task.isLoop) {
      wanted.set("scheduler", task.scheduler.number);
    }
    if (!task.isLoop) wanted.set("task", task.use > 0 ? `${task.slot}.${task.use}` : task.slot);
    if (slice >= 0) {
      const middle = (trace.slices.start[slice] + trace.slices.end[slice]) / 2;
      wanted.set("at", `${Math.floor(middle)}ns`);
    }
  }
  return `#${wanted}`;
}

function showSummary(trace) {
  element("title").textContent = trace.title;
  document.title = trace.title;
  const tasks = trace.tasks.length - trace.schedulers.length;
  const lost = trace.schedulers.reduce((sum, scheduler) => sum + scheduler.lost, 0);
  const parts = [
    make("strong", {}, duration(trace.end - trace.start)),
    ` of ${plural(trace.schedulers.length, "scheduler")}: `,
    `${plural(tasks, "task")}, ${plural(trace.count, "entry", "entries")}`,
  ];
  if (lost > 0) parts.push(`; ${count(lost)} before these were overwritten`);
  if (trace.notUnderstood > 0) parts.push(`; ${count(trace.notUnderstood)} were not understood`);
  if (trace.outOfOrder > 0) parts.push(`; ${count(trace.outOfOrder)} were out of order`);
  element("summary").replaceChildren(...parts);
}

/** The keys, wherever the focus is, but where they are for writing. */
function listenToKeys(timeline, clear) {
  const span = () => timeline.end - timeline.start;
  const around = () => (Number.isNaN(timeline.pointer) ? undefined : timeline.pointer);
  const step = (by) => {
    const { task, slice } = timeline;
    if (!task) return;
    const to = slice < 0 ? task.begin : slice + by;
    if (to >= task.begin && to < task.end) timeline.goTo(to);
  };
  const keys = {
    a: () => timeline.pan(-span() * 0.15),
    d: () => timeline.pan(span() * 0.15),
    w: () => timeline.zoom(1 / 1.4, around()),
    s: () => timeline.zoom(1.4, around()),
    arrowleft: () => timeline.pan(-span() * 0.15),
    arrowright: () => timeline.pan(span() * 0.15),
    arrowup: () => (timeline.top -= 3 * ROW_HEIGHT),
    arrowdown: () => (timeline.top += 3 * ROW_HEIGHT),
    pageup: () => (timeline.top -= timeline.height - ROW_HEIGHT),
    pagedown: () => (timeline.top += timeline.height - ROW_HEIGHT),
    home: () => (timeline.top = 0),
    end: () => (timeline.top = timeline.total),
    "+": () => timeline.zoom(1 / 1.4),
    "=": () => timeline.zoom(1 / 1.4),
    "-": () => timeline.zoom(1.4),
    0: () => timeline.showAll(),
    ",": () => step(-1),
    ".": () => step(1),
    f: () => timeline.zoomToSlice(),
    "/": () => element("search").focus(),
    "?": () => element("help-button").click(),
    escape: clear,
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const isWriting = event.target.closest("select, input:not([type=checkbox])");
    const name = event.key.toLowerCase();
    if (isWriting && name !== "escape") return;
    if (isWriting) event.target.blur();
    // In the panels, those that scroll scroll them.
    const isScrolling = /^(arrow(up|down)|page|home|end)/.test(name);
    if (isScrolling && event.target.closest("aside")) return;
    if (!Object.hasOwn(keys, name)) return;
    event.preventDefault();
    keys[name]();
  });
}

function listenToTools(rows, timeline) {
  let timer;
  const filter = () => {
    const isHere = element("only-here").checked && !timeline.isAll;
    rows.text = element("search").value;
    rows.from = isHere ? timeline.start : -Infinity;
    rows.to = isHere ? timeline.end : Infinity;
    rows.update();
    timeline.rowsChanged();
  };
  const soon = () => {
    clearTimeout(timer);
    timer = setTimeout(filter, 120);
  };
  element("tools").addEventListener("submit", (event) => event.preventDefault());
  element("search").addEventListener("input", soon);
  element("only-here").addEventListener("change", filter);
  element("order").addEventListener("change", () => {
    rows.sortBy(element("order").value);
    timeline.top = 0;
    timeline.rowsChanged();
  });
  element("zoom-in").addEventListener("click", () => timeline.zoom(0.5));
  element("zoom-out").addEventListener("click", () => timeline.zoom(2));
  element("zoom-all").addEventListener("click", () => timeline.showAll());
  element("help-button").addEventListener("click", () => {
    const help = element("help");
    help.hidden = !help.hidden;
    element("help-button").setAttribute("aria-expanded", String(!help.hidden));
  });
  return { moved: () => element("only-here").checked && soon() };
}

function main() {
  const tables = JSON.parse(element("tables").textContent);
  const texts = [...document.querySelectorAll("script.entries")];
  const trace = new Trace(tables, texts.map((text) => text.textContent));
  for (const text of texts) text.remove(); // It may be large.
  showSummary(trace);
  const rows = new Rows(trace);
  const timeline = new Timeline(trace, rows);
  const details = new Details(timeline);
  const lists = new Lists(timeline);
  const tools = listenToTools(rows, timeline);
  new Pointer(timeline);
  timeline.onmove = () => {
    lists.moved();
    tools.moved();
  };
  timeline.onselect = () => {
    details.show();
    lists.mark();
    history.replaceState(null, "", addressOf(trace, timeline));
  };
  timeline.onreveal = () => {
    element("search").value = rows.text;
    if (rows.from === -Infinity) element("only-here").checked = false;
  };
  listenToKeys(timeline, () => timeline.select(null));
  addEventListener("hashchange", () => follow(trace, timeline));
  details.show();
  follow(trace, timeline);
  timeline.draw();
  document.documentElement.dataset.openedMs = Math.round(performance.now());
}

main();
