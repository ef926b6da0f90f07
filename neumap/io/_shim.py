# ruff: noqa
# mypy: ignore-errors
from neumap.io.bags.camera_info import camera_of as camera_of
from neumap.io.image_messages import gray_of_image, gray_of_compressed


def calibration_key(m):
    return (m.width, m.height, m.distortion_model, tuple(m.k), tuple(m.d))


def gray_of(m):
    if hasattr(m, "format"):
        return gray_of_compressed(m.data)
    return gray_of_image(m.encoding, m.height, m.width, m.step, m.is_bigendian, m.data)
