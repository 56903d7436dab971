"""Which of the world's motions a track shows, for clips of any length."""

import numpy as np

from .world import DIRECTIONS, FRAMES, SIZE

_TRAVEL = 6.0  # pixels; a track within less is at rest (the slowest of the world covers 15)
_EXPLAINED = 0.7  # the part of a track's variance that its motion must account for
_GROWTH = 0.5  # of log area over FRAMES; the world's is 1.46
_TURN = 4.5  # degrees a frame, half of the world's
_RATES = np.linspace(-16, 16, 129)  # degrees a frame


def unwrap(track: np.ndarray, period: float = SIZE) -> np.ndarray:
    """Positions [F, …] that go on past the edge of the canvas, by the smallest steps."""
    steps = (np.diff(track, axis=0) + period / 2) % period - period / 2
    return np.concatenate([track[:1], track[:1] + np.cumsum(steps, axis=0)])


def jumps(track: np.ndarray) -> np.ndarray:
    """How far each step of a track [F, 2] is from the mean of those before and after it, [F − 3] pixels.

    The first is that from frame 1 to 2; NaN where the shape is not seen.
    """
    steps = (np.diff(track, axis=0) + SIZE / 2) % SIZE - SIZE / 2
    return np.hypot(*(steps[1:-1] - (steps[:-2] + steps[2:]) / 2).T)


def judge_motion(track: np.ndarray, areas: np.ndarray, angles: np.ndarray, symmetry: float) -> str | None:
    """The motion of a shape, or None where no motion of the world fits.

    `track` [F, 2] is x, y in pixels, wrapped or not; `areas` [F] in square pixels; `angles` [F] in degrees,
    which repeat after `symmetry` (0: a shape that looks the same at every angle). NaN: not seen.
    """
    times = np.flatnonzero(np.isfinite(track).all(1) & np.isfinite(areas))
    if len(times) < 4:
        return None
    places = unwrap(track[times])
    if np.ptp(places, axis=0).max() < _TRAVEL:
        return _at_rest(times, areas[times], angles[times], symmetry)
    total = ((places - places.mean(0)) ** 2).sum()
    straight, slope = _straight(times, places)
    bounced = _bounced(times, places)
    if min(straight, bounced) > (1 - _EXPLAINED) * total:
        return None
    return "bouncing" if bounced < straight else _direction(slope)


def _straight(times: np.ndarray, places: np.ndarray) -> tuple[float, np.ndarray]:
    """Squared error of the best even motion, and its pixels a frame."""
    basis = np.stack([times, np.ones(len(times))], 1)
    fitted = np.linalg.lstsq(basis, places, rcond=None)[0]
    return float(((basis @ fitted - places) ** 2).sum()), fitted[0]


def _bounced(times: np.ndarray, places: np.ndarray) -> float:
    """Squared error of the best bounce on one spot, over all phases."""
    phases = np.linspace(0, 1, 2 * FRAMES, endpoint=False)[:, None]
    hops = -np.abs(np.sin(np.pi * (times / FRAMES + phases)))
    hops -= hops.mean(1, keepdims=True)
    x, y = (places - places.mean(0)).T
    height = np.maximum(hops @ y, 0) / (hops**2).sum(1)  # a hop goes up from the floor, never below it
    return float((x**2).sum() + ((y - height[:, None] * hops) ** 2).sum(1).min())


def _direction(slope: np.ndarray) -> str:
    return max(DIRECTIONS, key=lambda name: slope @ DIRECTIONS[name] / np.linalg.norm(DIRECTIONS[name]))


def _at_rest(times: np.ndarray, areas: np.ndarray, angles: np.ndarray, symmetry: float) -> str | None:
    early = times < FRAMES  # growth ends with the first 16 frames
    if early.sum() >= 4:
        sizes = np.log(areas[early])
        slope = np.polyfit(times[early], sizes, 1)[0]
        if slope * (FRAMES - 1) > _GROWTH and np.corrcoef(times[early], sizes)[0, 1] > 0.8:
            return "growing"
    rate, agreement, unturned = _turning(times, angles, symmetry)
    if abs(rate) >= _TURN and agreement > 0.75 and agreement > unturned + 0.1:
        return "spinning"
    steady = np.log(areas).std() < 0.25 and unturned > 0.5
    return "still" if steady else None


def _turning(times: np.ndarray, angles: np.ndarray, symmetry: float) -> tuple[float, float, float]:
    """The even rate (degrees a frame) that best fits the angles, its fit and that of no turning, 0..1.

    The length of the mean phasor over a grid of rates needs no unwrapping, which one bad frame would break.
    """
    if not symmetry:
        return 0.0, 1.0, 1.0
    turns = 2j * np.pi / symmetry
    fits = np.abs(np.exp(turns * (angles - _RATES[:, None] * times)).mean(1))
    best = int(fits.argmax())
    return float(_RATES[best]), float(fits[best]), float(fits[len(_RATES) // 2])
