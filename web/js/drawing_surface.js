// What the editors on nodes share: a canvas over a picture, tools beside it, undo, and the text that is saved.

import { app } from "../../../scripts/app.js";
import { link, whileShown, widgetOf } from "./page.js";

const TYPE = "framewright_drawing"; // of the widget
const HEIGHT = 300; // pixels at least
const EVERY = 250; // milliseconds between looks at the text, which undo, other nodes and people change too
const UNDONE = 100; // steps kept

/** The picture of a frame that comes into a node's image socket, as far as the page has it. */
function backgroundOf(node, frame = 0) {
  const input = node.inputs?.find((one) => one.name === "image");
  if (input?.link == null) return undefined;
  const from = link(node.graph, input.link);
  const source = from && node.graph.getNodeById(from.origin_id);
  const pictures = source?.imgs?.length ? source.imgs : node.imgs;
  return pictures?.[Math.min(frame, pictures.length - 1)];
}

/**
 * A drawing on a node, kept as text in one of its widgets.
 *
 * `editor` has: read(text), which throws on what is no drawing; write(drawing); size(drawing), [width, height];
 * paint(context, drawing, surface); down(at, drawing, surface), which gives a function to call while the pointer
 * moves, or nothing; key(event, drawing, surface), true where it was one of its own; frame, that of the picture
 * under the drawing, the first where there is none. Points are in the drawing's pixels. A drawing is never shown
 * as HTML.
 */
export class Surface {
  constructor(node, name, editor) {
    this.node = node;
    this.text = widgetOf(node, name);
    this.editor = editor;
    this.done = [];
    this.undone = [];
    this.seen = undefined;
    this.drawing = undefined;
    this.pointer = undefined; // that drew last: while it is held, other fingers and the palm draw nothing
    this._build(name);
  }

  _build(name) {
    this.holder = document.createElement("div");
    this.holder.className = "framewright-drawing";
    this.holder.style.cssText = "display: flex; flex-direction: column; gap: 4px; overflow: hidden";
    this.tools = document.createElement("div");
    this.tools.style.cssText = "display: flex; flex-wrap: wrap; gap: 4px; align-items: center; font-size: 12px";
    this.canvas = document.createElement("canvas");
    this.canvas.style.cssText =
      "flex: 1; min-height: 0; width: 100%; touch-action: none; cursor: crosshair; background: #111; outline-offset: -2px";
    this._buildKeys();
    this.words = document.createElement("div");
    this.words.style.cssText = "font-size: 12px; white-space: normal; color: var(--error-text, #f66)";
    this.holder.append(this.tools, this.keys, this.canvas, this.words);
    this.canvas.addEventListener("pointerdown", (event) => this._down(event));
    const widget = this.node.addDOMWidget(`${name}_drawing`, TYPE, this.holder, {
      serialize: false,
      hideOnZoom: false,
      getMinHeight: () => HEIGHT,
    });
    widget.serialize = false;
    this.undoButton = this.button("Undo", "Ctrl+Z", () => this.step(this.done, this.undone));
    this.redoButton = this.button("Redo", "Ctrl+Shift+Z", () => this.step(this.undone, this.done));
    whileShown(this.node, EVERY, () => this.refresh());
  }

  /** What has the keyboard for the canvas: in an input, the page leaves undo and Delete alone. */
  _buildKeys() {
    this.keys = document.createElement("input");
    this.keys.className = "framewright-keys";
    this.keys.readOnly = true;
    this.keys.setAttribute("aria-label", "Drawing");
    this.keys.style.cssText = "position: absolute; width: 1px; height: 1px; opacity: 0; border: 0; padding: 0";
    this.keys.addEventListener("keydown", (event) => this._key(event));
    this.keys.addEventListener("focus", () => (this.canvas.style.outline = "2px solid #4d96ff"));
    this.keys.addEventListener("blur", () => (this.canvas.style.outline = ""));
  }

  button(label, hint, act) {
    const one = document.createElement("button");
    one.textContent = label;
    one.title = hint;
    one.addEventListener("click", () => {
      act();
      this.refresh(true);
      this.keys.focus({ preventScroll: true }); // on a button, Delete would delete the node
    });
    this.tools.append(one);
    return one;
  }

  number(label, hint, changed) {
    const holder = document.createElement("label");
    const one = document.createElement("input");
    one.type = "number";
    one.min = 0;
    one.title = hint;
    one.style.width = "4em";
    one.addEventListener("change", () => (changed(Number(one.value)), this.refresh(true)));
    holder.append(label, " ", one);
    this.tools.append(holder);
    return one;
  }

  /** Changes the drawing, so that the change can be undone, and the text that is saved. */
  change(act) {
    const before = this.text.value;
    act(this.drawing);
    this._keep(before);
  }

  _keep(before) {
    const text = this.editor.write(this.drawing);
    if (text === before) return;
    this.done.push(before);
    this.done.splice(0, this.done.length - UNDONE);
    this.undone.length = 0;
    this._set(text);
  }

  _set(text) {
    this.text.value = this.seen = text;
    this.text.callback?.(text);
    this.node.graph?.setDirtyCanvas?.(true, true);
    app.extensionManager?.workflow?.activeWorkflow?.changeTracker?.checkState?.();
  }

  step(from, to) {
    if (!from.length) return;
    to.push(this.text.value);
    this._set(from.pop());
    this._read();
  }

  _read() {
    try {
      this.drawing = this.editor.read(this.text.value);
      this.words.textContent = "";
    } catch (error) {
      this.drawing = undefined;
      this.words.textContent = String(error.message ?? error);
    }
  }

  refresh(now = false) {
    if (!this.node.graph) return;
    const background = backgroundOf(this.node, this.editor.frame);
    const state = [this.canvas.clientWidth, this.canvas.clientHeight, background?.src, this.editor.state?.()].join();
    if (this.text.value !== this.seen) {
      this.seen = this.text.value;
      this._read();
    } else if (!now && state === this.state) return;
    this.state = state;
    this.undoButton.disabled = !this.done.length;
    this.redoButton.disabled = !this.undone.length;
    this.paint(background);
  }

  paint(background = backgroundOf(this.node, this.editor.frame)) {
    const { canvas } = this;
    const sharp = window.devicePixelRatio || 1;
    const [across, down] = [canvas.clientWidth * sharp, canvas.clientHeight * sharp];
    if (canvas.width !== across || canvas.height !== down) [canvas.width, canvas.height] = [across, down];
    const context = canvas.getContext("2d");
    context.resetTransform();
    context.clearRect(0, 0, across, down);
    if (!this.drawing || !across || !down) return;
    const [width, height] = this.editor.size(this.drawing);
    this.scale = Math.min(across / width, down / height);
    this.left = (across - width * this.scale) / 2;
    this.top = (down - height * this.scale) / 2;
    context.setTransform(this.scale, 0, 0, this.scale, this.left, this.top);
    context.fillStyle = "#333";
    context.fillRect(0, 0, width, height);
    if (background?.complete && background.naturalWidth) context.drawImage(background, 0, 0, width, height);
    this.unit = sharp / this.scale; // one pixel of the screen, in those of the drawing
    this.editor.paint(context, this.drawing, this);
  }

  /** Where a pointer is, within the drawing, on a grid of a tenth of a pixel. */
  at(event) {
    const box = this.canvas.getBoundingClientRect();
    const x = ((event.clientX - box.left) * this.canvas.width) / box.width;
    const y = ((event.clientY - box.top) * this.canvas.height) / box.height;
    const [width, height] = this.editor.size(this.drawing);
    const inside = (value, most) => Math.round(Math.min(Math.max(value, 0), most) * 10) / 10;
    return [inside((x - this.left) / this.scale, width), inside((y - this.top) / this.scale, height)];
  }

  /** How far, in the drawing's pixels, a pointer may be from what it takes hold of; a finger is broader. */
  reach(event) {
    return (event.pointerType === "touch" ? 18 : 8) * this.unit;
  }

  _down(event) {
    if (event.button > 0 || !this.drawing) return;
    event.stopPropagation();
    event.preventDefault();
    if (this.canvas.hasPointerCapture?.(this.pointer)) return;
    this.keys.focus({ preventScroll: true });
    const before = this.text.value;
    const moved = this.editor.down(this.at(event), this.drawing, this, event);
    this.paint();
    if (!moved) return this._keep(before), this.refresh(true);
    const { canvas } = this;
    const { pointerId } = event;
    this.pointer = pointerId;
    const onMove = (next) => {
      next.stopPropagation();
      if (next.pointerId === pointerId) (moved(this.at(next)), this.paint());
    };
    const onUp = (last) => {
      if (last.pointerId !== pointerId) return;
      canvas.removeEventListener("pointermove", onMove);
      for (const end of ["pointerup", "pointercancel"]) canvas.removeEventListener(end, onUp);
      this.editor.up?.(this.drawing, this);
      this._keep(before);
      this.refresh(true);
    };
    canvas.setPointerCapture?.(pointerId);
    canvas.addEventListener("pointermove", onMove);
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, onUp);
  }

  _key(event) {
    const undo = (event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z";
    if (undo) this.step(...(event.shiftKey ? [this.undone, this.done] : [this.done, this.undone]));
    else if (!this.drawing) return;
    else {
      const before = this.text.value;
      if (!this.editor.key(event, this.drawing, this)) return;
      this._keep(before);
    }
    event.stopPropagation();
    event.preventDefault();
    this.refresh(true);
  }
}

export const distance = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1]);

/** Moves points by an offset, all of them no further than the canvas allows; what is outside may stay there. */
export function shift(points, offset, [width, height]) {
  const most = (axis, limit) => {
    const values = points.map((point) => point[axis]);
    const [least, furthest] = [Math.min(0, -Math.min(...values)), Math.max(0, limit - Math.max(...values))];
    return Math.min(Math.max(offset[axis], least), furthest);
  };
  const by = [most(0, width), most(1, height)];
  return points.map((point) => point.map((value, axis) => Math.round((value + by[axis]) * 10) / 10));
}

export const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
