"""Steps of flow from motions that are known."""

import numpy as np
from framewright.controls.flow import Step, hidden


def step(there: np.ndarray, back: np.ndarray) -> Step:
    return Step(there, back, hidden(there, back), hidden(back, there))
