// Above the rows: the times, and how busy all of the recording was.

const RULER_HEIGHT = 26;
const OVERVIEW_HEIGHT = 44;

/** The next number of 1, 2, 5, 10, 20, ... */
function roundStep(least) {
  const power = 10 ** Math.floor(Math.log10(least));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= least) ?? least;
}

class Ruler {
  constructor(timeline) {
    this.timeline = timeline;
    this.canvas = element("ruler");
  }

  /** Draws the times, and returns where. */
  draw(width) {
    const { timeline } = this;
    const { colors, start, end } = timeline;
    const context = fitCanvas(this.canvas, width, RULER_HEIGHT);
    const step = Math.max(1, roundStep((end - start) * (95 / width)));
    // Far from the begin, times are told from a place that is written once.
    const isFar = start > 1000 * step;
    const base = isFar ? Math.floor(start / (100 * step)) * 100 * step : 0;
    const unit = unitOf(isFar ? 10 * step : Math.max(end, step));
    const digits = Math.max(0, Math.ceil(-Math.log10(step / unit.ns) - 1e-9));
    const ticks = [];
    const text = (time) => `${isFar ? "+" : ""}${((time - base) / unit.ns).toFixed(digits)}`;
    const baseText = isFar ? place(base) : "";
    const room = isFar ? context.measureText(baseText).width + 20 : 0;
    context.fillStyle = colors.faint;
    if (isFar) context.fillText(baseText, 6, RULER_HEIGHT / 2);
    const first = Math.ceil(start / step) * step;
    for (let time = first; time <= end && ticks.length < 1000; time += step) {
      const x = Math.round(timeline.x(time));
      ticks.push(x);
      context.fillStyle = colors.grid;
      context.fillRect(x, RULER_HEIGHT - 6, 1, 6);
      context.fillStyle = colors.faint;
      if (x >= room && x < width - 40 && time >= 0) {
        context.fillText(`${text(time)} ${unit.name}`, x + 4, RULER_HEIGHT / 2);
      }
    }
    if (!Number.isNaN(timeline.pointer)) this.drawPointer(context, width);
    return ticks;
  }

  drawPointer(context, width) {
    const { timeline } = this;
    const { colors, band } = timeline;
    const text = band
      ? duration(Math.abs(band[1] - band[0]))
      : place(Math.max(0, timeline.pointer));
    const size = context.measureText(text).width + 10;
    const x = Math.min(Math.max(timeline.x(timeline.pointer) - size / 2, 0), width - size);
    context.fillStyle = colors.ink;
    context.fillRect(x, 4, size, RULER_HEIGHT - 8);
    context.fillStyle = colors.page;
    context.fillText(text, x + 5, RULER_HEIGHT / 2);
  }
}

class Overview {
  constructor(timeline) {
    this.timeline = timeline;
    this.canvas = element("overview");
    this.shares = null;
    const move = (event) => {
      if (event.buttons !== 1) return;
      const { least, most, start, end, width } = timeline;
      const box = this.canvas.getBoundingClientRect();
      const middle = least + ((event.clientX - box.left) / width) * (most - least);
      timeline.show(middle - (end - start) / 2, middle + (end - start) / 2);
    };
    this.canvas.addEventListener("pointerdown", (event) => {
      this.canvas.setPointerCapture(event.pointerId);
      move(event);
    });
    this.canvas.addEventListener("pointermove", move);
    this.canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      timeline.zoom(Math.exp(event.deltaY * 0.002));
    }, { passive: false });
  }

  /** Which part of each pixel's time the schedulers have run tasks and worked, together. */
  measure(width) {
    const { trace, slices, least, most } = this.timeline;
    const scale = (most - least) / width;
    this.shares = { width, ran: new Float64Array(width), worked: new Float64Array(width) };
    const { ran, worked } = this.shares;
    const all = trace.schedulers.length * scale;
    for (const { loop } of trace.schedulers) {
      for (let at = loop.begin; at < loop.end; at++) {
        const state = slices.state[at];
        if (state !== LOOP_RUNS && state !== LOOP_WORKS) continue;
        const into = state === LOOP_RUNS ? ran : worked;
        const [start, end] = [slices.start[at], slices.end[at]];
        const last = Math.min(Math.floor((end - least) / scale), width - 1);
        for (let x = Math.floor((start - least) / scale); x <= last; x++) {
          const part = Math.min(end, least + (x + 1) * scale) - Math.max(start, least + x * scale);
          into[x] += Math.max(0, part) / all;
        }
      }
    }
  }

  draw(width) {
    if (this.shares?.width !== width) this.measure(width);
    const { colors, least, most, start, end } = this.timeline;
    const context = fitCanvas(this.canvas, width, OVERVIEW_HEIGHT);
    const { ran, worked } = this.shares;
    const bottom = OVERVIEW_HEIGHT - 3;
    const high = OVERVIEW_HEIGHT - 8;
    for (let x = 0; x < width; x++) {
      const run = ran[x] * high;
      const work = worked[x] * high;
      context.fillStyle = colors.run;
      if (run > 0) context.fillRect(x, bottom - Math.max(run, 1), 1, Math.max(run, 1));
      context.fillStyle = colors.work;
      if (work > 0) context.fillRect(x, bottom - Math.max(run, 1) - work, 1, work);
    }
    const left = ((start - least) / (most - least)) * width;
    const right = ((end - least) / (most - least)) * width;
    context.globalAlpha = 0.72;
    context.fillStyle = colors.page;
    context.fillRect(0, 0, left, OVERVIEW_HEIGHT);
    context.fillRect(right, 0, width - right, OVERVIEW_HEIGHT);
    context.globalAlpha = 1;
    context.strokeStyle = colors.accent;
    context.lineWidth = 1.5;
    context.strokeRect(left + 0.75, 1, Math.max(right - left - 1.5, 2), OVERVIEW_HEIGHT - 2);
  }
}
