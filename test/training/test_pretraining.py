"""Pre-training: it learns, goes on after it was interrupted, and refuses to go on with something else."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_scenes import tiny_scene
from torch.nn import functional

from neumap.errors import ConfigError
from neumap.model.codebooks import WORDS
from neumap.model.decoder import load_decoder, save_decoder
from neumap.model.encoder import EMBEDDING
from neumap.training import pretraining
from neumap.training.examples import Augmentation, Example, ExampleSource
from neumap.training.pretraining import PretrainSettings, pretrain
from neumap.training.scenes import TrainingScene
from neumap.training.trainee import (
    BACKWARDS,
    LATENT_STAGES,
    ResidualWords,
    Trainee,
    choice_loss,
    landmark_embeddings,
    mutual_choice_loss,
    similarities,
)

SETTINGS = PretrainSettings(
    steps=48, transformer_steps=20, images=2, keypoints=64, transformer_keypoints=64, landmarks=200
)
Records = list[dict[str, Any]]


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scenes may be tiny, and what happens every some hundred steps happens every few."""
    monkeypatch.setattr("neumap.training.examples.FEWEST_SCENE_LANDMARKS", 300)
    monkeypatch.setattr(pretraining, "REPORT_EVERY", 4)
    monkeypatch.setattr(pretraining, "SAVE_EVERY", 7)
    monkeypatch.setattr(pretraining, "KMEANS_EXAMPLES", 3)


@pytest.fixture(scope="module")
def scenes() -> list[TrainingScene]:
    return [tiny_scene(seed, landmarks=400) for seed in (0, 1)]


@pytest.fixture(scope="module")
def trained(scenes: list[TrainingScene], tmp_path_factory: pytest.TempPathFactory) -> tuple[Trainee, Records, Path]:
    """A training without interruption, what it told, and its checkpoint."""
    checkpoint = tmp_path_factory.mktemp("trained") / "checkpoint.pt"
    records: Records = []
    with pytest.MonkeyPatch.context() as patch:
        often.__wrapped__(patch)  # type: ignore[attr-defined]
        trainee = pretrain(scenes, SETTINGS, checkpoint, records.append)
    return trainee, records, checkpoint


def of_stage(records: Records, stage: str) -> Records:
    return [record for record in records if record["stage"] == stage]


def assert_same_weights(one: Trainee, other: Trainee) -> None:
    expected = one.state_dict()
    for name, value in other.state_dict().items():
        assert torch.equal(value, expected[name]), name


def test_the_loss_falls(trained: tuple[Trainee, Records, Path]) -> None:
    records = of_stage(trained[1], "encoder")
    assert [record["step"] for record in records] == list(range(4, 49, 4))
    assert {record["of"] for record in records} == {48}
    assert records[-1]["loss"] < 0.8 * records[0]["loss"]
    assert records[-1]["right"] > 0.5
    # there are no words in the first third
    assert [record["words"] > 0 for record in records] == [False] * 4 + [True] * 8


def test_the_transformer_is_told_with_what_it_starts_from(trained: tuple[Trainee, Records, Path]) -> None:
    records = of_stage(trained[1], "transformer")
    assert [record["step"] for record in records] == list(range(4, 21, 4))
    assert records[-1]["loss"] < records[0]["loss"]
    for record in records:
        assert record["loss before"] > 0
        assert 0 <= record["right before"] <= 1


def test_what_is_trained_is_finite_and_changed(trained: tuple[Trainee, Records, Path]) -> None:
    torch.manual_seed(SETTINGS.seed)
    start = Trainee(256).state_dict()
    for name, value in trained[0].state_dict().items():
        assert value.isfinite().all(), name
        assert not torch.equal(value, start[name]), name
    assert not trained[0].training
    assert not any(parameter.requires_grad for parameter in trained[0].parameters())


def test_it_is_a_decoder(trained: tuple[Trainee, Records, Path], tmp_path: Path) -> None:
    trainee = trained[0]
    save_decoder(tmp_path / "decoder", "rootsift", trainee.encoder, trainee.transformer, trainee.words.words.numpy())
    assert load_decoder(tmp_path / "decoder").codebook.words.shape == (LATENT_STAGES, WORDS, EMBEDDING)


def test_wrong_pairs_are_rarely_alike(trained: tuple[Trainee, Records, Path], scenes: list[TrainingScene]) -> None:
    trainee = trained[0]
    source = ExampleSource(scenes, 5, SETTINGS.augmentation)
    wrong, right = [], []
    with torch.no_grad():
        for _ in range(20):
            example = source.draw(64, 200, 2)
            similarity = similarities(trainee, example, pretraining.LATENT_BYTES)
            wrong.append(similarity[~example.right])
            right.append(similarity[example.right])
    exceeding = [float((torch.cat(part) > trainee.encoder.min_similarity).float().mean()) for part in (wrong, right)]
    assert exceeding[0] == pytest.approx(pretraining.CHANCE, rel=0.4)
    assert exceeding[1] > 0.5


def test_it_goes_on_with_a_trained_encoder(
    trained: tuple[Trainee, Records, Path], scenes: list[TrainingScene], tmp_path: Path
) -> None:
    trainee = trained[0]
    save_decoder(tmp_path / "decoder", "rootsift", trainee.encoder, trainee.transformer, trainee.words.words.numpy())
    start = load_decoder(tmp_path / "decoder")
    records: Records = []
    pretrain(scenes, SETTINGS, tmp_path / "checkpoint.pt", records.append, start)
    first, *_, last = of_stage(records, "encoder")
    # it begins where the other training ended, with its words
    ended = of_stage(trained[1], "encoder")[-1]
    assert first["loss"] < ended["loss"] + 0.3 < of_stage(trained[1], "encoder")[0]["loss"]
    assert first["words"] > 0
    assert last["loss"] < first["loss"]
    with pytest.raises(ConfigError, match="from another start: give the same --start, or another folder"):
        pretrain(scenes, SETTINGS, tmp_path / "checkpoint.pt")


def stopping(stage: str, step: int) -> Callable[[dict[str, Any]], None]:
    def log(record: dict[str, Any]) -> None:
        if (record["stage"], record["step"]) == (stage, step):
            raise KeyboardInterrupt

    return log


@pytest.mark.parametrize(
    "stops",
    [
        # before the first checkpoint, before there are words, after, and in the second stage
        [("encoder", 4)],
        [("encoder", 12), ("encoder", 32), ("transformer", 16)],
        # between the stages
        [("transformer", 4)],
    ],
)
def test_an_interrupted_training_goes_on_as_if_it_had_not_been(
    stops: list[tuple[str, int]],
    scenes: list[TrainingScene],
    trained: tuple[Trainee, Records, Path],
    tmp_path: Path,
) -> None:
    checkpoint = tmp_path / "checkpoint.pt"
    for stage, step in stops:
        with pytest.raises(KeyboardInterrupt):
            pretrain(scenes, SETTINGS, checkpoint, stopping(stage, step))
    assert_same_weights(pretrain(scenes, SETTINGS, checkpoint), trained[0])


def test_a_finished_training_is_only_read(scenes: list[TrainingScene], trained: tuple[Trainee, Records, Path]) -> None:
    records: Records = []
    assert_same_weights(pretrain(scenes, SETTINGS, trained[2], records.append), trained[0])
    assert not records


@pytest.mark.parametrize(
    "other",
    [
        replace(SETTINGS, steps=60),
        replace(SETTINGS, seed=1),
        replace(SETTINGS, landmarks=300),
        replace(SETTINGS, augmentation=Augmentation(turns=False)),
    ],
)
def test_other_settings_are_refused(
    other: PretrainSettings, scenes: list[TrainingScene], trained: tuple[Trainee, Records, Path]
) -> None:
    with pytest.raises(ConfigError, match="a training with other settings"):
        pretrain(scenes, other, trained[2])


def test_other_scenes_are_refused(scenes: list[TrainingScene], trained: tuple[Trainee, Records, Path]) -> None:
    with pytest.raises(ConfigError, match="a training on other scenes"):
        pretrain(scenes[:-1], SETTINGS, trained[2])


def test_the_encoder_runs_in_bfloat16_where_asked(scenes: list[TrainingScene]) -> None:
    example = ExampleSource(scenes, 0, Augmentation()).draw(50, 100, 2)
    exact, rough = Trainee(256), Trainee(256, bf16=True)
    rough.load_state_dict(exact.state_dict())
    with torch.no_grad():
        expected, found = (each.embed(example.descriptors, example.shape) for each in (exact, rough))
    assert found.dtype == torch.float32
    assert not torch.equal(found, expected)
    torch.testing.assert_close(found, expected, atol=0.02, rtol=0)


def test_other_precision_may_go_on(scenes: list[TrainingScene], trained: tuple[Trainee, Records, Path]) -> None:
    assert_same_weights(pretrain(scenes, replace(SETTINGS, bf16=True), trained[2]), trained[0])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_a_gpu_learns_what_a_processor_does(
    scenes: list[TrainingScene], trained: tuple[Trainee, Records, Path], tmp_path: Path
) -> None:
    settings = replace(SETTINGS, device="cuda", bf16=True)
    records: Records = []
    on_gpu = pretrain(scenes, settings, tmp_path / "checkpoint.pt", records.append)
    assert all(value.isfinite().all() and value.device.type == "cpu" for value in on_gpu.state_dict().values())
    for stage in ("encoder", "transformer"):
        told, expected = (of_stage(each, stage)[-1] for each in (records, trained[1]))
        assert told["right"] == pytest.approx(expected["right"], abs=0.1)
        assert told["loss"] == pytest.approx(expected["loss"], rel=0.25)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("devices", [("cpu", "cuda", "cpu"), ("cuda", "cpu", "cuda")])
def test_a_training_goes_on_on_another_kind_of_device(
    devices: tuple[str, ...], scenes: list[TrainingScene], tmp_path: Path
) -> None:
    checkpoint = tmp_path / "checkpoint.pt"
    for device, stop in zip(devices, (("encoder", 32), ("transformer", 16), None), strict=True):
        settings = replace(SETTINGS, device=device)
        if stop is None:
            trainee = pretrain(scenes, settings, checkpoint)
        else:
            with pytest.raises(KeyboardInterrupt):
                pretrain(scenes, settings, checkpoint, stopping(*stop))
    assert all(value.isfinite().all() for value in trainee.state_dict().values())


def test_a_checkpoint_of_another_version_is_refused(
    scenes: list[TrainingScene], trained: tuple[Trainee, Records, Path], tmp_path: Path
) -> None:
    content = torch.load(trained[2], weights_only=True)
    del content["trainee"]["encoder.none"]
    torch.save(content, tmp_path / "checkpoint.pt")
    with pytest.raises(ConfigError, match="a training of another version"):
        pretrain(scenes, SETTINGS, tmp_path / "checkpoint.pt")


@pytest.mark.parametrize("content", [b"", b"no checkpoint"])
def test_a_damaged_checkpoint_is_refused(content: bytes, scenes: list[TrainingScene], tmp_path: Path) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(content)
    with pytest.raises(ConfigError, match="no checkpoint of a training"):
        pretrain(scenes, SETTINGS, tmp_path / "checkpoint.pt")


def test_processes_go_on_with_draws_of_their_own(
    scenes: list[TrainingScene], trained: tuple[Trainee, Records, Path]
) -> None:
    """Only the first process writes a checkpoint, and all of them read it."""
    drawn = []
    for rank in (0, 1, 2, 1):
        source = ExampleSource(scenes, SETTINGS.seed + 1000 * rank, SETTINGS.augmentation)
        fresh = source.draw(64, 200, 2)
        run = pretraining._Run(Trainee(256), source, SETTINGS, trained[2], lambda _: None, rank)
        drawn.append(run._draw_images())
        assert not same(drawn[-1], fresh)
    assert not same(drawn[0], drawn[1])
    assert not same(drawn[0], drawn[2])
    assert not same(drawn[1], drawn[2])
    assert same(drawn[1], drawn[3])


def same(one: Example, other: Example) -> bool:
    return all(a.shape == b.shape and torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("wrong", [{"steps": 9}, {"transformer_steps": 1}])
def test_settings_that_make_no_sense(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="training needs 10 steps or more"):
        PretrainSettings(**wrong)  # type: ignore[arg-type]


# --- what it is made of ----------------------------------------------------------------------------


def test_a_landmark_is_the_mean_of_the_views_that_count(scenes: list[TrainingScene]) -> None:
    torch.manual_seed(0)
    trainee = Trainee(256)
    example = ExampleSource(scenes, 0, Augmentation()).draw(20, 50, 3)
    with torch.no_grad():
        found = landmark_embeddings(trainee, example)
        each = trainee.encoder(example.view_descriptors, example.view_shape).reshape(-1, 3, EMBEDDING)
    assert 0 < example.counts.sum() < example.counts.numel()
    for landmark, views, counts in zip(found, each, example.counts, strict=True):
        torch.testing.assert_close(landmark, functional.normalize(views[counts > 0].sum(dim=0), dim=0))


def test_more_words_describe_better() -> None:
    generator = torch.Generator().manual_seed(0)
    vectors = functional.normalize(torch.randn(1000, EMBEDDING, generator=generator), dim=1)
    words = ResidualWords()
    words.start(vectors, generator)
    with torch.no_grad():
        error = [
            float(((words(vectors, stages) - vectors) ** 2).sum(dim=1).mean()) for stages in (1, 4, 8, LATENT_STAGES)
        ]
    assert error == sorted(error, reverse=True)
    assert error[-1] < 0.3 * error[0]
    words(vectors, 4).sum().backward()
    assert words.words.grad is not None
    assert (words.words.grad[:4].abs().sum(dim=(1, 2)) > 0).all()
    assert (words.words.grad[4:] == 0).all()


def test_choosing_each_other_is_choosing_twice() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = (6 * torch.randn(40, 60, generator=generator)).requires_grad_()
    none = torch.tensor(14.0, requires_grad=True)
    right = torch.rand(40, 60, generator=generator) < 0.03
    shown = right.any(dim=0)
    assert 0 < right.any(dim=1).sum() < 40
    assert 0 < shown.sum() < 60
    found = mutual_choice_loss(logits, none, right)
    forward = choice_loss(torch.cat([logits, none.expand(40, 1)], dim=1), right)
    never = torch.full((int(shown.sum()), 1), -1e4)
    backward = choice_loss(torch.cat([logits[:, shown].T, never], dim=1), right[:, shown].T)
    expected = forward + BACKWARDS * backward
    torch.testing.assert_close(found, expected)
    for one, other in zip(
        torch.autograd.grad(found, (logits, none)), torch.autograd.grad(expected, (logits, none)), strict=True
    ):
        torch.testing.assert_close(one, other)


def test_nothing_shown_is_no_choice_of_landmarks() -> None:
    logits = torch.zeros(3, 5, requires_grad=True)
    loss = mutual_choice_loss(logits, torch.tensor(1.0), torch.zeros(3, 5, dtype=torch.bool))
    assert float(loss.detach().exp()) == pytest.approx((5 + math.e) / math.e)
    loss.backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_any_of_several_right_answers_is_right() -> None:
    logits = torch.tensor([[2.0, 1.0, 0.0, -1.0]])
    probability = logits.softmax(dim=1)[0]

    def loss(*right: bool) -> float:
        return float(choice_loss(logits, torch.tensor([right])).exp())

    assert loss(True, False, False) == pytest.approx(1 / float(probability[0]))
    assert loss(True, True, False) == pytest.approx(1 / float(probability[:2].sum()))
    assert loss(False, False, False) == pytest.approx(1 / float(probability[3]))
