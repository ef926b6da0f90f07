"""Virtual furnished rooms, for the demo, the tests and to train in: start with :mod:`~neumap.virtual.world`.

``world`` writes whole recordings as folders, ``recording`` as bags, ``curriculum`` makes places to train and to test
in. ``layout`` furnishes a room with ``furniture``, painted with ``textures``, ``pictures`` and ``fittings``; ``scene``
holds the rectangles that ``render`` draws and exposes; ``drive`` moves the camera. Everything follows from seeds: the
same room, drive and images every time on the same versions of numpy and OpenCV. Planes, depth and poses are exact;
light, print and clutter are made to look enough like a real room for image features to behave as they do in one.
"""
