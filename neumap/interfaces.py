from pathlib import Path


def definition(name):
    pkg, kind, n = name.split("/")
    return (Path(__file__).parents[1] / kind / (n + "." + kind)).read_text()
