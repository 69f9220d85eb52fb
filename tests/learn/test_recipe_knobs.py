"""Each knob of the recipe does what its paper says, and a run that was stopped ends with the same bytes under any."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from refusals import refused
from stopping import Killed, stopping_at
from test_resume import stopping
from tiny_learning import CONFIG, SPEC, TinyNet, learn, new_run, tiny_net
from torch import Tensor, nn

from zoo.data import Splits, decode_all
from zoo.errors import TrainingError
from zoo.learn import STATE_FILE, WEIGHTS_FILE, EvidenceNetwork, mirrored, read_tensors
from zoo.learn._averaging import INGREDIENTS
from zoo.learn._beside import Beside
from zoo.learn._budget import Costs, fit_epochs, price_soup
from zoo.learn._descent import Descent
from zoo.learn._distributed import ALONE
from zoo.learn._images import Feed, Part
from zoo.learn._objective import objective_of
from zoo.learn._order import Order
from zoo.learn._precision import Numerics
from zoo.learn._probing import set_learning
from zoo.learn._saving import price_writes
from zoo.learn._schedule import PROBE_RATE, count_probe, learning_rate, rate_of
from zoo.learn._sharpness import climb
from zoo.learn._validation import renew_statistics
from zoo.runs import RunFolder, open_run
from zoo.spec import TrainConfig, count_epochs, parse_duration


def changed(**fields: Any) -> TrainConfig:
    return msgspec.structs.replace(CONFIG, **fields)


KNOBS = {
    "probe": changed(pretrained=True, probe=0.5),
    "sam": changed(sam=0.05),
    "soup": changed(average="soup"),
    "none": changed(average="none"),
    "pictures": changed(augment="strong", augment_flip="both", erase=0.5, mixup=0.2, cutmix=1.0),
    "flips": changed(flips=True),
}


@pytest.mark.parametrize("knob", KNOBS)
@pytest.mark.parametrize("steps", [2, 7])
def test_a_resumed_run_ends_with_the_same_bytes_under_every_knob(
    stripes: Splits, tmp_path: Path, knob: str, steps: int
) -> None:
    """What a knob remembers or draws must be in the state, or be a function of the place."""
    config = KNOBS[knob]
    whole, broken = (new_run(tmp_path / name, stripes, config) for name in ("whole", "broken"))
    learn(tiny_net(), stripes, SPEC, config, whole)
    with pytest.raises(KeyboardInterrupt):
        learn(stopping(steps), stripes, SPEC, config, broken)
    fitted = learn(tiny_net(seed=9), stripes, SPEC, config, open_run(broken.path), resuming=True)
    assert broken.file(WEIGHTS_FILE).read_bytes() == whole.file(WEIGHTS_FILE).read_bytes()
    assert open_run(broken.path).record.best == fitted.best == whole.record.best
    with refused("resume-changed", TrainingError):
        learn(tiny_net(), stripes, SPEC, CONFIG, open_run(broken.path), resuming=True)


@pytest.mark.parametrize(
    ("images", "said", "epochs"),
    [
        (546, {}, 83),  # 18 steps an epoch
        (546, {"pretrained": True}, 28),
        (100_000, {}, 10),
        (40, {}, 100),
        (546, {"steps": 90}, 5),
        (100_000, {"steps": 90}, 1),
        (546, {"epochs": 7}, 7),
        (546, {"batch_size": 64, "steps": 90}, 10),
    ],
)
def test_auto_turns_steps_into_epochs(images: int, said: dict[str, Any], epochs: int) -> None:
    """20 epochs of 546 images are too few steps, and of 100 000 images hours."""
    assert count_epochs(TrainConfig(**said), images) == epochs


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("10m", 600), ("1.5h", 5400), ("10", None), ("m", None), ("0m", None), ("-1m", None)],
)
def test_a_time_has_a_unit(text: str, seconds: float | None) -> None:
    """`--budget 10` could be seconds or minutes."""
    assert parse_duration(text) == seconds


def test_head_and_network_have_a_rise_and_a_fall_of_their_own() -> None:
    config = TrainConfig(pretrained=True, probe=0.25, lr=0.01, warmup=0.0)
    assert [count_probe(epochs, config) for epochs in (1, 2, 8, 40)] == [0, 1, 2, 10]
    rates = [rate_of(epoch, step, steps=5, epochs=8, config=config) for epoch in range(1, 9) for step in range(5)]
    assert rates[:10] == [PROBE_RATE * learning_rate(step, 10, config) for step in range(10)]
    assert rates[10:] == [learning_rate(step, 30, config) for step in range(30)]
    plain = TrainConfig(lr=0.01)
    assert rate_of(3, 2, steps=5, epochs=8, config=plain) == learning_rate(12, 40, plain)


def test_the_head_alone_moves_while_it_is_probed(stripes: Splits, tmp_path: Path) -> None:
    """Features that move under a random head are what linear probing is there to prevent; so are moving statistics."""
    config = changed(pretrained=True, probe=0.5, epochs=4, average="none")
    run, start = new_run(tmp_path / "run", stripes, config), tiny_net().state_dict()
    with pytest.raises(KeyboardInterrupt):
        learn(stopping(1), stripes, SPEC, config, run)  # the first step in which all learns
    probed = read_tensors(run.file(STATE_FILE))
    for name, tensor in start.items():
        moved = not torch.equal(probed[f"model.{name}"], tensor)
        assert moved == name.startswith("head."), name
    learn(tiny_net(), stripes, SPEC, config, open_run(run.path), resuming=True)
    last = read_tensors(run.file(STATE_FILE))
    assert all(not torch.equal(last[f"model.{name}"], start[name]) for name in ("stem.weight", "norm.running_mean"))


def test_a_u_net_probes_all_that_an_encoders_weights_leave_new() -> None:
    """Its map alone, over a decoder that is random, would have nothing to learn from."""
    unet = pytest.importorskip("zoo_plugins.unet")
    with torch.device("meta"):
        model = unet.UNetClassifier("resnet10t", classes=2, channels=1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    set_learning(model, optimizer, head_only=True)
    held = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert held
    assert all(name.startswith("network.encoder.") for name in held)
    assert not any(module.training for module in model.network.encoder.modules())
    set_learning(model, optimizer, head_only=False)
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert model.network.encoder.training


def test_the_gradient_of_sam_is_taken_at_its_radius_and_the_weights_come_back() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))
    x = torch.randn(8, 4)
    model(x).square().mean().backward()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    gradients = torch.cat([parameter.grad.flatten() for parameter in model.parameters() if parameter.grad is not None])
    with climb(model, 0.1):
        inside = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
        start = torch.cat([before[name].flatten() for name, _ in model.named_parameters()])
        torch.testing.assert_close(inside - start, 0.1 * gradients / gradients.norm(), atol=1e-6, rtol=1e-4)
        assert all(parameter.grad is None for parameter in model.parameters())
        model(x).square().mean().backward()
    for name, tensor in model.state_dict().items():
        if name != "1.num_batches_tracked":
            assert torch.equal(tensor, before[name]), name
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_a_soup_is_the_mean_of_epochs_that_validation_likes(
    stripes: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its BatchNorm statistics are taken anew, and it is never worse on validation than the best epoch."""
    import zoo.learn._kept as kept

    seen: list[Any] = []
    blend = kept.Soup.blend
    monkeypatch.setattr(
        kept.Soup, "blend", lambda soup, *given: seen.append((soup, *blend(soup, *given))) or seen[-1][1:]
    )
    config = changed(average="soup", lr=0.005, epochs=6)
    run = new_run(tmp_path / "run", stripes, config)
    fitted = learn(tiny_net(), stripes, SPEC, config, run)
    ((soup, network, chosen, _),) = seen
    assert len(set(soup.epochs.tolist())) == INGREDIENTS
    written = read_tensors(run.file(WEIGHTS_FILE))
    assert all(torch.equal(tensor, network.state_dict()[name]) for name, tensor in written.items())
    held = [soup.holding(epoch).state_dict() for epoch in chosen]
    torch.testing.assert_close(written["stem.weight"], torch.stack([one["stem.weight"] for one in held]).mean(dim=0))
    history = [line.split(",") for line in run.file("history.csv").read_text().splitlines()]
    column = history[0].index("val_macro_auroc")
    singles = [float(row[column]) for row in history[1:]]
    assert fitted.best.value is not None
    assert fitted.best.value >= max(singles) - 1e-5
    assert run.record.best == fitted.best
    assert any(note.startswith("weights: ") for note in run.record.notes)
    if len(chosen) > 1:
        mean = torch.stack([one["norm.running_mean"] for one in held]).mean(dim=0)
        assert not torch.equal(written["norm.running_mean"], mean)


def test_a_soup_is_made_of_its_own_copies(stripes: Splits, tmp_path: Path) -> None:
    """torch refuses to copy a network that keeps what it made of its last images, with its gradient."""

    class Remembers(TinyNet):
        def forward(self, x: Tensor) -> Tensor:
            self.seen = super().forward(x)
            return self.seen

    config = changed(average="soup", epochs=3)
    assert learn(Remembers(), stripes, SPEC, config, new_run(tmp_path / "run", stripes, config)).epochs_done == 3


def test_killed_at_any_write_a_soup_ends_with_the_same_bytes(
    stripes: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mean replaces weights whose checksum the state holds."""
    config = KNOBS["soup"]
    whole = new_run(tmp_path / "whole", stripes, config)
    learn(tiny_net(), stripes, SPEC, config, whole)
    for number in (3, 14, *range(20, 99)):
        run = new_run(tmp_path / str(number), stripes, config)
        try:
            with stopping_at(monkeypatch, number, Killed()) as written:
                learn(tiny_net(), stripes, SPEC, config, run)
        except Killed:
            pass
        else:
            break
        if run.file(STATE_FILE).exists():
            learn(tiny_net(seed=99), stripes, SPEC, config, open_run(run.path), resuming=True)
            assert run.file(WEIGHTS_FILE).read_bytes() == whole.file(WEIGHTS_FILE).read_bytes(), written.names
            assert open_run(run.path).record.best == whole.record.best
    assert number > 20


def test_weights_without_an_average_are_those_of_the_last_step(stripes: Splits, tmp_path: Path) -> None:
    config = changed(average="none", epochs=1)
    run = new_run(tmp_path / "run", stripes, config)
    learn(tiny_net(), stripes, SPEC, config, run)
    state = read_tensors(run.file(STATE_FILE))
    assert all(
        torch.equal(tensor, state[f"model.{name}"]) for name, tensor in read_tensors(run.file(WEIGHTS_FILE)).items()
    )


class Spots(EvidenceNetwork):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 3, 3, padding=1)

    def evidence(self, images: torch.Tensor) -> torch.Tensor:
        return self.stem(images)

    def pool(self, evidence: torch.Tensor) -> torch.Tensor:
        return evidence.flatten(2).logsumexp(dim=2)


def test_a_mirrored_network_answers_an_image_and_its_mirror_image_alike() -> None:
    x = torch.rand(4, 1, 16, 16)
    plain = tiny_net().eval()
    both = mirrored(plain)
    torch.testing.assert_close(both(x), (plain(x) + plain(x.flip(3))) / 2)
    torch.testing.assert_close(both(x), both(x.flip(3)))
    spots = Spots()
    seeing = mirrored(spots)
    assert isinstance(seeing, EvidenceNetwork)
    torch.testing.assert_close(seeing(x), spots.pool(seeing.evidence(x)))  # the map explains the answer still
    torch.testing.assert_close(seeing.evidence(x).flip(3), seeing.evidence(x.flip(3)))


COSTS = Costs(step=0.1, epoch=1.0, finish=20.0)


def test_epochs_fill_what_is_left_after_export_and_report() -> None:
    assert fit_epochs(COSTS, steps=10, left=60.0, most=100, budget="1m") == 20
    assert fit_epochs(COSTS, steps=10, left=600.0, most=100, budget="10m") == 100
    with refused("budget-too-small", TrainingError, budget="20s"):
        fit_epochs(COSTS, steps=10, left=21.9, most=100, budget="20s")


def test_a_soup_at_the_end_is_in_the_budget() -> None:
    """Two means, each with statistics of 100 batches at most and a validation; without BatchNorm the latter alone."""
    soup, plain = changed(average="soup"), nn.Linear(2, 2)
    assert price_soup(tiny_net(), soup, steps=1000, step=0.1, judging=3.0) == pytest.approx(2 * (100 * 0.05 + 3))
    assert price_soup(tiny_net(), soup, steps=10, step=0.1, judging=3.0) == pytest.approx(2 * (10 * 0.05 + 3))
    assert price_soup(plain, soup, steps=10, step=0.1, judging=3.0) == pytest.approx(6)
    assert price_soup(tiny_net(), CONFIG, steps=10, step=0.1, judging=3.0) == 0


@pytest.mark.parametrize(
    ("cost", "trained", "judging", "seconds"),
    [(1.0, 450.0, 3.0, 10.0), (15.0, 450.0, 3.0, 150.0), (20.0, 600.0, 3.0, 200.0), (20.0, 600.0, 15.0, 220.0)],
)
def test_states_within_an_epoch_are_in_the_budget(cost: float, trained: float, judging: float, seconds: float) -> None:
    """Each 45 s, or so that a quarter of the time goes into them; and one before a long validation."""
    assert price_writes(cost, trained=trained, judging=judging) == pytest.approx(seconds)


def test_a_slow_disk_makes_an_epoch_dearer(stripes: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a write takes long, `--budget` was overrun by all writes but the last of an epoch."""
    from zoo.learn import _budget

    found: list[Any] = []

    def price(cost: float, *, trained: float, judging: float) -> float:
        found.append((cost, trained, judging))
        return 1000.0

    def look(*given: Any) -> Costs:
        found.append(measure(*given))
        return COSTS

    measure = _budget.measure
    monkeypatch.setattr(_budget, "price_writes", price)
    monkeypatch.setattr(_budget, "measure", look)
    config = changed(budget="1h", epochs=1)
    learn(tiny_net(), stripes, SPEC, config, new_run(tmp_path / "run", stripes, config))
    (cost, trained, judging), costs = found
    assert cost > 0
    assert trained == pytest.approx(4 * costs.step)
    assert 1000 + judging < costs.epoch < 1010 + judging


class Explodes(TinyNet):
    """At a large rate its weights soon give infinite logits; `broken`: they do at once."""

    def __init__(self, broken: bool) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((), 90.0 if broken else 0.1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) * torch.exp(self.scale.abs())


@pytest.mark.parametrize("broken", [False, True])
def test_a_training_that_diverges_says_so_with_a_budget_too(stripes: Splits, tmp_path: Path, broken: bool) -> None:
    """The probe met the numbers first, and ended as a defect of the program."""
    config = changed(budget="1h", lr=99.0, warmup=0.9, epochs=4)
    with refused("training-diverged", TrainingError, lr=99.0) as caught:
        learn(Explodes(broken), stripes, SPEC, config, new_run(tmp_path / "run", stripes, config))
    assert caught.value.fields["step"]
    assert not list((tmp_path / "run").glob(".*"))


def test_statistics_of_a_mean_are_of_images_as_training_sees_them(stripes: Splits) -> None:
    """Images that are blanked and mixed vary less than plain ones."""

    class Sees(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm2d(1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.norm(x)

    train, order = Part.whole(decode_all(stripes.train, SPEC)), Order.deal(60, 16, seed=0)
    feed = Feed.of(train, SPEC, torch.device("cpu"))
    seen = []
    for config in (changed(augment="none"), changed(augment="none", erase=1.0, mixup=1.0)):
        model = Sees()
        numerics = Numerics(device="cpu", bf16=False, channels_last=False, text="")
        objective = objective_of(train.targets, 3, config, torch.device("cpu"), ordered=False)
        optimizer = torch.optim.SGD(model.parameters())
        descent = Descent(model, optimizer, objective, SPEC, config, numerics, stripes.labels, Beside(None))
        renew_statistics(model, descent, feed, order, ALONE)
        batches = order.batches(0)
        x = [descent.prepare(raw, (0, step, 0))[0] for step, raw in enumerate(feed.batches(batches))]
        assert float(model.norm.running_mean) == pytest.approx(  # type: ignore[arg-type]
            float(torch.stack([one.mean() for one in x]).mean()), abs=1e-5
        )
        seen.append(float(model.norm.running_var))  # type: ignore[arg-type]
    assert seen[1] < 0.9 * seen[0]


def budgeted(run: RunFolder) -> TrainConfig:
    return run.record.card.train


def test_a_budget_becomes_a_number_of_epochs_that_gives_the_same_bytes_again(
    stripes: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock must decide nothing but that number, and not once more after a stop."""
    from zoo.learn import _budget

    asked = changed(budget="1h", epochs=50)
    costs = Costs(step=100.0, epoch=400.0, finish=100.0)
    measure = _budget.measure
    monkeypatch.setattr(_budget, "measure", lambda *given: (measure(*given), costs)[1])
    run = new_run(tmp_path / "run", stripes, asked)
    monkeypatch.setattr(_budget, "find_crowd", lambda _: 0.25)
    with pytest.raises(KeyboardInterrupt):
        learn(stopping(4 + 6), stripes, SPEC, asked, run)  # the probe takes the four steps of one epoch
    run = open_run(run.path)
    assert budgeted(run).epochs == 4  # (.95 of 3600 less what was used up to there, - 100) / 800
    (note,) = (note for note in run.record.notes if note.startswith("budget 1h: 4 of 50 epochs"))
    assert "other work left 0.2 cores" in note, "on a busy machine training would end early without a word"
    monkeypatch.setattr(_budget, "measure", None)
    learn(tiny_net(), stripes, SPEC, budgeted(run), run, resuming=True)
    again = new_run(tmp_path / "again", stripes)
    learn(tiny_net(), stripes, SPEC, CONFIG, again)
    assert run.file(WEIGHTS_FILE).read_bytes() == again.file(WEIGHTS_FILE).read_bytes()


def test_a_probe_of_the_clock_leaves_nothing_behind(stripes: Splits, tmp_path: Path) -> None:
    config = changed(budget="1h", epochs=2)
    run = new_run(tmp_path / "run", stripes, config)
    start = time.monotonic()
    fitted = learn(tiny_net(), stripes, SPEC, config, run, deadline=start + 3600)
    assert fitted.epochs_done == 2
    assert not list(run.path.glob("*probe*")) + list(run.path.glob(".*"))
    other = new_run(tmp_path / "other", stripes)
    learn(tiny_net(), stripes, SPEC, changed(epochs=2), other)
    assert other.file(WEIGHTS_FILE).read_bytes() == run.file(WEIGHTS_FILE).read_bytes()


def test_a_network_learns_with_all_knobs_at_once(stripes: Splits, tmp_path: Path) -> None:
    config = changed(epochs=12, sam=0.02, mixup=0.2, erase=0.2, average="soup", augment_flip="both", flips=True)
    fitted = learn(TinyNet(), stripes, SPEC, config, new_run(tmp_path / "run", stripes, config))
    assert fitted.best.value is not None
    assert fitted.best.value > 0.8
    assert np.isfinite(fitted.best.value)
