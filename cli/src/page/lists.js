// The lists of what lasted longest.

const LISTS = {
  turns: { state: RUNS, title: "Longest turns" },
  waits: { state: WAITS, title: "Longest waits" },
  delays: { state: READY, title: "From ready to run" },
};
const MOST_LINES = 100;

/** The longest slices of a state that are seen between two times, and that are wanted. */
function longestSlices(trace, state, from, to, isWanted) {
  const { slices } = trace;
  let best = [];
  let least = 0; // what is shorter is not among them
  const cut = () => {
    best.sort((a, b) => slices.length(b) - slices.length(a) || slices.start[a] - slices.start[b]);
    best = best.slice(0, MOST_LINES);
    if (best.length === MOST_LINES) least = slices.length(best[MOST_LINES - 1]);
  };
  for (let at = 0; at < slices.count; at++) {
    if (slices.state[at] !== state) continue;
    const length = slices.end[at] - slices.start[at];
    if (length <= least || slices.end[at] < from || slices.start[at] > to) continue;
    if (!isWanted(at)) continue;
    best.push(at);
    if (best.length >= 20 * MOST_LINES) cut();
  }
  cut();
  return best;
}

class Lists {
  constructor(timeline) {
    this.timeline = timeline;
    this.trace = timeline.trace;
    this.shown = "turns";
    this.tabs = Object.keys(LISTS);
    for (const name of this.tabs) {
      element(`tab-${name}`).addEventListener("click", () => this.show(name));
      element(`tab-${name}`).addEventListener("keydown", (event) => this.key(event));
    }
    const kinds = new Set();
    for (const scheduler of this.trace.schedulers) {
      scheduler.kinds.forEach((_, kind) => kinds.add(reasonKind(kind, scheduler)));
    }
    element("kind").append(
      make("option", { value: "" }, "anything"),
      ...[...kinds.add("to be woken up")].map((kind) => make("option", { value: `=${kind}` }, kind)),
    );
    element("kind").addEventListener("change", () => this.update());
    element("list-here").addEventListener("change", () => this.update());
    this.show("turns");
  }

  /** Arrows go from tab to tab. */
  key(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    event.stopPropagation();
    const place = this.tabs.indexOf(this.shown) + step + this.tabs.length;
    this.show(this.tabs[place % this.tabs.length]);
    element(`tab-${this.shown}`).focus();
  }

  show(name) {
    this.shown = name;
    for (const each of this.tabs) {
      const tab = element(`tab-${each}`);
      tab.setAttribute("aria-selected", String(each === name));
      tab.tabIndex = each === name ? 0 : -1;
    }
    element("longest").setAttribute("aria-labelledby", `tab-${name}`);
    element("list-title").textContent = LISTS[name].title;
    element("kind-label").hidden = name !== "waits";
    this.update();
  }

  /** After the visible time has changed, when it has come to rest. */
  moved() {
    if (!element("list-here").checked) return;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.update(), 150);
  }

  update() {
    const { trace, timeline } = this;
    const { slices, tasks } = trace;
    const isHere = element("list-here").checked;
    const [from, to] = isHere ? [timeline.start, timeline.end] : [-Infinity, Infinity];
    const kind = element("kind").value.slice(1);
    const isWanted = (at) =>
      this.shown !== "waits" ||
      kind === "" ||
      reasonKind(slices.aux[at], tasks[slices.task[at]].scheduler) === kind;
    this.lines = longestSlices(trace, LISTS[this.shown].state, from, to, isWanted).map((at) => ({
      at,
      row: make("tr", {}, make("td", {}, this.line(at))),
    }));
    const empty = make("p", { className: "empty" }, "There are none.");
    element("longest").replaceChildren(
      this.lines.length === 0 ? empty : make("table", {}, ...this.lines.map((line) => line.row)),
    );
    this.mark();
  }

  line(at) {
    const { slices, tasks } = this.trace;
    const task = tasks[slices.task[at]];
    const text = nameOfTask(task);
    const title = `${text} ${stateOf(this.trace, at)}`;
    const why = this.shown === "waits" ? reason(slices.aux[at], task.scheduler) : "";
    return make(
      "button",
      { type: "button", title, onclick: () => this.timeline.goTo(at) },
      make("span", { className: "length" }, duration(slices.length(at))),
      make("span", { className: "what" }, text, " ", make("span", {}, why)),
    );
  }

  mark() {
    for (const { at, row } of this.lines ?? []) {
      row.classList.toggle("is-marked", at === this.timeline.slice);
    }
  }
}
