// People posed over the frames of a video on the node that reads them: joints to drag, key frames between
// which the others are drawn.

import { app } from "../../../scripts/app.js";
import { ARROWS, Surface, distance, shift } from "./drawing_surface.js";
import { numberOf } from "./page.js";

// OpenPose's 18 joints, the bones between them and their colours (Cao et al. 2017).
const BONES = [
  [1, 2], [1, 5], [2, 3], [3, 4], [5, 6], [6, 7], [1, 8], [8, 9], [9, 10], [1, 11], [11, 12], [12, 13], [1, 0],
  [0, 14], [14, 16], [0, 15], [15, 17],
];
const JOINTS = 18;
const BEYOND = 2; // parts of the canvas that joints may lie at, as controls/pose.py has it
const SIDES = [[2, 5], [3, 6], [4, 7], [8, 11], [9, 12], [10, 13], [14, 15], [16, 17]];
const HANDS = { 4: "hand_right_keypoints_2d", 7: "hand_left_keypoints_2d" }; // by their wrists
const colour = (joint) => `hsl(${(joint * 360) / JOINTS} 100% 50%)`;
// A person who stands, in parts of the canvas's height from the middle of the hips.
const STANDING = [
  [0, -0.42], [0, -0.32], [0.08, -0.31], [0.1, -0.16], [0.11, -0.02], [-0.08, -0.31], [-0.1, -0.16], [-0.11, -0.02],
  [0.05, 0], [0.06, 0.18], [0.06, 0.36], [-0.05, 0], [-0.06, 0.18], [-0.06, 0.36],
];

const copied = (value) => JSON.parse(JSON.stringify(value));
const isBody = (values) => Array.isArray(values) && values.length === 3 * JOINTS && values.every(Number.isFinite);
const jointOf = (person, joint) => person.pose_keypoints_2d.slice(3 * joint, 3 * joint + 3);
const rounded = (value) => Math.round(value * 10) / 10;

function setJoint(person, joint, [x, y], sure = 1) {
  person.pose_keypoints_2d.splice(3 * joint, 3, rounded(x), rounded(y), sure);
}

/** The parts of a person that are there: lists of x, y and confidence by name. */
const partsOf = (person) =>
  Object.keys(person).filter((name) => name.endsWith("_keypoints_2d") && Array.isArray(person[name]));

/** Changes each point that was found, of some parts of a person, by a function of x and y. */
function eachPoint(person, change, parts = partsOf(person)) {
  for (const name of parts) {
    const values = person[name];
    for (let at = 0; at < values.length; at += 3) {
      if (values[at + 2]) values.splice(at, 2, ...change(values[at], values[at + 1]).map(rounded));
    }
  }
}

/** Some tools write parts of the canvas in the place of pixels, in all frames; joints may lie beyond its edge. */
function inPixels(frames) {
  const found = [];
  const people = frames.flatMap((frame) => frame.people);
  people.forEach((person) => eachPoint(copied(person), (x, y) => (found.push(x, y), [x, y])));
  if (!found.length || found.some((value) => Math.abs(value) > BEYOND)) return;
  for (const { people, canvas_width: width, canvas_height: height } of frames) {
    people.forEach((person) => eachPoint(person, (x, y) => [x * width, y * height]));
  }
}

/** A person on the way from one key frame to the next; what either lacks is hidden. */
function between(before, after, t) {
  const one = copied(before);
  for (const name of partsOf(one)) {
    const [a, b] = [before[name], after[name]];
    one[name] = a.length === b?.length ? a.map((value, k) => rounded(value + t * (b[k] - value))) : null;
    for (let at = 2; at < (one[name]?.length ?? 0); at += 3) one[name][at] = Math.min(a[at], b[at]);
  }
  return one;
}

class PoseEditor {
  constructor(node) {
    this.node = node;
    this.frame = 0;
    this.person = 0;
    this.joint = undefined;
    this.board = undefined; // people that were copied
  }

  /** Key frames in order; raises where the text is none that this editor can change. */
  read(text) {
    const data = JSON.parse(text);
    const frames = Array.isArray(data) ? data : [data];
    const bodies = (frame) => Array.isArray(frame?.people) && frame.people.every((p) => isBody(p?.pose_keypoints_2d));
    if (!frames.length || !frames.every((frame) => bodies(frame) && frame.canvas_width > 0 && frame.canvas_height > 0)) {
      throw new Error("The editor takes OpenPose's JSON with bodies of 18 keypoints, a dict for each key frame.");
    }
    frames.forEach((frame, place) => (frame.frame ??= place));
    inPixels(frames);
    return frames.sort((a, b) => a.frame - b.frame);
  }

  /** A line of text a key frame. */
  write(keys) {
    return `[\n${keys.map((key) => `  ${JSON.stringify(key)}`).join(",\n")}\n]`;
  }

  size(keys) {
    return [keys[0].canvas_width, keys[0].canvas_height];
  }

  get last() {
    return numberOf(this.node, "frames") - 1;
  }

  /** The last frame that can be shown: a key may be beyond a video that was made shorter. */
  end(keys) {
    return Math.max(this.last, keys.at(-1).frame);
  }

  state() {
    return [this.frame, this.last].join();
  }

  /** The people of a frame: a key's own, or as they are on their way from one to the next. */
  people(keys, frame) {
    const after = keys.find((key) => key.frame >= frame);
    const before = keys.findLast((key) => key.frame <= frame);
    if (!before || !after || before === after) return (before ?? after).people;
    const t = (frame - before.frame) / (after.frame - before.frame);
    return before.people.slice(0, after.people.length).map((person, k) => between(person, after.people[k], t));
  }

  /** The key at the frame that is shown, made where there is none. */
  key(keys) {
    let key = keys.find((one) => one.frame === this.frame);
    if (!key) {
      const [canvas_width, canvas_height] = this.size(keys);
      key = { frame: this.frame, canvas_width, canvas_height, people: copied(this.people(keys, this.frame)) };
      keys.push(key);
      keys.sort((a, b) => a.frame - b.frame);
    }
    return key;
  }

  paint(context, keys, surface) {
    this.frame = Math.min(this.frame, this.end(keys));
    this.slider.max = this.end(keys);
    this.slider.value = this.frame;
    const numbers = keys.map((key) => (key.frame === this.frame ? `[${key.frame}]` : key.frame));
    const beyond = this.end(keys) > this.last ? `, of which those after ${this.last} are beyond the video` : "";
    this.told.textContent = `frame ${this.frame}, keys: ${numbers.join(" ")}${beyond}`;
    context.lineCap = "round";
    this.people(keys, this.frame).forEach((person, k) => {
      context.globalAlpha = k === this.person ? 1 : 0.5;
      context.lineWidth = 3 * surface.unit;
      BONES.forEach(([a, b], bone) => {
        const [from, to] = [jointOf(person, a), jointOf(person, b)];
        if (!from[2] || !to[2]) return;
        context.strokeStyle = colour(bone);
        context.beginPath();
        context.moveTo(from[0], from[1]);
        context.lineTo(to[0], to[1]);
        context.stroke();
      });
      for (let joint = 0; joint < JOINTS; joint++) {
        const [x, y, sure] = jointOf(person, joint);
        if (!sure) continue;
        const chosen = k === this.person && joint === this.joint;
        context.fillStyle = chosen ? "#fff" : colour(joint);
        context.beginPath();
        context.arc(x, y, (chosen ? 6 : 4) * surface.unit, 0, 2 * Math.PI);
        context.fill();
      }
    });
    context.globalAlpha = 1;
  }

  /** Takes hold of the nearest joint, or with Shift of its whole person. */
  down(at, keys, surface, event) {
    let nearest = surface.reach(event);
    let held;
    this.people(keys, this.frame).forEach((person, k) => {
      for (let joint = 0; joint < JOINTS; joint++) {
        const [x, y, sure] = jointOf(person, joint);
        if (sure && distance([x, y], at) < nearest) [nearest, held] = [distance([x, y], at), [k, joint]];
      }
    });
    this.joint = held?.[1];
    if (!held) return undefined;
    this.person = held[0];
    let begun;
    return (to) => {
      const person = this.key(keys).people[this.person];
      begun ??= copied(person);
      if (event.shiftKey) this.move(person, begun, [to[0] - at[0], to[1] - at[1]], this.size(keys));
      else this.moveJoint(person, begun, this.joint, to);
    };
  }

  /** Moves a joint, and with a wrist its hand. */
  moveJoint(person, begun, joint, [x, y]) {
    const [x0, y0, sure] = jointOf(begun, joint);
    setJoint(person, joint, [x, y], sure || 1);
    const hand = HANDS[joint];
    if (!Array.isArray(begun[hand])) return;
    person[hand] = [...begun[hand]];
    eachPoint(person, (u, v) => [u + x - x0, v + y - y0], [hand]);
  }

  /** Moves all of a person, as far as its body may go. */
  move(person, begun, by, size) {
    const joint = [...Array(JOINTS).keys()].filter((one) => jointOf(begun, one)[2]);
    const from = joint.map((one) => jointOf(begun, one).slice(0, 2));
    const [to] = shift(from, by, size);
    const offset = to.map((value, axis) => value - from[0][axis]);
    Object.assign(person, copied(begun));
    eachPoint(person, (x, y) => [x + offset[0], y + offset[1]]);
  }

  add(keys) {
    const [width, height] = this.size(keys);
    const pose_keypoints_2d = Array(3 * JOINTS).fill(0);
    STANDING.forEach(([x, y], joint) =>
      setJoint({ pose_keypoints_2d }, joint, [width / 2 + x * height, height * (0.56 + y)]),
    );
    // In every key, beyond all that were there, so that these keep their numbers.
    this.person = Math.max(...keys.map((key) => key.people.length));
    for (const key of keys) {
      while (key.people.length < this.person) key.people.push({ pose_keypoints_2d: Array(3 * JOINTS).fill(0) });
      key.people.push({ pose_keypoints_2d: [...pose_keypoints_2d] });
    }
  }

  remove(keys) {
    for (const key of keys) key.people.splice(this.person, 1);
    this.person = 0;
  }

  /** Left becomes right: the person at this frame, turned about the middle of its body. */
  mirror(keys) {
    const person = this.key(keys).people[this.person];
    if (!person) return;
    const before = copied(person);
    const hands = Object.values(HANDS);
    if (hands.some((name) => before[name])) {
      hands.forEach((name, k) => (person[name] = copied(before[hands[1 - k]] ?? null)));
    }
    const seen = [...Array(JOINTS).keys()].filter((joint) => jointOf(before, joint)[2]);
    if (!seen.length) return;
    const xs = seen.map((joint) => jointOf(before, joint)[0]);
    const twice = Math.min(...xs) + Math.max(...xs);
    const other = Object.fromEntries(SIDES.flatMap(([right, left]) => [[right, left], [left, right]]));
    for (let joint = 0; joint < JOINTS; joint++) {
      const [x, y, sure] = jointOf(before, other[joint] ?? joint);
      setJoint(person, joint, [x, y], sure);
    }
    eachPoint(person, (x, y) => [twice - x, y]);
  }

  paste(keys) {
    if (this.board) this.key(keys).people = copied(this.board);
  }

  unkey(keys) {
    const place = keys.findIndex((key) => key.frame === this.frame);
    if (place >= 0 && keys.length > 1) keys.splice(place, 1);
  }

  press(event, keys) {
    const joint = this.people(keys, this.frame)[this.person] && this.joint;
    if (event.key === "," || event.key === ".") {
      this.frame = Math.min(Math.max(this.frame + (event.key === "." ? 1 : -1), 0), this.end(keys));
    } else if (event.key === "Tab") {
      const next = (joint ?? (event.shiftKey ? JOINTS : -1)) + (event.shiftKey ? -1 : 1);
      if (next < 0 || next >= JOINTS) return false; // on to what comes next on the page
      this.joint = next;
    } else if (joint !== undefined && ARROWS[event.key]) {
      const person = this.key(keys).people[this.person];
      const [x, y] = jointOf(person, joint);
      const [dx, dy] = ARROWS[event.key].map((value) => value * (event.shiftKey ? 5 : 1));
      const [[to_x, to_y]] = shift([[x, y]], [dx, dy], this.size(keys));
      this.moveJoint(person, copied(person), joint, [to_x, to_y]);
    } else if (joint !== undefined && ["Delete", "Backspace"].includes(event.key)) {
      setJoint(this.key(keys).people[this.person], joint, [0, 0], 0);
    } else return false;
    return true;
  }
}

function addEditor(node) {
  const editor = new PoseEditor(node);
  const surface = new Surface(node, "poses", {
    read: (text) => editor.read(text),
    write: (keys) => editor.write(keys),
    size: (keys) => editor.size(keys),
    get frame() {
      return editor.frame;
    },
    state: () => editor.state(),
    paint: (...given) => editor.paint(...given),
    down: (...given) => editor.down(...given),
    key: (event, keys) => editor.press(event, keys),
  });
  const changing = (act) => () => surface.drawing && surface.change(act);
  surface.button("Key", "Make this frame a key frame", changing((keys) => editor.key(keys)));
  surface.button("No key", "Let this frame follow from the others", changing((keys) => editor.unkey(keys)));
  surface.button("Copy", "Copy the people of this frame", () => {
    editor.board = surface.drawing && copied(editor.people(surface.drawing, editor.frame));
  });
  surface.button("Paste", "Paste the people that were copied", changing((keys) => editor.paste(keys)));
  surface.button("Mirror", "Turn the chosen person left to right", changing((keys) => editor.mirror(keys)));
  surface.button("Add", "Add a person", changing((keys) => editor.add(keys)));
  surface.button("Remove", "Remove the chosen person", changing((keys) => editor.remove(keys)));
  editor.slider = document.createElement("input");
  editor.slider.type = "range";
  editor.slider.min = 0;
  editor.slider.title = "The frame that is shown (, and .)";
  editor.slider.style.cssText = "flex: 1 1 100%";
  editor.slider.addEventListener("input", () => {
    editor.frame = Number(editor.slider.value);
    surface.refresh(true);
  });
  editor.told = document.createElement("span");
  surface.tools.append(editor.slider, editor.told);
}

app.registerExtension({
  name: "framewright.poseEditor",
  nodeCreated(node) {
    if (node.comfyClass === "FramewrightPoses") addEditor(node);
  },
});
