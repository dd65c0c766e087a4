"""From files to pixel arrays: labels, splits, decoding, cropping, shards. Independent of Keras.

reading     source (label tables), files, remote, limits, decode; header, jpeg, containers,
            complaints, faults (why a photo cannot be used), hazards (what DVC cannot add)
splitting   inspect, resolve (what is used, what belongs together), duplicates, fingerprint_file,
            second_look, memory, likenesses, memory_file, splits, leaks, manifest
preparing   prepare, preparing, crop, grabcut; detector, onnx_detector, detector_files
copies      policy (the ranges that they are drawn from), warp, colour, elementwise
storing     shards, groups, incremental (what earlier runs made is kept), tables, new_file,
            encode, montage
"""

import os

MAX_PIXELS = 100_000_000
"""The largest photo that is decoded, in pixels."""

# OpenCV reads these once, when it is imported, so they are set before any module here imports it.
os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"] = str(MAX_PIXELS)
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")  # faults of photos are raised as PhotoError
