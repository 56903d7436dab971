"""Keypoints over time: gaps filled, jitter smoothed, key frames joined, and a motion given to another body.

A person is the one of the same number in every frame.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from ..errors import FramewrightError
from .pose import BONES, MOST_PEOPLE, PARTS, Person, PoseFrame

NECK, HIPS = 1, (8, 11)
_NEAR = 0.5  # of a body's extent: joints that are farther from where they were are another person's
Tracks = dict[str, np.ndarray]  # keypoints [F, K, 3] over time of each part of one person


def join_keys(keys: Mapping[int, PoseFrame], frames: int) -> list[PoseFrame]:
    """Every frame of a video from some: straight lines between, at rest before the first, after the last.

    Who, or which joint, is missing in a key frame is hidden until the next one that has it, and from the one
    before.
    """
    numbers, joined = sorted(keys), []
    for frame in range(frames):
        after = min((one for one in numbers if one >= frame), default=numbers[-1])
        before = max((one for one in numbers if one <= frame), default=numbers[0])
        way = (frame - before) / (after - before) if before < after else 0.0
        joined.append(_between(keys[before], keys[after], way))
    return joined


def _between(before: PoseFrame, after: PoseFrame, way: float) -> PoseFrame:
    def line(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        sure = np.minimum(a[:, 2:], b[:, 2:])
        return np.concatenate([a[:, :2] + way * (b[:, :2] - a[:, :2]), sure], 1)

    def both(a: Person, b: Person) -> Person:
        parts = [(part, points, vars(b)[part]) for part, points in vars(a).items() if points is not None]
        met = [one for one in parts if one[2] is not None and one[1].shape == one[2].shape]
        return Person(**{part: line(*ends) for part, *ends in met})

    if before is after:
        return before
    return replace(before, people=tuple(map(both, before.people, after.people)))


def fill_gaps(frames: Sequence[PoseFrame], most: int) -> list[PoseFrame]:
    """Joints that are missing for at most so many frames, on a straight line from before to after."""
    return _each(frames, lambda points: _filled(points, most))


def smoothed(frames: Sequence[PoseFrame], sigma: float) -> list[PoseFrame]:
    """Each joint averaged over the frames where it was found, by a Gaussian of `sigma` frames."""
    return _each(frames, lambda points: _averaged(points, sigma)) if sigma > 0 else list(frames)


def followed(frames: Sequence[PoseFrame]) -> list[PoseFrame]:
    """Frames of a detector, which lists people anew in each, with everyone at one place of the lists.

    It is the place of whoever was nearest when last seen, and not too far; where others come after, a person
    who is missing is there without joints.
    """
    last: dict[int, tuple[int, Person]] = {}  # at each place of the lists, when someone was seen, and who
    after = []
    for number, frame in enumerate(frames):
        apart = sorted(
            (_apart(one, earlier), place, at)
            for place, one in enumerate(frame.people)
            for at, (_, earlier) in last.items()
        )
        places: dict[int, int] = {}  # in the frame, by that in the lists
        for distance, place, at in apart:
            if distance < _NEAR and at not in places and place not in places.values():
                places[at] = place
        for place in sorted(set(range(len(frame.people))) - set(places.values())):
            free = last.keys() - places.keys()
            at = len(last) if len(last) < MOST_PEOPLE else min(free, key=lambda one: last[one][0])
            places[at], last[at] = place, (number, frame.people[place])
        for at, place in places.items():
            last[at] = number, frame.people[place]
        people = [one if at in places else one.changed(np.zeros_like) for at, (_, one) in last.items()]
        after.append(replace(frame, people=_listed(people)))
    return after


def _apart(one: Person, other: Person) -> float:
    """The mean distance of the joints that both show, as a part of the other's extent."""
    seen = other.body[:, 2] > 0
    both = seen & (one.body[:, 2] > 0)
    if not both.any():
        return np.inf
    extent = np.hypot(*np.ptp(other.body[seen, :2], axis=0))
    return float(np.hypot(*(one.body[both, :2] - other.body[both, :2]).T).mean() / max(extent, 1.0))


def give_to(frames: Sequence[PoseFrame], body: PoseFrame) -> list[PoseFrame]:
    """The motion of every person on a body of other proportions, which begins where that body stands.

    That is the first person of `body`, whose canvas the frames get. Each bone keeps its direction and takes
    the other body's length; the way that the neck goes is longer or shorter as the torso is. Hands and face
    keep their size and go along. Who never shows neck and hips, by which people are measured, is hidden.
    Raises where nobody does, or the other body does not.
    """
    other = body.people[0]
    if not _measured(other.body[None]):
        raise _without_torso("body")

    def moved(person: Tracks) -> Tracks:
        if _measured(person["body"]):
            return _given(person, other)
        return {part: np.zeros_like(points) for part, points in person.items()}

    changed = _changed(frames, moved)
    if any(one.people for one in frames) and not any(one.people for one in changed):
        raise _without_torso("poses")
    return [replace(one, width=body.width, height=body.height) for one in changed]


def _without_torso(socket: str) -> FramewrightError:
    return FramewrightError(
        f"{socket}: a body without neck or hips came, expected all three, by which it is measured"
    )


def first_with_people(frames: Sequence[PoseFrame]) -> PoseFrame:
    """The first frame that has anyone; raises where there is none."""
    found = next((frame for frame in frames if frame.people), None)
    if found is None:
        raise FramewrightError("body: poses without a person came, expected one")
    return found


def _filled(points: np.ndarray, most: int) -> np.ndarray:
    points, times = points.copy(), np.arange(len(points))
    for joint in range(points.shape[1]):
        seen = np.flatnonzero(points[:, joint, 2] > 0)
        if not seen.size:
            continue
        after = seen[np.searchsorted(seen, times).clip(max=seen.size - 1)]
        before = seen[(np.searchsorted(seen, times, "right") - 1).clip(min=0)]
        inside = (times >= seen[0]) & (times <= seen[-1])
        wanted = inside & (after - before - 1 <= most)
        wanted[seen] = False
        for axis in range(3):
            line = np.interp(times, seen, points[seen, joint, axis])
            points[wanted, joint, axis] = line[wanted]
    return points


def _averaged(points: np.ndarray, sigma: float) -> np.ndarray:
    times = np.arange(len(points))
    kernel = np.exp(-0.5 * ((times[:, None] - times) / sigma) ** 2)
    seen = (points[..., 2] > 0).astype(np.float64)
    weight = np.einsum("fg,gk->fk", kernel, seen)
    mean = np.einsum("fg,gk,gkc->fkc", kernel, seen, points[..., :2]) / np.maximum(weight, 1e-9)[..., None]
    out = points.copy()
    out[..., :2] = np.where(seen[..., None] > 0, mean, points[..., :2])
    return out


def _torso(body: np.ndarray) -> np.ndarray:
    """Lengths [F] from neck to the middle of the hips; NaN where a joint is missing."""
    ends = body[:, [NECK, *HIPS]]
    length = np.hypot(*np.moveaxis(ends[:, 1:, :2].mean(1) - ends[:, 0, :2], -1, 0))
    return np.where((ends[..., 2] > 0).all(1) & (length > 0), length, np.nan)


def _measured(body: np.ndarray) -> bool:
    """Whether a body [F, 18, 3] shows neck and hips in some frame."""
    return not np.isnan(_torso(body)).all()


def _given(person: Tracks, other: Person) -> Tracks:
    body, target = person["body"], other.body[None]
    scale = float(_torso(target)[0] / np.nanmedian(_torso(body)))
    begun = body[np.flatnonzero(body[:, NECK, 2] > 0)[0], NECK, :2]

    def placed(points: np.ndarray) -> np.ndarray:
        """Where points [F, 2] are once the whole of the person has grown."""
        return target[0, NECK, :2] + scale * (points - begun)

    out = body.copy()
    out[:, NECK, :2] = placed(body[:, NECK, :2])
    for a, b in BONES:
        way = body[:, b, :2] - body[:, a, :2]
        seen = (body[:, a, 2] > 0) & (body[:, b, 2] > 0)
        length = np.median(np.hypot(*way[seen].T)) if seen.any() else 0.0
        longer = np.hypot(*(target[0, b, :2] - target[0, a, :2])) if (target[0, [a, b], 2] > 0).all() else 0.0
        ratio = longer / length if length > 0 and longer > 0 else scale
        out[:, b, :2] = np.where(seen[:, None], out[:, a, :2] + way * ratio, placed(body[:, b, :2]))
    moved = {"body": out}
    for part, joint in (("hand_right", 4), ("hand_left", 7), ("face", 0)):
        if part in person:
            points = person[part].copy()
            seen = points[..., 2:] > 0
            middle = (points[..., :2] * seen).sum(1) / np.maximum(seen.sum(1), 1)
            held = np.where(body[:, joint, 2:] > 0, body[:, joint, :2], middle)
            to = np.where(body[:, joint, 2:] > 0, out[:, joint, :2], placed(middle))
            points[..., :2] += (to - held)[:, None]
            moved[part] = points
    return moved


def _each(frames: Sequence[PoseFrame], change: Callable[[np.ndarray], np.ndarray]) -> list[PoseFrame]:
    """Frames after `change` of every part of every person over time."""
    return _changed(frames, lambda person: {part: change(points) for part, points in person.items()})


def _changed(frames: Sequence[PoseFrame], change: Callable[[Tracks], Tracks]) -> list[PoseFrame]:
    """Frames after `change` of every person over time."""
    people: list[list[Person]] = []
    for number in range(max((len(frame.people) for frame in frames), default=0)):
        changed = change(_tracks([f.people[number] if number < len(f.people) else None for f in frames]))
        people.append([_person(changed, at) for at in range(len(frames))])
    return [
        replace(frame, people=_listed([track[at] for track in people])) for at, frame in enumerate(frames)
    ]


def _listed(people: list[Person]) -> tuple[Person, ...]:
    """People without those at the end of whom nothing was found; others keep their places."""
    while people and not any(
        (points[:, 2] > 0).any() for points in vars(people[-1]).values() if points is not None
    ):
        people.pop()
    return tuple(people)


def _tracks(people: Sequence[Person | None]) -> Tracks:
    """Of each part that the person has in some frame; of confidence 0 where it is not there."""
    tracks = {}
    for part in ("body", *PARTS):
        given = [None if person is None else getattr(person, part) for person in people]
        shape = next((points.shape for points in given if points is not None), None)
        if shape is not None:
            fits = [one if one is not None and one.shape == shape else np.zeros(shape) for one in given]
            tracks[part] = np.stack(fits).astype(np.float64)
    return tracks


def _person(tracks: Tracks, at: int) -> Person:
    """In one frame, with the parts of which something was found."""
    parts = {part: points[at].astype(np.float32) for part, points in tracks.items()}
    found = {part: points for part, points in parts.items() if part == "body" or (points[:, 2] > 0).any()}
    return Person(**found)
