// What is said of the slice, or the task, that is marked.

/** What a task, or a loop, does in a slice. */
function stateOf(trace, slice) {
  const { slices } = trace;
  const task = trace.tasks[slices.task[slice]];
  switch (slices.state[slice]) {
    case RUNS:
      return "runs";
    case READY:
      return "is ready, and waits for its turn";
    case WAITS:
      return `waits for ${reason(slices.aux[slice], task.scheduler)}`.replace("for to", "to");
    case SLEEPS:
      return "sleeps";
    case LOOP_SLEEPS:
      return "sleeps in the kernel";
    case LOOP_WORKS:
      return "looks for events, timers and posts";
    case LOOP_RUNS:
      return "runs tasks";
    default:
      return task.isLoop ? "sleeps, or runs a task that goes on" : "waits or sleeps";
  }
}

const AFTERWARDS = {
  [CODE.YIELDED]: "it yields, and is ready again",
  [CODE.ENDED]: "the task ends",
  [CODE.SLEEPS]: "it sleeps",
  [CODE.RUNS]: "it goes on: the recording ends there",
};

class Details {
  constructor(timeline) {
    this.timeline = timeline;
    this.trace = timeline.trace;
    this.slices = timeline.trace.slices;
    this.panel = element("details");
  }

  show() {
    const { task, slice } = this.timeline;
    // The focus would get lost with the link that has it.
    const hadFocus = this.panel.contains(document.activeElement);
    this.panel.replaceChildren(
      ...(!task ? this.ofNothing() : slice < 0 ? this.ofTask(task) : this.ofSlice(task, slice)),
    );
    this.panel.scrollTop = 0;
    if (hadFocus) this.panel.focus();
  }

  ofNothing() {
    const hint =
      "Click on a slice of the timeline, on the name of a task, or on a line of the list below.";
    return [make("h2", {}, "Details"), make("p", { className: "empty-hint" }, hint)];
  }

  linkToTask(task) {
    return link(nameOfTask(task), () => this.timeline.goToTask(task));
  }
  linkToSlice(slice, text) {
    return link(text, () => this.timeline.goTo(slice));
  }
  taskOf(slice) {
    return this.trace.tasks[this.slices.task[slice]];
  }

  ofSlice(task, slice) {
    const { slices } = this;
    const facts = [];
    const add = (name, ...what) => facts.push(make("dt", {}, name), make("dd", {}, ...what));
    const state = slices.state[slice];
    const isBeginKnown = !(state === RUNS && slices.aux[slice] & BEGIN_UNKNOWN);
    add("Length", `${isBeginKnown ? "" : "at least "}${duration(slices.length(slice))}`);
    add("Begin", isBeginKnown ? place(slices.start[slice]) : "before the first entry");
    add("End", place(slices.end[slice]));
    if (slices.end[slice] >= this.trace.end && state !== RUNS) add("", "the recording ends there");
    const next = slice + 1 < task.end ? slice + 1 : -1;
    if (state === READY) add("Made ready", ...this.whoMadeReady(slice));
    if (state === WAITS) this.addWait(add, task, slice);
    if ((state === WAITS || state === SLEEPS || state === UNKNOWN) && !task.isLoop && next >= 0) {
      if (slices.state[next] === READY) add("Ended by", ...this.whoMadeReady(next));
    }
    if (state === RUNS) this.addTurn(add, task, slice, next);
    if (state === LOOP_RUNS) add("Turns", ...this.turnsIn(task, slice));
    const readied = state === RUNS || state === LOOP_WORKS ? readiedBy(this.trace, slice) : [];
    if (readied.length > 0) add("It made ready", ...this.listOfTasks(readied));
    return [
      make("h2", {}, this.linkToTask(task)),
      make("p", { className: "state" }, this.icon(task, slice), stateOf(this.trace, slice)),
      make("dl", {}, ...facts),
      this.steps(task, slice),
    ];
  }

  icon(task, slice) {
    const { color } = lookOf(this.slices, slice, task.scheduler);
    return make("i", { className: color, "aria-hidden": "true" });
  }

  whoMadeReady(slice) {
    const { slices } = this;
    const code = slices.aux[slice];
    if (code === CODE.YIELDED) return ["it yielded, and could go on at once"];
    const how = code === CODE.CREATED ? "created by " : code === CODE.POSTED ? "posted to " : "";
    const by = slices.by[slice];
    if (by === UNFINISHED_TURN) return [`${how}a turn that went on when the recording ended`];
    if (by < 0) return ["by whom is not recorded"];
    const who = this.taskOf(by);
    return [how, this.linkToSlice(by, nameOfTask(who))];
  }

  addWait(add, task, slice) {
    const { aux } = this.slices;
    const { scheduler } = task;
    if (!isJoin(aux[slice], scheduler)) return;
    const slot = aux[slice] >>> 8;
    const time = this.slices.start[slice];
    // Of those that had the slot, the one that did then.
    const joined = this.trace.tasks.find(
      (other) =>
        other.scheduler === scheduler && other.slot === slot && !other.isLoop &&
        other.first <= time && other.last >= time,
    );
    if (joined) add("Waits for", this.linkToTask(joined));
  }

  addTurn(add, task, slice, next) {
    const { slices } = this;
    const code = slices.aux[slice] & 0xff;
    let then = AFTERWARDS[code] ?? "";
    if (code === CODE.WAITS) {
      then = next >= 0 ? `it ${stateOf(this.trace, next)}` : "it waits";
    }
    add("Afterwards", then);
    const before = slice - 1;
    if (before >= task.begin && slices.state[before] === READY) {
      add("Was ready for", this.linkToSlice(before, duration(slices.length(before))));
    }
  }

  /** The turns of tasks in a round of the loop. */
  turnsIn(loop, round) {
    const { slices, trace } = this;
    const [start, end] = [slices.start[round], slices.end[round]];
    const found = [];
    for (let at = 0; at < slices.count; at++) {
      if (slices.state[at] !== RUNS || slices.start[at] < start || slices.end[at] > end) continue;
      if (trace.tasks[slices.task[at]].scheduler === loop.scheduler) found.push(at);
    }
    found.sort((a, b) => slices.start[a] - slices.start[b]);
    return this.listOfTasks(found);
  }

  listOfTasks(found) {
    const MOST = 30;
    const lines = found
      .slice(0, MOST)
      .map((at) => make("div", {}, this.linkToSlice(at, nameOfTask(this.taskOf(at)))));
    if (found.length > MOST) lines.push(`and ${count(found.length - MOST)} more`);
    return found.length > 1 ? [plural(found.length, "time"), ...lines] : lines;
  }

  steps(task, slice) {
    const step = (text, to) => {
      const onclick = () => this.timeline.goTo(to);
      const button = make("button", { type: "button", onclick }, text);
      button.disabled = to < task.begin || to >= task.end;
      return button;
    };
    const zoom = () => this.timeline.zoomToSlice();
    return make(
      "div",
      { className: "buttons", role: "group", "aria-label": "Slices of the task" },
      step("‹ before", slice - 1),
      make("button", { type: "button", onclick: zoom }, "zoom to it"),
      step("after ›", slice + 1),
    );
  }

  ofTask(task) {
    const { slices } = this;
    const states = new Map(); // a name, with its colour, time, number and longest slice
    for (let at = task.begin; at < task.end; at++) {
      const name = slices.state[at] === WAITS
        ? `waits for ${reasonKind(slices.aux[at], task.scheduler)}`.replace("for to", "to")
        : stateOf(this.trace, at).replace(/, and .*/, "");
      const state = states.get(name) ?? {
        color: lookOf(slices, at, task.scheduler).color, time: 0, number: 0, longest: at,
      };
      state.time += slices.length(at);
      state.number++;
      if (slices.length(at) > slices.length(state.longest)) state.longest = at;
      states.set(name, state);
    }
    const all = [...states].sort(([, a], [, b]) => b.time - a.time);
    const total = all.reduce((sum, [, state]) => sum + state.time, 0) || 1;
    const bar = make("div", { className: "bar", "aria-hidden": "true" });
    for (const [, state] of all) {
      const part = make("i", {});
      part.style.background = `var(--${state.color})`;
      part.style.width = `${(100 * state.time) / total}%`;
      bar.append(part);
    }
    const lines = all.map(([name, state]) =>
      make(
        "tr",
        {},
        make("td", {}, name),
        make("td", {}, percent(state.time / total)),
        make("td", {}, duration(state.time)),
        make("td", {}, `${count(state.number)} ×`),
        make("td", {}, this.linkToSlice(state.longest, duration(slices.length(state.longest)))),
      ),
    );
    const head = ["", "part", "time", "times", "longest"].map((text) => make("td", {}, text));
    return [
      make("h2", {}, nameOfTask(task)),
      make("p", {}, this.life(task)),
      bar,
      make("table", {}, make("tr", { className: "head" }, ...head), ...lines),
    ];
  }

  life(task) {
    if (task.isLoop) {
      const { lost } = task.scheduler;
      return lost > 0
        ? `${plural(lost, "entry", "entries")} of this scheduler before these were overwritten.`
        : "This scheduler has been recorded from the beginning.";
    }
    const begin = task.isBorn ? `Created at ${place(task.first)}` : "There from the first entry on";
    const end = task.hasEnded ? `ended at ${place(task.last)}` : "alive at the end";
    const use = task.use > 0 ? `; ${plural(task.use, "task")} had its number before` : "";
    return `${begin}; ${end}; in ${nameOfScheduler(task.scheduler)}${use}.`;
  }
}

function link(text, onclick) {
  return make("button", { type: "button", className: "link", onclick }, text);
}
