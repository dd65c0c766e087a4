"""Starts Keras once for all tests of networks."""

from model.runtime import start

start(threads=1)
