"""Fetching over a real local server that cuts connections, ignores ranges and sends wrong files."""

import gzip
import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from molvae.data import datasets
from molvae.data.datasets import Dataset, Part, available, fetch
from molvae.data.prepare import PrepareSettings, prepare
from molvae.errors import DataError, FolderBusy, FolderError, RecipeError, UsageError
from molvae.folders import only_writer, unseal

CONTENT = {
    "train": b"".join(b"C" * (k % 50 + 1) + b"O\n" for k in range(20_000)),
    "valid": b"c1ccccc1\nCCN\n",
    "test": b"CCS\n",
}
ONE = b"C\n"


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@dataclass
class Server:
    """A server of ``CONTENT``, and what it did. Each request takes its flaw from ``flaws``, in turn."""

    url: str = ""
    flaws: list[str] = field(default_factory=list)
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    sent: int = 0

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        name, wanted = request.path.strip("/"), request.headers.get("Range")
        self.asked.append((name, wanted))
        flaw = self.flaws.pop(0) if self.flaws else ""
        content = CONTENT[name]
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and flaw != "no ranges" else 0
        if flaw.isdigit():
            request.send_error(int(flaw))
            return
        if wanted and start >= len(content):
            request.send_response(416)
            request.send_header("Content-Range", f"bytes */{len(content)}")
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        body = content[start:]
        request.send_response(206 if start else 200)
        if start:
            at = 0 if flaw == "wrong range" else start
            request.send_header("Content-Range", f"bytes {at}-{len(content) - 1}/{len(content)}")
        if flaw != "no length":
            request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        if flaw == "cut":
            body = body[: len(body) // 2]
        elif flaw == "tampered":
            body = body.replace(b"C", b"N")
        request.wfile.write(body)
        self.sent += len(body)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.answer(self)

        def log_message(self, *_: object) -> None:
            pass

    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(datasets, "PAUSES", (0.0, 0.0, 0.0))
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
        state.url = f"http://127.0.0.1:{http.server_port}"
        yield state
        http.shutdown()


@pytest.fixture
def toy(server: Server, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    """Three parts on the server; the checksum of the train part is not known, as with zinc250k."""
    parts = tuple(
        Part(
            name=name,
            molecules=content.count(b"\n"),
            url=f"{server.url}/{name}",
            sha256=None if name == "train" else digest(content),
        )
        for name, content in CONTENT.items()
    )
    words = {"description": "a toy", "citation": "nobody", "licence": "none", "homepage": "https://example.org"}
    dataset = Dataset(name="toy", columns={"SMILES": "the molecule"}, parts=parts, **words)
    monkeypatch.setattr(datasets, "available", lambda: (dataset,))
    return dataset


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / f"{name}.smi").read_bytes() for name in CONTENT}


def test_the_list_of_datasets():
    known = {dataset.name: dataset for dataset in available()}
    assert set(known) == {"zinc250k", "nci5k"}
    zinc = known["zinc250k"]
    assert [(part.name, part.molecules) for part in zinc.parts] == [("train", 220011), ("valid", 24445), ("test", 5000)]
    assert [part.sha256 is None for part in zinc.parts] == [True, False, False]
    assert all(part.url and part.url.startswith("https://raw.githubusercontent.com/") for part in zinc.parts)
    for dataset in known.values():
        assert "SMILES" in dataset.columns
        assert all((dataset.description, dataset.citation, dataset.licence))


def test_a_part_has_one_source():
    for sources in ({}, {"url": "https://example.org", "rdkit": "a.smi"}):
        with pytest.raises(RecipeError, match="either a url or a path in rdkit"):
            Part(name="all", molecules=1, **sources)


def test_nci5k_comes_from_rdkit_and_can_be_prepared(tmp_path):
    folder = fetch("nci5k", tmp_path / "nci")
    assert folder == tmp_path / "nci"
    manifest = unseal(folder)
    assert manifest["parts"] == {"all": {"file": "all.smi", "from": "first_5K.smi", "verified": False}}
    assert manifest["missing"] == []
    counts = prepare(folder, tmp_path / "corpus", PrepareSettings())["counts"]
    assert sum(counts.values()) == 4999
    assert counts["train"] > 4000


def test_an_unknown_name_has_a_hint(tmp_path):
    with pytest.raises(UsageError, match="there is no dataset 'zinc'; did you mean 'zinc250k'"):
        fetch("zinc", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_download_is_whole_sealed_and_done_once(tmp_path, server, toy):
    seen = []
    folder = fetch("toy", tmp_path / "out", progress=lambda *step: seen.append(step))
    assert contents(folder) == CONTENT
    manifest = unseal(folder)
    assert (manifest["kind"], manifest["name"], manifest["missing"]) == ("dataset", "toy", [])
    assert manifest["parts"]["train"] == {"file": "train.smi", "from": f"{server.url}/train", "verified": False}
    assert manifest["parts"]["test"]["verified"]
    size = len(CONTENT["train"])
    assert ("train", size, size) in seen
    assert {name for name, _, _ in seen} == set(CONTENT)
    assert len(server.asked) == 3
    fetch("toy", tmp_path / "out")
    assert len(server.asked) == 3


def test_a_cut_connection_is_resumed_and_no_byte_is_sent_twice(tmp_path, server, toy):
    server.flaws = ["cut", "cut", "503"]
    folder = fetch("toy", tmp_path / "out")
    assert contents(folder) == CONTENT
    assert server.sent == sum(map(len, CONTENT.values()))
    half = len(CONTENT["train"]) // 2
    rest = half + (len(CONTENT["train"]) - half) // 2
    assert server.asked[:4] == [
        ("train", None),
        ("train", f"bytes={half}-"),
        ("train", f"bytes={rest}-"),
        ("train", f"bytes={rest}-"),
    ]


def test_a_failed_download_goes_on_in_the_next_call(tmp_path, server, toy):
    server.flaws = ["cut"] * 4
    with pytest.raises(DataError, match=rf"'train' of toy could not .* {server.url}/train: the connection ended") as e:
        fetch("toy", tmp_path / "out")
    assert "--from FILE" in str(e.value)
    with pytest.raises(FolderError, match=r"no manifest\.json"):
        unseal(tmp_path / "out")
    server.flaws = ["", "404"]
    with pytest.raises(DataError, match="the server answered 404"):
        fetch("toy", tmp_path / "out")
    assert contents(fetch("toy", tmp_path / "out")) == CONTENT
    assert server.sent == sum(map(len, CONTENT.values()))
    assert [name for name, _ in server.asked] == ["train"] * 5 + ["valid", "train", "valid", "test"]
    assert server.asked[6] == ("train", f"bytes={len(CONTENT['train'])}-")  # whole already: answered 416


def test_a_part_longer_than_the_file_starts_over(tmp_path, server, toy):
    server.flaws = ["cut", "404"]
    with pytest.raises(DataError):
        fetch("toy", tmp_path / "out")
    (tmp_path / "out" / "train.smi.part").write_bytes(CONTENT["train"] + b"more")
    assert contents(fetch("toy", tmp_path / "out")) == CONTENT


@pytest.mark.parametrize("flaw", ["no ranges", "wrong range"])
def test_a_server_that_ignores_or_mistakes_the_range(tmp_path, server, toy, flaw):
    server.flaws = ["cut", flaw]
    assert contents(fetch("toy", tmp_path / "out")) == CONTENT


def test_a_server_that_tells_no_length(tmp_path, server, toy):
    server.flaws = ["no length"]
    assert contents(fetch("toy", tmp_path / "out")) == CONTENT


def test_a_wrong_checksum_names_both_and_touches_nothing_finished(tmp_path, server, toy):
    out = tmp_path / "out"
    (tmp_path / "train.txt").write_bytes(CONTENT["train"])
    fetch("toy", out, [tmp_path / "train.txt"])
    before = unseal(out)
    server.flaws = ["tampered"]
    wrong = digest(CONTENT["valid"].replace(b"C", b"N"))
    with pytest.raises(DataError, match=f"SHA-256 is {wrong}, expected is {digest(CONTENT['valid'])}"):
        fetch("toy", out)
    assert unseal(out) == before
    assert unseal(fetch("toy", out))["missing"] == []
    assert contents(out) == CONTENT


def test_no_network(tmp_path, server, toy, monkeypatch):
    monkeypatch.setattr(datasets, "available", lambda: (toy.model_copy(update={"parts": (gone,)}),))
    gone = toy.parts[0].model_copy(update={"url": "http://127.0.0.1:9/train"})
    with pytest.raises(DataError, match=r"http://127\.0\.0\.1:9/train: .*refused.*--from FILE"):
        fetch("toy", tmp_path / "out")


def test_files_at_hand_are_matched_by_content_then_by_name(tmp_path, server, toy):
    hand = tmp_path / "hand"
    hand.mkdir()
    (hand / "toy-train.smi.gz").write_bytes(gzip.compress(CONTENT["train"]))
    (hand / "whatever.txt").write_bytes(CONTENT["valid"])
    (hand / "README.md").write_text("train")
    folder = fetch("toy", tmp_path / "out", [hand])
    manifest = unseal(folder)
    assert manifest["missing"] == ["test"]
    assert manifest["parts"]["train"] == {"file": "train.smi", "from": "toy-train.smi.gz", "verified": False}
    assert manifest["parts"]["valid"] == {"file": "valid.smi", "from": "whatever.txt", "verified": True}
    assert (folder / "train.smi").read_bytes() == CONTENT["train"]
    assert server.asked == []
    fetch("toy", folder, [hand])
    assert unseal(folder) == manifest
    assert contents(fetch("toy", folder)) == CONTENT
    assert [name for name, _ in server.asked] == ["test"]


def test_a_copy_at_hand_replaces_an_interrupted_download(tmp_path, server, toy):
    server.flaws = ["cut", "404"]
    with pytest.raises(DataError):
        fetch("toy", tmp_path / "out")
    (tmp_path / "train.smi").write_bytes(CONTENT["train"])
    folder = fetch("toy", tmp_path / "out", [tmp_path / "train.smi"])
    assert (folder / "train.smi").read_bytes() == CONTENT["train"]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"valid.txt": CONTENT["valid"]}, "the part 'train' of toy is not among the files"),
        ({"train.smi": b"C\n", "valid.smi": ONE}, f"SHA-256 is {digest(ONE)}, expected is"),
        ({"molecules.smi": b"C\n"}, "is none of the parts of toy: its name should have one of train, valid, test"),
        ({"train.smi": b"C\n", "train.txt": b"CC\n"}, "both stand for the part 'train'"),
        ({"train.smi": b""}, "is empty"),
        ({"train.smi.gz": gzip.compress(b"C\n" * 999, mtime=0)[:20]}, "cannot be read"),
    ],
)
def test_files_at_hand_that_are_refused(tmp_path, server, toy, files, message):
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        fetch("toy", tmp_path / "out", [tmp_path / name for name in files])
    assert not (tmp_path / "out" / "train.smi").exists()
    with pytest.raises(DataError, match="there is no file"):
        fetch("toy", tmp_path / "out", [tmp_path / "missing.smi"])


def test_folders_that_are_not_to_be_written(tmp_path, server, toy):
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "train.smi").write_text("mine\n")
    with pytest.raises(FolderError, match="holds other files already"):
        fetch("toy", foreign)
    assert (foreign / "train.smi").read_text() == "mine\n"
    with only_writer(tmp_path / "busy", "a download"), pytest.raises(FolderBusy, match="a download is running"):
        fetch("toy", tmp_path / "busy")
    folder = fetch("toy", tmp_path / "out")
    (tmp_path / "train.smi").write_text("C\n")
    with pytest.raises(FolderError, match=r"another train\.smi than"):
        fetch("toy", folder, [tmp_path / "train.smi"])
    prepare(folder, tmp_path / "corpus", PrepareSettings())
    with pytest.raises(FolderError, match="holds corpus, not the dataset toy"):
        fetch("toy", tmp_path / "corpus")
