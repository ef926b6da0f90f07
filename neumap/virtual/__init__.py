"""Virtual furnished rooms for the demo, the tests and training: start with :mod:`~neumap.virtual.world`.

``world`` writes recordings as folders, ``recording`` as bags; ``curriculum`` makes places for tests, ``mixture`` those
for training. ``layout`` furnishes a room with ``furniture``, painted with ``textures``, ``pictures``
and ``fittings``; ``grounds`` makes courtyards and large halls, painted with ``facades``. ``scene`` holds the rectangles
that ``render`` draws and exposes. ``drive`` moves the camera through rooms, ``walk`` through large places; ``photos``
takes frames with ``lenses``, some of them with ``hardships``. Everything follows from seeds: the same room, drive and
images every time on the same versions of numpy and OpenCV. Planes, depth and poses are exact; light, print and clutter
are made to look enough like a real room for image features to behave as they do in one.
"""
