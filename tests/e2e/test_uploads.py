"""Uploads that are cut midway, by either side."""

import base64
import hashlib
import json
import subprocess

import numpy as np
import pytest
from conftest import BIN, GRPCURL, wait_for

CHUNK = 1 << 20


def committed(server, digest):
    state = server.grpcurl("lathe.v1.BlobService/QueryUpload", {"digest": digest})
    return int(state.get("committed_bytes", state.get("committedBytes", 0)))


class OpenUpload:
    """An upload that has sent data[offset:upto] and waits."""

    def __init__(self, server, data, offset, upto):
        self.process = subprocess.Popen(
            [GRPCURL, "-plaintext", "-d", "@", server.address, "lathe.v1.BlobService/UploadBlob"], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.write({"header": {"digest": hashlib.sha256(data).hexdigest(), "size_bytes": len(data), "offset": offset}})
        for at in range(offset, upto, CHUNK):
            self.write({"chunk": base64.b64encode(data[at:min(at + CHUNK, upto)]).decode()})
        self.process.stdin.flush()

    def write(self, message):
        self.process.stdin.write(json.dumps(message) + "\n")

    def end(self):
        said, errors = self.process.communicate(timeout=60)
        return self.process.returncode, said + errors


def test_an_upload_cut_at_every_chunk_resumes_where_it_was(new_server):
    server = new_server(workers=0).start()
    data = np.random.default_rng(0).bytes(5 * CHUNK)
    digest = hashlib.sha256(data).hexdigest()
    have = 0
    for chunks in range(1, 5):
        upload = OpenUpload(server, data, have, chunks * CHUNK)
        wait_for(lambda: server.metric("lathe_upload_bytes_total") == chunks * CHUNK - have, what="the chunks to arrive")
        server.kill()
        assert upload.end()[0] != 0
        server.restart()
        have = committed(server, digest)
        assert (chunks - 1) * CHUNK <= have <= chunks * CHUNK  # at most one chunk is sent again
    wrong = OpenUpload(server, data, have + 1, have + 1).end()
    assert wrong[0] and "OutOfRange" in wrong[1] and str(have) in wrong[1], wrong
    code, said = OpenUpload(server, data, have, len(data)).end()
    assert code == 0 and digest in said, said
    assert server.metric("lathe_upload_resumes_total") == 1
    assert committed(server, digest) == len(data)


def test_the_command_rides_out_a_restart(new_server, tmp_path):
    """lathe upload, with the server killed under it: it goes on where the server was."""
    server = new_server(workers=0).start()
    for seed in range(5):
        data = np.random.default_rng(seed).bytes(192 << 20)
        path = tmp_path / "big.onnx"
        path.write_bytes(data)
        before = server.metric("lathe_upload_bytes_total")
        upload = subprocess.Popen([BIN / "lathe", "--server", server.address, "--connect-timeout", "60", "upload", path],
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        wait_for(lambda: server.metric("lathe_upload_bytes_total") > before or upload.poll() is not None, what="bytes")
        server.kill()
        server.restart()
        out, errors = upload.communicate(timeout=120)
        assert upload.returncode == 0, errors
        sent_again = server.metric("lathe_upload_bytes_total")
        if server.metric("lathe_upload_resumes_total") >= 1:
            assert 0 < sent_again < len(data)
            assert committed(server, hashlib.sha256(data).hexdigest()) == len(data)
            assert out.strip() in server.lathe("models").stdout
            return
    pytest.fail("the upload was never cut midway")


def test_an_abandoned_upload_blocks_nobody(new_server, tmp_path):
    server = new_server(workers=0).start()
    data = np.random.default_rng(1).bytes(3 * CHUNK)
    path = tmp_path / "m.onnx"
    path.write_bytes(data)
    abandoned = OpenUpload(server, data, 0, CHUNK)
    wait_for(lambda: server.metric("lathe_upload_bytes_total") == CHUNK, what="the chunk to arrive")
    assert server.lathe("upload", path, timeout=60).stdout.startswith("models/")
    abandoned.process.kill()
    assert committed(server, hashlib.sha256(data).hexdigest()) == len(data)
