"""The files of MNIST and CIFAR-10: idx files, pickled batches, JPEG copies."""

import io
import pickle

import numpy as np

from ._datafiles import arrays, damaged, unzipped


def read_idx(home, name, shape, way_out):
    """Read an idx file of bytes, gzipped or not, as an array of shape (n, *shape)."""
    folders = ("mnist", "MNIST/raw")
    path = home.path(*(f"{folder}/{name}{end}" for folder in folders for end in (".gz", "")))
    content = home.read(path, way_out)
    if path.suffix == ".gz":
        content = unzipped(content, path, way_out)
    # The header is two zeros, an 8 for bytes, the number of axes, and the length of each axis.
    n_axes = 1 + len(shape)
    start = 4 + 4 * n_axes
    whole = len(content) >= start and content[:4] == bytes([0, 0, 8, n_axes])
    axes = np.frombuffer(content[4:start], ">i4") if whole else ()
    if not whole or tuple(axes[1:]) != shape:
        raise damaged(path, f"it must be an idx file of bytes, {n_axes} axes, the last {shape}", way_out)
    values = np.frombuffer(content[start:], np.uint8)
    if len(values) != np.prod(axes, dtype=np.int64):
        raise damaged(
            path, f"it must have {np.prod(axes, dtype=np.int64)} bytes; it has {len(values)}", way_out
        )
    return values.reshape(axes)


class _Unpickler(pickle.Unpickler):
    """Unpickler that reads arrays only, and refuses anything that could run code."""

    ARRAYS = {"_reconstruct", "ndarray", "dtype"}

    def find_class(self, module, name):
        """Return a class or function that pickled arrays need; refuse all others."""
        numpys = ("numpy", "numpy.core.multiarray", "numpy._core.multiarray")
        if (module in numpys and name in self.ARRAYS) or (module, name) == ("_codecs", "encode"):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


def read_cifar_batch(home, path, way_out):
    """Read an original batch: labels, and pixels of shape (n, 3072) with adjacent colours of each pixel."""
    content = home.read(path, way_out)
    try:
        batch = _Unpickler(io.BytesIO(content), encoding="bytes").load()
        planes, labels = np.asarray(batch[b"data"], np.uint8), np.asarray(batch[b"labels"], np.uint8)
        pixels = planes.reshape(len(labels), 3, 32 * 32).transpose(0, 2, 1)
    except Exception as error:  # a damaged pickle can raise any error
        raise damaged(path, f"it must be a batch of CIFAR-10; {error}", way_out) from error
    return pixels.reshape(len(labels), -1), labels


def read_cifar_jpegs(home, path, way_out):
    """Read JPEG copies: image i is the common header followed by its part of the body."""
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError(
            f"{path} holds JPEG images, which need Pillow: pip install pillow. Or: {way_out}"
        ) from error
    data = arrays(home.read(path, way_out), ("headers", "body", "length", "y"), path, way_out)
    header, body = data["headers"].tobytes(), data["body"].tobytes()
    ends = np.cumsum(data["length"], dtype=np.int64)
    images = np.empty((len(ends), 32 * 32 * 3), np.uint8)
    if not ends.size or ends[-1] != len(body) or data["y"].shape != ends.shape:
        raise damaged(path, "lengths, body and y do not fit together", way_out)
    try:
        for image, start, end in zip(images, ends - data["length"], ends, strict=True):
            image[:] = np.asarray(Image.open(io.BytesIO(header + body[start:end]))).ravel()
    except (OSError, ValueError) as error:
        raise damaged(path, f"an image cannot be read; {error}", way_out) from error
    return images, data["y"]
