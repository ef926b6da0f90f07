"""Stands for cv_bridge, which no wheel has: of it, what makes a grey image of a message.

Each image takes CV_BRIDGE_TAKES_S seconds more, if that is in the environment: as on a machine that is too slow.
"""

from __future__ import annotations

import os
import time
from typing import Any

import cv2
import numpy as np

TAKES_S = float(os.environ.get("CV_BRIDGE_TAKES_S", "0"))
# bytes of a pixel, and OpenCV's conversion to grey
KNOWN = {
    "mono8": (1, None),
    "bgr8": (3, cv2.COLOR_BGR2GRAY),
    "rgb8": (3, cv2.COLOR_RGB2GRAY),
    "bgra8": (4, cv2.COLOR_BGRA2GRAY),
    "rgba8": (4, cv2.COLOR_RGBA2GRAY),
    "bayer_rggb8": (1, cv2.COLOR_BayerBG2GRAY),
    "yuv422": (2, cv2.COLOR_YUV2GRAY_UYVY),
}


class CvBridgeError(TypeError):
    """An image cannot be converted."""


class CvBridge:
    """Converts images of the encodings of :data:`KNOWN`, in rows without padding."""

    def imgmsg_to_cv2(self, img_msg: Any, desired_encoding: str = "passthrough") -> Any:
        """Returns the pixels (H, W) or (H, W, C), as they are or in "mono8"."""
        if img_msg.encoding not in KNOWN or desired_encoding not in ("passthrough", "mono8", img_msg.encoding):
            raise CvBridgeError(f"the double knows nothing of {img_msg.encoding} as {desired_encoding}")
        time.sleep(TAKES_S)
        size, to_grey = KNOWN[img_msg.encoding]
        shape = (img_msg.height, img_msg.width, size)
        pixels = np.frombuffer(img_msg.data, np.uint8).reshape(shape if size > 1 else shape[:2])
        return cv2.cvtColor(pixels, to_grey) if desired_encoding == "mono8" and to_grey is not None else pixels
