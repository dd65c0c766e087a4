"""Cosine, sine and power of arrays, each value alone: what stands beside it changes no digit.

NumPy's own take several values at a time, in a way that hangs on the processor, and promise no
equal last digits where an array is longer.
"""

import math

import numpy as np

cos = np.vectorize(math.cos, otypes=[float])
sin = np.vectorize(math.sin, otypes=[float])
power = np.vectorize(math.pow, otypes=[float])
