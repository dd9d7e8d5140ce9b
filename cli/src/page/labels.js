// The name of a row. There are as many as rows that are seen, and they get others when the rows are scrolled.

class Label {
  constructor(timeline) {
    this.timeline = timeline;
    this.task = null;
    this.number = make("span", { className: "number" });
    this.name = make("span", { className: "name" });
    this.value = make("span", { className: "value" });
    this.fold = make("button", { className: "fold", type: "button", onclick: () => this.toggle() });
    this.button = make(
      "button",
      { className: "task", type: "button", onclick: () => timeline.select(this.task) },
      this.number,
      this.name,
      this.value,
    );
    this.button.addEventListener("dblclick", () => {
      timeline.show(this.task.first, this.task.last);
    });
    this.row = make("div", { className: "row", role: "listitem" }, this.fold, this.button);
    element("labels").append(this.row);
  }

  toggle() {
    const { rows } = this.timeline;
    const { scheduler } = this.task;
    if (!rows.folded.delete(scheduler)) rows.folded.add(scheduler);
    rows.update();
    this.timeline.rowsChanged();
  }

  show(visible) {
    this.row.hidden = !visible;
    if (!visible) return;
    const { task, y, at } = visible;
    const { timeline } = this;
    this.row.style.transform = `translateY(${y}px)`;
    this.row.classList.toggle("is-loop", task.isLoop);
    this.row.classList.toggle("is-striped", at % 2 === 1);
    this.row.classList.toggle("is-marked", task === timeline.task);
    const isFolded = timeline.rows.folded.has(task.scheduler);
    const value = timeline.valueOf(task);
    if (this.task === task && this.isFolded === isFolded && this.shown === value) return;
    this.task = task;
    this.isFolded = isFolded;
    this.shown = value;
    this.fold.hidden = !task.isLoop;
    this.fold.textContent = isFolded ? "▸" : "▾";
    this.fold.setAttribute("aria-expanded", String(!isFolded));
    this.fold.setAttribute("aria-label", `Tasks of ${nameOfScheduler(task.scheduler)}`);
    this.number.textContent = task.isLoop ? "" : task.slot;
    this.name.textContent = task.isLoop ? nameOfScheduler(task.scheduler) : task.name;
    this.value.textContent = value;
    this.button.title = nameOfTask(task);
  }
}
