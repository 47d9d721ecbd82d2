"""Results in the partners' own packages, read back from what those wrote."""

import itertools
import json
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from captum_cnn_ext import metrics
from captum_cnn_ext.errors import ArgumentError
from captum_cnn_ext.evidence import layer_table, model_graph
from captum_cnn_ext.insights import audit_dataset, compare, explain, log_to
from captum_cnn_ext.insights.partners.loggable import loggable
from captum_cnn_ext.photos import labelled_photos

pytestmark = pytest.mark.filterwarnings("ignore")  # the partners' own


def small(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        *(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    ).eval()


@pytest.fixture(scope="module")
def found():
    x = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(1))
    return explain(small(), x, layer="1")


@pytest.fixture(scope="module")
def audited_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    numbers = np.random.default_rng(0)
    for place in range(8):
        path = folder / ("even", "odd")[place % 2] / f"{place}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(numbers.integers(0, 255, (20, 30, 3), dtype=np.uint8)).save(path)
    done = audit_dataset(
        *(small(), labelled_photos(folder)),
        **{"layer": "1", "preprocess": prepared, "test_shortcuts": False, "show_progress": False},
    )
    return done, folder


@pytest.fixture(scope="module")
def audited(audited_folder):
    return audited_folder[0]


def prepared(photo):
    """The middle 16 x 16 pixels."""
    left, top = (photo.width - 16) // 2, (photo.height - 16) // 2
    pixels = np.asarray(photo.convert("RGB").crop((left, top, left + 16, top + 16)))
    return torch.tensor(pixels).movedim(-1, 0) / 255


def picture(found):
    return np.asarray(loggable(found).picture)


def test_the_parts_of_results(found, audited):
    own, *controls = found.faithfulness.values()
    assert loggable(found).numbers == {
        "probability": found.probability,
        "faithfulness": own,
        "faithfulness_over_controls": own - max(controls),
    }
    assert str(found) == loggable(found).words
    assert loggable(audited).numbers["accuracy"] == audited.records.correct.mean()
    assert loggable(audited).page == audited.to_html()
    wrong = len(audited.page.overview.of("wrong"))
    assert loggable(audited).numbers["findings_wrong"] == wrong
    assert "| layer | type |" in loggable(layer_table(small(), 16)).words
    graph = loggable(model_graph(small(), 16))
    assert graph.ending == "svg"
    assert "Conv2d" in graph.page


def test_tensorboard(found, audited, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(tmp_path) as writer:
        log_to(writer, found, step=7)
        log_to(writer, {"photos": audited}, tag="validation")
    read = EventAccumulator(str(tmp_path)).Reload()
    (image,) = read.Images("Explanation")
    assert image.step == 7
    (tmp_path / "x.png").write_bytes(image.encoded_image_string)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "x.png")), picture(found))
    (number,) = read.Scalars("Explanation/probability")
    assert (number.step, number.value) == (7, np.float32(found.probability))
    (text,) = read.Tensors("validation/photos/text_summary")
    assert audited.page.overview.headline in text.tensor_proto.string_val[0].decode()


@pytest.fixture
def mlflow(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri((tmp_path / "runs").as_uri())
    yield mlflow
    mlflow.end_run()
    mlflow.set_tracking_uri(before)


def test_mlflow(found, audited, mlflow, tmp_path):
    with mlflow.start_run() as run:
        log_to(mlflow, found, step=7)
        log_to(run, audited, tag="validation")
    log_to((mlflow.MlflowClient(), run.info.run_id), found, step=8)
    client = mlflow.MlflowClient()
    history = client.get_metric_history(run.info.run_id, "Explanation/probability")
    assert [(one.step, one.value) for one in history] == [(s, found.probability) for s in (7, 8)]
    files = Path(client.download_artifacts(run.info.run_id, "", str(tmp_path)))
    assert (files / "validation.html").read_text(encoding="utf-8") == audited.to_html()
    assert str(found) == (files / "Explanation" / "7.md").read_text(encoding="utf-8")
    image, later = sorted(files.glob("images/Explanation*.png"))
    assert [one.name[:18] for one in (image, later)] == ["Explanation+step+7", "Explanation+step+8"]
    assert np.array_equal(np.asarray(Image.open(image).convert("RGB")), picture(found))


def test_wandb_offline(found, audited, tmp_path):
    wandb = pytest.importorskip("wandb")
    settings = wandb.Settings(console="off", silent=True)
    with wandb.init(mode="offline", dir=str(tmp_path), project="p", settings=settings) as run:
        log_to(run, found, step=7)
        log_to(run, audited, step=8, tag="validation")
        run.log({}, step=9)  # a step is written when the next one begins
        summary, files = dict(run.summary), Path(run.dir)
    assert summary["_step"] == 8
    assert summary["Explanation/probability"] == found.probability
    assert summary["validation/accuracy"] == audited.records.correct.mean()
    image = Image.open(files / summary["Explanation"]["path"])
    assert np.array_equal(np.asarray(image.convert("RGB")), picture(found))
    page = (files / summary["validation/page"]["path"]).read_text(encoding="utf-8")
    assert page == audited.to_html()


def test_what_cannot_be_logged_says_so(found):
    with pytest.raises(TypeError, match=r"got list, expected a writer or a run of torch.*, wandb"):
        log_to([], found)
    summary_writer = type("SummaryWriter", (), {"__module__": "torch.utils.tensorboard.writer"})
    with pytest.raises(TypeError, match="result: got int, expected what"):
        log_to(summary_writer(), 3)
    with pytest.raises(ArgumentError, match="step=-1"):
        log_to(summary_writer(), found, step=-1)


@pytest.mark.slow
@pytest.mark.parametrize("package", ["lightning", "fiftyone"])
def test_without_the_package_the_extra_is_named(package):
    code = (
        f"import sys; sys.modules[{package!r}] = sys.modules['pytorch_lightning'] = None\n"
        f"import captum_cnn_ext.insights.partners.{package} as p\n"
        "next(p.image_labels(None, ''))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert f"pip install -e '.[{package}]'" in run.stderr.splitlines()[-1]


@pytest.mark.slow
def test_importing_insights_loads_no_partner():
    code = "import sys, captum_cnn_ext.insights; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(run.stdout.split())
    assert not loaded & {"mlflow", "wandb", "lightning", "fiftyone", "quantus", "tensorboard"}


def lit(pl):
    class Lit(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = small()

        def forward(self, x):
            return self.net(x)

        def training_step(self, batch, _):
            return nn.functional.cross_entropy(self(batch[0]), batch[1])

        def validation_step(self, batch, _):
            self.log("loss", self.training_step(batch, 0))

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.5)

    return Lit()


def test_lightning(tmp_path, mlflow):
    pl = pytest.importorskip("lightning.pytorch")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from captum_cnn_ext.insights.partners.lightning import LogMaps

    generator = torch.Generator().manual_seed(2)
    x, y = torch.rand(8, 3, 16, 16, generator=generator), torch.arange(8) % 3
    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), 4)
    callback = LogMaps(x[:2], "net.1", target=[1, 2])
    drifts, kept, modes = [], [], []

    class Look(pl.Callback):
        def on_validation_epoch_end(self, trainer, module):
            if not trainer.sanity_checking:
                modes.append((module.training, torch.is_grad_enabled()))
                kept.append({n: v.clone() for n, v in module.state_dict().items()})
                drifts.append(trainer.callback_metrics.get("attention_drift"))

    trainer = pl.Trainer(
        max_epochs=3,
        logger=[
            pl.loggers.TensorBoardLogger(tmp_path, "tb", ""),
            pl.loggers.CSVLogger(tmp_path, "csv"),
            pl.loggers.MLFlowLogger(tracking_uri=(tmp_path / "runs").as_uri()),
        ],
        callbacks=[callback, Look()],
        **{"accelerator": "cpu", "enable_progress_bar": False, "enable_model_summary": False},
        **{"enable_checkpointing": False, "log_every_n_steps": 1},
    )
    model = lit(pl)
    trainer.fit(model, data, data)
    maps = []
    for state in kept:  # the same by hand, from the weights of each epoch
        model.load_state_dict(state)
        model.eval()
        (one,) = compare(
            model, x[:2], ["LayerHiResCam"], layers="net.1", target=[1, 2]
        ).attributions.values()
        maps.append(one.flatten(1))
    expected = [1 - metrics.rank_correlation(b, a).mean() for a, b in itertools.pairwise(maps)]
    assert modes == [(False, False)] * 3
    read = EventAccumulator(str(tmp_path / "tb")).Reload()
    logged = [one.value for one in read.Scalars("attention_drift")]
    assert logged == pytest.approx([float(value) for value in expected], abs=1e-6)
    assert 0.001 < max(logged) < 0.999  # it moves, and is not gone
    assert [image.step for image in read.Images("attention")] == [2, 4, 6]
    client = mlflow.MlflowClient()
    files = client.list_artifacts(trainer.loggers[2].run_id, "images")
    assert len([f for f in files if f.path.endswith(".png")]) == 3
    trainer.validate(model, data, verbose=False)  # without gradients in another way
    assert len(client.list_artifacts(trainer.loggers[2].run_id, "images")) > len(files)


def test_fiftyone(audited_folder):
    audited, folder = audited_folder
    fiftyone = pytest.importorskip("fiftyone")
    from captum_cnn_ext.insights.partners.fiftyone import image_labels

    labels = dict(image_labels(audited, folder, prepared))
    assert len(labels) == 8
    for row, (path, given) in enumerate(labels.items()):
        assert isinstance(given["prediction"], fiftyone.Classification)
        assert given["prediction"].label == audited.table["prediction_name"][row]
        assert given["prediction"].confidence == audited.table["confidence"][row]
        assert given["ground_truth"].label == Path(path).parent.name
        heat = given["attention"].map
        assert heat.shape == (20, 30)
        assert given["attention"].range == [-1, 1]
        inside = heat[2:18, 7:23]
        assert inside.any()
        assert np.count_nonzero(heat) == np.count_nonzero(inside)  # nothing beyond the crop
        whole = torch.tensor(audited.records.maps[row].astype(np.float32))[None, None]
        same = nn.functional.interpolate(whole, (16, 16), mode="bilinear")[0, 0]
        assert np.allclose(inside, same, atol=1e-5)


@pytest.fixture(scope="module")
def quantus():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("quantus")


@pytest.mark.parametrize("method", ["LayerHiResCam", "Saliency"])
def test_quantus_gets_our_maps(method, quantus):
    from captum_cnn_ext.insights.partners.quantus import explain_func

    x, y = torch.rand(2, 3, 16, 16), np.array([0, 2])
    model, explain = small(), explain_func(method, "1" if method != "Saliency" else None)
    given = explain(model, x.numpy(), y)
    done = compare(model, x, [method], layers="1" if method != "Saliency" else None, target=[0, 2])
    (maps,) = done.attributions.values()
    assert given.shape == (2, 1, 16, 16)
    assert np.allclose(given[:, 0], metrics.as_maps(maps, x), atol=1e-6)
    judges = [
        quantus.Sparseness(disable_warnings=True),
        quantus.PixelFlipping(features_in_step=64, disable_warnings=True),
        quantus.RandomLogit(num_classes=3, seed=0, disable_warnings=True),
        quantus.MaxSensitivity(nr_samples=2, disable_warnings=True),
    ]
    for judge in judges:
        scores = judge(
            model=model, x_batch=x.numpy(), y_batch=y, a_batch=None, explain_func=explain
        )
        assert len(scores) == 2
        assert np.isfinite(np.asarray(scores, dtype=float)).all()
    own = judges[0](model=model, x_batch=x.numpy(), y_batch=y, a_batch=given)
    by_hand = judges[0](model=model, x_batch=x.numpy(), y_batch=y, explain_func=explain)
    assert own == pytest.approx(by_hand)


def test_quantus_asks_for_a_method_of_one_place():
    from captum_cnn_ext.insights.partners.quantus import explain_func

    with pytest.raises(ArgumentError, match="nearest: 'Saliency'"):
        explain_func("Salienzy")


def test_numbers_that_are_logged_are_json(audited):
    assert json.loads(json.dumps(loggable(audited).numbers)) == loggable(audited).numbers
