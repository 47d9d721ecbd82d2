"""Damaged and hostile files: one error of the package, no code run, nothing left.

``FUZZ=200`` multiplies the number of mutated files.
"""

import io
import json
import os
import pickle
import random
import struct
import zipfile
import zlib

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from captum_cnn_ext.bench import Results
from captum_cnn_ext.evidence import TopPatches, top_patches
from captum_cnn_ext.models import load_model, read_class_names
from captum_cnn_ext.photos import load_photos

EACH = int(os.environ.get("FUZZ", "40"))
ERRORS = (ValueError, OSError, ImportError, TypeError)  # what the docstrings name
COUNTED = {"files": 0}
NETS = """
from torch import nn
def net():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.LazyLinear(2))
def small():
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU())
"""


class Malicious:
    def __reduce__(self):
        return os.mkdir, ("made-by-the-file",)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets.py").write_text(NETS)
    load_model("nets.py:small")  # its __pycache__, if any
    return tmp_path


def mutations(content, name):
    """Truncated, overwritten, doubled, with a hostile pickle in the middle or as a zip's member."""
    generator = random.Random(name)
    evil = pickle.dumps({"0.weight": Malicious()}, protocol=2)
    for i in range(EACH):
        data = bytearray(content)
        kind = i % 6
        if kind == 0:
            data = data[: generator.randrange(len(data))]
        elif kind == 1:
            for _ in range(generator.randrange(1, 9)):
                data[generator.randrange(len(data))] = generator.randrange(256)
        elif kind == 2:
            place = generator.randrange(len(data))
            data[place:place] = evil
        elif kind == 3:
            start = generator.randrange(len(data))
            data[start : start + 8] = struct.pack("<Q", generator.getrandbits(63))
        elif kind == 4:
            data = bytearray(generator.randbytes(generator.randrange(200)))
        else:
            data = bytearray(evil if i % 12 == 5 else _zip_of(evil, generator))
        yield bytes(data)


def _zip_of(evil, generator):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        name = generator.choice(["archive/data.pkl", "values.npy", "../../data.pkl", "about.npy"])
        archive.writestr(name, evil)
        archive.writestr("archive/version", "3")
    return file.getvalue()


def survive(folder, content, suffix, read):
    """``read`` gives something or one of the errors; the folder holds no more than before."""
    path = folder / f"fuzzed{suffix}"
    for data in mutations(content, suffix):
        path.write_bytes(data)
        before = sorted(os.listdir(folder))
        try:
            read(path)
        except ERRORS as error:
            assert len(str(error)) < 4000  # noqa: PT017
        COUNTED["files"] += 1
        assert sorted(os.listdir(folder)) == before, "something was made"
    assert not (folder / "made-by-the-file").exists()


def small_state():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU())
    return net.state_dict()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("legacy", [False, True])
def test_weights(folder, legacy):
    file = io.BytesIO()
    torch.save(small_state(), file, _use_new_zipfile_serialization=not legacy)
    survive(folder, file.getvalue(), ".pt", lambda p: load_model("nets.py:small", weights=p))


def test_safetensors(folder):
    save = pytest.importorskip("safetensors.torch").save
    content = save({k: v.contiguous() for k, v in small_state().items()})
    survive(folder, content, ".safetensors", lambda p: load_model("nets.py:small", weights=p))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "TIFF", "WEBP"])
def test_pictures(folder, kind):
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (24, 20, 3), np.uint8)
    Image.fromarray(noise).save(file, kind)
    survive(folder, file.getvalue(), f".{kind.lower()}", load_photos)


def test_a_picture_of_enormous_size_is_not_unpacked(folder):
    def chunk(name, data):
        code = name + data
        return struct.pack(">I", len(data)) + code + struct.pack(">I", zlib.crc32(code))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    bomb += chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    (folder / "bomb.png").write_bytes(bomb)
    with pytest.raises(ValueError, match=r"bomb.png .*decompression bomb"):
        load_photos(folder / "bomb.png")


@pytest.mark.parametrize("suffix", [".json", ".txt"])
def test_class_names(folder, suffix):
    names = [f"class {i}" for i in range(9)]
    content = json.dumps(names) if suffix == ".json" else "\n".join(names)
    survive(folder, content.encode(), suffix, read_class_names)
    for text in ("[" * 100_000, '{"a": 1e999}', "[null]", '{"0": {"1": []}}', "0", '{"1": true}'):
        (folder / "names.json").write_text(text)
        with pytest.raises(ValueError, match="class_names"):
            read_class_names(folder / "names.json")


@pytest.fixture
def job():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU()).eval()
    images = torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    return net, images


def test_checkpoints_and_saved_patches(folder, job):
    net, images = job

    def run(path):
        return top_patches(net, "1", images, k=2, checkpoint=path)

    run(folder / "good.npz")
    survive(folder, (folder / "good.npz").read_bytes(), ".npz", run)
    found = top_patches(net, "1", images, k=2)
    found.save(folder / "fuzzed.npz")
    survive(folder, (folder / "fuzzed.npz").read_bytes(), ".npz", TopPatches.load)
    about = (folder / "fuzzed.json").read_bytes()
    found.save(folder / "fuzzed.npz")
    survive(folder, about, ".json", lambda p: TopPatches.load(p.with_suffix(".npz")))


def test_results_of_the_benchmark(folder):
    results = Results({"steps": 2}, {"device": "cpu"})
    results.add("LayerHiResCam", "photo", {"insertion": 0.5})
    results.save(folder / "good.json")
    survive(folder, (folder / "good.json").read_bytes(), ".json", Results.load)
    for text in ("[]", "3", "[" * 100_000, '{"settings": 1, "machine": 2, "cells": 3}',
                 '{"settings": {}, "machine": {}, "cells": {"a": []}}'):  # fmt: skip
        (folder / "other.json").write_text(text)
        with pytest.raises(ValueError, match="holds no results"):
            Results.load(folder / "other.json")


def test_model_specs(folder):
    generator = random.Random(0)
    parts = ["demo", "torchvision", "timm", ":", "::", "/", "..", "nets.py", "os", "system", "net",
             "\0", "\n", " ", "%s", "é", "-",
             "a" * 300, "__import__", "$(touch x)", "//", "resnet18x"]  # fmt: skip
    before = sorted(os.listdir(folder))
    for _ in range(EACH):
        spec = "".join(generator.choices(parts, k=generator.randrange(1, 5)))
        try:
            load_model(spec)
        except ERRORS:
            pass
        COUNTED["files"] += 1
    assert sorted(os.listdir(folder)) == before


def test_how_many(request):
    """Said at the end of a run with -s; in benchmarks/README.md for FUZZ=200."""
    print(f"fuzzed inputs: {COUNTED['files']}")
