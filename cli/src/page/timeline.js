// The rows, drawn on a canvas, with their names beside them. Only what is to be seen is drawn: the work depends on the
// number of pixels, and not on that of the entries.

/** Chromium and Firefox have no higher elements. */
const MOST_PIXELS = 8e6;
const LEAST_SPAN_NS = 50;

class Timeline {
  constructor(trace, rows) {
    this.trace = trace;
    this.rows = rows;
    this.slices = trace.slices;
    const margin = (trace.end - trace.start) * 0.005;
    this.least = trace.start - margin;
    this.most = trace.end + margin;
    this.start = this.least;
    this.end = this.most;
    this.width = 1;
    this.height = 1;
    // What is marked: a task, and a slice of it or -1; and who has made whom ready by it.
    this.task = null;
    this.slice = -1;
    this.arrows = [];
    this.hovered = -1;
    this.pointer = NaN; // a time
    this.band = null; // two times
    this.labels = [];
    this.isDue = false;
    this.onmove = () => {};
    this.onselect = () => {};
    this.scroller = element("scroller");
    this.canvas = element("chart");
    this.ruler = new Ruler(this);
    this.overview = new Overview(this);
    this.colors = readColors();
    this.scroller.addEventListener("scroll", () => this.invalidate());
    new ResizeObserver(() => this.resize()).observe(this.scroller);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.recolor());
    this.resize();
  }

  recolor() {
    this.colors = readColors();
    this.invalidate();
  }

  resize() {
    this.labelWidth = element("labels").offsetWidth;
    this.width = Math.max(50, this.scroller.clientWidth - this.labelWidth);
    this.height = this.scroller.clientHeight;
    element("stage").style.height = `${this.height}px`;
    this.rowsChanged();
  }

  rowsChanged() {
    this.total = this.rows.list.length * ROW_HEIGHT + 8;
    element("sizer").style.height = `${Math.min(this.total, MOST_PIXELS)}px`;
    const tasks = this.trace.tasks.length - this.trace.schedulers.length;
    const shown = this.rows.shown;
    element("row-count").textContent =
      shown === tasks ? plural(tasks, "task") : `${count(shown)} of ${plural(tasks, "task")}`;
    this.invalidate();
  }

  // How far the rows are scrolled, in pixels of all rows; the scroll bar may have fewer.
  get top() {
    const room = Math.min(this.total, MOST_PIXELS) - this.height;
    const part = room > 0 ? this.scroller.scrollTop / room : 0;
    return part * Math.max(0, this.total - this.height);
  }
  set top(pixels) {
    const room = Math.min(this.total, MOST_PIXELS) - this.height;
    const most = this.total - this.height;
    this.scroller.scrollTop = most > 0 ? (pixels / most) * room : 0;
    this.invalidate();
  }

  get scale() {
    return (this.end - this.start) / this.width;
  }
  x(time) {
    return (time - this.start) / this.scale;
  }
  time(x) {
    return this.start + x * this.scale;
  }

  show(start, end) {
    const span = Math.min(Math.max(end - start, LEAST_SPAN_NS), this.most - this.least);
    const middle = (start + end) / 2;
    this.start = Math.min(Math.max(middle - span / 2, this.least), this.most - span);
    this.end = this.start + span;
    this.onmove();
    this.invalidate();
  }
  showAll() {
    this.show(this.least, this.most);
  }
  get isAll() {
    return this.end - this.start >= this.most - this.least;
  }
  zoom(factor, around = (this.start + this.end) / 2) {
    const span = (this.end - this.start) * factor;
    const clamped = Math.min(Math.max(span, LEAST_SPAN_NS), this.most - this.least);
    const start = around - ((around - this.start) * clamped) / (this.end - this.start);
    this.show(start, start + clamped);
  }
  pan(time) {
    this.show(this.start + time, this.end + time);
  }

  /** Marks a task, or a slice of it, without going there. */
  select(task, slice = -1) {
    this.task = task;
    this.slice = slice;
    this.arrows = slice < 0 ? [] : arrowsOf(this.trace, slice);
    this.onselect();
    this.invalidate();
  }

  /** Marks a slice, and shows it in its row. */
  goTo(slice) {
    const task = this.trace.tasks[this.slices.task[slice]];
    this.select(task, slice);
    this.revealRow(task);
    const length = Math.max(this.slices.length(slice), 10);
    const middle = (this.slices.start[slice] + this.slices.end[slice]) / 2;
    const isSeen = this.slices.end[slice] > this.start && this.slices.start[slice] < this.end;
    const pixels = length / this.scale;
    // It stays as it is where the slice is well to be seen.
    if (!isSeen || pixels < 6 || pixels > this.width * 1.5) {
      this.show(middle - length * 4, middle + length * 4);
    }
  }

  goToTask(task) {
    this.select(task);
    this.revealRow(task);
  }

  zoomToSlice() {
    if (this.slice < 0) return;
    const length = Math.max(this.slices.length(this.slice), 10);
    const margin = length * 0.2;
    this.show(this.slices.start[this.slice] - margin, this.slices.end[this.slice] + margin);
  }

  revealRow(task) {
    if (this.rows.reveal(task)) {
      this.onreveal();
      this.rowsChanged();
    }
    const y = this.rows.placeOf(task) * ROW_HEIGHT;
    const isSeen = y >= this.top + ROW_HEIGHT && y + ROW_HEIGHT <= this.top + this.height;
    if (!isSeen) this.top = y - this.height / 3;
  }

  /** The rows that are to be seen, with where they are. The loop of those at the top stays there. */
  *visibleRows() {
    const { list } = this.rows;
    if (list.length === 0) return;
    const { top } = this;
    const first = Math.min(Math.floor(top / ROW_HEIGHT), list.length - 1);
    const last = Math.min(Math.ceil((top + this.height) / ROW_HEIGHT), list.length);
    for (let at = first; at < last; at++) {
      if (!list[at].isLoop) yield { task: list[at], y: at * ROW_HEIGHT - top, at };
    }
    const pinned = list[first].scheduler.loop;
    let next = this.height;
    for (let at = last - 1; at > first; at--) {
      if (!list[at].isLoop) continue;
      next = at * ROW_HEIGHT - top;
      yield { task: list[at], y: next, at };
    }
    yield { task: pinned, y: Math.min(0, next - ROW_HEIGHT), at: this.rows.placeOf(pinned) };
  }

  rowAt(y) {
    // Loops come last, and are on top.
    return [...this.visibleRows()].findLast((row) => y >= row.y && y < row.y + ROW_HEIGHT)?.task;
  }

  /** The slice at a place of the canvas, or else the next one within a few pixels; -1 for none. */
  sliceAt(task, x) {
    const time = this.time(x);
    const near = 4 * this.scale;
    let best = -1;
    let distance = near;
    const { slices } = this;
    for (let at = slices.firstAfter(time - near, task.begin, task.end), tries = 0; ; at++) {
      if (at >= task.end || slices.start[at] > time + near || tries++ > 1000) return best;
      const away = Math.max(slices.start[at] - time, time - slices.end[at], 0);
      // Of slices that are near, a turn is what people aim at, if it is so short.
      const isShort = slices.state[at] === RUNS && slices.length(at) < near;
      if (away < distance || (away <= near && isShort)) {
        best = at;
        distance = away;
        if (isShort) return best;
      }
    }
  }

  invalidate() {
    if (this.isDue) return;
    this.isDue = true;
    requestAnimationFrame(() => {
      this.isDue = false;
      this.draw();
    });
  }

  draw() {
    const context = fitCanvas(this.canvas, this.width, this.height);
    const painter = new RowPainter(this.slices, context, this.colors);
    const rows = [...this.visibleRows()];
    const ticks = this.ruler.draw(this.width);
    for (const { task, y, at } of rows) {
      context.fillStyle = this.background(task, at);
      context.fillRect(0, y, this.width, ROW_HEIGHT);
      context.fillStyle = this.colors.grid;
      for (const x of ticks) context.fillRect(x, y, 1, ROW_HEIGHT);
      painter.paint(task, y, this.start, this.scale, this.width);
      this.drawMark(context, task, y);
    }
    this.drawArrows(context, rows);
    this.drawPointer(context);
    this.overview.draw(this.width);
    this.drawLabels(rows);
    element("span").textContent = `${duration(this.end - this.start)} in view`;
  }

  background(task, at) {
    if (task === this.task) return this.colors.mark;
    if (task.isLoop) return this.colors.panel;
    return at % 2 === 1 ? this.colors.stripe : this.colors.page;
  }

  drawMark(context, task, y) {
    for (const [slice, width] of [[this.hovered, 1], [this.slice, 2]]) {
      if (slice < task.begin || slice >= task.end || slice < 0) continue;
      const left = Math.max(this.x(this.slices.start[slice]), -5);
      const right = Math.min(this.x(this.slices.end[slice]), this.width + 5);
      context.strokeStyle = this.colors.ink;
      context.lineWidth = width;
      context.strokeRect(left - 1, y + 2, Math.max(right - left, 1) + 2, ROW_HEIGHT - 4);
    }
  }

  /** From who made a task ready to that task, at the time when it became so. */
  drawArrows(context, rows) {
    if (this.arrows.length === 0) return;
    const top = new Map(rows.map(({ task, y }) => [task, y]));
    const yOf = (task) => top.get(task) ?? this.rows.placeOf(task) * ROW_HEIGHT - this.top;
    context.strokeStyle = context.fillStyle = this.colors.ink;
    context.lineWidth = 1.5;
    for (const { from, to, time } of this.arrows) {
      if (this.rows.placeOf(from) < 0 || this.rows.placeOf(to) < 0) continue;
      const x = this.x(time);
      if (x < -10 || x > this.width + 10) continue;
      const middle = ROW_HEIGHT / 2;
      const [begin, end] = [yOf(from) + middle, yOf(to) + middle];
      const way = Math.sign(end - begin);
      const tip = end - way * 4;
      context.beginPath();
      context.arc(x, begin, 2.5, 0, 7);
      context.fill();
      context.beginPath();
      context.moveTo(x, begin);
      context.lineTo(x, tip);
      context.stroke();
      context.beginPath();
      context.moveTo(x, tip);
      context.lineTo(x - 3.5, tip - way * 7);
      context.lineTo(x + 3.5, tip - way * 7);
      context.fill();
    }
  }

  drawPointer(context) {
    if (this.band) {
      const [left, right] = this.band.map((time) => this.x(time));
      context.globalAlpha = 0.2;
      context.fillStyle = this.colors.accent;
      context.fillRect(left, 0, right - left, this.height);
      context.globalAlpha = 1;
    } else if (!Number.isNaN(this.pointer)) {
      context.fillStyle = this.colors.faint;
      context.globalAlpha = 0.5;
      context.fillRect(Math.round(this.x(this.pointer)), 0, 1, this.height);
      context.globalAlpha = 1;
    }
  }

  drawLabels(rows) {
    while (this.labels.length < rows.length) this.labels.push(new Label(this));
    this.labels.forEach((label, place) => label.show(rows[place]));
  }

  /** What is said at the right of a task's name: what the rows are sorted by. */
  valueOf(task) {
    if (task.isLoop) return "";
    switch (this.rows.order) {
      case "turns":
        return count(task.turns);
      case "turn":
        return duration(task.longestTurn);
      case "wait":
        return duration(task.longestWait);
      case "delay":
        return duration(task.longestDelay);
      default:
        return duration(task.ranNs);
    }
  }
}

/** Who made whom ready: by a turn, or so that a wait or a ready time began or ended. */
function arrowsOf(trace, slice) {
  const { slices, tasks } = trace;
  const arrow = (at) => ({
    from: tasks[slices.task[slices.by[at]]],
    to: tasks[slices.task[at]],
    time: slices.start[at],
  });
  const isReadied = (at) => slices.state[at] === READY && slices.by[at] >= 0;
  switch (slices.state[slice]) {
    case READY:
      return isReadied(slice) ? [arrow(slice)] : [];
    case RUNS:
    case LOOP_WORKS:
      return readiedBy(trace, slice).map(arrow);
    default: {
      const next = slice + 1;
      const isNext = next < slices.count && slices.task[next] === slices.task[slice];
      return isNext && isReadied(next) ? [arrow(next)] : [];
    }
  }
}

/** The slices of tasks that a slice has made ready. */
function readiedBy(trace, slice) {
  const { slices } = trace;
  const found = [];
  for (let at = slices.by.indexOf(slice); at >= 0; at = slices.by.indexOf(slice, at + 1)) {
    if (slices.state[at] === READY) found.push(at);
  }
  return found.sort((a, b) => slices.start[a] - slices.start[b]);
}
