"""From files to pixel arrays: labels, splits, decoding, cropping, shards. Knows no Keras."""

import os

MAX_PIXELS = 100_000_000
"""The largest photo that is decoded, in pixels."""

# OpenCV reads these once, when it is imported, so they are set before any module here can do so.
os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"] = str(MAX_PIXELS)
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")  # what it says of a photo, a PhotoError says
