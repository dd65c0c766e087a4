"""From arrays to a network: backbones, weights, feeding, fitting, saving. Reads photos as shards.

building    section (``model``), backbone, weights, network, views
learning    recipe (``train``), fitting, compiling, schedule, selection, jitter, feed, curves
running     runtime, devices, environment, operations, checkpoints, finished, agreement
judging     bundle, scores, calibration, gradcam
for others  photometric (augment), detector (preprocess)
"""
