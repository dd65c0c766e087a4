"""GPUs and TPUs that the chosen backend of Keras computes on."""

import keras


def accelerators() -> list:
    """The backend's own names for them, none where it computes on CPUs alone.

    Devices of JAX, physical devices of TensorFlow, or PyTorch's numbers of CUDA devices.
    """
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        return [device for device in jax.devices() if device.platform != "cpu"]
    if backend == "torch":
        import torch

        return list(range(torch.cuda.device_count()))
    import tensorflow

    return tensorflow.config.list_physical_devices("GPU")
