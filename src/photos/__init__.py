"""From files to pixel arrays: labels, splits, decoding, cropping, shards. Knows no Keras.

reading     source (label tables), files, remote, limits, decode; header, jpeg, containers,
            complaints, faults (why a photo cannot be used), hazards (why DVC would not take it)
splitting   inspect, duplicates, second_look, memory, splits, leaks, manifest
preparing   prepare, preparing, crop, grabcut; detector, onnx_detector, detector_files
copies      policy (what may happen to them), warp, colour, elementwise
storing     shards, incremental (what may be kept), tables, new_file, encode, montage
"""

import os

MAX_PIXELS = 100_000_000
"""The largest photo that is decoded, in pixels."""

# OpenCV reads these once, when it is imported, so they are set before any module here can do so.
os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"] = str(MAX_PIXELS)
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")  # what it says of a photo, a PhotoError says
