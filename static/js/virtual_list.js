// A long list of rows of one height, of which only those near the window are in the page. Works inside a scrolling box
// and where the whole page scrolls. Knows nothing of what a row shows.

const OVERSCAN = 24; // rows drawn above and below what is seen, so that a fast scroll meets no blank

export class VirtualList {
  // canvas: the element that is as tall as all rows; make() gives a fresh row; draw(row, index) fills it;
  // moved(first, last) hears which rows are seen.
  constructor({ canvas, scroller, rowHeight, make, draw, moved }) {
    Object.assign(this, { canvas, scroller, rowHeight, make, draw, moved });
    this.count = 0;
    this.rows = new Map(); // index -> element
    this.spare = [];
    canvas.classList.add("vlist");
    const paint = () => this.paint();
    document.addEventListener("scroll", paint, { capture: true, passive: true });
    addEventListener("resize", paint);
    new ResizeObserver(paint).observe(scroller);
  }

  // Show `count` rows; every row is drawn anew.
  reset(count) {
    this.count = count;
    this.canvas.style.height = `${count * this.rowHeight}px`;
    for (const [index, row] of this.rows) if (index >= count) this.drop(index, row);
    this.redraw();
  }

  redraw() {
    for (const [index, row] of this.rows) this.draw(row, index);
    this.paint();
  }

  // The seen part of the canvas, in rows: [first, last).
  seen() {
    const box = this.canvas.getBoundingClientRect();
    const frame = this.scroller.getBoundingClientRect();
    const top = Math.max(frame.top, 0);
    const bottom = Math.min(frame.bottom, innerHeight);
    const first = Math.max(0, Math.floor((top - box.top) / this.rowHeight));
    const last = Math.min(this.count, Math.ceil((bottom - box.top) / this.rowHeight));
    return [Math.min(first, this.count), Math.max(first, last)];
  }

  paint() {
    const [first, last] = this.seen();
    const from = Math.max(0, first - OVERSCAN);
    const to = Math.min(this.count, last + OVERSCAN);
    for (const [index, row] of this.rows) {
      // the row with the focus stays, so that the keys keep working while it is out of sight
      if ((index < from || index >= to) && row !== document.activeElement) this.drop(index, row);
    }
    for (let index = from; index < to; index++) {
      if (this.rows.has(index)) continue;
      const row = this.spare.pop() || this.make();
      row.style.setProperty("--y", index * this.rowHeight);
      this.draw(row, index);
      this.rows.set(index, row);
      if (!row.isConnected) this.canvas.append(row);
      row.hidden = false;
    }
    this.moved?.(first, last);
  }

  drop(index, row) {
    this.rows.delete(index);
    row.hidden = true;
    this.spare.push(row);
  }

  // Scroll so that a row is seen, as little as needed, or to the middle.
  reveal(index, { middle = false, head = 0 } = {}) {
    const [first, last] = this.seen();
    if (!middle && index > first && index < last - 2) return;
    const box = this.canvas.getBoundingClientRect();
    const frame = this.scroller.getBoundingClientRect();
    const own = this.scroller.scrollHeight > this.scroller.clientHeight + 1 && getComputedStyle(this.scroller).overflowY !== "visible";
    const height = own ? this.scroller.clientHeight : innerHeight;
    const top = index * this.rowHeight + (own ? box.top - frame.top + this.scroller.scrollTop : box.top + scrollY);
    const now = own ? this.scroller.scrollTop : scrollY;
    let goal = now;
    if (middle) goal = top - height / 2;
    else if (top - head < now) goal = top - head;
    else if (top + this.rowHeight * 2.2 > now + height) goal = top + this.rowHeight * 2.2 - height;
    (own ? this.scroller : window).scrollTo({ top: Math.max(0, goal) });
    this.paint();
  }
}
