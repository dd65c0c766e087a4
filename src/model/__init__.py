"""From arrays to a network: backbones, weights, feeding, fitting, saving. Reads photos as shards.

building    section (``model``), backbone, weights, pytorch_weights, published, network, views
learning    recipe (``train``), training, fitting, compiling, schedule, selection, curves
feeding     feed, jitter, on_device
running     runtime, accelerators, devices, environment, operations, checkpoints, finished,
            agreement
judging     bundle, scores, calibration, gradcam
for others  photometric (augment), detector (preprocess)
"""
