// Which rows there are: for each scheduler its loop, and below it the tasks that are wanted, in the wanted order.

const ORDERS = {
  first: (a, b) => a.first - b.first,
  run: (a, b) => b.ranNs - a.ranNs,
  turns: (a, b) => b.turns - a.turns,
  turn: (a, b) => b.longestTurn - a.longestTurn,
  wait: (a, b) => b.longestWait - a.longestWait,
  delay: (a, b) => b.longestDelay - a.longestDelay,
  name: (a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : a.slot - b.slot),
};

class Rows {
  constructor(trace) {
    this.trace = trace;
    this.order = "first";
    this.text = "";
    // Only tasks that are there between these times.
    this.from = -Infinity;
    this.to = Infinity;
    this.folded = new Set();
    this.sorted = new Map(); // the tasks of each scheduler, by the order
    this.update();
  }

  tasksOf(scheduler) {
    let tasks = this.sorted.get(scheduler);
    if (!tasks) {
      tasks = this.trace.tasks.filter((task) => task.scheduler === scheduler && !task.isLoop);
      tasks.sort(ORDERS[this.order]);
      this.sorted.set(scheduler, tasks);
    }
    return tasks;
  }

  sortBy(order) {
    this.order = Object.hasOwn(ORDERS, order) ? order : "first";
    this.sorted.clear();
    this.update();
  }

  update() {
    const wanted = this.text.trim().toLowerCase();
    const isNumber = /^\d+$/.test(wanted);
    const isWanted = (task) =>
      task.first < this.to &&
      task.last >= this.from &&
      (wanted === "" ||
        (isNumber && task.slot === Number(wanted)) ||
        task.name.toLowerCase().includes(wanted) ||
        (!isNumber && nameOfTask(task).toLowerCase().includes(wanted)));
    this.list = [];
    this.shown = 0;
    this.places = new Int32Array(this.trace.tasks.length).fill(-1);
    const add = (task) => {
      this.places[task.index] = this.list.length;
      this.list.push(task);
    };
    for (const scheduler of this.trace.schedulers) {
      add(scheduler.loop);
      const tasks = this.tasksOf(scheduler).filter(isWanted);
      this.shown += tasks.length;
      if (!this.folded.has(scheduler)) tasks.forEach(add);
    }
  }

  placeOf(task) {
    return this.places[task.index];
  }

  /** Makes a row be there, whatever is filtered. Says whether something had to change. */
  reveal(task) {
    if (this.placeOf(task) >= 0) return false;
    this.folded.delete(task.scheduler);
    this.update();
    if (this.placeOf(task) < 0) {
      this.text = "";
      this.from = -Infinity;
      this.to = Infinity;
      this.update();
    }
    return true;
  }
}
