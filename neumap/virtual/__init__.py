"""A virtual furnished room, for the demo and the tests: start with :mod:`~neumap.virtual.room`.

``world`` writes whole recordings as folders, ``recording`` as bags, ``room`` renders single views; ``layout``
furnishes with ``furniture`` and ``fittings``, which are painted with ``textures`` and ``pictures``; ``scene`` holds the
rectangles that ``render`` draws; ``drive`` moves the camera.
"""
