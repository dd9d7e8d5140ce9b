// The mouse on the timeline: it zooms, moves, marks, and tells what is under it.

class Pointer {
  constructor(timeline) {
    this.timeline = timeline;
    this.drag = null;
    this.tip = element("tip");
    const { canvas } = timeline;
    canvas.addEventListener("pointerdown", (event) => this.down(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    canvas.addEventListener("pointerup", (event) => this.up(event));
    canvas.addEventListener("pointercancel", () => this.cancel());
    canvas.addEventListener("pointerleave", () => this.leave());
    canvas.addEventListener("dblclick", () => timeline.zoomToSlice());
    canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
  }

  place(event) {
    const box = this.timeline.canvas.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  }

  wheel(event) {
    const { timeline } = this;
    event.preventDefault();
    const unit = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 20 : 1;
    const [across, down] = [event.deltaX * unit, event.deltaY * unit];
    // Some browsers turn the wheel to the side where Shift is held.
    if (event.shiftKey) timeline.top += down || across;
    else if (Math.abs(across) > Math.abs(down)) timeline.pan(across * timeline.scale);
    else timeline.zoom(Math.exp(down * 0.002), timeline.time(this.place(event).x));
    this.hover(event);
  }

  down(event) {
    if (event.button !== 0) return;
    const { timeline } = this;
    const { x, y } = this.place(event);
    timeline.canvas.setPointerCapture(event.pointerId);
    const { top, start } = timeline;
    this.drag = { x, y, top, start, isZoom: event.shiftKey, hasMoved: false };
  }

  move(event) {
    const { timeline, drag } = this;
    if (!drag) return this.hover(event);
    const { x, y } = this.place(event);
    if (!drag.hasMoved && Math.hypot(x - drag.x, y - drag.y) < 4) return;
    drag.hasMoved = true;
    this.tip.hidden = true;
    if (drag.isZoom) {
      timeline.pointer = timeline.time(x);
      timeline.band = [timeline.time(drag.x), timeline.time(x)];
      timeline.invalidate();
    } else {
      timeline.canvas.classList.add("dragged");
      timeline.pan(drag.start - (x - drag.x) * timeline.scale - timeline.start);
      timeline.top = drag.top - (y - drag.y);
    }
  }

  up(event) {
    const { timeline, drag } = this;
    const { band } = timeline;
    this.cancel();
    if (!drag) return;
    if (!drag.hasMoved) this.click(event);
    else if (band) timeline.show(Math.min(...band), Math.max(...band));
  }

  cancel() {
    this.drag = null;
    this.timeline.band = null;
    this.timeline.canvas.classList.remove("dragged");
    this.timeline.invalidate();
  }

  leave() {
    this.tip.hidden = true;
    this.timeline.pointer = NaN;
    this.timeline.hovered = -1;
    this.timeline.invalidate();
  }

  find(event) {
    const { x, y } = this.place(event);
    const task = this.timeline.rowAt(y);
    return { task, slice: task ? this.timeline.sliceAt(task, x) : -1 };
  }

  click(event) {
    const { task, slice } = this.find(event);
    this.timeline.select(task ?? null, slice);
  }

  hover(event) {
    const { timeline, tip } = this;
    const { x } = this.place(event);
    const { task, slice } = this.find(event);
    timeline.pointer = timeline.time(x);
    timeline.hovered = slice;
    timeline.invalidate();
    tip.hidden = slice < 0;
    if (slice < 0) return;
    const { slices } = timeline;
    tip.replaceChildren(
      make("div", {}, nameOfTask(task)),
      make("div", {}, stateOf(timeline.trace, slice)),
      make("span", {}, duration(slices.length(slice))),
    );
    const box = element("timeline").getBoundingClientRect();
    const left = event.clientX - box.left + 14;
    const isRight = left + tip.offsetWidth > box.width;
    const below = event.clientY - box.top + 16;
    const isLow = below + tip.offsetHeight > box.height;
    tip.style.left = `${isRight ? Math.max(0, left - tip.offsetWidth - 28) : left}px`;
    tip.style.top = `${isLow ? below - tip.offsetHeight - 28 : below}px`;
  }
}
