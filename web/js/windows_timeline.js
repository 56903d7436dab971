// A timeline of the windows on the node that sets them, drawn anew by the server when a setting changes.

import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";
import { link, numberOf, whileShown } from "./page.js";

const NODES = new Set(["FramewrightContextWindows", "FramewrightTemporalWindows"]);
const COUNTS = ["frames", "batch_size", "video_frames"]; // widgets that say how many frames a latent has
const TIMELINE = "framewright_timeline"; // type of the widget
const HEIGHT = 150; // pixels
const EVERY = 400; // milliseconds between looks at the settings, which other nodes and undo change too

/** The inputs for a video's latents; a reference is a picture beside it. */
const latentsOf = (node) =>
  (node.inputs ?? []).filter((input) => input.type === "LATENT" && input.name !== "reference");

/** Frames of the latent that comes into a node, or of its own, as far as widgets tell. */
function framesInto(node, seen) {
  if (!node || seen.has(node)) return undefined;
  seen.add(node);
  const own = COUNTS.map((name) => numberOf(node, name)).find((value) => value !== undefined);
  if (own) return own;
  for (const input of latentsOf(node)) {
    const from = input.link != null ? link(node.graph, input.link) : null;
    const frames = from && framesInto(node.graph.getNodeById(from.origin_id), seen);
    if (frames) return frames;
  }
  return undefined;
}

/** Frames of the video that is sampled with what a node gives, found along its links. */
function framesOf(node) {
  const waiting = [node];
  const passed = new Set();
  while (waiting.length) {
    const one = waiting.shift();
    if (!one || passed.has(one)) continue;
    passed.add(one);
    const frames = latentsOf(one).length && framesInto(one, new Set());
    if (frames) return frames;
    for (const output of one.outputs ?? []) {
      for (const id of output.links ?? []) waiting.push(one.graph.getNodeById(link(one.graph, id)?.target_id));
    }
  }
  return undefined;
}

function settings(node) {
  const told = new URLSearchParams();
  for (const widget of node.widgets ?? []) {
    if (widget.type !== TIMELINE && ["number", "string", "boolean"].includes(typeof widget.value)) {
      told.set(widget.name, numberOf(node, widget.name) ?? widget.value);
    }
  }
  told.set("frames", framesOf(node) ?? 4 * (Number(told.get("length")) || 16));
  return told.toString();
}

function addTimeline(node) {
  const holder = document.createElement("div");
  const picture = document.createElement("img");
  const words = document.createElement("div");
  holder.className = "framewright-timeline";
  holder.style.cssText = "overflow: hidden; display: flex; align-items: center; justify-content: center";
  picture.style.cssText = "max-width: 100%; max-height: 100%; object-fit: contain";
  picture.alt = "The windows of the first steps";
  words.style.cssText = "font-size: 12px; color: var(--error-text, #f66); white-space: normal";
  holder.append(picture, words);
  const widget = node.addDOMWidget("timeline", TIMELINE, holder, {
    serialize: false,
    hideOnZoom: false,
    getMinHeight: () => HEIGHT,
  });
  widget.serialize = false;

  let shown;
  const show = async () => {
    if (!node.graph || shown === settings(node)) return;
    const asked = (shown = settings(node));
    const answer = await api.fetchApi(`/framewright/windows?${asked}`);
    if (asked !== shown) return;
    const drawn = answer.headers.get("Content-Type") === "image/png";
    URL.revokeObjectURL(picture.src);
    picture.hidden = !drawn;
    words.textContent = drawn ? "" : await answer.text();
    if (drawn) picture.src = URL.createObjectURL(await answer.blob());
  };
  const failed = (error) => {
    shown = undefined; // to be asked for again
    words.textContent = String(error);
  };
  whileShown(node, EVERY, () => show().catch(failed), () => URL.revokeObjectURL(picture.src));
}

app.registerExtension({
  name: "framewright.windowsTimeline",
  nodeCreated(node) {
    if (NODES.has(node.comfyClass)) addTimeline(node);
  },
});
