// Slices: the times in which a task, or a loop, was in one state. There may be millions, so they are columns of
// numbers and no objects. Those of a task are side by side and in the order of time, when all have been read.

const UNKNOWN = 0;
const RUNS = 1;
const READY = 2;
const WAITS = 3;
const SLEEPS = 4;
const LOOP_SLEEPS = 5;
const LOOP_WORKS = 6;
const LOOP_RUNS = 7;

/** Nobody is known to have ended a wait, or a turn that had not ended yet with the recording. */
const NOBODY = -1;
const UNFINISHED_TURN = -2;

class Slices {
  constructor(capacity) {
    this.count = 0;
    this.task = new Int32Array(capacity);
    this.state = new Uint8Array(capacity);
    this.start = new Float64Array(capacity);
    this.end = new Float64Array(capacity);
    // RUNS: the code by which it ended. READY: the code by which it began. WAITS: the reason.
    this.aux = new Uint32Array(capacity);
    // READY: the slice of who has made the task ready.
    this.by = new Int32Array(capacity);
  }

  push(task, state, start, end, aux, by) {
    const at = this.count++;
    if (at === this.task.length) this.grow();
    this.task[at] = task.index;
    this.state[at] = state;
    this.start[at] = start;
    this.end[at] = end;
    this.aux[at] = aux;
    this.by[at] = by;
    task.slices++;
    return at;
  }

  grow() {
    for (const name of ["task", "state", "start", "end", "aux", "by"]) {
      const larger = new this[name].constructor(this.count * 2);
      larger.set(this[name]);
      this[name] = larger;
    }
  }

  /** Puts the slices of each task side by side, and tells the tasks where theirs are. */
  sortByTask(tasks) {
    let begin = 0;
    const next = new Int32Array(tasks.length);
    for (const task of tasks) {
      task.begin = next[task.index] = begin;
      begin += task.slices;
      task.end = begin;
    }
    const places = new Int32Array(this.count);
    for (let at = 0; at < this.count; at++) places[at] = next[this.task[at]]++;
    const sorted = new Slices(this.count);
    sorted.count = this.count;
    for (let at = 0; at < this.count; at++) {
      const to = places[at];
      sorted.task[to] = this.task[at];
      sorted.state[to] = this.state[at];
      sorted.start[to] = this.start[at];
      sorted.end[to] = this.end[at];
      sorted.aux[to] = this.aux[at];
      sorted.by[to] = this.by[at] < 0 ? this.by[at] : places[this.by[at]];
    }
    sorted.sum();
    return sorted;
  }

  /** How long all slices before one ran or were ready: what a pixel with many of them shows. */
  sum() {
    this.ran = new Float64Array(this.count + 1);
    this.wasReady = new Float64Array(this.count + 1);
    for (let at = 0; at < this.count; at++) {
      const state = this.state[at];
      const length = this.end[at] - this.start[at];
      this.ran[at + 1] = this.ran[at] + (state === RUNS || state === LOOP_RUNS ? length : 0);
      this.wasReady[at + 1] =
        this.wasReady[at] + (state === READY || state === LOOP_WORKS ? length : 0);
    }
  }

  length(at) {
    return this.end[at] - this.start[at];
  }

  /** The first slice from `begin` on, and before `end`, that ends after a time. */
  firstAfter(time, begin, end) {
    // Most often it is near.
    let step = 1;
    let low = begin;
    while (low + step < end && this.end[low + step - 1] <= time) {
      low += step;
      step *= 2;
    }
    let high = Math.min(low + step, end);
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.end[middle] <= time) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** The slice of a task at a time, or -1. */
  at(task, time) {
    const at = this.firstAfter(time, task.begin, task.end);
    return at < task.end && this.start[at] <= time ? at : -1;
  }
}
