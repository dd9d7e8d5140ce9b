// From entries to tasks and slices.
//
// An entry is 16 bytes: a time in ns since the recording began, and a word of a code in its top 8 bits and a payload.
// Where the payload names a task, the low 24 bits are the number of its slot, and the next 32 how often that slot
// had been used before. Entries may begin anywhere, and are not believed: whatever they are, each is looked at once.

const CODE = {
  LOOP: 1, // the loop is left; the payload is for how long it slept since the last turn
  READY: 2, // during the turn or the work of the loop that ends next
  CREATED: 3,
  POSTED: 4, // created for another thread
  YIELDED: 5, // a turn ends, which has begun where the one before or the loop ended
  ENDED: 6,
  SLEEPS: 7,
  WAITS: 8, // the high 32 bits of the payload are what for
  RUNS: 10, // a turn goes on when the recording ends
  TEXT: 9, // 15 bytes of the name of the task that has ended just before
};
/** Set with the code by which a turn ended, if its begin is before the first entry. */
const BEGIN_UNKNOWN = 0x100;

/** Larger ones are lies, and would not be exact. */
const LAST_TIME = 2 ** 52;

function bytesOfBase64(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const characters = atob(text);
  const bytes = new Uint8Array(characters.length);
  for (let at = 0; at < bytes.length; at++) bytes[at] = characters.charCodeAt(at);
  return bytes;
}

/** The entries of a scheduler: its time is the largest one so far. */
class Entries {
  constructor(base64) {
    const bytes = bytesOfBase64(base64);
    this.count = bytes.length >>> 4;
    this.bytes = bytes.subarray(0, this.count * 16);
    this.words = new Uint32Array(this.bytes.buffer, 0, this.count * 4);
    this.first = 0;
    this.last = 0;
    for (let at = 0, any = false; at < this.count; at++) {
      if (this.code(at) === CODE.TEXT) continue;
      this.last = Math.max(this.last, this.time(at));
      if (!any) this.first = this.last;
      any = true;
    }
  }

  code(at) {
    return this.words[at * 4 + 3] >>> 24;
  }
  time(at) {
    const time = this.words[at * 4] + this.words[at * 4 + 1] * 2 ** 32;
    return Math.min(time, LAST_TIME);
  }
  slot(at) {
    return this.words[at * 4 + 2] & 0xffffff;
  }
  /** Bits 24 to 55 of the word. */
  above(at) {
    return ((this.words[at * 4 + 2] >>> 24) | (this.words[at * 4 + 3] << 8)) >>> 0;
  }
  /** Bits 0 to 55. */
  payload(at) {
    return this.words[at * 4 + 2] + (this.words[at * 4 + 3] & 0xffffff) * 2 ** 32;
  }
}

class Task {
  constructor(index, scheduler, slot, use) {
    this.index = index;
    this.scheduler = scheduler;
    this.slot = slot;
    this.use = use; // -1 if only its slot is known
    this.name = "";
    this.isLoop = false;
    this.isBorn = false; // in the recording
    this.hasEnded = false;
    // Its state, since when, and what slices have with it.
    this.state = UNKNOWN;
    this.since = 0;
    this.aux = 0;
    this.by = NOBODY;
    // The slices, when they are sorted: from `begin` to `end`.
    this.slices = 0;
    this.begin = 0;
    this.end = 0;
  }
}

class Trace {
  constructor(tables, base64) {
    this.title = printable(tables.title);
    const entries = base64.map((text) => new Entries(text));
    this.count = entries.reduce((sum, of) => sum + of.count, 0);
    this.slices = new Slices(this.count * 2 + 64);
    this.tasks = [];
    this.notUnderstood = 0;
    this.outOfOrder = 0;
    this.schedulers = tables.schedulers.map((table, place) => ({
      number: place + 1,
      name: printable(table.name),
      kinds: table.kinds.map(printable),
      lost: table.lost,
      start: table.lost > 0 ? entries[place].first : 0,
    }));
    const begins = this.schedulers.map((scheduler) => scheduler.start);
    this.start = begins.reduce((a, b) => Math.min(a, b), begins[0] ?? 0);
    this.end = entries.reduce((end, of) => Math.max(end, of.last), this.start + 1);
    this.schedulers.forEach((scheduler, place) => {
      new SchedulerReader(this, scheduler).read(entries[place], tables.schedulers[place].names);
    });
    this.slices = this.slices.sortByTask(this.tasks);
    for (const task of this.tasks) summarize(this.slices, task);
  }

  newTask(scheduler, slot, use) {
    const task = new Task(this.tasks.length, scheduler, slot, use);
    this.tasks.push(task);
    return task;
  }
}

class SchedulerReader {
  constructor(trace, scheduler) {
    this.trace = trace;
    this.slices = trace.slices;
    this.scheduler = scheduler;
    this.loop = scheduler.loop = trace.newTask(scheduler, -1, -1);
    this.loop.isLoop = true;
    this.now = scheduler.start;
    // Where the turn before ended, or the loop was left; and whether that was in the recording.
    this.turnStart = scheduler.start;
    this.isTurnStartKnown = false;
    this.roundStart = scheduler.start;
    this.slots = new Map();
    // Those that have become ready in the turn whose end is still to come.
    this.becameReady = [];
  }

  read(entries, names) {
    let ended = null;
    const name = new NameBytes();
    for (let at = 0; at < entries.count; at++) {
      const code = entries.code(at);
      if (code === CODE.TEXT) {
        if (ended && name.add(entries.bytes, at * 16)) ended.name = name.text();
        else this.trace.notUnderstood++;
        continue;
      }
      ended = null;
      const time = entries.time(at);
      if (time < this.now) this.trace.outOfOrder++;
      else this.now = time;
      if (code === CODE.LOOP) {
        this.leaveLoop(entries.payload(at));
      } else if (code >= CODE.READY && code <= CODE.POSTED) {
        this.makeReady(code, entries.slot(at), entries.above(at));
      } else if ((code >= CODE.YIELDED && code <= CODE.WAITS) || code === CODE.RUNS) {
        const task = this.endTurn(code, entries.slot(at), entries.above(at));
        if (code === CODE.ENDED) {
          ended = task;
          name.length = 0;
        }
      } else {
        this.trace.notUnderstood++;
      }
    }
    for (const [slot, text] of names) this.taskOf(slot, -1).name = printable(text);
    this.finish();
  }

  /** The task that has a slot now; `use` is -1 where it is not known. */
  taskOf(slot, use) {
    const task = this.slots.get(slot);
    if (task && !task.hasEnded) {
      if (task.use === -1) task.use = use;
      if (use === -1 || task.use === use) return task;
    }
    return this.replace(task, slot, use, task?.hasEnded ? task.since : this.scheduler.start);
  }

  replace(old, slot, use, since) {
    if (old && !old.hasEnded) this.closeSlice(old, this.now);
    const task = this.trace.newTask(this.scheduler, slot, use);
    task.since = since;
    this.slots.set(slot, task);
    return task;
  }

  /** Ends the state that a task has been in. Who has made it ready is kept also where it could run at once. */
  closeSlice(task, time) {
    if (task.since < time || (task.since === time && task.state === READY)) {
      this.slices.push(task, task.state, task.since, time, task.aux, task.by);
    }
  }

  makeReady(code, slot, use) {
    let task;
    if (code === CODE.READY) {
      task = this.taskOf(slot, use);
      if (task.state === READY) return;
      this.closeSlice(task, this.now);
    } else {
      task = this.replace(this.slots.get(slot), slot, use, this.now);
      task.isBorn = true;
    }
    this.enter(task, READY, code, UNFINISHED_TURN);
    this.becameReady.push(task);
  }

  enter(task, state, aux, by) {
    task.state = state;
    task.since = this.now;
    task.aux = aux;
    task.by = by;
  }

  endTurn(code, slot, above) {
    const task = this.taskOf(slot, code === CODE.WAITS ? -1 : above);
    this.closeSlice(task, this.turnStart);
    const aux = code | (this.isTurnStartKnown ? 0 : BEGIN_UNKNOWN);
    const turn = this.slices.push(task, RUNS, this.turnStart, this.now, aux, NOBODY);
    this.tellWhoMadeReady(turn);
    if (code === CODE.YIELDED) this.enter(task, READY, code, NOBODY);
    else if (code === CODE.SLEEPS) this.enter(task, SLEEPS, 0, NOBODY);
    else if (code === CODE.WAITS) this.enter(task, WAITS, above, NOBODY);
    else if (code === CODE.RUNS) this.enter(task, UNKNOWN, 0, NOBODY);
    else {
      task.hasEnded = true;
      task.since = this.now;
    }
    this.turnStart = this.now;
    this.isTurnStartKnown = true;
    return task;
  }

  tellWhoMadeReady(slice) {
    for (const task of this.becameReady) {
      if (task.by === UNFINISHED_TURN) task.by = slice;
    }
    this.becameReady.length = 0;
  }

  /** Where in this time the loop slept is not recorded; it is drawn first. */
  leaveLoop(sleptNs) {
    this.endRound();
    const awake = Math.min(this.turnStart + sleptNs, this.now);
    if (sleptNs > 0) this.slices.push(this.loop, LOOP_SLEEPS, this.turnStart, awake, 0, NOBODY);
    const work = this.slices.push(this.loop, LOOP_WORKS, awake, this.now, 0, NOBODY);
    this.tellWhoMadeReady(work);
    this.roundStart = this.turnStart = this.now;
    this.isTurnStartKnown = true;
  }

  endRound() {
    if (this.roundStart < this.turnStart) {
      this.slices.push(this.loop, LOOP_RUNS, this.roundStart, this.turnStart, 0, NOBODY);
    }
  }

  finish() {
    const { end } = this.trace;
    this.endRound();
    if (this.turnStart < end) {
      this.slices.push(this.loop, UNKNOWN, this.turnStart, end, 0, NOBODY);
    }
    for (const task of this.slots.values()) {
      if (!task.hasEnded) this.closeSlice(task, end);
    }
  }
}

/** A name, which comes in parts of 15 bytes. */
class NameBytes {
  constructor() {
    this.bytes = new Uint8Array(30);
    this.length = 0;
    this.decoder = new TextDecoder();
  }

  /** Adds a part, if there is room for it. */
  add(bytes, at) {
    if (this.length === this.bytes.length) return false;
    this.bytes.set(bytes.subarray(at, at + 15), this.length);
    this.length += 15;
    return true;
  }

  text() {
    const end = this.bytes.indexOf(0);
    const length = end < 0 ? this.length : Math.min(end, this.length);
    return printable(this.decoder.decode(this.bytes.subarray(0, length)));
  }
}

/** What rows are sorted by. */
function summarize(slices, task) {
  let turns = 0;
  let turn = 0;
  let wait = 0;
  let delay = 0;
  for (let at = task.begin; at < task.end; at++) {
    const state = slices.state[at];
    const length = slices.end[at] - slices.start[at];
    if (state === RUNS) {
      turns++;
      turn = Math.max(turn, length);
    } else if (state === WAITS) wait = Math.max(wait, length);
    else if (state === READY) delay = Math.max(delay, length);
  }
  task.turns = turns;
  task.ranNs = slices.ran[task.end] - slices.ran[task.begin];
  task.longestTurn = turn;
  task.longestWait = wait;
  task.longestDelay = delay;
  const isAny = task.begin < task.end;
  task.first = isAny ? slices.start[task.begin] : task.since;
  task.last = isAny ? slices.end[task.end - 1] : task.since;
}
