// How a row is drawn. States have colours and heights of their own, so that they can be told apart without colours.

const ROW_HEIGHT = 22;

const COLORS =
  "run run-text ready ready-text outside outside-text wait wait-text sleep sleep-text " +
  "work work-text unknown ink faint grid stripe page accent mark panel";

/** The colours of the style sheet, which are others when it is dark. */
function readColors() {
  const style = getComputedStyle(document.documentElement);
  return Object.fromEntries(
    COLORS.split(" ").map((name) => [name, style.getPropertyValue(`--${name}`).trim()]),
  );
}

/** The colour and the height of a slice. */
function lookOf(slices, at, scheduler) {
  switch (slices.state[at]) {
    case RUNS:
    case LOOP_RUNS:
      return { color: "run", height: 16 };
    case READY:
      return { color: "ready", height: 8 };
    case WAITS:
      return { color: isFromOutside(slices.aux[at], scheduler) ? "outside" : "wait", height: 12 };
    case SLEEPS:
    case LOOP_SLEEPS:
      return { color: "sleep", height: 4 };
    case LOOP_WORKS:
      return { color: "work", height: 12 };
    default:
      return { color: "unknown", height: 2 };
  }
}

class RowPainter {
  constructor(slices, context, colors) {
    this.slices = slices;
    this.context = context;
    this.colors = colors;
    this.characterWidth = context.measureText("semaphore 0123").width / 14;
  }

  /** Draws the row of a task between `top` and `top + ROW_HEIGHT`: x 0 is `start`, one pixel is `scale` ns. */
  paint(task, top, start, scale, width) {
    const { slices, context } = this;
    const end = start + scale * width;
    const middle = top + ROW_HEIGHT / 2;
    let at = slices.firstAfter(start, task.begin, task.end);
    let painted = 0; // the pixels up to there
    while (at < task.end && slices.start[at] < end) {
      const left = (slices.start[at] - start) / scale;
      const right = (slices.end[at] - start) / scale;
      if (right - left >= 1) {
        this.paintSlice(task, at, Math.max(left, painted), Math.min(right, width + 2), middle);
        at++;
        continue;
      }
      // One pixel may have thousands.
      const x = Math.max(Math.floor(left), painted);
      const next = slices.firstAfter(start + (x + 1) * scale, at + 1, task.end);
      this.paintPixel(task, at, next, x, middle, scale);
      painted = x + 1;
      at = next;
    }
  }

  paintSlice(task, at, left, right, middle) {
    const { slices, context, colors } = this;
    const { color, height } = lookOf(slices, at, task.scheduler);
    context.fillStyle = colors[color];
    const gap = right - left > 4 ? 0.5 : 0;
    context.fillRect(left, middle - height / 2, right - left - gap, height);
    if (height >= 12 && right - left > 24) {
      this.paintText(textInSlice(slices, at, task), left, right, middle, colors[`${color}-text`]);
    }
  }

  /** A text, or as much of it as is of use. */
  paintText(text, left, right, middle, color) {
    const from = left + 5;
    const room = Math.floor((right - from - 3) / this.characterWidth);
    if (room < Math.min(text.length, 8)) return;
    this.context.fillStyle = color;
    const cut = text.slice(0, room - 1).replace(/[ …]+$/, "");
    const short = text.length > room ? `${cut}…` : text;
    this.context.fillText(short, from, middle + 0.5);
  }

  /** The part of a pixel's time in which the task ran is its height. */
  paintPixel(task, from, to, x, middle, scale) {
    const { slices, context, colors } = this;
    const ran = (slices.ran[to] - slices.ran[from]) / scale;
    const wasReady = (slices.wasReady[to] - slices.wasReady[from]) / scale;
    const rest = this.restOf(task, from, to);
    if (rest >= 0 && ran + wasReady < 0.95) {
      const { color, height } = lookOf(slices, rest, task.scheduler);
      context.fillStyle = colors[color];
      context.fillRect(x, middle - height / 2, 1, height);
    }
    if (wasReady > 0.05) {
      context.fillStyle = colors[task.isLoop ? "work" : "ready"];
      const height = 2 + 6 * Math.min(1, wasReady);
      context.fillRect(x, middle - height / 2, 1, height);
    }
    if (ran > 0) {
      context.fillStyle = colors.run;
      const height = 5 + 11 * Math.min(1, Math.sqrt(ran));
      context.fillRect(x, middle - height / 2, 1, height);
    }
  }

  /** What the task does there most when it neither runs nor is ready, so far as a few slices tell. */
  restOf(task, from, to) {
    const { slices } = this;
    let rest = -1;
    for (let at = from; at < Math.min(to + 1, from + 8, task.end); at++) {
      const isOther = [UNKNOWN, WAITS, SLEEPS, LOOP_SLEEPS].includes(slices.state[at]);
      if (isOther && (rest < 0 || slices.length(at) > slices.length(rest))) rest = at;
    }
    return rest;
  }
}

function textInSlice(slices, at, task) {
  switch (slices.state[at]) {
    case WAITS:
      return reason(slices.aux[at], task.scheduler);
    case RUNS:
    case LOOP_RUNS:
    case LOOP_WORKS:
      return duration(slices.length(at));
    default:
      return "";
  }
}
