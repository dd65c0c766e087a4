"""Cosine, sine and power of arrays, value by value, so that neighbours never change a digit.

NumPy's own functions process several values at a time, in a way that depends on the processor, and
do not promise the same last digits in an array of another length.
"""

import math

import numpy as np

cos = np.vectorize(math.cos, otypes=[float])
sin = np.vectorize(math.sin, otypes=[float])
power = np.vectorize(math.pow, otypes=[float])
