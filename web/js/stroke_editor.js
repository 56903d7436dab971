// Strokes drawn over a frame on the node that reads them: paths with their timing, and anchors that stay.

import { app } from "../../../scripts/app.js";
import { ARROWS, Surface, distance, shift } from "./drawing_surface.js";
import { numberOf, toldNumber } from "./page.js";

const COLOURS = ["#ff6b6b", "#ffd93d", "#6bcB77", "#4d96ff", "#e66bff", "#5be7e7"];

/** A path with fewer points that keeps within `tolerance` of it (Douglas & Peucker 1973). */
function simplified(points, tolerance) {
  if (points.length < 3) return points;
  const [a, b] = [points[0], points.at(-1)];
  let [furthest, most] = [0, -1];
  points.forEach((point, k) => {
    const off = away([a, b], point);
    if (off > most) [furthest, most] = [k, off];
  });
  if (most <= tolerance) return [a, b];
  const half = simplified(points.slice(0, furthest + 1), tolerance);
  return [...half.slice(0, -1), ...simplified(points.slice(furthest), tolerance)];
}

/** How far a point is from a path. */
function away(path, at) {
  return Math.min(
    ...path.slice(1).map((b, k) => {
      const a = path[k];
      const [dx, dy] = [b[0] - a[0], b[1] - a[1]];
      const part = ((at[0] - a[0]) * dx + (at[1] - a[1]) * dy) / (dx * dx + dy * dy || 1);
      const t = Math.min(Math.max(part, 0), 1);
      return distance(at, [a[0] + t * dx, a[1] + t * dy]);
    }),
  );
}

const isPoint = (point) => Array.isArray(point) && point.length === 2 && point.every(Number.isFinite);
const areStrokes = (data) =>
  Array.isArray(data?.strokes) &&
  data.strokes.every((one) => Array.isArray(one?.points) && one.points.length && one.points.every(isPoint)) &&
  (data.anchors ?? []).every(isPoint);

class StrokeEditor {
  constructor(node) {
    this.node = node;
    this.selected = undefined; // a stroke, or an anchor
    this.drawn = undefined; // the stroke that is being drawn
    this.anchoring = false;
  }

  read(text) {
    const data = JSON.parse(text);
    if (!areStrokes(data) || !(data.width > 0 && data.height > 0)) {
      throw new Error("This is no drawing: expected width, height and strokes with points.");
    }
    this.selected = undefined;
    return data;
  }

  /** A line of text a stroke. */
  write(data) {
    const { strokes, anchors, ...rest } = data;
    const lines = strokes.map((stroke) => `  ${JSON.stringify(stroke)}`).join(",\n");
    const head = JSON.stringify(rest).slice(0, -1);
    return `${head}, "strokes": [\n${lines}\n], "anchors": ${JSON.stringify(anchors ?? [])}}`;
  }

  /** A canvas on which nothing is drawn has the size that the node asks for. */
  size(data) {
    if (!data.strokes.length && !data.anchors?.length) {
      data.width = numberOf(this.node, "width");
      data.height = numberOf(this.node, "height");
    }
    return [data.width, data.height];
  }

  state() {
    return ["width", "height", "radius", "frames"].map((name) => numberOf(this.node, name)).join();
  }

  points(data) {
    return this.selected?.points ?? (data.anchors ?? []).filter((anchor) => anchor === this.selected);
  }

  paint(context, data, surface) {
    const radius = (numberOf(this.node, "radius") * data.width) / numberOf(this.node, "width");
    const last = numberOf(this.node, "frames") - 1;
    context.lineCap = context.lineJoin = "round";
    data.strokes.forEach((stroke, k) => {
      const chosen = stroke === this.selected;
      context.strokeStyle = context.fillStyle = COLOURS[k % COLOURS.length];
      context.globalAlpha = chosen || !this.selected ? 1 : 0.6;
      context.lineWidth = (chosen ? 4 : 2) * surface.unit;
      context.beginPath();
      for (const [x, y] of stroke.points) context.lineTo(x, y);
      context.stroke();
      const [end, before] = [stroke.points.at(-1), stroke.points.at(-2) ?? stroke.points[0]];
      this._arrow(context, before, end, 10 * surface.unit);
      context.lineWidth = surface.unit;
      context.beginPath();
      context.arc(...stroke.points[0], radius, 0, 2 * Math.PI);
      context.stroke();
      if (chosen) for (const [x, y] of stroke.points) this._handle(context, x, y, surface.unit);
    });
    context.globalAlpha = 1;
    for (const anchor of data.anchors ?? []) {
      context.fillStyle = anchor === this.selected ? "#fff" : "#aaa";
      const half = 5 * surface.unit;
      context.fillRect(anchor[0] - half, anchor[1] - half, 2 * half, 2 * half);
    }
    const stroke = this.selected?.points ? this.selected : undefined;
    this.first.disabled = this.last.disabled = !stroke;
    this.first.value = stroke ? (stroke.first ?? 0) : "";
    this.last.value = stroke ? (stroke.last ?? last) : "";
    this.first.max = this.last.max = last;
    this.removeButton.disabled = !this.selected;
    this.anchorButton.style.outline = this.anchoring ? "2px solid currentColor" : "";
  }

  _arrow(context, from, to, size) {
    const angle = Math.atan2(to[1] - from[1], to[0] - from[0]);
    context.beginPath();
    for (const turn of [0, 2.6, -2.6]) {
      context.lineTo(to[0] + size * Math.cos(angle + turn), to[1] + size * Math.sin(angle + turn));
    }
    context.fill();
  }

  _handle(context, x, y, unit) {
    context.fillStyle = "#fff";
    context.fillRect(x - 3 * unit, y - 3 * unit, 6 * unit, 6 * unit);
  }

  down(at, data, surface, event) {
    const reach = surface.reach(event);
    const anchor = (data.anchors ?? []).find((one) => distance(one, at) < reach);
    if (anchor) return this._drag(anchor, [anchor], at, data);
    if (this.anchoring) {
      (data.anchors ??= []).push((this.selected = at));
      return this._drag(at, [at], at, data);
    }
    const corner = this.selected?.points?.find((point) => distance(point, at) < reach);
    if (corner) return this._drag(this.selected, [corner], at, data);
    const stroke = data.strokes.find((one) => away([...one.points, one.points.at(-1)], at) < reach);
    if (stroke) return this._drag(stroke, stroke.points, at, data);
    const drawn = { points: [at] };
    data.strokes.push(drawn);
    this.selected = this.drawn = drawn;
    return (to) => distance(to, drawn.points.at(-1)) > 2 * surface.unit && drawn.points.push(to);
  }

  _drag(selected, points, from, data) {
    this.selected = selected;
    const begun = points.map((point) => [...point]);
    return (to) => {
      const moved = shift(begun, [to[0] - from[0], to[1] - from[1]], [data.width, data.height]);
      points.forEach((point, k) => point.splice(0, 2, ...moved[k]));
    };
  }

  /** A click draws no stroke; one that was drawn keeps the points that it needs. */
  up(data, surface) {
    const stroke = this.drawn;
    this.drawn = undefined;
    if (!stroke) return;
    const length = stroke.points.slice(1).reduce((sum, p, k) => sum + distance(p, stroke.points[k]), 0);
    if (length < 3 * surface.unit) this.remove(data);
    else stroke.points = simplified(stroke.points, surface.unit);
  }

  remove(data) {
    data.strokes = data.strokes.filter((one) => one !== this.selected);
    data.anchors = (data.anchors ?? []).filter((one) => one !== this.selected);
    this.selected = undefined;
  }

  key(event, data) {
    const all = [...data.strokes, ...(data.anchors ?? [])];
    if (event.key === "Tab" && all.length) {
      const next = all.indexOf(this.selected) + (event.shiftKey ? -1 : 1);
      if (next < 0 || next >= all.length) return false; // on to what comes next on the page
      this.selected = all[next];
    } else if (["Delete", "Backspace"].includes(event.key)) this.remove(data);
    else if (event.key === "Escape") this.selected = undefined;
    else if (ARROWS[event.key] && this.selected) {
      const points = this.points(data);
      const by = ARROWS[event.key].map((value) => value * (event.shiftKey ? 5 : 1));
      const moved = shift(points, by, [data.width, data.height]);
      points.forEach((point, k) => point.splice(0, 2, ...moved[k]));
    } else return false;
    return true;
  }

  time(which, value) {
    const last = (toldNumber(this.node, "frames") ?? Infinity) - 1; // a link need not tell how long the video is
    const { first = 0, last: end = last } = this.selected;
    const at = Math.round(Math.min(Math.max(value, 0), last));
    if (which === "first") this.selected.first = Math.min(at, end - 1);
    else if (at >= last) delete this.selected.last; // it goes on to the end, however long the video
    else this.selected.last = Math.max(at, first + 1);
  }
}

function addEditor(node) {
  const editor = new StrokeEditor(node);
  const surface = new Surface(node, "strokes", editor);
  editor.removeButton = surface.button("Delete", "Delete the stroke or anchor that is chosen (Delete)", () =>
    surface.change((data) => editor.remove(data)),
  );
  surface.button("Clear", "Delete everything", () => {
    surface.drawing ??= { width: numberOf(node, "width"), height: numberOf(node, "height") };
    surface.change((data) => {
      [data.strokes, data.anchors, editor.selected] = [[], [], undefined];
    });
    surface.words.textContent = "";
  });
  editor.anchorButton = surface.button("Anchor", "Click to put points that stay where they are", () => {
    editor.anchoring = !editor.anchoring;
  });
  const timed = (which) => (value) => surface.change(() => editor.time(which, value));
  editor.first = surface.number("from", "Frame in which the chosen stroke begins", timed("first"));
  editor.last = surface.number("to", "Frame in which the chosen stroke ends", timed("last"));
}

app.registerExtension({
  name: "framewright.strokeEditor",
  nodeCreated(node) {
    if (node.comfyClass === "FramewrightStrokes") addEditor(node);
  },
});
