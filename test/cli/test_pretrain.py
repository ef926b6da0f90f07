from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_scenes import tiny_scene

from neumap.cli.main import main, make_parser
from neumap.cli.pretrain import SIZES
from neumap.model.decoder import load_decoder
from neumap.training.pretraining import PretrainSettings
from neumap.training.scenes import save_scene

ROOT = Path(__file__).resolve().parents[2]
FEW = ("--places", "2", "--steps", "12", "--transformer-steps", "10", "--threads", "1")


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds two places already, so that none is rendered. Not to be written to."""
    work = tmp_path_factory.mktemp("work")
    (work / "places").mkdir()
    for seed in (0, 1):
        save_scene(work / "places" / f"curriculum-place-{seed:06d}.safetensors", tiny_scene(seed))
    return work


@pytest.fixture
def work(places: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(places, tmp_path / "work"))


def test_help_does_not_import_torch() -> None:
    code = (
        "import sys\n"
        "from neumap.cli.main import main\n"
        "try: main(['pretrain', '--help'])\n"
        "except SystemExit as end: assert end.code == 0, end.code\n"
        "sys.exit('torch' in sys.modules)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    assert "--recording" in result.stdout


def test_the_small_configuration_is_the_default() -> None:
    assert SIZES["small"][1:] == (PretrainSettings().steps, PretrainSettings().transformer_steps)
    assert make_parser().parse_args(["pretrain", "--out", "d", "--work", "w"]).config == "small"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--out", "d.safetensors"],
        ["--work", "work"],
        ["--out", "d.safetensors", "--work", "work", "--steps", "0"],
        ["--out", "d.safetensors", "--work", "work", "--places", "few"],
        ["--out", "d.safetensors", "--work", "work", "--config", "medium"],
    ],
)
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        make_parser().parse_args(["pretrain", *arguments])
    assert stop.value.code == 2
    assert "neumap pretrain: error:" in capsys.readouterr().err


def test_cuda_where_there_is_none(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    out = tmp_path / "d.safetensors"
    assert main(["pretrain", "--out", str(out), "--work", str(work), *FEW, "--device", "cuda"]) == 1
    assert capsys.readouterr().err == "neumap: error: there is no CUDA device: train with --device cpu\n"
    assert not out.exists()


def test_too_few_steps(work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--out", str(tmp_path / "d.safetensors"), "--work", str(work), *FEW, "--steps", "3"]
    assert main(["pretrain", *arguments]) == 1
    assert "training needs 10 steps or more" in capsys.readouterr().err


def test_from_places_to_a_decoder_that_is_gone_on_with(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "d.safetensors"
    arguments = ["pretrain", "--out", str(out), "--work", str(work), *FEW]
    assert main(arguments) == 0
    decoder_id = load_decoder(out).decoder_id
    said = capsys.readouterr().out
    assert said.startswith("2 scenes, 30 images, 5400 keypoints, 1700 landmarks\n")
    assert f"id {decoder_id}" in said
    records = [json.loads(line) for line in (work / "curves.jsonl").read_text().splitlines()]
    assert [(record["stage"], record["step"]) for record in records] == [("encoder", 12), ("transformer", 10)]
    # what is done is not done again, and other options are no way to go on
    out.unlink()
    assert main(arguments) == 0
    assert load_decoder(out).decoder_id == decoder_id
    capsys.readouterr()
    assert main([*arguments, "--transformer-steps", "11"]) == 1
    assert "is a training with other settings" in capsys.readouterr().err


def test_two_processes_train_one_decoder(work: Path, tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(
        "import os, sys, torch\n"
        "from neumap.cli.main import main\n"
        "from neumap.training import pretraining\n"
        "pretrain = pretraining.pretrain\n"
        "def kept(*args):\n"
        "    trainee = pretrain(*args)\n"
        "    torch.save(trainee.state_dict(), f\"{sys.argv[1]}/{os.environ['RANK']}.pt\")\n"
        "    return trainee\n"
        "pretraining.pretrain = kept\n"
        "sys.exit(main(sys.argv[2:]))\n"
    )
    out = tmp_path / "d.safetensors"
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", str(script)]
    arguments = [str(tmp_path), "pretrain", "--out", str(out), "--work", str(work), *FEW]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        [*launch, *arguments], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode == 0, result.stderr
    one, other = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert result.stdout.count("2 scenes") == result.stdout.count(f"id {load_decoder(out).decoder_id}") == 1
    assert len((work / "curves.jsonl").read_text().splitlines()) == 2
