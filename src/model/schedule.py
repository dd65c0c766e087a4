"""The learning rate of every step: linear warm-up, then half a cosine down to zero."""

import math

import keras
from keras import ops


class WarmupCosine(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up (Goyal et al. 2017, arXiv:1706.02677), then a cosine decay to zero.

    The cosine is that of Loshchilov & Hutter 2017 (arXiv:1608.03983).

    Args:
        peak: the highest learning rate.
        steps: total number of steps; the rate reaches zero after the last.
        warmup_steps: steps until the peak.
        every: this many consecutive steps share one rate. During warm-up it is the rate of the
            last of them, so that warm-up ends with an update at the peak; afterwards that of the
            first. Needed with accumulated gradients: Keras counts batches and reads the rate at
            the last batch of an update, which with few updates would already lie at the end of
            the cosine.

    """

    def __init__(self, peak: float, steps: int, warmup_steps: int, every: int = 1):
        super().__init__()
        self.peak, self.steps, self.warmup_steps, self.every = peak, steps, warmup_steps, every

    def __call__(self, step):
        if self.every > 1:
            step = step // self.every * self.every
        step = ops.cast(step, "float32")
        ahead = ops.minimum(step + self.every, self.warmup_steps)
        warm = self.peak * ahead / max(1, self.warmup_steps)
        through = (step - self.warmup_steps) / max(1, self.steps - self.warmup_steps)
        cosine = self.peak * 0.5 * (1 + ops.cos(math.pi * ops.clip(through, 0.0, 1.0)))
        return ops.where(step < self.warmup_steps, warm, cosine)
