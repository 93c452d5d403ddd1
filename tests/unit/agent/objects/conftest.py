"""An object storage of this PC, with a bucket for each test."""

import hashlib

import pytest
from servers.object_storage import connect, make_bucket, serve, write_credentials


@pytest.fixture(scope="module")
def endpoint():
    with serve() as address:
        yield address


@pytest.fixture
def bucket(endpoint, tmp_path, request):
    name = hashlib.sha256(request.node.name.encode()).hexdigest()[:20]
    make_bucket(endpoint, name)
    return connect(endpoint, f"s3://{name}/lab-3", write_credentials(tmp_path))
